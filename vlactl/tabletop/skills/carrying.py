"""Skills for a block in the hand: put it down behind the door, in the drawer, on another block, on the desk."""

from __future__ import annotations

import math
from collections.abc import Callable

from vlactl.tabletop.goals import PLACES, STANDING_M, on_table
from vlactl.tabletop.layouts import BAY_Y_M, DESK_FRONT_M, DRAWER_FLOOR_M, SLIDER_SIDE_M, TABLE_Z_M
from vlactl.tabletop.skills.blocks import grasp
from vlactl.tabletop.skills.hand import CLOSED, FUNNEL, NEAR_M, OPEN, Hand, Spot
from vlactl.tabletop.tasks import BLOCKS, Goal

CARRY_Z_M = 0.635
"""Height of the middle of a block that passes over everything but a stack."""
LOW_Z_M = 0.60
"""Below this a block is carried straight up before it goes anywhere."""
RELEASE_M = 0.012
"""A block is let go when it is no higher above what it will stand on."""
BESIDE_M, UNFOLDED_M, FOLDED = 0.1, 0.32, 2.0
"""Worth of a spot in the drawer: as far from others as the first, and how much less for each metre nearer to the arm's
base than the second."""
APART_M = 0.13
"""From a block that is put on the desk to others."""
DESK_SPOTS_M = tuple((x, y) for y in (-0.18, -0.10) for x in (0.0, 0.08, -0.08, 0.14))


def place_in_slider(hand: Hand, _: Goal) -> list[float]:
    """Into the middle of the bay that is open."""
    door, desk = hand.world.joint("slider"), hand.world.layout
    bay = "left" if door > 0 else "right"
    x = desk.door_x_m + SLIDER_SIDE_M[bay]
    return _put(hand, (x, BAY_Y_M), TABLE_Z_M, PLACES["slider"])


def place_in_drawer(hand: Hand, _: Goal) -> list[float]:
    """Into the drawer, away from what lies there."""
    middle = DESK_FRONT_M - 0.5 * hand.world.joint("drawer")
    x = hand.world.layout.drawer_x_m
    inside = [hand.geom(block) for block in BLOCKS if block != hand.between()]
    inside = [at for at in inside if at[2] < TABLE_Z_M - 0.01]
    spots = [(x, middle), *((x + dx, middle + dy) for dx in (0.055, -0.055) for dy in (0.02, -0.02))]
    base = hand.world.embodiment.arm.base_xyz_m[:2]

    def room(spot: tuple[float, float]) -> float:
        """How far from other blocks, and not so near to the arm that it has to fold up."""
        return (min((math.dist(spot, at[:2]) for at in inside), default=BESIDE_M)
                - FOLDED * max(0.0, UNFOLDED_M - math.dist(spot, base)))

    return _put(hand, max(spots, key=room), DRAWER_FLOOR_M, PLACES["drawer"])


def stack(hand: Hand, _: Goal) -> list[float]:
    """Onto the block on the table that is nearest."""
    held = hand.held()
    bases = [block for block in BLOCKS if block != held and on_table(hand.geom(block))]
    if held is None or not bases:
        return hand.let_go() or hand.rise(OPEN)
    base = min(bases, key=lambda block: math.dist(hand.geom(block)[:2], hand.at_m[:2]))
    x, y, z = hand.geom(base)
    return _bring(hand, held, (x, y), z + hand.extent(base, 2), tolerance_m=0.010)


def unstack(hand: Hand, _: Goal) -> list[float]:
    """From the stack to a free spot on the desk."""
    held = hand.held()
    if held is None:
        top = max(BLOCKS, key=lambda block: hand.geom(block)[2])
        if hand.geom(top)[2] - TABLE_Z_M < STANDING_M[1]:
            return hand.let_go() or hand.rise(OPEN)
        return grasp(hand, top) or hand.rise(CLOSED)
    others = [hand.geom(block)[:2] for block in BLOCKS if block != held]
    spot = max(DESK_SPOTS_M, key=lambda spot: min(APART_M, *(math.dist(spot, other) for other in others)))
    return _bring(hand, held, spot, TABLE_Z_M)


def _put(hand: Hand, spot_xy_m: Spot, ground_z_m: float, there: Callable) -> list[float]:
    """Bring what is held; pick up what was lost on the way."""
    held = hand.held()
    if held is not None:
        return _bring(hand, held, spot_xy_m, ground_z_m)
    nearest = min(BLOCKS, key=lambda block: math.dist(hand.geom(block), hand.at_m))
    if there(hand.geom(nearest)):
        return hand.let_go() or hand.rise(OPEN)
    return grasp(hand, nearest) or hand.rise(CLOSED)


def _bring(hand: Hand, block: str, spot_xy_m: Spot, ground_z_m: float, tolerance_m: float = 0.012) -> list[float]:
    """Carry a held block over a spot, lower it to the ground there, and open."""
    at, (x, y, z) = hand.at_m, hand.geom(block)
    rest = ground_z_m + hand.extent(block, 2)
    beside = math.hypot(spot_xy_m[0] - x, spot_xy_m[1] - y)
    if beside < tolerance_m and z < rest + RELEASE_M:
        return hand.stay(OPEN)
    low, clear = beside > NEAR_M and z < LOW_Z_M, max(CARRY_Z_M, rest + 0.03)
    over = clear if low else max(rest + 0.004, min(rest + FUNNEL * max(beside - tolerance_m, 0.0), clear))
    spot = (at[0] + spot_xy_m[0] - x, at[1] + spot_xy_m[1] - y, at[2] + over - z)
    return hand.towards(spot, 0.0, CLOSED, sideways=0.0 if low else 1.0)
