"""Many worlds together are what each would be alone, to the last bit, whoever steps them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop import motion
from vlactl.tabletop import worlds as module
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.physics import BatchPhysics, PoolPhysics
from vlactl.tabletop.rendering import open_renderer
from vlactl.tabletop.tasks import TASKS, start_states
from vlactl.tabletop.world import World, warm_up
from vlactl.tabletop.worlds import Worlds

ENGINES = [pytest.param(BatchPhysics, marks=pytest.mark.skipif(not find_spec("mujoco.batch"), reason="mujoco < 4.0")),
           PoolPhysics]
STARTS = start_states()
STEPS = 12


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "open_physics", request.param)
    return request.param


def begun(count: int, **settings: Any) -> Worlds:
    worlds = Worlds("panda", "D", count, **settings)
    for index in range(count):
        worlds.reset(index, STARTS[5 * index % len(STARTS)], seed=index)
    return worlds


def actions(count: int, steps: int = STEPS) -> np.ndarray:
    """(steps, count, 7): jerky, so that blocks and buttons are hit."""
    rng = np.random.default_rng(count)
    return np.clip(rng.normal(0, 1, (steps, count, 7)), -1, 1)


def alone(index: int, actions_TNA: np.ndarray, **settings: Any) -> World:
    world = World("panda", "D", **settings)
    world.reset(STARTS[5 * index % len(STARTS)], seed=index)
    for actions_NA in actions_TNA:
        world.step(actions_NA[index])
    return world


@pytest.mark.parametrize(("count", "threads", "action_repeat"), [(1, 1, 3), (3, 2, 1), (7, 2, 3), (7, 5, 3)])
def test_each_world_is_a_world(engine: Any, count: int, threads: int, action_repeat: int) -> None:
    worlds, played = begun(count, threads=threads, action_repeat=action_repeat), actions(count)
    for actions_NA in played:
        worlds.step(actions_NA)
    for index in range(count):
        world, same = alone(index, played, action_repeat=action_repeat), worlds[index]
        np.testing.assert_array_equal(same.state(), world.state())
        np.testing.assert_array_equal(same.robot_state(), world.robot_state())
        np.testing.assert_array_equal(same.scene_state(), world.scene_state())
        np.testing.assert_array_equal(same.target_m, world.target_m)
        for ours, theirs in zip(worlds.poses, world.poses(), strict=True):
            np.testing.assert_array_equal(ours[index], theirs[0])
        assert same.snapshot().touching == world.snapshot().touching
        assert same.snapshot().touched_blocks == world.snapshot().touched_blocks
        assert (same.lamps, same.button_down) == (world.lamps, world.button_down)
    np.testing.assert_array_equal(worlds.states(), np.stack([world.state() for world in worlds]))


def test_a_world_and_many_run_the_same_machine_code(engine: Any) -> None:
    """One type of arguments for each kernel: nothing is compiled twice, and a warm-up compiles all of it."""
    assert warm_up() > 0
    alone(0, actions(1))
    begun(2).step(actions(2)[0])
    assert [len(entry.signatures) for entry in (motion.reach, motion.advance, motion.shorten_leash)] == [1, 1, 1]


def test_a_world_does_not_notice_that_others_are_reset(engine: Any) -> None:
    worlds, played = begun(4, threads=2), actions(4)
    for step, actions_NA in enumerate(played):
        if step % 3 == 0:
            worlds.reset(step // 3 % 2, STARTS[step], seed=step)
        worlds.step(actions_NA)
    for index in (2, 3):
        np.testing.assert_array_equal(worlds[index].scene_state(), alone(index, played).scene_state())


def test_an_adopted_world_goes_on_where_the_nursery_is(engine: Any) -> None:
    worlds, world, played = begun(2), World("panda"), actions(2)
    for one in (worlds.nursery, world):
        one.reset(STARTS[3], 3)
        expert = Expert(one, "turn_on_led" if not STARTS[3]["led"] else "turn_off_led")
        for _ in range(30):
            one.step(expert.act())
    worlds.adopt(1)
    for actions_NA in played:
        worlds.step(actions_NA)
        world.step(actions_NA[1])
    np.testing.assert_array_equal(worlds[1].scene_state(), world.scene_state())
    np.testing.assert_array_equal(worlds[1].robot_state(), world.robot_state())
    np.testing.assert_array_equal(worlds.poses.colors[1], world.colors())
    assert worlds[1].button_down == world.button_down


def test_success_is_seen_as_in_a_world(engine: Any) -> None:
    """The expert of a lone world drives both; the task is done in the same step."""
    start = STARTS[0]
    task = "turn_off_led" if start["led"] else "turn_on_led"
    worlds, world = Worlds("panda", count=2), World("panda")
    world.reset(start, 1)
    for index in range(2):
        worlds.reset(index, start, seed=1)
    before, expert = world.snapshot(), Expert(world, task)
    done = False
    for _ in range(60):
        action = expert.act()
        world.step(action)
        worlds.step(np.stack([action, np.zeros(7)]))
        done = world.succeeded(task, before)
        assert worlds[0].succeeded(task, before) == done
        assert not any(worlds[1].succeeded(name, before) for name in TASKS)
        if done:
            break
    assert done


@pytest.mark.parametrize("change", ["nan", "large", "shape"])
def test_one_illegal_action_changes_nothing_anywhere(engine: Any, change: str) -> None:
    worlds, bad = begun(3), actions(3)[0]
    worlds.step(bad)
    before = [np.concatenate([world.scene_state(), world.robot_state(), world.target_m]) for world in worlds]
    if change == "shape":
        bad = bad[:2]
    else:
        bad[1, 2] = np.nan if change == "nan" else 1.5
    with pytest.raises(UsageError, match="seven finite numbers") as refused:
        worlds.step(bad)
    assert change == "shape" or "world 1" in str(refused.value)
    for world, kept in zip(worlds, before, strict=True):
        np.testing.assert_array_equal(np.concatenate([world.scene_state(), world.robot_state(), world.target_m]), kept)


def test_misuse_is_refused() -> None:
    with pytest.raises(UsageError, match="0 worlds"):
        Worlds("panda", count=0)
    with pytest.raises(UnknownName):
        Worlds("pandas", count=1)
    worlds = Worlds("panda", count=2)
    worlds.reset(1, STARTS[0], 0)
    with pytest.raises(UsageError, match=r"\[0\] were never reset"):
        worlds.step(np.zeros((2, 7)))


def test_pictures_are_drawn_from_the_live_poses() -> None:
    worlds, played = begun(3), actions(3, steps=2)
    renderer = open_renderer("raycast", worlds.model, image_px=32)
    poses = worlds.poses
    for actions_NA in played:
        worlds.step(actions_NA)
        images = renderer.draw(poses)
    for index in range(3):
        world = alone(index, played)
        expected = open_renderer("raycast", world.model, image_px=32).draw(world.poses())
        for ours, theirs in zip(images, expected, strict=True):
            np.testing.assert_array_equal(ours[index], theirs[0])
