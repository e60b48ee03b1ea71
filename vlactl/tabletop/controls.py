"""From actions to what the arm's motors are told: target poses and commanded joints of N worlds of one robot."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop.embodiments import Embodiment
from vlactl.tabletop.interface import ACTION_NAMES
from vlactl.tabletop.kinematics import ArmKinematics, rotated
from vlactl.tabletop.motion import (
    CONTROL_FLOATS,
    CONTROL_GRIPPER,
    CONTROL_JOINTS,
    CONTROL_ROTATION,
    advance,
    shorten_leash,
)
from vlactl.tabletop.scene import arm_model

DOWN = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
"""Rotation of a hand that points straight down with its fingers along y."""


class Controls:
    """Relative actions in, joint positions out; the target pose of a world never depends on the others."""

    def __init__(self, machine: Embodiment, limits_L: np.ndarray, *, action_repeat: int, count: int) -> None:
        """``limits_L``: see :mod:`vlactl.tabletop.motion`."""
        self.kinematics = ArmKinematics(arm_model(machine.name), np.array(machine.arm.home_rad))
        self.control_NC = np.zeros((count, CONTROL_FLOATS))
        """What is remembered of each world: see :mod:`vlactl.tabletop.motion`."""
        self._limits_L = limits_L
        self._actions_NA = np.zeros((count, len(ACTION_NAMES)))
        self._joints_NRJ = np.zeros((count, action_repeat, len(machine.arm.home_rad)))
        self._ready_m = np.array(machine.ready_xyz_m)
        self._ready_rotation = rotated(DOWN, np.array([0.0, 0.0, machine.ready_yaw_rad]))
        self._ready_J = self.kinematics.solve(np.array(machine.arm.home_rad), self._ready_m, self._ready_rotation,
                                              iterations=200)

    def begin(self, world: int, offset_m: np.ndarray) -> np.ndarray:
        """Wait at the ready pose, moved by ``offset_m`` (3,), with an open gripper; returns the joints (7,) for it."""
        joints_J = self.kinematics.solve(self._ready_J, self._ready_m + offset_m, self._ready_rotation, iterations=20)
        position_m, rotation = self.kinematics.pose(joints_J)
        control_C = self.control_NC[world]
        control_C[:CONTROL_ROTATION], control_C[CONTROL_ROTATION:CONTROL_JOINTS] = position_m, rotation.ravel()
        control_C[CONTROL_JOINTS:CONTROL_GRIPPER], control_C[CONTROL_GRIPPER] = joints_J, 1.0
        return joints_J

    def take(self, actions: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Add the actions to the target poses; returns the joints (N, substeps, 7) to command, overwritten each time.

        Raises :class:`UsageError`, and changes nothing, unless ``actions`` has ``shape`` and is finite and in [-1, 1].
        """
        try:
            given = np.asarray(actions, np.float64)
        except (TypeError, ValueError):
            given = np.empty(0)
        if given.shape != shape:
            raise _refused(actions, shape)
        self._actions_NA[:] = given
        chain_JP, tool_T3 = self.kinematics.chain_JP, self.kinematics.tool_T3
        illegal = advance(chain_JP, tool_T3, self._limits_L, self._actions_NA, self.control_NC, self._joints_NRJ)
        if illegal >= 0:
            raise _refused(self._actions_NA[illegal], shape, f" of world {illegal}" if len(shape) > 1 else "")
        return self._joints_NRJ

    def shorten_leash(self, site: int, site_xpos_NS3: np.ndarray, site_xmat_NS9: np.ndarray) -> None:
        """Pull every target pose to within the leash of the measured pose of ``site``; the arrays must be read-only."""
        shorten_leash(self._limits_L, site, site_xpos_NS3, site_xmat_NS9, self.control_NC)


def _refused(actions: Any, shape: tuple[int, ...], whose: str = "") -> UsageError:
    text = np.array2string(actions, threshold=20) if isinstance(actions, np.ndarray) else repr(actions)[:200]
    many = f"{shape[0]} times " if len(shape) > 1 else ""
    return UsageError(f"not an action{whose}: {text}", where="tabletop.World.step",
                      expected=f"{many}seven finite numbers in [-1, 1]",
                      remedy="clip the policy's output, and look for NaN in its loss")
