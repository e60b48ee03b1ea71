"""What every backbone on the menu keeps, whatever its family."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from tests.toy_policies import TEXTS, backbone_of, pictures
from vlactl.backbones import BACKBONES, TINY_ACTION_ROWS
from vlactl.backbones.adapter import Backbone
from vlactl.backbones.loading import describe, restore

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
"""Float noise: matrix products of another shape add up in another order."""
KINDS = list(BACKBONES)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def backbone(kind: str) -> Backbone:
    return backbone_of(kind)


def slots(backbone: Backbone, rows: int, history: int, count: int = 1, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, history, count, backbone.width, generator=torch.Generator().manual_seed(seed))


def hidden(backbone: Backbone, images: torch.Tensor, texts: list[str], slots_BHSD: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return backbone(backbone.embed(images, texts), slots_BHSD).slots_BHSD


def test_spec_round_trips_and_is_small(kind: str, backbone: Backbone) -> None:
    spec = BACKBONES.get(kind)()
    assert BACKBONES.parse(json.loads(json.dumps(spec.identity()))) == spec
    assert 0.5e6 < sum(parameter.numel() for parameter in backbone.parameters()) < 1.5e6


def test_the_menu_says_what_the_family_does(kind: str, backbone: Backbone) -> None:
    spec, family = BACKBONES.get(kind), backbone.family
    assert (spec.padding == "right") == family.pads_right
    assert (spec.mask == "encoder-decoder") == family.slots_apart
    assert spec.decoder_only or spec.mask in ("encoder-decoder", "cross-attention")
    assert spec.hub_px
    assert spec.hub_tokens
    pinned = [place.revision for place in spec.hub_parts.values()] or [spec.hub_revision]
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in pinned if revision is not None)
    assert bool(spec.hub_parts) != bool(spec.hub_id)
    assert (spec.__doc__ or "").strip() != (BACKBONES.get("paligemma").__base__.__doc__ or "").strip()


def test_the_papers_families_are_all_there() -> None:
    paper = {"flamingo", "kosmos-2", "paligemma", "llava", "qwen2-vl", "moondream", "uform"}
    assert paper <= set(KINDS)
    assert len(KINDS) >= 24


def test_a_fresh_picture_is_not_drowned(backbone: Backbone) -> None:
    """What the library leaves at zero or at one (gates, queries, projections) would hide it until training opens it."""
    vectors = slots(backbone, 1, 1).expand(4, -1, -1, -1)
    states = hidden(backbone, pictures(4, 1, 2), ["push the button"] * 4, vectors)
    assert states.std(0).mean() > 0.05 * states.std()


@pytest.mark.parametrize("history", [1, 3])
def test_every_picture_word_and_slot_reaches_the_hidden_state(backbone: Backbone, history: int) -> None:
    images, vectors = pictures(1, history, 2), slots(backbone, 1, history)
    reference = hidden(backbone, images, ["push the button"], vectors)
    for frame in range(history):
        for camera in range(2):
            other = images.clone()
            other[0, frame, camera] = pictures(1, seed=9)[0]
            assert (hidden(backbone, other, ["push the button"], vectors) - reference)[0, -1].abs().max() > 1e-3
        moved = vectors.clone()
        moved[0, frame] = slots(backbone, 1, 1, seed=5)[0, 0]
        assert (hidden(backbone, images, ["push the button"], moved) - reference)[0, -1].abs().max() > 1e-3
    assert (hidden(backbone, images, ["lift the button"], vectors) - reference)[0, -1].abs().max() > 1e-3


def test_a_row_does_not_depend_on_its_batch_or_on_padding(backbone: Backbone) -> None:
    for history in (1, 3):
        images, texts = pictures(4, history, 2), list(TEXTS)
        assert len({len(backbone.tokenizer.encode(text)) for text in texts}) > 1
        vectors = slots(backbone, 4, history, count=2)
        together = hidden(backbone, images, texts, vectors)
        for row in range(4):
            alone = hidden(backbone, images[row : row + 1], texts[row : row + 1], vectors[row : row + 1])
            torch.testing.assert_close(together[row : row + 1], alone, **CLOSE)


def test_a_later_frame_never_reaches_an_earlier_one(kind: str, backbone: Backbone) -> None:
    if not BACKBONES.get(kind).decoder_only:
        pytest.skip("not decoder-only: no interleaving")
    images, vectors = pictures(2, 3, 2), slots(backbone, 2, 3)
    texts = [TEXTS[0], TEXTS[1]]
    reference = hidden(backbone, images, texts, vectors)
    for frame in (1, 2):
        later, moved = images.clone(), vectors.clone()
        later[:, frame] = pictures(2, 2, seed=7)
        moved[:, frame] = slots(backbone, 2, 1, seed=6)[:, 0]
        changed = hidden(backbone, later, texts, moved)
        torch.testing.assert_close(changed[:, :frame], reference[:, :frame], **CLOSE)
        assert (changed[:, frame] - reference[:, frame]).abs().max() > 1e-3


def test_a_later_slot_never_reaches_an_earlier_one(backbone: Backbone) -> None:
    images, vectors = pictures(2, 1, 2), slots(backbone, 2, 1, count=4)
    reference = hidden(backbone, images, list(TEXTS[:2]), vectors)
    moved = vectors.clone()
    moved[:, :, 2:] = slots(backbone, 2, 1, count=2, seed=6)  # not a constant: LayerNorm would remove it
    changed = hidden(backbone, images, list(TEXTS[:2]), moved)
    torch.testing.assert_close(changed[:, :, :2], reference[:, :, :2], **CLOSE)
    assert (changed[:, :, 3] - reference[:, :, 3]).abs().max() > 1e-3


def test_subtrees_hold_every_parameter_once_and_gradients_reach_them_all(kind: str) -> None:
    backbone = copy.deepcopy(backbone_of(kind)).train()
    parts = backbone.subtrees()
    listed = [id(parameter) for part in parts.values() for parameter in part]
    assert sorted(listed) == sorted(id(parameter) for parameter in backbone.parameters())
    assert len(set(listed)) == len(listed)
    for history in (1, 3):
        backbone.zero_grad()
        vectors = slots(backbone, 2, history).requires_grad_()
        backbone(backbone.embed(pictures(2, history, 2), list(TEXTS[:2])), vectors).slots_BHSD.pow(2).sum().backward()
        assert vectors.grad is not None
        assert vectors.grad.abs().amax(-1).min() > 0
        for name, part in parts.items():
            reached = sum(float(parameter.grad.abs().sum()) > 0 for parameter in part if parameter.grad is not None)
            assert reached > len(part) / 2, f"{name}: {reached} of {len(part)} parameters have a gradient"


def test_a_slot_holding_a_words_vector_equals_the_library_reading_that_word(kind: str, backbone: Backbone) -> None:
    """The hook changes nothing else: masks, positions and merged pictures are those of the library's own path."""
    images, texts = pictures(2, 1, 2), [TEXTS[0], TEXTS[1]]
    word = backbone.tokenizer.encode("button")[0]
    vector = backbone.embedding(torch.tensor([word])).expand(2, 1, 1, -1)
    ours = hidden(backbone, images, texts, vector)[:, 0, 0]
    prompt = backbone.prompt(backbone.embed(images, texts), 1)
    model, ids_BN = copy.deepcopy(backbone.model), prompt.ids_BN
    inputs = backbone.family.inputs(prompt, backbone.config)
    if inputs.pop("position_ids", None) is not None and "image_grid_thw" in inputs:  # let the library derive its own
        inputs["mm_token_type_ids"] = (ids_BN == prompt.layout.image).int()
    if backbone.family.slots_apart:
        model.language_model.set_input_embeddings(backbone.embedding)
        start = backbone.config.text_config.decoder_start_token_id
        inputs["decoder_input_ids"] = torch.tensor([[start, word]] * 2)
    else:
        ids_BN = ids_BN.scatter(1, prompt.columns_BS, word)
    with torch.no_grad():
        theirs = model(input_ids=ids_BN, attention_mask=prompt.real_BN.long(), **inputs)
    theirs = getattr(theirs, "language_model_outputs", theirs).last_hidden_state[:, -1]
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_kept_features_stand_for_the_pictures(kind: str, backbone: Backbone) -> None:
    if not BACKBONES.get(kind).caches_features:
        pytest.skip("this family keeps no features")
    images, vectors = pictures(2, 2, 2), slots(backbone, 2, 2)
    with torch.no_grad():
        kept = backbone.picture_features(images.flatten(0, 1)).unflatten(0, (2, 2))
        ours = backbone(backbone.embed(None, list(TEXTS[:2]), kept), vectors).slots_BHSD
    torch.testing.assert_close(ours, hidden(backbone, images, list(TEXTS[:2]), vectors), **CLOSE)


def test_every_layer_is_told_and_the_last_is_the_answer(backbone: Backbone) -> None:
    images, vectors = pictures(2, 1, 2), slots(backbone, 2, 1, count=3)
    with torch.no_grad():
        told = backbone(backbone.embed(images, list(TEXTS[:2])), vectors, layers=True, context=True)
    assert told.layers is not None
    assert told.context is not None
    assert len(told.layers) == len(told.context) >= 2
    assert all(layer.shape == vectors.shape for layer in told.layers)
    assert {layer.shape for layer in told.context} == {(*told.real_BN.shape, backbone.width)}
    torch.testing.assert_close(told.layers[-1], told.slots_BHSD, **CLOSE)
    picked = told.context[0].gather(1, told.columns_BHS.flatten(1)[..., None].expand(-1, -1, backbone.width))
    torch.testing.assert_close(picked, told.layers[0][:, 0], **CLOSE)
    assert (told.layers[0] - told.layers[-1]).abs().max() > 1e-3


def test_words_about_pictures_are_learned(kind: str) -> None:
    """Two pictures, two answers to one question: only the picture tells them apart."""
    backbone = copy.deepcopy(backbone_of(kind)).train()
    images, questions, answers = pictures(2, 1), ["push the button"] * 2, ["red", "left side"]
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = backbone.language_loss(images, questions, answers)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    with torch.no_grad():
        swapped = backbone.eval().language_loss(images.flip(0), questions, answers)[0].mean()
    assert swapped > 2 * losses[-1]


def test_cached_decoding_equals_recomputing_every_token(backbone: Backbone) -> None:
    images, texts, rows = pictures(3, 1, 2), list(TEXTS[:3]), backbone.action_rows(64)
    tokens = backbone.embed(images, texts)
    first = slots(backbone, 3, 1)[:, 0]
    before = hidden(backbone, images, texts, first[:, None])
    choices = backbone.decode(tokens, first, rows, 7)
    assert torch.equal(hidden(backbone, images, texts, first[:, None]), before), "decoding left something behind"
    assert len(choices.unique()) > 1
    vectors = first
    for step in range(7):
        with torch.no_grad():
            state = backbone(tokens, vectors[:, None]).slots_BHSD[:, 0, -1]
            assert (backbone.logits(state, rows).argmax(-1) == choices[:, step]).all()
            vectors = torch.cat([vectors, backbone.embed_rows(rows, choices[:, step])[:, None]], 1)


def test_logits_of_rows_are_those_of_the_whole_vocabulary(backbone: Backbone) -> None:
    state = torch.randn(2, 3, backbone.width)
    rows = backbone.action_rows(TINY_ACTION_ROWS)
    every = backbone.logits(state)
    assert every.shape == (2, 3, backbone.embedding.num_embeddings)
    torch.testing.assert_close(backbone.logits(state, rows), every[..., list(rows)], **CLOSE)
    words = {identity for text in TEXTS for identity in backbone.tokenizer.encode(text)}
    assert not words & set(rows)
    with pytest.raises(ValueError, match="keeps 256 rows"):
        backbone.action_rows(TINY_ACTION_ROWS + 1)


def test_restoring_from_plain_json_and_weights_gives_the_same_numbers(kind: str, backbone: Backbone) -> None:
    document = json.loads(json.dumps(describe(backbone)))
    vocabulary = json.loads(json.dumps(backbone.tokenizer.to_json()))
    copied = restore(BACKBONES.get(kind)(), document, vocabulary).eval()
    copied.load_state_dict(backbone.state_dict(), strict=True)
    images, vectors = pictures(2, 2, 2), slots(backbone, 2, 2)
    assert torch.equal(
        hidden(copied, images, list(TEXTS[:2]), vectors), hidden(backbone, images, list(TEXTS[:2]), vectors)
    )


def test_the_seed_decides_the_weights_and_nothing_else_is_drawn(kind: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    same, other = BACKBONES.get(kind)().build(0), BACKBONES.get(kind)().build(1)
    assert torch.equal(before, torch.get_rng_state())
    reference = backbone_of(kind).state_dict()
    assert all(torch.equal(value, reference[name]) for name, value in same.state_dict().items())
    assert any(not torch.equal(value, reference[name]) for name, value in other.state_dict().items())


def test_gradient_checkpointing_gives_the_same_gradients(kind: str) -> None:
    gradients, passes = [], []
    for checkpointing in (False, True):
        backbone = BACKBONES.get(kind)(gradient_checkpointing=checkpointing).build(0).train()
        calls: list[tuple[int, ...]] = []
        layers = [layer for layer in backbone.modules() if isinstance(layer, GradientCheckpointingLayer)]
        for part in {part for layer in layers for part in layer.modules() if isinstance(part, torch.nn.Linear)}:
            part.register_forward_pre_hook(lambda part, _, calls=calls: calls.append(tuple(part.weight.shape)))
        backbone.tokenizer.extend(TEXTS)
        vectors = slots(backbone, 2, 1).requires_grad_()
        backbone(backbone.embed(pictures(2, 1, 2), list(TEXTS[:2])), vectors).slots_BHSD.pow(2).mean().backward()
        gradients.append([vectors.grad, *(parameter.grad for parameter in backbone.parameters())])
        passes.append(calls)
    assert len(passes[0]) >= 12
    assert sorted(passes[1]) == sorted(passes[0] * 2), "every layer is computed once more in the backward pass"
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, **CLOSE)


def test_other_picture_sizes_and_number_types(kind: str) -> None:
    backbone = BACKBONES.get(kind)(image_px=128, dtype="bfloat16").build(0).eval()
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.bfloat16}
    small = backbone_of(kind).layout.image_tokens
    # As many as before where queries ask, four times as many where patches speak; one of them may be a mark or a mean.
    assert backbone.layout.image_tokens in (small, 4 * small, 4 * (small - 1) + 1)
    images = torch.randint(0, 256, (1, 1, 1, 100, 80, 3), dtype=torch.uint8)
    tokens = backbone.embed(images, ["push"])
    assert tokens.pixels_BHKCYX.shape == (1, 1, 1, 3, 128, 128)
    assert hidden(backbone, images, ["push"], slots(backbone, 1, 1)).isfinite().all()


def test_a_few_updates_fit_one_batch(kind: str) -> None:
    backbone = copy.deepcopy(backbone_of(kind)).train()
    tokens = backbone.embed(pictures(4, 1, 2), list(TEXTS))
    vectors = torch.nn.Parameter(slots(backbone, 1, 1))
    wanted = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW([*backbone.parameters(), vectors], lr=1e-3)
    losses = []
    for _ in range(15):
        loss = (backbone(tokens, vectors.expand(4, -1, -1, -1)).slots_BHSD[:, 0, 0, :8] - wanted).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
