"""Inverse kinematics of an arm by damped least squares, on a model of the arm alone.

It starts from the joints that were last commanded, never from the measured ones, so the arm does not drift under load
and the answer depends on commands only.
"""
# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

DAMPING = 1e-3
"""Square of the damping factor: with a tenth of it, an arm that is stretched out swings about."""
ROTATION_WEIGHT_M = 0.3
"""Metres that count as much as a radian: where both cannot be had, the position is kept."""
STEP_LIMIT_RAD = 0.15
"""Largest joint change of one iteration."""
POSTURE_GAIN = 0.02
"""Pull towards the home posture in the null space, for each iteration: the elbow does not wander over long chains."""


class ArmKinematics:
    """Solver for one arm.  Positions are metres in the world, rotations 3x3 matrices from tool to world."""

    def __init__(self, model: mujoco.MjModel, home_rad: np.ndarray) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._site = model.site("tcp").id
        self._low, self._high = model.jnt_range[:, 0].copy(), model.jnt_range[:, 1].copy()
        self._home = home_rad
        self._jacobian = np.zeros((6, model.nv))
        self._damping = DAMPING * np.eye(6)

    def pose(self, joints_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) of the grasp point."""
        self._data.qpos[:] = joints_rad
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def solve(self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray,
              iterations: int = 2) -> np.ndarray:
        """Joints (7,) nearer to the pose, ``iterations`` Newton steps from ``joints_rad``, within the joint limits."""
        model, data, jacobian = self._model, self._data, self._jacobian
        error = np.empty(6)
        joints = joints_rad
        for _ in range(iterations):
            data.qpos[:] = joints
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], self._site)
            error[:3] = position_m - data.site_xpos[self._site]
            error[3:] = ROTATION_WEIGHT_M * rotation_error(rotation, data.site_xmat[self._site].reshape(3, 3))
            jacobian[3:] *= ROTATION_WEIGHT_M
            posture = POSTURE_GAIN * (self._home - joints)
            weights = np.linalg.solve(jacobian @ jacobian.T + self._damping, error - jacobian @ posture)
            change = posture + jacobian.T @ weights
            change *= STEP_LIMIT_RAD / max(STEP_LIMIT_RAD, np.abs(change).max())
            joints = np.minimum(np.maximum(joints + change, self._low), self._high)
        return joints


def rotation_error(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """World rotation vector (3,), small-angle form, that turns ``found`` into ``wanted``."""
    turn = wanted @ found.T
    return 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])


def rotated(rotation: np.ndarray, vector_rad: np.ndarray) -> np.ndarray:
    """``rotation`` after a turn by a rotation vector given in world axes (Rodrigues)."""
    x, y, z = vector_rad
    angle = np.sqrt(x * x + y * y + z * z)
    if angle < 1e-9:
        return rotation
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) / angle
    return (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross) @ rotation
