"""The world: free of history, safe against any action, and its lamps work as they should."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop import layouts
from vlactl.tabletop.embodiments import EMBODIMENTS, STATE_NAMES, spaces
from vlactl.tabletop.tasks import TASKS, start_states
from vlactl.tabletop.world import WORKSPACE_M, World

START = {"led": 0, "lightbulb": 1, "slider": "right", "drawer": "open", "red_block": "table", "blue_block": "table",
         "pink_block": "slider_left", "grasped": 0}


@pytest.fixture(params=sorted(EMBODIMENTS))
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def play(world: World, seed: int, steps: int = 25) -> np.ndarray:
    """All that physics and control remember after a short random play."""
    world.reset(START, seed)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        world.step(rng.uniform(-1, 1, 7))
    data = world.data
    return np.concatenate([data.qpos, data.qvel, data.ctrl, data.qacc_warmstart, world.target_m,
                           world.target_rotation.ravel(), world.state(), list(world.lamps.values())])


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


@pytest.mark.parametrize("action", [np.full(7, np.nan), np.array([0, 0, 0, 0, 0, 0, np.inf]), np.zeros(6),
                                    np.full(7, 1.1)], ids=["nan", "infinite", "short", "large"])
def test_an_illegal_action_is_refused_and_nothing_moves(action: np.ndarray) -> None:
    world = World("panda")
    world.reset(START, 0)
    before = world.data.qpos.copy()
    with pytest.raises(UsageError, match="seven finite numbers"):
        world.step(action)
    np.testing.assert_array_equal(world.data.qpos, before)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'panda'"):
        World("pandas")
    with pytest.raises(UnknownName):
        World("panda", "Z")


def test_any_actions_keep_the_world_in_order(world: World) -> None:
    rng = np.random.default_rng(0)
    world.reset(START, 0)
    for step in range(300):
        if step % 25 == 0:
            held = np.sign(rng.uniform(-1, 1, 7))
        world.step(held if rng.random() < 0.7 else rng.uniform(-1, 1, 7))
        assert np.isfinite(world.data.qpos).all()
        assert np.abs(world.data.qvel).max() < 100
        blocks_m = np.array(list(world.snapshot().blocks_m.values()))
        assert blocks_m[:, 2].min() > 0.015, "a block left through the floor"
        assert (world.eef_m > WORKSPACE_M[0] - 0.3).all()
        assert (world.eef_m < WORKSPACE_M[1] + 0.3).all()
    assert (world.data.warning.number == 0).all()


def test_actions_move_the_hand_by_the_declared_scale(world: World) -> None:
    action_space = spaces(world.embodiment.name, 64).action
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
    scale = spaces(world.embodiment.name, 64).action.rotation_scale_rad
    world.reset(START, 0)
    before = np.arctan2(world.eef_rotation[1, 0], world.eef_rotation[0, 0])
    for value in (0.8, 0.0):
        world.step(np.array([0, 0, 0, 0, 0, value, 1.0]))
    turned = np.arctan2(world.eef_rotation[1, 0], world.eef_rotation[0, 0]) - before
    assert (turned + np.pi) % (2 * np.pi) - np.pi == pytest.approx(0.8 * scale, abs=0.02)


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


def test_the_button_toggles_once_per_press_and_the_lamp_shows_it() -> None:
    world = World("panda")
    world.reset(START, 0)
    address, geom = world.model.joint("button").qposadr[0], world.model.geom("led").id
    off, lit = world.colors()[geom], []
    for pressed in (0.0, 0.015, 0.018, 0.008, 0.015, 0.0, 0.019):
        world.data.qpos[address] = pressed
        world._update_lamps()
        lit.append(world.lamps["led"])
    assert lit == [0, 1, 1, 1, 1, 1, 0]
    np.testing.assert_array_equal(world.colors()[geom], off)
    world.lamps["led"] = 1
    assert np.abs(world.colors()[geom] - off).max() > 0.5
    np.testing.assert_array_equal(world.model.geom_rgba[geom, :3].astype(float), off)


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
