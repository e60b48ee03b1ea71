"""The world: free of history, safe against any action, and its lamps work as they should."""
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop import RENDERER_VERSION, layouts
from vlactl.tabletop.embodiments import EMBODIMENTS
from vlactl.tabletop.interface import ROBOT_STATE_NAMES, SCENE_STATE_NAMES, STATE_NAMES, pictures, spaces
from vlactl.tabletop.readings import Lamps, euler_xyz
from vlactl.tabletop.tasks import TASKS, start_states
from vlactl.tabletop.world import World

START = {"led": 0, "lightbulb": 1, "slider": "right", "drawer": "open", "red_block": "table", "blue_block": "table",
         "pink_block": "slider_left", "grasped": 0}


@pytest.fixture(params=sorted(EMBODIMENTS))
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def remembered(world: World) -> np.ndarray:
    """All that physics and control remember."""
    data = world.data
    return np.concatenate([data.qpos, data.qvel, data.ctrl, data.qacc_warmstart, [data.time, world.button_down],
                           world.controls.control_NC[0], world.state(), list(world.lamps.values())])


def play(world: World, seed: int, steps: int = 25) -> np.ndarray:
    """What is remembered after a short random play."""
    world.reset(START, seed)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        world.step(rng.uniform(-1, 1, 7))
    return remembered(world)


def test_the_same_start_seed_and_actions_give_bit_identical_states_whatever_ran_before(world: World) -> None:
    first = play(world, 3)
    play(world, 4, steps=40)
    other = World(world.embodiment.name)
    play(other, 5, steps=7)
    np.testing.assert_array_equal(play(world, 3), first)
    np.testing.assert_array_equal(play(other, 3), first)
    assert not np.array_equal(play(world, 4), first)


def test_worlds_share_a_model_that_playing_does_not_change(world: World) -> None:
    assert World(world.embodiment.name).model is world.model
    names = ("geom_pos", "geom_rgba", "body_pos", "jnt_range", "qpos0", "actuator_gainprm")
    before = [getattr(world.model, name).copy() for name in names]
    play(world, 0)
    for name, values in zip(names, before, strict=True):
        np.testing.assert_array_equal(getattr(world.model, name), values)


@pytest.mark.parametrize("state", start_states()[::13], ids=str)
def test_a_start_state_is_built_as_it_says_and_rests(state: dict) -> None:
    world = World("panda")
    world.reset(state, 7)
    seen = world.snapshot()
    assert seen.lamps == {"led": state["led"], "lightbulb": state["lightbulb"]}
    assert seen.joints["drawer"] == pytest.approx(layouts.DRAWER_OPEN_M * (state["drawer"] == "open"), abs=2e-3)
    assert seen.joints["slider"] == pytest.approx(layouts.SLIDER_SIDE_M[state["slider"]], abs=2e-3)
    assert np.sign(seen.joints["switch"]) == (1 if state["lightbulb"] else -1)
    for colour in layouts.BLOCK_HALF_M:
        behind_door = seen.blocks_m[f"{colour}_block"][1] > layouts.BAY_FRONT_M
        assert behind_door == state[f"{colour}_block"].startswith("slider")
        assert seen.touching[f"{colour}_block"] == {"desk"}
    assert np.abs(world.data.qvel).max() < 0.05
    assert not any(world.succeeded(task, seen) for task in TASKS)


def test_the_seed_moves_blocks_and_arm_within_bounds() -> None:
    world, places, hands = World("panda"), [], []
    for seed in range(20):
        world.reset(START, seed)
        places.append(world.snapshot().blocks_m["red_block"])
        hands.append(world.eef_m.copy())
    assert np.ptp(places, axis=0)[0] > 0.1
    assert np.ptp(hands, axis=0).min() > 0.02
    assert (np.abs(np.array(places) - np.mean(places, axis=0)).max(axis=0)[:2] < 0.15).all()


@pytest.mark.parametrize("change", [{"led": 2}, {"slider": "middle"}, {"red_block": "floor"}, {"grasped": 1},
                                    {"pink_block": "table"}, {"red_block": "slider_left"}, {"cup": "table"}], ids=str)
def test_a_start_state_that_cannot_be_built_is_refused(change: dict) -> None:
    with pytest.raises(UsageError, match="start state"):
        World("panda").reset(START | change, 0)


ILLEGAL = {"nan": np.full(7, np.nan), "infinite": np.array([0, 0, 0, 0, 0, 0, np.inf]), "short": np.zeros(6),
           "large": np.full(7, 1.1), "one value": np.float64(0.0), "two": np.zeros((2, 7)), "text": "up",
           "ragged": [0.0, [1.0]], "nothing": None}


@pytest.mark.parametrize("action", ILLEGAL.values(), ids=ILLEGAL)
def test_an_illegal_action_is_refused_and_nothing_moves(action: object) -> None:
    world = World("panda")
    world.reset(START, 0)
    before = remembered(world)
    with pytest.raises(UsageError, match="seven finite numbers"):
        world.step(action)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(remembered(world), before)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, list])
def test_an_action_may_be_any_seven_numbers(kind: type) -> None:
    world = World("panda")
    world.reset(START, 0)
    world.step(kind([1, 0, 0, 0, 0, 0, -1]) if kind is list else np.array([1, 0, 0, 0, 0, 0, -1], kind))
    assert world.gripper_command == -1.0


def test_a_step_before_the_first_reset_is_refused() -> None:
    with pytest.raises(UsageError, match="never reset"):
        World("panda").step(np.zeros(7))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'panda'"):
        World("pandas")
    with pytest.raises(UnknownName):
        World("panda", "Z")


def test_actions_move_the_hand_by_the_declared_scale(world: World) -> None:
    action_space = spaces(world.embodiment.name, 64, pictures="").action
    for axis in range(3):
        world.reset(START, 0)
        before, action = world.eef_m.copy(), np.zeros(7)
        action[axis], action[6] = 0.5, 1.0
        world.step(action)
        world.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
        moved = world.eef_m - before
        assert moved[axis] == pytest.approx(0.5 * action_space.position_scale_m, abs=4e-3)
        assert np.abs(np.delete(moved, axis)).max() < 4e-3


def test_a_turn_has_the_declared_scale(world: World) -> None:
    scale = spaces(world.embodiment.name, 64, pictures="").action.rotation_scale_rad
    world.reset(START, 0)
    before = np.arctan2(world.eef_rotation[1, 0], world.eef_rotation[0, 0])
    for value in (0.8, 0.0):
        world.step(np.array([0, 0, 0, 0, 0, value, 1.0]))
    turned = np.arctan2(world.eef_rotation[1, 0], world.eef_rotation[0, 0]) - before
    assert (turned + np.pi) % (2 * np.pi) - np.pi == pytest.approx(0.8 * scale, abs=0.02)


@pytest.mark.parametrize("axis", [3, 4, 5])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_hand_that_is_turned_further_than_it_can_stays_in_its_place(world: World, axis: int, side: float) -> None:
    world.reset(START, 0)
    before, action = world.eef_m.copy(), np.zeros(7)
    action[axis] = side
    for _ in range(100):
        world.step(action)
    assert np.linalg.norm(world.eef_m - before) < 0.08
    assert np.linalg.norm(world.eef_m - world.target_m) < 0.05
    turned = world.target_rotation
    for _ in range(8):
        world.step(-action)
    assert np.linalg.norm(world.target_rotation - turned) > 0.5, "it can be turned back at once"


def test_the_state_vector_is_what_its_names_say(world: World) -> None:
    world.reset(START, 0)
    assert world.state().dtype == np.float32
    state = dict(zip(STATE_NAMES, world.state().tolist(), strict=True))
    assert [state[f"eef_{axis}_m"] for axis in "xyz"] == pytest.approx(world.eef_m.tolist(), abs=1e-6)
    assert abs(state["approach_x"]) + abs(state["approach_y"]) < 0.01
    yaw = np.arctan2(state["eef_yaw_sin"], state["eef_yaw_cos"])
    assert yaw == pytest.approx(world.embodiment.ready_yaw_rad, abs=0.02)
    assert state["gripper_width_m"] == pytest.approx(2 * world.embodiment.gripper.opening_m, abs=1e-3)
    assert state["gripper_command"] == 1.0
    for _ in range(6):
        world.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    closed = dict(zip(STATE_NAMES, world.state().tolist(), strict=True))
    assert closed["gripper_command"] == -1.0
    assert closed["gripper_width_m"] < 0.005


def test_the_robot_state_is_what_its_names_say(world: World) -> None:
    play(world, 0, steps=4)
    robot = dict(zip(ROBOT_STATE_NAMES, world.robot_state().tolist(), strict=True))
    assert [robot[f"tcp_{axis}_m"] for axis in "xyz"] == world.eef_m.tolist()
    angles = [robot[f"tcp_{name}_rad"] for name in ("roll", "pitch", "yaw")]
    np.testing.assert_allclose(Rotation.from_euler("xyz", angles).as_matrix(), world.eef_rotation, atol=1e-9)
    assert [robot[f"joint_{i}_rad"] for i in range(1, 8)] == [world.joint(f"j{i}") for i in range(1, 8)]
    assert robot["gripper_width_m"] == world.gripper_width_m
    assert robot["gripper_command"] == world.gripper_command


def test_the_scene_state_is_what_its_names_say(world: World) -> None:
    play(world, 0, steps=4)
    scene, seen = dict(zip(SCENE_STATE_NAMES, world.scene_state().tolist(), strict=True)), world.snapshot()
    assert [scene["slider_m"], scene["drawer_m"], scene["button_m"], scene["switch_rad"]] == list(seen.joints.values())
    assert {name: scene[name] for name in ("led", "lightbulb")} == seen.lamps
    for colour in layouts.BLOCK_HALF_M:
        assert [scene[f"{colour}_{axis}_m"] for axis in "xyz"] == seen.blocks_m[f"{colour}_block"].tolist()
        angles = [scene[f"{colour}_{name}_rad"] for name in ("roll", "pitch", "yaw")]
        np.testing.assert_allclose(Rotation.from_euler("xyz", angles).as_matrix(),
                                   seen.blocks_rotation[f"{colour}_block"], atol=1e-9)


@pytest.mark.parametrize("angles", [(0.3, -1.2, 2.0), (0, 0, 0), (np.pi, 0, 1), (0.4, np.pi / 2, 0),
                                    (0.4, -np.pi / 2, 0), (0.5, np.pi / 2, 0.7)], ids=str)
def test_euler_angles_are_about_fixed_axes_also_at_the_poles(angles: tuple) -> None:
    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    found = euler_xyz(rotation)
    np.testing.assert_allclose(Rotation.from_euler("xyz", found).as_matrix(), rotation, atol=1e-7)


def test_a_snapshot_is_a_copy_and_says_what_blocks_touch() -> None:
    world = World("panda")
    world.reset(START, 0)
    before = world.snapshot()
    kept = {name: at.copy() for name, at in before.blocks_m.items()}
    at = world.model.joint("red_block").qposadr[0]
    blue = world.data.qpos[world.model.joint("blue_block").qposadr[0]:][:7]
    world.data.qpos[at:at + 7] = blue + np.array([0, 0, 0.05 - 1e-4, 0, 0, 0, 0])
    mujoco.mj_forward(world.model, world.data)
    now = world.snapshot()
    assert now.touched_blocks == {"red_block": {"blue_block"}, "blue_block": {"red_block"}, "pink_block": frozenset()}
    assert now.touching["red_block"] == {"block"}
    assert now.touching["blue_block"] == {"block", "desk"}
    assert before.touched_blocks["red_block"] == frozenset()
    for name, place in kept.items():
        np.testing.assert_array_equal(before.blocks_m[name], place)


def test_contacts_after_a_step_are_those_of_the_positions() -> None:
    world = World("panda")
    play(world, 0, steps=5)
    fresh = mujoco.MjData(world.model)
    fresh.qpos[:] = world.data.qpos
    mujoco.mj_forward(world.model, fresh)
    np.testing.assert_array_equal(world.data.contact.geom, fresh.contact.geom)
    np.testing.assert_array_equal(world.data.contact.dist, fresh.contact.dist)


def test_what_is_read_cannot_be_written() -> None:
    world = World("panda")
    world.reset(START, 0)
    for values in (world.eef_m, world.eef_rotation):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0.0
    target = world.target_m
    target[:] = 9.0
    assert np.abs(world.target_m).max() < 2.0


def test_a_button_toggles_its_lamp_once_per_press() -> None:
    lamps, lit = Lamps(), []
    for pressed in (0.0, 0.015, 0.018, 0.008, 0.015, 0.0, 0.019):
        lamps.follow(pressed, -0.4)
        lit.append(lamps.lit["led"])
    assert lit == [0, 1, 1, 1, 1, 1, 0]


def test_a_lamp_that_is_lit_shows_it_and_the_model_stays_as_it_is() -> None:
    world = World("panda")
    world.reset(START | {"led": 0}, 0)
    geom = world.model.geom("led").id
    off = world.colors()[geom]
    world.lamps["led"] = 1
    assert np.abs(world.colors()[geom] - off).max() > 0.5
    np.testing.assert_array_equal(world.model.geom_rgba[geom, :3], off)


def test_colours_belong_to_a_world_and_not_to_the_model() -> None:
    ours, theirs = World("panda"), World("panda")
    ours.reset(START | {"led": 1}, 0)
    theirs.reset(START | {"led": 0}, 0)
    differing = np.flatnonzero((ours.colors() != theirs.colors()).any(axis=1))
    assert [ours.model.geom(geom).name for geom in differing] == ["led"]


def test_looking_after_a_step_needs_no_forward_pass() -> None:
    world = World("panda")
    play(world, 0, steps=5)
    fresh = mujoco.MjData(world.model)
    fresh.qpos[:] = world.data.qpos
    mujoco.mj_forward(world.model, fresh)
    np.testing.assert_array_equal(world.data.geom_xpos, fresh.geom_xpos)
    np.testing.assert_array_equal(world.data.cam_xpos, fresh.cam_xpos)


def test_declared_names_are_unique_and_count_as_in_calvin() -> None:
    for names, count in ((STATE_NAMES, 9), (ROBOT_STATE_NAMES, 15), (SCENE_STATE_NAMES, 24)):
        assert len(set(names)) == len(names) == count


def test_spaces_know_sizes_rates_and_how_pictures_are_made() -> None:
    declared = spaces("panda", (200, 84), pictures=pictures("raycast", True, 2), action_repeat=1)
    assert declared.observation.cameras == (("static", 200, 200), ("wrist", 84, 84))
    assert declared.observation.pictures == f"raycast-{RENDERER_VERSION}, soft shadows, 2x2"
    assert declared.action.rate_hz == 30.0
    slow = spaces("panda", 64, pictures="").action
    assert (slow.rate_hz, slow.position_scale_m) == (10.0, pytest.approx(3 * declared.action.position_scale_m))
    with pytest.raises(UnknownName):
        spaces("pandas", 64, pictures="")
