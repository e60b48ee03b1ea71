"""A world seen as a hand to move: what skills look at, and the actions that bring the hand somewhere.

All skills come from above, because the free space is above the desk.  Positions are metres in the world, as lists of
three floats; headings are radians about the vertical.
"""
# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Sequence

from vlactl.tabletop.layouts import BLOCK_HALF_M
from vlactl.tabletop.tasks import BLOCKS
from vlactl.tabletop.world import World

OPEN, CLOSED = 1.0, -1.0
CLEAR_Z_M = 0.61
"""Here the fingertips pass over everything on the desk."""
ALONG_X = math.pi / 2
"""Heading that lays the fingers along x."""
NEAR_M = 0.04
"""Horizontally nearer than this the hand may move sideways while it is low."""
FUNNEL = 3.0
"""Metres above the spot for each metre beside it."""
TURN_FUNNEL_M = 0.2
"""Metres above the spot for each radian that is still to turn: open fingers that sink askew wedge a block."""
TURNED_RAD = 0.12
YAW_REACH_RAD = 1.95
"""A heading further than this from the ready one is taken from the other side."""
FINGERTIP_M = 0.010
"""Below the grasp point."""
CLOSED_M = 0.008
"""Fingers around a block have closed when they are no further apart than its widest side and this."""
HOLDING_M = 0.02
"""Fingers that are further apart than this although they close have something between them."""

Spot = Sequence[float]


class Hand:
    """The robot's hand in one world."""

    def __init__(self, world: World) -> None:
        self.world, robot = world, world.embodiment
        self.step_m = robot.position_scale_m * world.action_repeat
        self.step_rad = robot.rotation_scale_rad * world.action_repeat
        self.opening_m = 2 * robot.gripper.opening_m
        self.half_x_m = 2 * robot.gripper.finger_m[1]
        self.half_y_m = robot.gripper.finger_m[0]
        """Half extent of the closed fingers along x and y when they lie along x."""
        self._geoms: dict[str, int] = {}

    # ---- look -----------------------------------------------------------------------------------------------------
    @property
    def at_m(self) -> list[float]:
        """Where the grasp point is."""
        return self.world.eef_m.tolist()

    @property
    def closing(self) -> bool:
        """Whether the last command was to close."""
        return self.world.gripper_command < 0

    def geom(self, name: str) -> list[float]:
        """Centre of a geom."""
        return self.world.data.geom_xpos[self._geom(name)].tolist()

    def geom_radius(self, name: str) -> float:
        """Radius of a round geom."""
        return float(self.world.model.geom_size[self._geom(name), 0])

    def rotation(self, name: str) -> list[float]:
        """Rotation of a geom, nine numbers row by row."""
        return self.world.data.geom_xmat[self._geom(name)].tolist()

    def _geom(self, name: str) -> int:
        if name not in self._geoms:
            self._geoms[name] = int(self.world.model.geom(name).id)
        return self._geoms[name]

    def extent(self, block: str, axis: int) -> float:
        """Half of a block's extent along a world axis, as it lies now."""
        row = self.rotation(block)[3 * axis:3 * axis + 3]
        half = BLOCK_HALF_M[block.removesuffix("_block")]
        return abs(row[0]) * half[0] + abs(row[1]) * half[1] + abs(row[2]) * half[2]

    def between(self) -> str | None:
        """The block between the fingers, held or only straddled."""
        width = self.world.gripper_width_m
        if width < HOLDING_M:
            return None
        (xx, xy, _), (yx, yy, _), _ = self.world.eef_rotation.tolist()
        x, y, z = self.at_m
        found, nearest = None, 0.045
        for block in BLOCKS:
            bx, by, bz = self.geom(block)
            bx, by, bz = bx - x, by - y, bz - z
            if abs(bz) < nearest and abs(bx * xx + by * yx) < 0.035 and abs(bx * xy + by * yy) < 0.5 * width:
                found, nearest = block, abs(bz)
        return found

    def held(self) -> str | None:
        """The block that the closed fingers hold."""
        block = self.between() if self.closing else None
        if block is None:
            return None
        widest = 2 * max(BLOCK_HALF_M[block.removesuffix("_block")])
        return block if self.world.gripper_width_m < widest + CLOSED_M else None

    # ---- move -----------------------------------------------------------------------------------------------------
    @property
    def wound_rad(self) -> float:
        """How far the wrist is turned from the ready heading, always less than half a turn."""
        rotation = self.world.target_rotation
        heading = math.atan2(rotation[1, 0], rotation[0, 0])
        return (heading - self.world.embodiment.ready_yaw_rad + math.pi) % (2 * math.pi) - math.pi

    def turn_to(self, heading_rad: float, near_rad: float | None = None) -> float:
        """Radians to turn about the vertical to a heading, where one from the other side is as good.

        The short way, if the wrist can; with ``near_rad`` to the one that is nearer to that far wound up.
        """
        wound = self.wound_rad
        around = wound if near_rad is None else near_rad
        ahead = heading_rad - self.world.embodiment.ready_yaw_rad - around
        turn = around + (ahead + math.pi / 2) % math.pi - math.pi / 2 - wound
        beyond = wound + turn
        return turn - math.copysign(math.pi, beyond) if abs(beyond) > YAW_REACH_RAD else turn

    def towards(self, spot_m: Spot, turn_rad: float, grip: float, *, sideways: float = 1.0) -> list[float]:
        """The action that moves the target pose to ``spot_m`` and upright, as fast as is legal; ``sideways`` slows x
        and y."""
        target = self.world.target_m.tolist()
        x, y, z = ((spot - now) / self.step_m for spot, now in zip(spot_m, target, strict=True))
        x, y = x * sideways, y * sideways
        fastest = max(1.0, abs(x), abs(y), abs(z))
        # the cross product of the approach axis and straight down: the lean to undo
        _, _, lean_x, _, _, lean_y, *_ = self.world.target_rotation.ravel().tolist()
        return [x / fastest, y / fastest, z / fastest, -lean_y / self.step_rad, lean_x / self.step_rad,
                turn_rad / self.step_rad, grip]

    def stay(self, grip: float, turn_rad: float = 0.0) -> list[float]:
        """The action that keeps the target where it is."""
        return self.towards(self.world.target_m.tolist(), turn_rad, grip)

    def rise(self, grip: float) -> list[float]:
        """The action that goes straight up."""
        x, y, z = self.world.target_m.tolist()
        return self.towards((x, y, z + self.step_m), 0.0, grip)

    def let_go(self) -> list[float] | None:
        """The next action to leave the block between the fingers where it is; None when there is none."""
        if self.between() is None:
            return None
        return self.stay(OPEN) if self.closing else self.rise(OPEN)

    def descend(self, spot_m: Spot, grip: float, *, turn_rad: float = 0.0, tolerance_m: float = 0.012) -> list[float]:
        """The action of a way to ``spot_m`` from above: rise if low, travel, sink in a funnel once over the spot and
        turned."""
        x, y, z = self.at_m
        beside = math.hypot(spot_m[0] - x, spot_m[1] - y)
        above = FUNNEL * max(beside - tolerance_m, 0.0) + TURN_FUNNEL_M * max(abs(turn_rad) - TURNED_RAD, 0.0)
        low = beside > NEAR_M and z < CLEAR_Z_M - 0.03
        height = CLEAR_Z_M if low else max(spot_m[2], min(spot_m[2] + above, CLEAR_Z_M))
        return self.towards((spot_m[0], spot_m[1], height), turn_rad, grip, sideways=0.0 if low else 1.0)
