"""What happens when a loss or a gradient is not finite: in every precision, at every ZeRO stage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nursery import Nursery
from small import SmallPolicy, learn, mixture

from vlactl.errors import FailureClass, StageFailed
from vlactl.training import TrainingSettings, scaling
from vlactl.training.scaling import FIRST, LossScale
from vlactl.training.tuning import adamw


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


class Stumbling(SmallPolicy):
    """Has a loss that is not finite in some updates; ``kind`` says what of it."""

    def __init__(self, at: tuple[int, ...], kind: str = "loss") -> None:
        super().__init__()
        self.at, self.kind, self.calls = at, kind, -1

    def loss(self, batch, scale=1.0):
        self.calls += 1
        loss, parts = super().loss(batch, scale)
        if self.calls in self.at:
            if self.kind == "loss":
                loss = loss + float("inf")   # its gradient is finite
            else:
                loss = loss + (self.gain - self.gain.detach()).abs().sqrt().sum() * 0.0   # 0 times infinity
        return loss, parts


def without(sources: Path, left_out: tuple[int, ...], updates: int) -> SmallPolicy:
    """A plain loop that does not make some updates."""
    policy, stream, settings = SmallPolicy().train(), mixture(sources), TrainingSettings(learning_rate=1e-2)
    optimizer = adamw(policy, settings)
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(update, updates)
        policy.loss(stream.at(update))[0].backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        if update not in left_out:
            optimizer.step()
        optimizer.zero_grad()
    return policy


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_an_update_is_left_out_whole(tmp_path: Path, sources: Path, stage: int, kind: str) -> None:
    policy, result, rows, beats = learn(tmp_path, mixture(sources), Stumbling((2, 5), kind), nan="skip",
                                        brightness=0.0, zero_stage=stage, updates=8, log_every=1)
    expected = without(sources, (2, 5), 8)
    for name, value in policy.named_parameters():
        torch.testing.assert_close(value, expected.get_parameter(name), atol=1e-5, rtol=1e-4, msg=name)
    assert result["skipped_updates"] == 2
    assert [row["update"] for row in rows] == [1, 2, 4, 5, 7, 8], "a row without an update has nothing to say"
    json.dumps([rows, [beat[2] for beat in beats]], allow_nan=False)


@pytest.mark.parametrize("stage", [0, 3])
def test_too_many_in_a_row_end_the_run(tmp_path: Path, sources: Path, stage: int) -> None:
    again = {"nan": "skip", "nan_limit": 2, "updates": 8, "zero_stage": stage}
    learn(tmp_path / "two", mixture(sources), Stumbling((1, 2, 4, 5)), **again)
    with pytest.raises(StageFailed, match="the loss of update 3 is inf, the 3th update in a row") as caught:
        learn(tmp_path / "three", mixture(sources), Stumbling((1, 2, 3)), **again)
    assert caught.value.failure is FailureClass.NAN


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_infinite_gradient_ends_the_run_under_every_stage(tmp_path: Path, sources: Path, stage: int) -> None:
    with pytest.raises(StageFailed, match=r"gradient norm of update 1 is (nan|inf)") as caught:
        learn(tmp_path, mixture(sources), Stumbling((1,), "gradient"), zero_stage=stage)
    assert caught.value.failure is FailureClass.NAN


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_one_rank_of_two_stumbles_and_both_leave_the_update_out(nursery: Nursery, tmp_path: Path, stage: int) -> None:
    mixture(tmp_path)   # recorded before two ranks open it
    again = {"folder": str(tmp_path), "dropout": 0.0, "nan": "skip", "zero_stage": stage, "ranks": 2}
    assert nursery.run(name="both", stumble_at=3, **again) == [0, 0]
    assert nursery.run(name="one", stumble_at=3, stumble_rank=1, **again) == [0, 0]
    both, one = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("both", "one"))
    assert both["skipped_updates"] == one["skipped_updates"] == 1
    assert both["fingerprint"] == one["fingerprint"]


def test_a_killed_run_counts_on(nursery: Nursery, tmp_path: Path) -> None:
    """The optimiser's own count of updates, which scales its moments, is without the ones that were left out."""
    again = {"folder": str(tmp_path), "nan": "skip", "stumble_at": 3, "checkpoint_every_s": 1e-9}
    assert nursery.run(name="straight", **again) == [0]
    assert nursery.run(name="killed", kill_after=7, **again) == [-9]
    assert nursery.run(name="killed", **{**again, "stumble_at": None}) == [0]
    straight, killed = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("straight", "killed"))
    assert killed["skipped_updates"] == straight["skipped_updates"] == 1
    assert killed["fingerprint"] == straight["fingerprint"]


# ---- fp16 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "offload"), [(0, "none"), (1, "none"), (2, "optimizer"), (3, "none")])
def test_fp16_learns_what_float32_learns(tmp_path: Path, sources: Path, stage: int, offload: str) -> None:
    exact, _, rows, _ = learn(tmp_path / "fp32", mixture(sources), log_every=1)
    policy, result, again, _ = learn(tmp_path / "fp16", mixture(sources), precision="fp16", zero_stage=stage,
                                     offload=offload, micro_batch=4, log_every=1)
    assert result["precision"] == "fp16"
    assert result["overflows"] == result["skipped_updates"] == 0
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in rows], rel=0.01)
    norms = [row["grad_norm"] for row in rows]
    assert [row["grad_norm"] for row in again] == pytest.approx(norms, rel=0.02), "of the gradient without its scale"
    assert 0 < (policy.head.weight - exact.head.weight).abs().max() < 0.02
    assert all(parameter.dtype == torch.float32 for parameter in policy.parameters())


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_an_overflow_lowers_the_scale_and_is_no_failure(tmp_path: Path, sources: Path, stage: int,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "FIRST", 2.0**26)
    policy, result, rows, _ = learn(tmp_path, mixture(sources), precision="fp16", zero_stage=stage, updates=20,
                                    log_every=1)
    assert 2 <= result["overflows"] <= 15
    assert result["skipped_updates"] == 0
    assert len(rows) == 20 - result["overflows"]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(torch.isfinite(parameter).all() for parameter in policy.parameters())


def test_a_gradient_that_no_scale_makes_finite_ends_the_run(tmp_path: Path, sources: Path) -> None:
    with pytest.raises(StageFailed, match="gradient norm") as caught:
        learn(tmp_path, mixture(sources), Stumbling(tuple(range(40)), "gradient"), precision="fp16", updates=40)
    assert caught.value.failure is FailureClass.NAN


def test_the_scale_is_that_of_a_run_that_was_not_killed(nursery: Nursery, tmp_path: Path) -> None:
    again = {"folder": str(tmp_path), "precision": "fp16", "first_scale": 2.0**26, "checkpoint_every_s": 1e-9}
    assert nursery.run(name="straight", updates=16, **again) == [0]
    assert nursery.run(name="killed", updates=16, kill_after=13, **again) == [-9]
    assert nursery.run(name="killed", updates=16, **again) == [0]
    straight, killed = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("straight", "killed"))
    assert killed["resumed_at"] == 12
    assert killed["overflows"] == straight["overflows"] > 0
    assert killed["fingerprint"] == straight["fingerprint"]


def test_the_scale_doubles_after_many_good_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "GROWS_AFTER", 3)
    scale = LossScale(active=True)
    for _ in range(2):
        scale.good()
    assert scale.overflow()
    assert scale.value == FIRST / 2
    for _ in range(3):
        scale.good()
    assert scale.value == FIRST
    other = LossScale(active=True)
    other.restore(scale.notes())
    assert other.notes() == scale.notes()
    none = LossScale(active=False)
    for _ in range(5):
        none.good()
    assert not none.overflow()
    assert np.isclose(none.value, 1.0)
