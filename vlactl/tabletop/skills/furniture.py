"""Skills for what is fixed to the desk: drawer, sliding door, button and switch; and the sweep that blocks share."""

from __future__ import annotations

import math

from vlactl.tabletop.skills.hand import ALONG_X, CLOSED, FINGERTIP_M, Hand, Spot
from vlactl.tabletop.tasks import Goal

MARGIN_M = 0.014
"""Room left between a finger and what it will push."""


def sweep(hand: Hand, thing_m: Spot, axis: int, side: float, gap_m: float, *, beside_m: float = 0.02,
          drop_m: float = 0.0, step_m: float | None = None) -> list[float]:
    """Closed fingers go to the ``side`` (-1 or +1 along ``axis``) of a thing and push it the other way.

    ``gap_m`` is the distance of their middles when they touch, ``beside_m`` how far off its middle they may push,
    ``drop_m`` how far below its middle, ``step_m`` how far in one control step.
    """
    if (action := hand.let_go()) is not None:
        return action
    spot, turn, other, at = list(thing_m), hand.turn_to(ALONG_X), 1 - axis, hand.at_m
    spot[axis] += side * (gap_m + MARGIN_M)
    spot[2] -= drop_m
    beyond = side * (at[axis] - thing_m[axis])
    aligned = abs(at[other] - thing_m[other]) < beside_m and abs(at[2] - spot[2]) < 0.022
    if aligned and 0 < beyond < gap_m + 3 * MARGIN_M and abs(turn) < 0.3:
        spot[axis] = float(hand.world.target_m[axis]) - side * (step_m or hand.step_m)
        return hand.towards(spot, turn, CLOSED)
    return hand.descend(spot, CLOSED, turn_rad=turn)


def drawer(hand: Hand, goal: Goal) -> list[float]:
    """Open: from behind the bar, pull.  Close: from before it, push."""
    return sweep(hand, hand.geom("drawer_handle"), 1, math.copysign(1, goal.change),
                 hand.geom_radius("drawer_handle") + hand.half_y_m, beside_m=0.05)


def slider(hand: Hand, goal: Goal) -> list[float]:
    """From beside the handle of the door, push it along."""
    return sweep(hand, hand.geom("slider_handle"), 0, -math.copysign(1, goal.change),
                 hand.geom_radius("slider_handle") + hand.half_x_m)


def switch(hand: Hand, goal: Goal) -> list[float]:
    """From before or behind the knob, push it over."""
    return sweep(hand, hand.geom("switch_knob"), 1, -math.copysign(1, goal.change),
                 hand.geom_radius("switch_knob") + hand.half_y_m)


def button(hand: Hand, goal: Goal) -> list[float]:
    """Closed fingers press from above; a button that is still held down is let go first."""
    if (action := hand.let_go()) is not None:
        return action
    if hand.world.button_down:
        return hand.rise(CLOSED)
    x, y, z = hand.geom("button")
    over = math.hypot(hand.at_m[0] - x, hand.at_m[1] - y) < 0.02
    # the cap is 1.2 cm above its middle; above it at first, then as deep as it goes
    spot = (x, y, z + FINGERTIP_M + 0.012 + (-0.02 if over else 0.03))
    return hand.descend(spot, CLOSED, turn_rad=hand.turn_to(ALONG_X), tolerance_m=0.02)
