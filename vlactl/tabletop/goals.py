"""When is a task done?  CALVIN's predicates on two snapshots, the one at the start of the task and the one of now.

Thresholds and directions are CALVIN's.  What differs: *where* a block is is judged by its position, and only what
*holds* it by its contacts.  A block that is pushed skips over the desk, and one that still slides, falls or touches the
hand when its task begins must be scored too; CALVIN cannot score it, which caps what a perfect policy can reach there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vlactl.tabletop.layouts import BAY_BACK_M, BAY_FRONT_M, BAYS_HALF_M, DESK_FRONT_M, DRAWER_FLOOR_M, TABLE_Z_M
from vlactl.tabletop.tasks import Goal

if TYPE_CHECKING:
    import numpy as np

    from vlactl.tabletop.world import Snapshot

    Point = np.ndarray | Sequence[float]

LEVEL_M = 0.015
"""A pushed or rotated block may be this much higher or lower than before."""
STANDING_M = (-0.01, 0.07)
"""Height above the desk top of the centre of a block that stands on it, with room for one that tilts."""
UPSET_DEG = 30.0
"""A block that is rotated may not turn this far about another axis (CALVIN)."""
STRAYED_M = 0.1
"""A block that is rotated may not move further than this (CALVIN)."""
UPRIGHT = math.cos(math.radians(15))
"""Cosine between the vertical and the nearest axis of a block that stands and does not topple."""


def reached(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    """Whether ``goal`` holds between ``before`` and ``now``."""
    return PREDICATES[goal.kind](goal, before, now)


def standing(block_m: Point) -> bool:
    """Whether a block's centre (3,) is at the height of one that stands on the desk top, anywhere."""
    return bool(STANDING_M[0] < block_m[2] - TABLE_Z_M < STANDING_M[1])


def on_table(block_m: Point) -> bool:
    """Whether a block stands on the open part of the desk: its centre is neither lifted nor in a bay or the drawer."""
    return standing(block_m) and bool(DESK_FRONT_M < block_m[1] < BAY_FRONT_M)


def in_slider(block_m: Point) -> bool:
    """Whether a block stands as far back on the desk as the bays behind the sliding door are."""
    return standing(block_m) and bool(BAY_FRONT_M < block_m[1] < BAY_BACK_M)


def in_drawer(block_m: Point) -> bool:
    """Whether a block's centre is between the drawer's floor and the desk top."""
    return bool(DRAWER_FLOOR_M < block_m[2] < TABLE_Z_M - 0.01)


PLACES: dict[str, Callable[[Point], bool]] = {"table": on_table, "slider": in_slider, "drawer": in_drawer}
CARRIER = {"table": "desk", "slider": "desk", "drawer": "drawer"}
"""What a block touches that lies there, of ``TOUCH``."""


def at_place(place: str, block: str, state: Snapshot) -> bool:
    """Whether a block is at a place; beside the cabinet it is as far back as the bays, but in neither of them."""
    at = state.blocks_m[block]
    return PLACES[place](at) and (place != "slider" or bool(abs(at[0] - state.door_x_m) < BAYS_HALF_M))


def _joint(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    moved = now.joints[goal.subject] - before.joints[goal.subject]
    return moved >= goal.change if goal.change > 0 else moved <= goal.change


def _lamp(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    return now.lamps[goal.subject] - before.lamps[goal.subject] == round(goal.change)


def _push(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    start, end = before.blocks_m[goal.subject], now.blocks_m[goal.subject]
    far = end[0] - start[0] > goal.change if goal.change > 0 else end[0] - start[0] < goal.change
    return bool(far and _kept_level(start, end))


def _rotate(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    start, end = before.blocks_m[goal.subject], now.blocks_m[goal.subject]
    turn = now.blocks_rotation[goal.subject] @ before.blocks_rotation[goal.subject].T
    roll = math.degrees(math.atan2(turn[2, 1], turn[2, 2]))
    pitch = math.degrees(math.asin(min(1.0, max(-1.0, -turn[2, 0]))))
    yaw = math.degrees(math.atan2(turn[1, 0], turn[0, 0]))
    turned = yaw > goal.change if goal.change > 0 else yaw < goal.change
    return bool(turned and abs(roll) < UPSET_DEG and abs(pitch) < UPSET_DEG and _kept_level(start, end)
                and math.dist(start, end) <= STRAYED_M)


def _kept_level(start: np.ndarray, end: np.ndarray) -> bool:
    return on_table(start) and on_table(end) and bool(abs(end[2] - start[2]) < LEVEL_M)


def _lift(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    start = before.blocks_m[goal.subject]
    rise = now.blocks_m[goal.subject][2] - start[2]
    return bool(rise > goal.change and at_place(goal.place, goal.subject, before)
                and now.touching[goal.subject] == {"robot"})


def _place(goal: Goal, before: Snapshot, now: Snapshot) -> bool:
    return any(before.touching[block] == {"robot"} and at_place(goal.place, block, now)
               and CARRIER[goal.place] in now.touching[block] and "robot" not in now.touching[block]
               for block in now.blocks_m)


def _stack(_: Goal, before: Snapshot, now: Snapshot) -> bool:
    return any(before.touching[block] == {"robot"} and now.touching[block] == {"block"} and _upright(now, block)
               and any(on_table(now.blocks_m[base]) for base in now.touched_blocks[block])
               for block in now.blocks_m)


def _unstack(_: Goal, before: Snapshot, now: Snapshot) -> bool:
    return any(at[2] - TABLE_Z_M > STANDING_M[1] and "block" in before.touching[block]
               and on_table(now.blocks_m[block]) and now.touching[block] == {"desk"}
               for block, at in before.blocks_m.items())


def _push_into_drawer(_: Goal, before: Snapshot, now: Snapshot) -> bool:
    return any(on_table(before.blocks_m[block]) and in_drawer(at) and "drawer" in now.touching[block]
               for block, at in now.blocks_m.items())


def _upright(now: Snapshot, block: str) -> bool:
    return bool(abs(now.blocks_rotation[block][2]).max() > UPRIGHT)


PREDICATES: dict[str, Callable[[Goal, Snapshot, Snapshot], bool]] = {
    "joint": _joint, "lamp": _lamp, "push": _push, "rotate": _rotate, "lift": _lift, "place": _place, "stack": _stack,
    "unstack": _unstack, "push_into_drawer": _push_into_drawer,
}
