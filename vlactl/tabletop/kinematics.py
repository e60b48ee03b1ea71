"""Kinematics of one arm, as constants that the kernels of :mod:`vlactl.tabletop.motion` work on."""
# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop.motion import CHAIN_FLOATS, reach


class ArmKinematics:
    """One arm, read from a model of it alone.  Positions are metres in the world, rotations 3x3 from tool to world."""

    def __init__(self, model: mujoco.MjModel, home_rad: np.ndarray) -> None:
        """``model``: a chain of hinges with a site ``tcp`` at its end; raises :class:`UsageError` for anything else."""
        hinges = (model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE).all()
        if not hinges or not model.jnt_limited.all() or len(home_rad) != model.njnt:
            raise UsageError("an arm with other joints than hinges with limits", where="tabletop.ArmKinematics",
                             expected=f"{len(home_rad)} hinges")
        data, site = mujoco.MjData(model), model.site("tcp").id
        data.qpos[:] = 0.0
        mujoco.mj_kinematics(model, data)
        self.chain_JP = np.empty((model.njnt, CHAIN_FLOATS))
        self.chain_JP[:, :3], self.chain_JP[:, 3:6] = data.xaxis, data.xanchor
        self.chain_JP[:, 6:8], self.chain_JP[:, 8] = model.jnt_range, home_rad
        self.tool_T3 = np.concatenate([data.site_xpos[site], data.site_xmat[site]]).reshape(4, 3)

    def pose(self, joints_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) of the grasp point."""
        pose_P = self._reached(joints_rad, np.zeros(12), 0)[1]
        return pose_P[:3], pose_P[3:].reshape(3, 3)

    def solve(self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray,
              iterations: int = 2) -> np.ndarray:
        """Joints (7,) nearer to the pose, ``iterations`` Newton steps from ``joints_rad``, within the joint limits."""
        return self._reached(joints_rad, np.concatenate([position_m, rotation.ravel()]), iterations)[0]

    def _reached(self, joints_rad: np.ndarray, pose_P: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
        joints_J, pose_P = np.array(joints_rad, np.float64), np.array(pose_P, np.float64)
        reach(self.chain_JP, self.tool_T3, iterations, joints_J, pose_P)
        return joints_J, pose_P


def rotated(rotation: np.ndarray, vector_rad: np.ndarray) -> np.ndarray:
    """``rotation`` (3, 3) after a turn by a rotation vector (3,) in world axes (Rodrigues)."""
    angle = float(np.linalg.norm(vector_rad))
    if angle == 0:
        return rotation
    x, y, z = vector_rad / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross) @ rotation
