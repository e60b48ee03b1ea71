"""Every formulation of the menu under ZeRO 3, whose hooks look into what modules take and return."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import learn, mixture, real

from vlactl.formulations import FORMULATIONS


@pytest.mark.parametrize("formulation", list(FORMULATIONS))
def test_zero_3_learns_what_zero_0_learns(tmp_path: Path, formulation: str) -> None:
    mixture(tmp_path)
    runs = []
    for stage in (0, 3):
        policy = real(tmp_path, formulation)
        stream = mixture(tmp_path, windows=4, history=policy.card.formulation.history)
        runs.append(learn(tmp_path / f"{stage}", stream, policy, updates=2, learning_rate=1e-3, log_every=1,
                          zero_stage=stage))
    (one, _, rows, _), (other, _, again, _) = runs
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in rows], rel=1e-4)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=5e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize(("tuning", "stage"), [("full", 2), ("lora", 0), ("frozen-vision", 3)])
def test_recomputed_activations_change_nothing(tmp_path: Path, tuning: str, stage: int) -> None:
    """Also where the first layers have nothing to learn, so that their inputs ask for no gradient."""
    mixture(tmp_path)
    runs = []
    for again in (False, True):
        policy = real(tmp_path, "one-step-continuous", gradient_checkpointing=again)
        runs.append(learn(tmp_path / f"{again}", mixture(tmp_path, windows=4), policy, updates=2, learning_rate=1e-3,
                          tuning=tuning, zero_stage=stage, lora_rank=4))
    for name, value in runs[0][0].state_dict().items():
        torch.testing.assert_close(runs[1][0].state_dict()[name], value, atol=5e-4, rtol=1e-3, msg=name)
