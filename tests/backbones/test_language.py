"""What an answer costs: held against the library's own loss, and learnable from pictures."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from tests.toy_folders import written
from tests.toy_policies import backbone_of, pictures
from vlactl.backbones import BACKBONES
from vlactl.backbones.adapter import Backbone
from vlactl.backbones.prompt import END

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
QUESTIONS = ("which block is on the left", "", "is the drawer open")
ANSWERS = ("the red block", "the drawer is open and the red block is in it", "open")
KINDS = list(BACKBONES)


@pytest.fixture(params=KINDS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    backbone = copy.deepcopy(backbone_of(request.param))
    backbone.tokenizer.extend([*QUESTIONS, *ANSWERS])
    return backbone


@pytest.mark.parametrize("kind", [kind for kind in ("llava", "paligemma", "smolvlm", "qwen3-vl") if kind in BACKBONES])
def test_the_loss_is_the_librarys_own(kind: str, tmp_path: Path) -> None:
    folder = written(kind, tmp_path / "weights")
    backbone = BACKBONES.get(kind)(weights=str(folder), image_px=64).build(0).eval()
    whole = AutoModelForImageTextToText.from_pretrained(folder).eval()
    images, question, answer = pictures(1, 2), "push the button", "the red button"
    with torch.no_grad():
        ours, _ = backbone.language_loss(images, [question], [answer])
    tokens = backbone.embed(images[:, None], [question])
    ids = [*backbone.tokenizer.encode(answer), backbone.layout.end]
    prompt = backbone.prompt(tokens, len(ids), answers=[ids])
    labels = torch.where(prompt.slot_BN, prompt.ids_BN, -100)
    with torch.no_grad():
        out = whole(
            input_ids=prompt.ids_BN,
            attention_mask=prompt.real_BN.long(),
            labels=labels,
            **backbone.family.inputs(prompt, backbone.config),
        )
    torch.testing.assert_close(ours[0], out.loss, **CLOSE)


def test_a_row_costs_the_same_alone(backbone: Backbone) -> None:
    images = pictures(3, 2)
    with torch.no_grad():
        together, numbers = backbone.language_loss(images, QUESTIONS, ANSWERS)
        for row in range(3):
            alone, _ = backbone.language_loss(images[row : row + 1], QUESTIONS[row : row + 1], ANSWERS[row : row + 1])
            torch.testing.assert_close(together[row : row + 1], alone, **CLOSE)
    assert together.shape == (3,)
    torch.testing.assert_close(numbers["loss"], together.mean())
    assert 0 <= numbers["accuracy"] <= 1
    chance = torch.tensor(float(backbone.embedding.num_embeddings)).log()
    assert together.max() < 3 * chance, "an untaught model is surprised, not absurdly sure"


def test_pictures_questions_and_earlier_words_count_and_later_words_do_not(backbone: Backbone) -> None:
    tokens = backbone.embed(pictures(1, 1, 2), QUESTIONS[:1])
    words = backbone.tokenizer.encode("the red block")

    def hidden(ids: list[int], shown: object = tokens) -> torch.Tensor:
        prompt = backbone.prompt(shown, len(ids), answers=[ids])  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            last_BND = backbone.family.run(backbone.model, prompt).last_BND
        return last_BND[0, prompt.columns_BS[0]]

    reference = hidden(words)
    torch.testing.assert_close(hidden([*words[:2], END])[:2], reference[:2], **CLOSE)
    assert (hidden([words[1], *words[1:]])[2] - reference[2]).abs().max() > 1e-3
    other = backbone.embed(pictures(1, 1, 2, seed=4), QUESTIONS[:1])
    assert (hidden(words, other) - reference).abs().max() > 1e-3
    assert (hidden(words, backbone.embed(pictures(1, 1, 2), QUESTIONS[2:])) - reference).abs().max() > 1e-3


def test_an_empty_answer_is_its_end_mark(backbone: Backbone) -> None:
    with torch.no_grad():
        loss_B, _ = backbone.language_loss(pictures(2, 2), ["", "which block"], ["", ""])
        mixed_B, _ = backbone.language_loss(pictures(2, 2), ["", "which block"], ["", "the red block"])
    torch.testing.assert_close(loss_B[0], mixed_B[0], **CLOSE)
    assert (loss_B > 0).all()


def test_gradients_reach_every_subtree(backbone: Backbone) -> None:
    backbone.train()
    loss_B, numbers = backbone.language_loss(pictures(2, 2), QUESTIONS[:2], ANSWERS[:2])
    loss_B.mean().backward()
    assert not any(number.requires_grad for number in numbers.values())
    for name, part in backbone.subtrees().items():
        reached = sum(float(p.grad.abs().sum()) > 0 for p in part if p.grad is not None)
        assert reached > len(part) / 2, f"{name}: {reached} of {len(part)} parameters have a gradient"


@pytest.mark.parametrize("kind", ["smolvlm", "paligemma"])
def test_pictures_are_told_apart_in_words(kind: str) -> None:
    """Same question, four pictures of four colours: only the picture can say which colour it is."""
    backbone = BACKBONES.get(kind)().build(0).train()
    names = ("red", "green", "blue", "white")
    backbone.tokenizer.extend([*names, "what colour"])
    tints = torch.tensor([[200, 20, 20], [20, 200, 20], [20, 20, 200], [220, 220, 220]], dtype=torch.uint8)
    images = tints[:, None, None, None].expand(4, 1, 64, 64, 3)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-3)
    first = None
    for _ in range(25):
        loss_B, numbers = backbone.language_loss(images, ["what colour"] * 4, names)
        first = first or loss_B.mean().item()
        optimizer.zero_grad()
        loss_B.mean().backward()
        optimizer.step()
    assert numbers["accuracy"] == 1
    assert numbers["loss"] < 0.1 * first
