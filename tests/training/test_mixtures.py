"""Batches of several sources, of pictures with words, and of features instead of pictures, through the loop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nursery import Nursery
from small import Backbone, SmallPolicy, learn, mixture, record
from torch import nn

from vlactl.backbones import BACKBONES
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes
from vlactl.training import TrainingSettings
from vlactl.training.augment import augmented
from vlactl.training.caption import Captioner
from vlactl.windows import Batch, PairStream


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_shares_follow_the_weights_and_losses_are_by_source(tmp_path: Path, sources: Path,
                                                            micro_batch: int | None) -> None:
    """125 updates of 8 windows are one block of 1000, in which the shares are exact."""
    _, result, rows, _ = learn(tmp_path, mixture(sources), updates=125, log_every=25, micro_batch=micro_batch)
    assert result["sources"] == {"a": {"windows": 700, "share": 0.7}, "b": {"windows": 300, "share": 0.3}}
    for row in rows:
        assert sum(part["share"] for part in row["sources"].values()) == pytest.approx(1)
        losses = [part["loss"] for part in row["sources"].values()]
        assert min(losses) <= row["loss"] * 1.05
        assert row["loss"] * 0.95 <= max(losses)
    assert rows[-1]["sources"]["a"]["loss"] < rows[0]["sources"]["a"]["loss"]


def test_a_sources_loss_is_the_mean_over_its_actions(tmp_path: Path, sources: Path) -> None:
    _, _, rows, _ = learn(tmp_path, mixture(sources), updates=1, log_every=1, brightness=0.0, micro_batch=3)
    batch, policy = mixture(sources).at(0), SmallPolicy()
    for index, name in enumerate(batch.sources):
        mine = (batch.source_B == index).nonzero().flatten()
        only = Batch(images_BHKYXC=batch.images_BHKYXC[mine], states_BHS=batch.states_BHS[mine], sources=("a",),
                     texts=[batch.texts[i] for i in mine], actions_BHLA=batch.actions_BHLA[mine],
                     mask_BHL=batch.mask_BHL[mine], source_B=batch.source_B[mine] * 0, noise_B=batch.noise_B[mine])
        assert rows[0]["sources"][name]["loss"] == pytest.approx(policy.loss(only)[0].item(), rel=1e-5)


def test_sums_survive_a_kill_and_another_number_of_ranks(nursery: Nursery, sources: Path) -> None:
    again = {"folder": str(sources), "dropout": 0.0, "log_every": 5, "checkpoint_every_s": 1e-9}
    mixture(sources)
    assert nursery.run(name="one", **again) == [0]
    assert nursery.run(ranks=2, name="two", terminate_after=5, **again) == [75, 75]
    assert nursery.run(ranks=2, name="two", **again) == [0, 0]
    one, two = (json.loads((sources / name / "result.json").read_text())["sources"] for name in ("one", "two"))
    assert two == one
    curves = [[json.loads(line)["sources"] for line in (sources / name / "curve.jsonl").read_text().splitlines()]
              for name in ("one", "two")]
    for ours, theirs in zip(*curves, strict=True):
        for source in ("a", "b"):
            assert theirs[source] == pytest.approx(ours[source], rel=1e-4)


# ---- pictures with words -------------------------------------------------------------------------


def talkative(path: Path) -> RecordedEpisodes:
    """A source whose captions name the brightest colour of a picture."""
    plain, draw = record(path / "plain", lengths=(8, 8)), np.random.default_rng(0)
    with EpisodeWriter(path / "words", plain.spaces) as writer:
        for number in range(2):
            colours = draw.integers(0, 3, 8)
            images = plain[number].images_TKYXC // 4
            for frame, colour in enumerate(colours):
                images[frame, ..., colour] = 255
            episode = replace(plain[number], images_TKYXC=images)
            writer.add(episode, [{"frame": frame, "kind": "caption", "question": "",
                                  "answer": ("red", "green", "blue")[colour]} for frame, colour in enumerate(colours)])
    return RecordedEpisodes(path / "words")


class Naming(Backbone):
    """Says one of three words."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.words = nn.Linear(32, 3)

    def subtrees(self) -> dict[str, list[nn.Parameter]]:
        return {**super().subtrees(), "language": [*self.language.parameters(), *self.words.parameters()]}

    def language_loss(self, images_BKYXC: torch.Tensor, questions: list[str], answers: list[str]) -> tuple[Any, dict]:
        colours = images_BKYXC.float().mean((2, 3)).flatten(1) / 255
        scores = self.words(torch.tanh(self.connector(torch.tanh(self.vision(colours)))))
        wanted = torch.tensor([("red", "green", "blue").index(answer) for answer in answers])
        return nn.functional.cross_entropy(scores, wanted, reduction="none"), {"right": (scores.argmax(-1) == wanted
                                                                                          ).float().mean()}


class Speaking(SmallPolicy):
    """Acts and speaks, as ``Policy`` does."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.backbone = Naming()

    def loss(self, batch: Batch, scale: float = 1.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, parts = super().loss(batch, scale)
        if batch.pairs is None:
            return loss, parts
        each_B, _ = self.backbone.language_loss(batch.pairs.images_BKYXC, batch.pairs.questions, batch.pairs.answers)
        return loss + batch.pairs.scale * each_B.mean(), {**parts, "vl_loss": each_B.mean().detach()}


def together(sources: Path, words: RecordedEpisodes) -> Any:
    stream = mixture(sources)
    stream.pairs = PairStream([(words, 1.0)], batch_windows=5, seed=3)
    return stream


@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_pairs_are_shared_out_over_micro_batches(tmp_path: Path, sources: Path, micro_batch: int, stage: int) -> None:
    """Five pairs beside eight windows: some micro-batches have two, some none."""
    words = talkative(tmp_path)
    whole, _, rows, _ = learn(tmp_path / "whole", together(sources, words), Speaking(), log_every=1)
    parts, _, again, _ = learn(tmp_path / "parts", together(sources, words), Speaking(), log_every=1,
                               micro_batch=micro_batch, zero_stage=stage)
    assert rows[0]["parts"]["vl_loss"] == pytest.approx(np.log(3), abs=0.3)
    for ours, theirs in zip(rows, again, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
        assert theirs["parts"] == pytest.approx(ours["parts"], rel=1e-3)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_a_bare_backbone_learns_words(tmp_path: Path, micro_batch: int | None) -> None:
    stream = PairStream([(talkative(tmp_path), 1.0)], batch_windows=8, seed=0)
    _, result, rows, _ = learn(tmp_path, stream, Captioner(Naming()), updates=60, log_every=10,
                               micro_batch=micro_batch)
    assert rows[0]["loss"] > 0.8
    assert rows[-1]["loss"] < 0.3
    assert rows[-1]["parts"]["right"] > 0.9
    assert result["trained"]["formulation"] == 0
    assert result["sources"] == {}


@pytest.mark.parametrize("stage", [0, 3])
def test_a_real_tiny_backbone_learns_words(tmp_path: Path, stage: int) -> None:
    """Through the same loop, adapter and loss as the pretraining of a recipe."""
    backbone = BACKBONES.get("smolvlm")().build(0)
    stream = PairStream([(talkative(tmp_path), 1.0)], batch_windows=8, seed=0)
    backbone.tokenizer.extend(stream.texts())
    _, _, rows, _ = learn(tmp_path, stream, Captioner(backbone), updates=8, log_every=1,
                          learning_rate=1e-3, zero_stage=stage)
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]


def test_pictures_with_words_change_in_brightness_only(tmp_path: Path) -> None:
    pairs = PairStream([(talkative(tmp_path), 1.0)], batch_windows=4, seed=0).at(0)
    moved = augmented(pairs, TrainingSettings(brightness=0, shift_px=3), seed=0, update=0, rank=0, world=1)
    assert torch.equal(moved.images_BKYXC, pairs.images_BKYXC), "a caption may say where something lies"
    settings = TrainingSettings(brightness=0.5, shift_px=3)
    whole = augmented(pairs, settings, seed=0, update=0, rank=0, world=1)
    assert not torch.equal(whole.images_BKYXC, pairs.images_BKYXC)
    assert whole.images_BKYXC.dtype == torch.uint8
    parts = [augmented(pairs.rows(2 * rank, 2 * rank + 2), settings, seed=0, update=0, rank=rank, world=2)
             for rank in range(2)]
    assert torch.equal(torch.cat([part.images_BKYXC for part in parts]), whole.images_BKYXC)


# ---- features ------------------------------------------------------------------------------------


class Looking(SmallPolicy):
    """Takes the means of a picture's colours as its features."""

    def loss(self, batch: Batch, scale: float = 1.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if batch.features_BHKPD is not None:
            assert batch.images_BHKYXC is None
            images = (batch.features_BHKPD * 255)[..., None, :]   # a picture of one pixel
            batch = replace(batch, images_BHKYXC=images)
        return super().loss(batch, scale)


def test_features_take_the_place_of_pictures(tmp_path: Path, sources: Path) -> None:
    class Remembered:
        def __init__(self) -> None:
            self.stream = mixture(sources)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

        def at(self, update: int) -> Batch:
            batch = self.stream.at(update)
            features = batch.images_BHKYXC.float().mean((3, 4))[:, :, :, None] / 255
            return replace(batch, images_BHKYXC=None, features_BHKPD=features)

    settings = {"tuning": "frozen-vision", "brightness": 0.0, "micro_batch": 4}
    seen, *_ = learn(tmp_path / "seen", mixture(sources), Looking(), **settings)
    kept, *_ = learn(tmp_path / "kept", Remembered(), Looking(), cache_vision=True, **settings)
    for name, value in seen.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], value, atol=1e-5, rtol=1e-4)
