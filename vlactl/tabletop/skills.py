"""Closed-loop skills, one for each kind of goal: from the state of now to the next action, without memory.

Having no memory makes them good teachers: the action is a function of what can be seen, and a disturbed arm simply
finds itself in another state.  All of them come from above, because the free space is above the desk.  Positions are
metres in the world; ``hand`` is the tracked target pose, which actions move.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlactl.tabletop.layouts import BLOCK_HALF_M
from vlactl.tabletop.tasks import Goal
from vlactl.tabletop.world import World

OPEN, CLOSED = 1.0, -1.0
CLEAR_Z_M = 0.61
"""Here the fingertips pass over everything on the desk."""
ALONG_X = np.pi / 2
"""Heading that lays the fingers along x."""
UP = np.array([0.0, 0.0, 1.0])
OPENING_Z_M = 0.56
NEAR_M = 0.04
"""Horizontally nearer than this the hand may move sideways while it is low."""
FUNNEL = 3.0
"""Metres above the spot for each metre beside it."""
TURNED_RAD = 0.12
MARGIN_M = 0.014
"""Room left between a finger and what it will push."""
PUSH_M = 0.035
"""Furthest that a block is pushed in one control step: faster, it is thrown and tilts."""
PUSH_DROP_M = 0.008
"""A push acts this much below the middle of a block."""
YAW_REACH_RAD = 1.95
"""A heading further than this from the ready one is taken from the other side."""


class Hand:
    """A world seen as a hand to move: actions towards poses."""

    def __init__(self, world: World) -> None:
        self.world, robot = world, world.embodiment
        self.step_m = robot.position_scale_m * world.action_repeat
        self.step_rad = robot.rotation_scale_rad * world.action_repeat
        self.half_x_m = 2 * robot.gripper.finger_m[1]
        self.half_y_m = robot.gripper.finger_m[0]
        """Half extent of the closed fingers along x and y when they lie along x."""

    @property
    def at_m(self) -> np.ndarray:
        return self.world.eef_m

    def geom(self, name: str) -> np.ndarray:
        """Centre (3,) of a geom, copied."""
        return self.world.data.geom_xpos[self.world.model.geom(name).id].copy()

    def geom_radius(self, name: str) -> float:
        """Radius of a round geom."""
        return float(self.world.model.geom_size[self.world.model.geom(name).id, 0])

    def rotation(self, name: str) -> np.ndarray:
        """Rotation (3, 3) of a geom."""
        return self.world.data.geom_xmat[self.world.model.geom(name).id].reshape(3, 3)

    def turn_to(self, yaw_rad: float, symmetry_rad: float = np.pi) -> float:
        """Radians to turn about the vertical to a heading that is the same every ``symmetry_rad``; the short way, if
        the wrist can."""
        rotation = self.world.target_rotation
        now = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
        turn = (yaw_rad - now + symmetry_rad / 2) % symmetry_rad - symmetry_rad / 2
        beyond = (now + turn - self.world.embodiment.ready_yaw_rad + np.pi) % (2 * np.pi) - np.pi
        return turn - symmetry_rad * np.sign(beyond) if abs(beyond) > YAW_REACH_RAD else turn

    def towards(self, spot_m: np.ndarray, turn_rad: float, grip: float, *, sideways: float = 1.0) -> np.ndarray:
        """The action that moves the target pose to ``spot_m`` and upright, as fast as is legal; ``sideways`` slows x
        and y."""
        action = np.zeros(7)
        action[:3] = (spot_m - self.world.target_m) / self.step_m
        action[:2] *= sideways
        action[:3] /= max(1.0, np.abs(action[:3]).max())
        lean = np.cross(self.world.target_rotation[:, 2], [0.0, 0.0, -1.0])
        action[3:6] = np.clip(lean / self.step_rad, -1, 1)
        action[5] = np.clip(turn_rad / self.step_rad, -1, 1)
        action[6] = grip
        return action

    def descend(self, spot_m: np.ndarray, grip: float, *, turn_rad: float = 0.0,
                tolerance_m: float = 0.012) -> np.ndarray:
        """The action of a way to ``spot_m`` from above: rise if low, travel, sink in a funnel once over the spot and
        turned."""
        offset = spot_m[:2] - self.at_m[:2]
        beside = float(np.hypot(*offset))
        above = FUNNEL * max(beside - tolerance_m, 0.0) + 0.1 * max(abs(turn_rad) - TURNED_RAD, 0.0)
        over = np.array([spot_m[0], spot_m[1], max(spot_m[2], min(spot_m[2] + above, CLEAR_Z_M))])
        low = beside > NEAR_M and self.at_m[2] < CLEAR_Z_M - 0.03
        return self.towards(over, turn_rad, grip, sideways=0.1 if low else 1.0)




def sweep(hand: Hand, thing_m: np.ndarray, axis: int, side: float, gap_m: float, *, beside_m: float = 0.02,
          drop_m: float = 0.0, step_m: float | None = None) -> np.ndarray:
    """Closed fingers go to the ``side`` (-1 or +1 along ``axis``) of a thing and push it the other way.

    ``gap_m`` is the distance of their middles when they touch, ``beside_m`` how far off its middle they may push,
    ``drop_m`` how far below its middle, ``step_m`` how far in one control step.
    """
    spot, turn, other = thing_m.copy(), hand.turn_to(ALONG_X), 1 - axis
    spot[axis] += side * (gap_m + MARGIN_M)
    spot[2] -= drop_m
    beyond = side * (hand.at_m[axis] - thing_m[axis])
    aligned = abs(hand.at_m[other] - thing_m[other]) < beside_m and abs(hand.at_m[2] - spot[2]) < 0.022
    if aligned and 0 < beyond < gap_m + 3 * MARGIN_M and abs(turn) < 0.3:
        spot[axis] = hand.world.target_m[axis] - side * (step_m or hand.step_m)
        return hand.towards(spot, turn, CLOSED)
    return hand.descend(spot, CLOSED, turn_rad=turn)


def drawer(hand: Hand, goal: Goal) -> np.ndarray:
    """Open: from behind the bar, pull.  Close: from before it, push."""
    return sweep(hand, hand.geom("drawer_handle"), 1, np.sign(goal.change),
                 hand.geom_radius("drawer_handle") + hand.half_y_m,
                 beside_m=0.05)


def slider(hand: Hand, goal: Goal) -> np.ndarray:
    """From beside the handle of the door, push it along."""
    return sweep(hand, hand.geom("slider_handle"), 0, -np.sign(goal.change),
                 hand.geom_radius("slider_handle") + hand.half_x_m)


def switch(hand: Hand, goal: Goal) -> np.ndarray:
    """From before or behind the knob, push it over."""
    return sweep(hand, hand.geom("switch_knob"), 1, -np.sign(goal.change),
                 hand.geom_radius("switch_knob") + hand.half_y_m)


def push(hand: Hand, goal: Goal) -> np.ndarray:
    """From beside the block, push it along x, steering to keep its middle before the fingers."""
    rotation = hand.rotation(goal.subject)
    half_x_m = float(np.abs(rotation[0]) @ BLOCK_HALF_M[colour(goal)])
    return sweep(hand, hand.geom(goal.subject), 0, -np.sign(goal.change), half_x_m + hand.half_x_m, drop_m=PUSH_DROP_M,
                 step_m=PUSH_M)


def button(hand: Hand, goal: Goal) -> np.ndarray:
    """Closed fingers press from above; a button that is still held down is let go first."""
    cap = hand.geom("button")
    if hand.world.button_down:
        return hand.towards(hand.at_m + UP * hand.step_m, 0.0, CLOSED)
    over = np.hypot(*(hand.at_m[:2] - cap[:2])) < 0.02
    # the fingertips are 1 cm below the grasp point and the cap is 1.2 cm above its middle
    return hand.descend(cap + UP * (0.022 + (-0.02 if over else 0.03)), CLOSED, turn_rad=hand.turn_to(ALONG_X),
                        tolerance_m=0.02)


def lift(hand: Hand, goal: Goal) -> np.ndarray:
    """Open fingers go around the narrow side of the block, close, and rise once they hold it."""
    block, half = hand.geom(goal.subject), BLOCK_HALF_M[colour(goal)]
    offset = hand.at_m - block
    beside = float(np.hypot(offset[0], offset[1]))
    # the fingers move along the hand's y: a heading of a quarter turn from the block's closes them along the block's x
    rotation = hand.rotation(goal.subject)
    both_ways = 2 * max(half[:2]) < 2 * hand.world.embodiment.gripper.opening_m - 0.012
    turn = hand.turn_to(float(np.arctan2(rotation[1, 0], rotation[0, 0])) + ALONG_X, np.pi / 2 if both_ways else np.pi)
    if hand.world.gripper_command < 0 and beside < 0.02 and abs(offset[2]) < 0.025:
        if hand.world.gripper_width_m < 2 * max(half) + 0.008:
            return hand.towards(hand.world.target_m + UP * hand.step_m, 0.0, CLOSED)
        return hand.towards(hand.world.target_m, turn, CLOSED)
    if beside < 0.012 and abs(offset[2]) < 0.013 and abs(turn) < TURNED_RAD:
        return hand.towards(block, turn, CLOSED)
    # fingers that open beside a block kick it away, so a closed hand rises first
    low = beside > NEAR_M and hand.at_m[2] < OPENING_Z_M
    return hand.descend(block, hand.world.gripper_command if low else OPEN, turn_rad=turn)


def colour(goal: Goal) -> str:
    return goal.subject.removesuffix("_block")


SKILLS: dict[tuple[str, str], Callable[[Hand, Goal], np.ndarray]] = {
    ("joint", "drawer"): drawer, ("joint", "slider"): slider, ("lamp", "led"): button, ("lamp", "lightbulb"): switch,
    ("push", "block"): push, ("lift", "block"): lift,
}
"""(kind of goal, subject with its colour left out) -> skill."""
