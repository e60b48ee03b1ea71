"""Three robots that really differ, and reach all that each desk asks for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vlactl.errors import UnknownName
from vlactl.spaces import differences
from vlactl.tabletop.controls import DOWN
from vlactl.tabletop.embodiments import EMBODIMENTS, Embodiment, embodiment
from vlactl.tabletop.interface import spaces
from vlactl.tabletop.kinematics import ArmKinematics, rotated
from vlactl.tabletop.layouts import BAY_FRONT_M, BAY_Y_M, BLOCK_HALF_M, DESK_FRONT_M, LAYOUTS, SLIDER_SIDE_M, Layout
from vlactl.tabletop.scene import arm_model

WRIST_RAD = 1.5
"""Either way from the ready heading, at every spot."""


def spots(desk: Layout) -> list[tuple[float, float, float]]:
    """Where skills bring the grasp point, low and on the way there."""
    (button_x, button_y), (switch_x, switch_y) = desk.button_xy_m, desk.switch_xy_m
    over = [(button_x, button_y, 0.47), *((switch_x, switch_y + dy, 0.54) for dy in (-0.1, 0.1)),
            *((desk.door_x_m + dx, BAY_FRONT_M - 0.06, 0.535) for dx in (-0.2, 0.2)),
            *((desk.door_x_m + x, BAY_Y_M, 0.485) for x in SLIDER_SIDE_M.values()),
            *((desk.drawer_x_m, y, 0.39) for y in (DESK_FRONT_M - 0.07, DESK_FRONT_M - 0.36)),
            *((desk.drawer_x_m + dx, y, 0.375) for dx in (0.0, 0.05) for y in (-0.34, -0.45)),
            *((x + dx, y, 0.485) for x, y in desk.slots_xy_m for dx in (-0.13, 0.13))]
    return [spot for x, y, z in over for spot in ((x, y, z), (x, y, 0.63))]


@pytest.mark.parametrize("desk", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("robot", EMBODIMENTS.values(), ids=EMBODIMENTS)
def test_every_arm_reaches_all_that_it_must_touch_and_can_turn_there(robot: Embodiment, desk: Layout) -> None:
    solver, home = ArmKinematics(arm_model(robot.name), np.array(robot.arm.home_rad)), np.array(robot.arm.home_rad)
    for spot, turn in itertools.product(spots(desk), (0.0, -WRIST_RAD, WRIST_RAD)):
        down = rotated(DOWN, np.array([0, 0, robot.ready_yaw_rad + turn]))
        ready = solver.solve(home, np.array(robot.ready_xyz_m), down, iterations=100)
        position, rotation = solver.pose(solver.solve(ready, np.array(spot), down, iterations=100))
        assert np.linalg.norm(position - spot) < 2e-3, (spot, turn)
        assert np.abs(rotation - down).max() < 0.01, (spot, turn)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(EMBODIMENTS, 2)))
def test_robots_differ_in_arm_gripper_cameras_and_action_scale(one: str, other: str) -> None:
    ours, theirs = embodiment(one), embodiment(other)
    assert ours.arm.base_xyz_m != theirs.arm.base_xyz_m
    assert ours.arm.upper_m != theirs.arm.upper_m
    assert ours.gripper != theirs.gripper
    assert ours.static.eye_m != theirs.static.eye_m
    assert ours.wrist.eye_m != theirs.wrist.eye_m
    found = " ".join(differences(*(spaces(name, 64, pictures="") for name in (one, other))))
    assert "action.position_scale_m" in found
    assert "action.rotation_scale_rad" in found
    assert "observation" not in found, "all see two cameras and the same proprioception"


@pytest.mark.parametrize("robot", EMBODIMENTS.values(), ids=EMBODIMENTS)
def test_every_gripper_gets_around_every_side_of_every_block(robot: Embodiment) -> None:
    widest = 2 * max(max(half) for half in BLOCK_HALF_M.values())
    assert widest + 0.01 < 2 * robot.gripper.opening_m
    assert robot.gripper.finger_m[2] > 0.05, "fingers keep the palm over the cabinet's walls"


def test_an_unknown_robot_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown embodiment 'pandas'"):
        embodiment("pandas")
