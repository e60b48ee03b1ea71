"""Finished evaluations as arrays: what one cell, one policy or one reference scored.

Axis letters: R training seeds, N episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlactl.outcomes import Scores, read_scores
from vlactl.report import CHAIN

if TYPE_CHECKING:
    from vlactl.store import Artifact


@dataclass(frozen=True, slots=True)
class Measured:
    """The finished evaluations of one cell, one per training seed, or of one reference policy."""

    artifacts: tuple[Artifact, ...]
    scores: tuple[Scores, ...]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset.intersection(*(frozenset(scores.solved) for scores in self.scores))

    def values_RN(self, metric: str, keys: Sequence[str]) -> np.ndarray:  # noqa: N802
        """avg_len: tasks solved in a row; sr1..sr5: 0 or 1."""
        solved_RN = np.array([[scores.solved[key] for key in keys] for scores in self.scores], dtype=float)
        return solved_RN if metric == "avg_len" else (solved_RN >= int(metric[2:])).astype(float)


def bounds_of(metric: str) -> tuple[float, float]:
    """Least and greatest value that one episode can have."""
    return (0.0, float(CHAIN)) if metric == "avg_len" else (0.0, 1.0)


def measure(evaluations: Iterable[Artifact | None]) -> Measured | None:
    """The evaluations that are there and have an episode that could be scored; None if there is none."""
    found = [(artifact, read_scores(artifact)) for artifact in evaluations if artifact is not None]
    scored = [(artifact, scores) for artifact, scores in found if scores.solved]
    if not scored:
        return None
    measured = Measured(tuple(artifact for artifact, _ in scored), tuple(scores for _, scores in scored))
    return measured if measured.keys else None
