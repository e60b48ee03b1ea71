"""The expert does every task with every robot at every desk, legally, also when it is disturbed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vlactl.benchmarks.chains import frozen
from vlactl.tabletop.embodiments import EMBODIMENTS
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.layouts import LAYOUTS
from vlactl.tabletop.routes import beginnings
from vlactl.tabletop.tasks import TASKS
from vlactl.tabletop.world import World

STEPS = 60
"""Control steps of the longest demonstration that is kept."""


def attempt(world: World, task: str, disturb: float = 0.0, seed: int = 0, steps: int = STEPS) -> int | None:
    """Control steps to success, or None."""
    rng, before, expert = np.random.default_rng(seed), world.snapshot(), Expert(world, task)
    for step in range(steps):
        action = expert.act()
        assert action.shape == (7,)
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1
        assert abs(action[6]) == 1
        world.step(np.clip(action + disturb * rng.normal(size=7) * [1, 1, 1, 0, 0, 0.5, 0], -1, 1))
        if world.succeeded(task, before):
            return step + 1
    return None


def begin(world: World, task: str, seed: int) -> None:
    """Bring the world to where ``task`` can be asked."""
    rng = np.random.default_rng(seed)
    states = beginnings(task)
    state, ways = states[rng.integers(len(states))]
    way = ways[rng.integers(len(ways))]
    world.reset(state, seed)
    for name in way:
        assert attempt(world, name), f"{name}, on the way to {task}"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("robot", EMBODIMENTS)
def test_the_expert_does_every_task(robot: str, task: str) -> None:
    steps = []
    for seed, scene in enumerate(LAYOUTS):
        world = World(robot, scene)
        begin(world, task, seed)
        steps.append(attempt(world, task))
    assert all(steps), steps
    assert np.mean(steps) < 35, "ten to twenty steps at 10 Hz are what a demonstration should take"


@pytest.mark.parametrize("robot", EMBODIMENTS)
def test_the_expert_recovers_from_disturbances(robot: str) -> None:
    world, done = World(robot), Counter()
    for seed, task in enumerate(TASKS):
        begin(world, task, seed)
        done[attempt(world, task, disturb=0.25, seed=seed) is not None] += 1
    assert done[True] >= 31, done


def test_the_expert_does_whole_chains_of_the_benchmark() -> None:
    world, lengths = World("panda"), []
    for seed, (state, chain) in enumerate(frozen("full")[500:525]):
        world.reset(state, seed)
        done = 0
        while done < len(chain) and attempt(world, chain[done], steps=120):
            done += 1
        lengths.append(done)
    assert np.mean(lengths) >= 4.8


def test_the_expert_has_no_memory() -> None:
    world = World("panda")
    begin(world, "stack_block", 1)
    old = Expert(world, "stack_block")
    for _ in range(5):
        action = old.act()
        np.testing.assert_array_equal(Expert(world, "stack_block").act(), action)
        np.testing.assert_array_equal(old.act(), action)
        world.step(action)


def test_the_expert_works_at_calvins_control_rate() -> None:
    world, steps = World("panda", action_repeat=1), []
    for seed, task in enumerate(("open_drawer", "turn_on_led", "lift_red_block_table", "push_blue_block_right")):
        begin(world, task, seed)
        steps.append(attempt(world, task, steps=360))
    assert all(steps), steps
