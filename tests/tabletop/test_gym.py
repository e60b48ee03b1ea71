"""The Gymnasium environments: its own checker is content, and many worlds are what single ones are."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv

from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.gym import ID, TabletopEnv
from vlactl.tabletop.interface import STATE_NAMES
from vlactl.tabletop.tasks import TASKS, after, start_states


def make(**settings: Any) -> TabletopEnv:
    env = gymnasium.make(ID, **{"tasks": "core", "image_px": 16, **settings}).unwrapped
    assert isinstance(env, TabletopEnv)
    return env


def make_many(mode: str, **settings: Any) -> VectorEnv:
    return gymnasium.make_vec(ID, num_envs=3, vectorization_mode=mode, tasks="core", image_px=16, **settings)


@pytest.mark.parametrize("settings", [{}, {"image_px": (24, 16)}, {"embodiment": "stubby", "action_repeat": 1},
                                      {"render_mode": "rgb_array", "render_px": 32}], ids=str)
def test_gymnasiums_checker_has_nothing_to_say(settings: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(**settings))


def test_a_name_with_our_module_needs_no_import_of_ours() -> None:
    code = ("import gymnasium\n"
            "env = gymnasium.make('vlactl.tabletop.gym:vlactl/Tabletop-v0', tasks='core', image_px=8)\n"
            "observation, info = env.reset(seed=0)\n"
            "print(sorted(observation), bool(info['instruction']))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "['state', 'static', 'wrist'] True", run.stderr


def test_observations_are_what_the_spaces_declare() -> None:
    env = make(image_px=(24, 16))
    observation, info = env.reset(seed=0)
    cameras = {name: (height, width, 3) for name, height, width in env.spaces.observation.cameras}
    assert {name: observation[name].shape for name in cameras} == cameras == {"static": (24, 24, 3),
                                                                             "wrist": (16, 16, 3)}
    assert observation["state"].shape == (len(STATE_NAMES),)
    assert env.action_space.shape == (env.spaces.action.size,)
    assert env.metadata["render_fps"] == env.spaces.action.rate_hz
    assert info["task"] in TASKS
    assert info["instruction"] in TASKS[info["task"]].train
    assert (env.task, env.task_description) == (info["task"], info["instruction"])


def test_success_terminates_with_a_reward_and_the_step_limit_truncates() -> None:
    env = make(tasks="open_drawer", max_steps=60)
    env.reset(seed=1)
    expert, steps = Expert(env.world, "open_drawer"), 0
    while True:
        _, reward, terminated, truncated, info = env.step(expert.act())
        steps += 1
        if terminated or truncated:
            break
        assert (reward, info["success"]) == (0.0, False)
    assert (terminated, truncated, reward, info["success"]) == (True, False, 1.0, True)
    assert steps > 2
    env = make(tasks="open_drawer", max_steps=3)
    env.reset(seed=1)
    ends = [env.step(np.zeros(7, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_the_step_limit_is_twelve_seconds_at_any_rate() -> None:
    for action_repeat, limit in ((3, 120), (12, 30)):
        env = make(action_repeat=action_repeat)
        env.reset(seed=0)
        steps = next(step for step in range(1, 999) if env.step(np.zeros(7, np.float32))[3])
        assert steps == limit


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_begin(task: str) -> None:
    env = make()
    _, info = env.reset(seed=0, options={"task": task})
    assert info["task"] == task
    assert env.step(np.zeros(7, np.float32))[4]["task"] == task


def test_options_choose_the_task_and_the_start() -> None:
    env, start = make(), next(state for state in start_states() if state["drawer"] == "open" and state["led"] == 1)
    _, info = env.reset(seed=0, options={"task": "close_drawer", "start": start})
    assert info["task"] == "close_drawer"
    assert env.world.joint("drawer") > 0.1
    assert env.world.lamps["led"] == 1
    for seed in range(5):
        _, info = env.reset(seed=seed, options={"start": start})
        assert after(start, TASKS[info["task"]]) is not None


UNFIT = [({"task": "fly"}, "unknown task"), ({"tasks": "open_drawer"}, "unknown options"),
         ({"start": {}}, "start state"), ({"task": "open_drawer", "start": start_states()[-1]}, "can begin")]


@pytest.mark.parametrize(("options", "said"), UNFIT, ids=str)
def test_options_that_do_not_fit_are_refused(options: dict, said: str) -> None:
    assert start_states()[-1]["drawer"] == "open"
    with pytest.raises(UsageError, match=said):
        make().reset(options=options)


def test_misuse_is_refused() -> None:
    env = make()
    with pytest.raises(UsageError, match="before reset"):
        env.step(np.zeros(7, np.float32))
    env.reset(seed=0)
    with pytest.raises(UsageError, match="seven finite numbers"):
        env.step(np.full(7, 2.0, np.float32))
    with pytest.raises(UnknownName):
        make(tasks="juggle")
    with pytest.raises(UnknownName):
        make(instructions="shouted")
    with pytest.raises(UsageError, match="3 sides"):
        make(image_px=(8, 8, 8))
    with pytest.raises(UsageError, match="0 steps"):
        make(max_steps=0)
    with pytest.raises(UsageError, match="cannot render"):
        TabletopEnv(tasks="core", render_mode="human")


def test_instructions_can_be_held_out_ones_in_the_colours_of_a_shift() -> None:
    said = {make(instructions="validation").reset(seed=0, options={"task": "push_red_block_left"})[1]["instruction"]}
    assert said == {TASKS["push_red_block_left"].validation}
    _, info = make(shift="target").reset(seed=0, options={"task": "push_red_block_left"})
    assert "red" not in info["instruction"]


@pytest.mark.parametrize("threads", [1, 2])
def test_many_worlds_are_what_gymnasiums_loop_over_single_ones_is(threads: int) -> None:
    ours, theirs = make_many("vector_entry_point", max_steps=4, threads=threads), make_many("sync", max_steps=4)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    for ours_now, theirs_now in zip(ours.reset(seed=7), theirs.reset(seed=7), strict=True):
        assert data_equivalence(ours_now, theirs_now, exact=True)
    ours.action_space.seed(0)
    for _ in range(12):
        actions = ours.action_space.sample()
        for ours_now, theirs_now in zip(ours.step(actions), theirs.step(actions), strict=True):
            assert data_equivalence(ours_now, theirs_now, exact=True)
    for ours_now, theirs_now in zip(ours.reset(), theirs.reset(), strict=True):
        assert data_equivalence(ours_now, theirs_now, exact=True)


def test_an_episode_that_ended_is_reset_by_the_next_step_and_its_action_is_ignored() -> None:
    envs = make_many("vector_entry_point", max_steps=2)
    envs.reset(seed=0)
    envs.step(np.zeros((3, 7)))
    _, _, _, truncated, _ = envs.step(np.zeros((3, 7)))
    assert truncated.all()
    observations, rewards, terminated, truncated, infos = envs.step(np.full((3, 7), np.nan))
    assert not rewards.any()
    assert not terminated.any()
    assert not truncated.any()
    assert (observations["state"][:, -1] == 1.0).all(), "hands are open after a reset"
    assert not infos["success"].any()


def test_observations_that_a_user_keeps_stay_as_they_were() -> None:
    envs = make_many("vector_entry_point")
    kept, _ = envs.reset(seed=0)
    copies = {name: values.copy() for name, values in kept.items()}
    for _ in range(3):
        envs.step(np.full((3, 7), 0.5))
    for name, values in kept.items():
        np.testing.assert_array_equal(values, copies[name])


def test_frames_for_people() -> None:
    env = make(render_mode="rgb_array", render_px=40)
    env.reset(seed=0)
    frame = env.render()
    assert frame is not None
    assert (frame.shape, frame.dtype) == ((40, 40, 3), np.uint8)
    assert make().render() is None
    envs = make_many("vector_entry_point", render_mode="rgb_array", render_px=40)
    envs.reset(seed=0)
    frames = envs.render()
    assert frames is not None
    assert [frame.shape for frame in frames] == [(40, 40, 3)] * 3
    np.testing.assert_array_equal(frames[0], frame)
