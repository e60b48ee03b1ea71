"""The arm's kernels against MuJoCo, and against the same algorithm written with MuJoCo's own Jacobians."""
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from vlactl.errors import UsageError
from vlactl.tabletop import motion
from vlactl.tabletop.controls import DOWN
from vlactl.tabletop.embodiments import EMBODIMENTS, Embodiment
from vlactl.tabletop.kinematics import ArmKinematics, rotated
from vlactl.tabletop.motion import DAMPING, ERROR_LIMIT_RAD, POSTURE_GAIN, ROTATION_WEIGHT_M, STEP_LIMIT_RAD
from vlactl.tabletop.scene import arm_model

machines = pytest.mark.parametrize("machine", EMBODIMENTS.values(), ids=EMBODIMENTS)


class Reference:
    """Forward kinematics and one iteration by MuJoCo and numpy."""

    def __init__(self, machine: Embodiment) -> None:
        self.model = arm_model(machine.name)
        self.data, self.home = mujoco.MjData(self.model), np.array(machine.arm.home_rad)
        self.site, self.jacobian = self.model.site("tcp").id, np.zeros((6, self.model.nv))

    def pose(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.data.qpos[:] = joints
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_jacSite(self.model, self.data, self.jacobian[:3], self.jacobian[3:], self.site)
        return self.data.site_xpos[self.site].copy(), self.data.site_xmat[self.site].reshape(3, 3).copy()

    def iteration(self, joints: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        found, found_rotation = self.pose(joints)
        turn = rotation @ found_rotation.T
        angles = 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
        if np.linalg.norm(angles) > ERROR_LIMIT_RAD or np.trace(turn) < 1:
            angles *= ERROR_LIMIT_RAD / np.linalg.norm(angles)
        jacobian = self.jacobian * np.array([1, 1, 1, *[ROTATION_WEIGHT_M] * 3])[:, None]
        error = np.concatenate([position - found, ROTATION_WEIGHT_M * angles])
        posture = POSTURE_GAIN * (self.home - joints)
        change = posture + jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING * np.eye(6),
                                                        error - jacobian @ posture)
        change *= STEP_LIMIT_RAD / max(STEP_LIMIT_RAD, np.abs(change).max())
        return np.clip(joints + change, *self.model.jnt_range.T)


def any_joints(model: mujoco.MjModel, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(*model.jnt_range.T)


@machines
def test_the_tool_is_where_mujoco_says(machine: Embodiment) -> None:
    reference, solver = Reference(machine), ArmKinematics(arm_model(machine.name), np.array(machine.arm.home_rad))
    rng = np.random.default_rng(0)
    for _ in range(100):
        joints = any_joints(reference.model, rng)
        position, rotation = solver.pose(joints)
        wanted_position, wanted_rotation = reference.pose(joints)
        np.testing.assert_allclose(position, wanted_position, atol=1e-12)
        np.testing.assert_allclose(rotation, wanted_rotation, atol=1e-12)


@machines
def test_axes_and_points_give_mujocos_jacobian(machine: Embodiment) -> None:
    reference, solver = Reference(machine), ArmKinematics(arm_model(machine.name), np.array(machine.arm.home_rad))
    joints = any_joints(reference.model, np.random.default_rng(1))
    axes, points = np.empty((7, 3)), np.empty((7, 3))
    position, _ = motion.forward(solver.chain_JP, solver.tool_T3, joints, axes, points)
    reference.pose(joints)
    np.testing.assert_allclose(np.cross(axes, np.array(position) - points).T, reference.jacobian[:3], atol=1e-12)
    np.testing.assert_allclose(axes.T, reference.jacobian[3:], atol=1e-12)


@machines
@pytest.mark.parametrize("iterations", [1, 2, 40])
def test_iterations_are_those_of_damped_least_squares(machine: Embodiment, iterations: int) -> None:
    reference, solver = Reference(machine), ArmKinematics(arm_model(machine.name), np.array(machine.arm.home_rad))
    rng = np.random.default_rng(2)
    for _ in range(20):
        start, (position, rotation) = any_joints(reference.model, rng), reference.pose(any_joints(reference.model, rng))
        wanted = start
        for _ in range(iterations):
            wanted = reference.iteration(wanted, position, rotation)
        found = solver.solve(start, position, rotation, iterations)
        np.testing.assert_allclose(found, wanted, atol=1e-8)


@machines
def test_a_pose_within_reach_is_reached(machine: Embodiment) -> None:
    solver = ArmKinematics(arm_model(machine.name), np.array(machine.arm.home_rad))
    down = rotated(DOWN, np.array([0.0, 0.0, machine.ready_yaw_rad]))
    joints = solver.solve(np.array(machine.arm.home_rad), np.array(machine.ready_xyz_m), down, iterations=200)
    position, rotation = solver.pose(joints)
    np.testing.assert_allclose(position, machine.ready_xyz_m, atol=2e-3)
    np.testing.assert_allclose(rotation, down, atol=1e-2)


def test_limits_hold_and_arguments_stay_as_they_are() -> None:
    machine = EMBODIMENTS["panda"]
    model, home = arm_model("panda"), np.array(machine.arm.home_rad)
    target, rotation = np.array([3.0, 3.0, 3.0]), DOWN.copy()
    far = ArmKinematics(model, home).solve(home, target, rotation, iterations=100)
    assert ((far >= model.jnt_range[:, 0]) & (far <= model.jnt_range[:, 1])).all()
    np.testing.assert_array_equal(home, machine.arm.home_rad)
    np.testing.assert_array_equal(target, 3.0)
    np.testing.assert_array_equal(rotation, DOWN)


def test_an_arm_with_a_slide_is_refused() -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><compiler autolimits="true"/><worldbody><body><joint type="slide" range="0 1"/><geom size="0.1"/>'
        '<site name="tcp"/></body></worldbody></mujoco>')
    with pytest.raises(UsageError, match="hinges"):
        ArmKinematics(model, np.zeros(1))


def test_rotated_turns_about_world_axes_and_keeps_rotations_orthogonal() -> None:
    quarter = rotated(np.eye(3), np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    rotation = DOWN
    for _ in range(3000):
        rotation = rotated(rotation, np.array([0.03, -0.02, 0.05]))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
