"""A finished sweep per test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.finished_sweep import Sweep

SKILL = {"one-step": 0.45, "policy-head": 0.8}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """2 backbones x 2 formulations, one seed, everything done; policy-head is truly better."""
    made = Sweep(tmp_path)
    made.finish(lambda trial: SKILL[trial.cell[1][1]] + 0.05 * (trial.cell[0][1] == "smolvlm"))
    return made
