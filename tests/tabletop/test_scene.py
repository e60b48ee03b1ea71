"""Models: primitives only, two really different robots, arms that reach what they are asked to."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from vlactl.spaces import differences
from vlactl.tabletop.embodiments import EMBODIMENTS, PANDA, STUBBY, spaces
from vlactl.tabletop.kinematics import ArmKinematics, rotated, rotation_error
from vlactl.tabletop.layouts import BUTTON_TRAVEL_M, LAYOUTS
from vlactl.tabletop.scene import GROUP_LAMP, arm_model, model
from vlactl.tabletop.world import DOWN


@pytest.mark.parametrize("scene", LAYOUTS)
@pytest.mark.parametrize("name", EMBODIMENTS)
def test_a_scene_has_primitives_only_and_two_lamps(name: str, scene: str) -> None:
    world = model(name, scene)
    shapes = {mujoco.mjtGeom(kind) for kind in world.geom_type}
    assert shapes <= {mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CAPSULE,
                      mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_SPHERE}
    assert world.nmesh == 0
    lamps = np.flatnonzero(world.geom_group == GROUP_LAMP)
    assert {world.geom(int(geom)).name for geom in lamps} == {"led", "lightbulb"}
    assert {world.camera(index).name for index in range(world.ncam)} == {"static", "wrist"}


@pytest.mark.parametrize("scene", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("robot", EMBODIMENTS.values(), ids=EMBODIMENTS)
def test_every_arm_reaches_all_that_it_must_touch(robot, scene) -> None:
    solver = ArmKinematics(arm_model(robot.name), np.array(robot.arm.home_rad))
    down = rotated(DOWN, np.array([0, 0, robot.ready_yaw_rad]))
    (button_x, button_y), (switch_x, switch_y) = scene.button_xy_m, scene.switch_xy_m
    spots = [(button_x, button_y, 0.48 + BUTTON_TRAVEL_M), *((scene.drawer_x_m, y, 0.40) for y in (-0.34, -0.6)),
             *((switch_x, switch_y + dy, 0.54) for dy in (-0.1, 0.1)),
             *((scene.door_x_m + dx, 0.025, 0.54) for dx in (-0.2, 0.2)),
             *((x + dx, y, 0.485) for x, y in scene.slots_xy_m for dx in (-0.13, 0.13))]
    for spot in spots:
        joints = solver.solve(np.array(robot.arm.home_rad), np.array(spot), down, iterations=300)
        position, rotation = solver.pose(joints)
        assert np.linalg.norm(position - spot) < 2e-3, spot
        assert np.abs(rotation_error(down, rotation)).max() < 5e-3, spot


def test_inverse_kinematics_respects_limits_and_does_not_touch_its_input() -> None:
    solver, home = ArmKinematics(arm_model("panda"), np.array(PANDA.arm.home_rad)), np.array(PANDA.arm.home_rad)
    far = solver.solve(home, np.array([3.0, 3.0, 3.0]), DOWN, iterations=100)
    limits = arm_model("panda").jnt_range
    assert (far >= limits[:, 0]).all()
    assert (far <= limits[:, 1]).all()
    np.testing.assert_array_equal(home, PANDA.arm.home_rad)


def test_rotated_turns_about_world_axes_and_keeps_rotations_orthogonal() -> None:
    quarter = rotated(np.eye(3), np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    rotation = DOWN
    for _ in range(3000):
        rotation = rotated(rotation, np.array([0.03, -0.02, 0.05]))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert rotated(DOWN, np.zeros(3)) is DOWN


def test_the_second_robot_is_another_one() -> None:
    assert PANDA.arm.base_xyz_m[0] < 0 < STUBBY.arm.base_xyz_m[0]
    found = " ".join(differences(spaces("panda", 64), spaces("stubby", 64)))
    assert "action.position_scale_m" in found
    assert "action.rotation_scale_rad" in found
    assert "observation" not in found, "both see two cameras and the same proprioception"
    assert PANDA.gripper != STUBBY.gripper
    assert PANDA.static != STUBBY.static


def test_spaces_know_the_control_rate() -> None:
    fast, slow = spaces("panda", 64, 1).action, spaces("panda", 64).action
    assert (fast.rate_hz, slow.rate_hz) == (30.0, 10.0)
    assert slow.position_scale_m == pytest.approx(3 * fast.position_scale_m) == 0.06
