"""The running average of the weights is what is saved, at every ZeRO stage, on any number of ranks, after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nursery import Nursery
from small import SmallPolicy, learn, mixture

from vlactl.training import TrainingSettings
from vlactl.training.tuning import adamw

AVERAGE = {"ema": 0.9, "brightness": 0.0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def by_hand(sources: Path, updates: int) -> dict[str, torch.Tensor]:
    """The average of a plain loop's weights: decay 0.9, less in the first 80 updates."""
    policy, stream, settings = SmallPolicy().train(), mixture(sources), TrainingSettings(learning_rate=1e-2)
    optimizer = adamw(policy, settings)
    average = {name: value.detach().clone() for name, value in policy.named_parameters()}
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(update, updates)
        policy.loss(stream.at(update))[0].backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(0.9, (2 + update) / (11 + update))
        for name, value in policy.named_parameters():
            average[name] = decay * average[name] + (1 - decay) * value.detach()
    return average


@pytest.mark.parametrize(("stage", "offload"), [(0, "none"), (1, "none"), (2, "optimizer"), (3, "none"),
                                                (3, "parameters")])
def test_what_is_saved_is_the_average(tmp_path: Path, sources: Path, stage: int, offload: str) -> None:
    policy, result, _, _ = learn(tmp_path, mixture(sources), zero_stage=stage, offload=offload, updates=10, **AVERAGE)
    expected = by_hand(sources, 10)
    for name, value in policy.named_parameters():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4, msg=name)
    assert result["ema"] == 0.9
    last, *_ = learn(tmp_path / "last", mixture(sources), updates=10, brightness=0.0)
    assert (last.head.weight - policy.head.weight).abs().max() > 1e-3, "the last weights are others"


def test_a_killed_run_has_the_average_of_one_that_was_not(nursery: Nursery, tmp_path: Path) -> None:
    again = {"folder": str(tmp_path), "checkpoint_every_s": 1e-9, **AVERAGE}
    assert nursery.run(name="straight", **again) == [0]
    assert nursery.run(name="killed", kill_after=7, **again) == [-9]
    assert nursery.run(name="killed", **again) == [0]
    straight, killed = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("straight", "killed"))
    assert killed["resumed_at"] == 6
    assert killed["fingerprint"] == straight["fingerprint"]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_ranks_average_what_one_averages(nursery: Nursery, tmp_path: Path, stage: int) -> None:
    """Stopped and gone on with at another number of ranks, and another stage, on the way."""
    again = {"folder": str(tmp_path), "dropout": 0.0, **AVERAGE}
    assert nursery.run(name="one", **again) == [0]
    assert nursery.run(ranks=2, name="two", zero_stage=stage, terminate_after=5, **again) == [75, 75]
    assert nursery.run(name="two", terminate_after=8, **again) == [75]
    assert nursery.run(ranks=2, name="two", zero_stage=stage, **again) == [0, 0]
    with np.load(tmp_path / "one" / "weights.npz") as one, np.load(tmp_path / "two" / "weights.npz") as two:
        assert sorted(one) == sorted(two)
        for name in one:
            np.testing.assert_allclose(two[name], one[name], atol=2e-5, err_msg=name)
