"""When is a task done?  CALVIN's predicates on two snapshots, the one at the start of the task and the one of now.

What differs from CALVIN: where a block stands is judged by its position, not by its contacts, because a block that is
pushed skips over the desk, and one that still slides or touches the hand when its task begins must be scored too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vlactl.tabletop.layouts import BAY_FRONT_M, DESK_FRONT_M, TABLE_Z_M
from vlactl.tabletop.tasks import Goal

if TYPE_CHECKING:
    import numpy as np

    from vlactl.tabletop.world import Snapshot

LEVEL_M = 0.015
"""A pushed block may be this much higher or lower than before."""
STANDING_M = (-0.01, 0.07)
"""Height above the desk top of the centre of a block that stands on it, with room for one that tilts."""


def reached(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    """Whether ``goal`` holds between ``before`` and ``now``."""
    return PREDICATES[goal.kind](goal, before, now)


def on_table(block_m: np.ndarray) -> bool:
    """Whether a block's centre is where it stands on the open part of the desk, neither lifted nor in a bay or the
    drawer."""
    return bool(STANDING_M[0] < block_m[2] - TABLE_Z_M < STANDING_M[1] and DESK_FRONT_M < block_m[1] < BAY_FRONT_M)


def _joint(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    moved = now.joints[goal.subject] - before.joints[goal.subject]
    return moved >= goal.change if goal.change > 0 else moved <= goal.change


def _lamp(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    return now.lamps[goal.subject] - before.lamps[goal.subject] == round(goal.change)


def _push(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    start, end = before.blocks_m[goal.subject], now.blocks_m[goal.subject]
    far = end[0] - start[0] > goal.change if goal.change > 0 else end[0] - start[0] < goal.change
    return bool(far and on_table(start) and on_table(end) and abs(end[2] - start[2]) < LEVEL_M)


def _lift(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    start = before.blocks_m[goal.subject]
    rise = now.blocks_m[goal.subject][2] - start[2]
    return bool(rise > goal.change and on_table(start) and now.touching[goal.subject] == {"robot"})


PREDICATES: dict[str, Callable[[Goal, Snapshot, Snapshot], bool]] = {
    "joint": _joint, "lamp": _lamp, "push": _push, "lift": _lift,
}
