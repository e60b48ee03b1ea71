"""Skills for one block where it lies: push, grasp, lift, rotate, push into the drawer."""

from __future__ import annotations

import math

from vlactl.tabletop.goals import in_drawer, in_slider, standing
from vlactl.tabletop.layouts import (
    BAY_BACK_M,
    BAY_FRONT_M,
    BAYS_HALF_M,
    BLOCK_HALF_M,
    DESK_FRONT_M,
    DOOR_HALF_M,
    DRAWER_HALF_M,
    DRAWER_INSIDE_M,
    TABLE_Z_M,
)
from vlactl.tabletop.skills.furniture import sweep
from vlactl.tabletop.skills.hand import ALONG_X, CLOSED, OPEN, TURNED_RAD, Hand
from vlactl.tabletop.tasks import BLOCKS, Goal

PUSH_M = 0.03
"""Furthest that a block is pushed in one control step: faster, it is thrown and tilts."""
PUSH_DROP_M = 0.008
"""A push acts this much below the middle of a block."""
BEFORE_DRAWER_M = 0.05
"""A block that is no further to the side falls into the drawer."""
OVER_M = 0.06
"""So far above the middle of a block the fingertips pass over it."""
ASTRAY_M = 0.02
"""A hand that is further beside the place from which it grasps cannot sink any more."""
FINGERS_M = 0.05
"""From the middle of a block to an open finger beside it."""
MARGIN_M = 0.003
"""Between an open finger and the block."""
BLOCKED_RAD = 3.0
"""A heading that leaves no room for a finger is as bad as one that far away."""
BEFORE_TURN_RAD = 0.85
"""A block is grasped that far from the ready heading, against the way it will be turned."""


def push(hand: Hand, goal: Goal) -> list[float]:
    """From beside the block, push it along x, steering to keep its middle before the fingers."""
    return _shove(hand, goal.subject, 0, -math.copysign(1, goal.change))


def _shove(hand: Hand, block: str, axis: int, side: float) -> list[float]:
    half = hand.half_x_m if axis == 0 else hand.half_y_m
    return sweep(hand, hand.geom(block), axis, side, hand.extent(block, axis) + half, drop_m=PUSH_DROP_M, step_m=PUSH_M)


def push_into_drawer(hand: Hand, _: Goal) -> list[float]:
    """Along x until the block is in front of the drawer, then over the edge."""
    block = next((name for name in BLOCKS if standing(at := hand.geom(name)) and at[1] < BAY_FRONT_M), None)
    if block is None:
        return hand.let_go() or hand.stay(CLOSED)
    aside = hand.geom(block)[0] - hand.world.layout.drawer_x_m
    if abs(aside) > BEFORE_DRAWER_M:
        return _shove(hand, block, 0, math.copysign(1, aside))
    return _shove(hand, block, 1, 1)


def lift(hand: Hand, goal: Goal) -> list[float]:
    """Grasp the block and rise."""
    return grasp(hand, goal.subject) or hand.rise(CLOSED)


def rotate(hand: Hand, goal: Goal) -> list[float]:
    """Grasp the block with the wrist wound up against the turn, then turn on the spot."""
    sign = math.copysign(1, goal.change)
    if (action := grasp(hand, goal.subject, near_rad=-sign * BEFORE_TURN_RAD)) is not None:
        return action
    (x, y, z), block = hand.at_m, goal.subject
    level = TABLE_Z_M + hand.extent(block, 2) - hand.geom(block)[2]
    return hand.towards((x, y, z + level), sign * hand.step_rad, CLOSED)


def grasp(hand: Hand, block: str, near_rad: float | None = None) -> list[float] | None:
    """Open fingers go around the narrow side of the block and close; None once they hold it.

    ``near_rad``: how far the wrist should be wound up then; without it, about as now.
    """
    between, at, to = hand.between(), hand.at_m, hand.geom(block)
    if between not in (None, block):
        return hand.let_go()
    above = at[2] - to[2]
    if hand.closing and between == block and abs(above) < 0.025:
        return None if hand.held() else hand.stay(CLOSED)
    turn, spot = _grip(hand, block, to, near_rad)
    beside = math.dist(at[:2], spot)
    if beside < 0.012 and abs(above) < 0.013 and abs(turn) < TURNED_RAD:
        return hand.towards((*spot, to[2]), turn, CLOSED)
    if beside > ASTRAY_M and above < OVER_M and between != block:
        # fingers that open or move sideways beside a block kick it away
        return hand.rise(CLOSED if hand.closing else OPEN)
    return hand.descend((*spot, to[2]), OPEN, turn_rad=turn)


def _grip(hand: Hand, block: str, to: list[float], near_rad: float | None) -> tuple[float, tuple[float, float]]:
    """The better of the two ways to get around a block: radians to turn to it, and where (x, y) the hand must be.

    Beside a wall the hand keeps to the side on which there is room: the fingers centre the block when they close.
    """
    rotation = hand.rotation(block)
    half = BLOCK_HALF_M[block.removesuffix("_block")]
    room = _room(hand, to)
    upright = max(range(3), key=lambda axis: abs(rotation[6 + axis]))
    best, least = (0.0, (to[0], to[1])), math.inf
    for axis in range(3):
        if axis == upright:
            continue
        # the fingers move along the hand's y: a quarter turn from the block's axis closes them along it
        heading, narrow = math.atan2(rotation[3 + axis], rotation[axis]) + ALONG_X, half[axis]
        turn = hand.turn_to(heading, near_rad)
        cost = abs(turn) if near_rad is None else abs(hand.wound_rad + turn - near_rad)
        along = -math.sin(heading), math.cos(heading)
        spot = _kept(hand, to, along, room)
        if math.dist(spot, to[:2]) > hand.opening_m / 2 - narrow - MARGIN_M:
            cost += BLOCKED_RAD
        cost += BLOCKED_RAD * sum(_occupied(hand, block, to[0] + s * FINGERS_M * along[0],
                                            to[1] + s * FINGERS_M * along[1], to[2]) for s in (1, -1))
        if cost < least:
            best, least = (turn, spot), cost
    return best


Room = tuple[float, float, float, float]


def _room(hand: Hand, at: list[float]) -> Room | None:
    """What the fingers may take up around a block that is not on the open desk: left, right, near and far limit."""
    desk = hand.world.layout
    if in_drawer(at):
        near, far = (DESK_FRONT_M + wall - hand.world.joint("drawer") for wall in DRAWER_INSIDE_M)
        return (desk.drawer_x_m - DRAWER_HALF_M, desk.drawer_x_m + DRAWER_HALF_M, near, min(far, DESK_FRONT_M))
    if not in_slider(at):
        return None
    door = desk.door_x_m + hand.world.joint("slider")
    left, right = desk.door_x_m - BAYS_HALF_M, desk.door_x_m + BAYS_HALF_M
    left, right = (left, door - DOOR_HALF_M) if at[0] < door else (door + DOOR_HALF_M, right)
    return left, right, -math.inf, BAY_BACK_M


def _kept(hand: Hand, to: list[float], along: tuple[float, float], room: Room | None) -> tuple[float, float]:
    """The place nearest to a block at which open fingers along a direction are inside the room."""
    if room is None:
        return to[0], to[1]
    outer = hand.opening_m / 2 + hand.half_x_m
    reach = [outer * abs(along[i]) + hand.half_y_m * abs(along[1 - i]) + 0.002 for i in (0, 1)]
    return (min(max(to[0], room[0] + reach[0]), room[1] - reach[0]),
            min(max(to[1], room[2] + reach[1]), room[3] - reach[1]))


def _occupied(hand: Hand, block: str, x: float, y: float, z: float) -> bool:
    """Whether another block is where a finger would be."""
    return any(abs(x - bx) < 0.04 and abs(y - by) < 0.04 and abs(z - bz) < 0.06
               for bx, by, bz in (hand.geom(other) for other in BLOCKS if other != block))
