"""One desk with one robot: reset to a symbolic start state, step with relative end-effector actions, look at the state.

A world is history-free: the same start, seed and actions give bit-identical states on one machine, whatever it or the
process did before.  Worlds of one embodiment, scene and shift share one model.
"""
# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import time
from typing import Any

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop import layouts
from vlactl.tabletop.controls import Controls
from vlactl.tabletop.embodiments import Embodiment, embodiment
from vlactl.tabletop.interface import ACTION_REPEAT, SUBSTEP_HZ
from vlactl.tabletop.motion import (
    LIMIT_FLOATS,
    LIMIT_HIGH_M,
    LIMIT_LEASH_M,
    LIMIT_LEASH_RAD,
    LIMIT_LOW_M,
    LIMIT_MOVE_M,
    LIMIT_TILT_COS,
    LIMIT_TURN_RAD,
)
from vlactl.tabletop.placement import initial
from vlactl.tabletop.readings import POSES, TOUCH, Anatomy, Lamps, Readings, Snapshot, read_only
from vlactl.tabletop.rendering import Poses
from vlactl.tabletop.scene import PHYSICS_HZ, model

__all__ = ["PHYSICS_STEPS", "TOUCH", "Snapshot", "World", "warm_up"]

PHYSICS_STEPS = round(PHYSICS_HZ / SUBSTEP_HZ)
LEASH_M = 0.04
"""The target pose is never further than this from the measured one, so that pushing against the desk does not wind it
up."""
LEASH_RAD = 0.5
MAX_TILT_RAD = 1.0
"""Between the approach axis and straight down; the drawn-out skills of CALVIN need 0.9."""
WORKSPACE_M = np.array([[-0.44, -0.68, 0.36], [0.44, 0.20, 0.95]])
"""The target position stays in this box."""
READY_JITTER_M = (0.05, 0.03, 0.03)
"""Seeded offset of the grasp point at the start of a chain."""
SETTLE_STEPS = 48
"""Physics steps after a reset, 0.2 s: the blocks come to rest on what they stand on."""


class World(Readings):
    """One desk with one robot.  ``model`` and ``data`` are for a renderer and an expert to read, never to write.

    After ``reset`` and ``step`` all of ``data`` that positions and velocities decide (poses, contacts, ...) is that of
    ``data.qpos`` and ``data.qvel``.
    """

    def __init__(self, embodiment_name: str, scene: str = "D", *, shift: str = "none",
                 action_repeat: int = ACTION_REPEAT) -> None:
        """Raises :class:`UnknownName` for an embodiment, scene or shift that does not exist."""
        if action_repeat < 1:
            raise UsageError(f"an action repeated {action_repeat} times", where="tabletop.World", expected="1 or more")
        self.embodiment, self.layout = embodiment(embodiment_name), layouts.layout(scene)
        self.shift, self.action_repeat = shift, action_repeat
        self.model = model(embodiment_name, scene, shift)
        self.data = mujoco.MjData(self.model)
        self.controls = Controls(self.embodiment, limits(self.embodiment), action_repeat=action_repeat, count=1)
        super().__init__(Anatomy(self.model), self.data.qpos, {name: getattr(self.data, name) for name in POSES},
                         self.controls.control_NC[0], Lamps(), lambda: self.data.contact.geom)
        self._sites = read_only(self.data.site_xpos[None]), read_only(self.data.site_xmat[None])
        self._ctrl, self._begun = self.data.ctrl, False
        self._button, self._switch = (self._anatomy.address[name] for name in ("button", "switch"))

    def reset(self, start: dict[str, Any], seed: int) -> None:
        """Put everything where ``start`` says; ``seed`` decides block places and yaws and the arm's offset.

        Raises :class:`UsageError` for a start state that this world cannot have.
        """
        rng = np.random.default_rng(seed)
        places = initial(self.layout, start, rng)
        mujoco.mj_resetData(self.model, self.data)
        for name, values in places.items():
            at = self._anatomy.address[name]
            self._qpos[at:at + len(values)] = values
        self._lamps.put(start["led"], start["lightbulb"])
        joints_J = self.controls.begin(0, rng.uniform(-1, 1, 3) * READY_JITTER_M)
        opening = self.embodiment.gripper.opening_m
        self._qpos[self._anatomy.arm] = joints_J
        for finger in ("finger_left", "finger_right"):
            self._qpos[self._anatomy.address[finger]] = opening
        self._ctrl[:7], self._ctrl[7] = joints_J, opening
        mujoco.mj_step(self.model, self.data, SETTLE_STEPS)
        mujoco.mj_step1(self.model, self.data)
        self._begun = True

    def step(self, action_A: np.ndarray) -> None:
        """One control step: ``action_A`` (7,) in [-1, 1], translation and rotation vector in world axes, then the
        gripper.

        The action is added to the running target pose in ``action_repeat`` substeps; a gripper value above 0 opens.
        Raises :class:`UsageError` for an action of another shape, not finite, or out of range: then nothing changes.
        """
        if not self._begun:
            raise UsageError("a step in a world that was never reset", where="tabletop.World.step",
                             remedy="call reset first")
        model, data, ctrl, qpos = self.model, self.data, self._ctrl, self._qpos
        joints_RJ = self.controls.take(action_A, (7,))[0]
        ctrl[7] = self.embodiment.gripper.opening_m if self.gripper_command > 0 else 0.0
        for substep, joints_J in enumerate(joints_RJ):
            ctrl[:7] = joints_J
            if substep == 0:  # the control step before ended with the first half of this one's first physics step
                mujoco.mj_step2(model, data)
            mujoco.mj_step(model, data, PHYSICS_STEPS - (substep == 0))
            self._lamps.follow(float(qpos[self._button]), float(qpos[self._switch]))
        mujoco.mj_step1(model, data)
        self.controls.shorten_leash(self._anatomy.tcp, *self._sites)

    def poses(self) -> Poses:
        """For a renderer: live views of one world's poses, and the colours of now."""
        data = self.data
        return Poses(data.geom_xpos[None], data.geom_xmat[None], data.cam_xpos[None], data.cam_xmat[None],
                     self.colors()[None])


def limits(machine: Embodiment) -> np.ndarray:
    """What bounds the target pose (L,): see :mod:`vlactl.tabletop.motion`."""
    limits_L = np.empty(LIMIT_FLOATS)
    limits_L[LIMIT_MOVE_M], limits_L[LIMIT_TURN_RAD] = machine.position_scale_m, machine.rotation_scale_rad
    limits_L[LIMIT_TILT_COS] = np.cos(MAX_TILT_RAD)
    limits_L[LIMIT_LEASH_M], limits_L[LIMIT_LEASH_RAD] = LEASH_M, LEASH_RAD
    limits_L[LIMIT_LOW_M:LIMIT_HIGH_M], limits_L[LIMIT_HIGH_M:] = WORKSPACE_M
    return limits_L


def warm_up() -> float:
    """Compile the kernels of motion, or load them from the cache; returns the seconds that took: 0.3, or 5 once."""
    started = time.perf_counter()
    machine = embodiment("panda")
    controls = Controls(machine, limits(machine), action_repeat=1, count=1)
    controls.begin(0, np.zeros(3))
    controls.take(np.zeros(7), (7,))
    controls.shorten_leash(0, read_only(np.zeros((1, 1, 3))), read_only(np.zeros((1, 1, 9))))
    return time.perf_counter() - started
