"""Plain values: the phases of a trial, what each of them trains on, and how updates and frames are divided.

Everything here is a name or a number, so a stage's identity can be made of it as it stands.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vlactl.errors import UsageError

Tuning = Literal["full", "frozen-vision", "connector", "frozen", "lora"]
"""Which parts of the policy a phase trains, in the words of ``training.tuning``."""
Align = Literal["statistics", "physical"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingredient:
    """One source of a mixture."""

    source: str
    """Its name in the recipe."""
    weight: float
    """Share of the windows, before a temperature; 0 opens the source for its spaces and statistics only."""
    portion: float = 1.0
    """Share of its demonstrations that are used; smaller portions are parts of larger ones."""
    per_task: int | None = None
    """Most demonstrations of one task that are used; None is no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One training stage of a trial.  Fields that cannot matter have their defaults, so equal work is an equal value.
    """

    kind: Literal["pretrain", "finetune"]
    """``pretrain`` is shared by every trial that starts from it; ``finetune`` ends in the policy that is evaluated."""
    mixture: tuple[Ingredient, ...]
    """The weights sum to 1.  Sources of the evaluated embodiment come first: the first one says what is acted in."""
    share: float
    """Share of the trial's updates."""
    tuning: Tuning | None = None
    """Which parts are trained; None takes the trial's ``training.tuning``."""
    vl: tuple[tuple[str, float], ...] = ()
    """``(source, weight)`` of the pictures with words; the weights sum to 1."""
    vl_share: float = 0.0
    """Share of the supervised frames of every update that are pictures with words."""
    vl_weight: float = 1.0
    """What the loss of the words counts beside the loss of the actions."""
    temperature: float | None = None
    """The weights are multiplied by (frames of the source) ** (1 / temperature); None leaves them alone."""
    align: Align = "statistics"
    """``physical``: actions of other embodiments are converted to the scale of the first ingredient."""


def evenly(names: Sequence[str], total: float = 1.0) -> tuple[tuple[str, float], ...]:
    """Equal weights that sum to ``total``, in the order of ``names``."""
    return tuple((name, total / len(names)) for name in names)


def split_updates(phases: Sequence[Phase], updates: int) -> tuple[int, ...]:
    """Whole updates per phase; they sum to ``updates`` exactly, so that every strategy costs the same.

    Raises:
        UsageError: a phase would get no update at all.
    """
    ends = [round(updates * sum(phase.share for phase in phases[:count])) for count in range(1, len(phases))]
    bounds = [0, *ends, updates]
    split = tuple(after - before for before, after in itertools.pairwise(bounds))
    if min(split) < 1:
        raise UsageError(f"{updates} updates leave none for one of {len(phases)} phases", where="training.updates",
                         expected="at least one update in each phase", remedy="raise training.updates")
    return split


def split_frames(vl_share: float, frames: int, *, history: int, ranks: int = 1) -> tuple[int, int]:
    """``(windows, pairs)`` of one update over all ranks: ``frames == windows * history + pairs``.

    A picture with words counts as one frame, so a strategy with words costs what one without costs.

    Raises:
        UsageError: the share is no whole number of pictures, or what is left no whole number of windows, on each rank.
    """
    each = history * ranks
    possible = [pairs for pairs in range(0, frames, ranks) if (frames - pairs) % each == 0]
    pairs = next((pairs for pairs in possible if math.isclose(pairs, frames * vl_share, abs_tol=1e-6)), None)
    if pairs is None:
        near = sorted(possible, key=lambda pairs: abs(pairs / frames - vl_share))[:3]
        shares = " | ".join(f"{pairs / frames:.6g}" for pairs in sorted(near))
        raise UsageError(f"a vl_share of {vl_share:g} does not divide {frames} frames into whole pictures and windows "
                         f"of {history} on {ranks} ranks", where="strategy.vl_share",
                         expected=f"for example {shares}" if near else f"frames that are a multiple of {each}",
                         remedy="change strategy.vl_share or training.global_batch")
    return (frames - pairs) // history, pairs
