"""The expert does every task with every robot, legally, also when it is disturbed; its demonstrations are clean."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from vlactl.errors import UsageError
from vlactl.tabletop import demonstrations
from vlactl.tabletop.demonstrations import Demonstrations, feasible, feasible_start
from vlactl.tabletop.embodiments import EMBODIMENTS
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.tasks import SUITES, TASKS
from vlactl.tabletop.world import World

STEPS = 60


def attempt(world: World, task: str, disturb: float = 0.0, seed: int = 0) -> int | None:
    """Control steps to success, or None."""
    rng, before, expert = np.random.default_rng(seed), world.snapshot(), Expert(world, task)
    for step in range(STEPS):
        action = expert.act()
        assert action.shape == (7,)
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1
        assert abs(action[6]) == 1
        world.step(np.clip(action + disturb * rng.normal(size=7) * [1, 1, 1, 0, 0, 0.5, 0], -1, 1))
        if world.succeeded(task, before):
            return step + 1
    return None


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("robot", EMBODIMENTS)
def test_the_expert_does_every_task(robot: str, task: str) -> None:
    world, rng = World(robot), np.random.default_rng(1)
    steps = []
    for seed in range(3):
        world.reset(feasible_start([TASKS[task]], rng), seed)
        steps.append(attempt(world, task))
    assert all(steps), steps
    assert np.mean(steps) < 30, "ten to twenty steps at 10 Hz are what a demonstration should take"


@pytest.mark.parametrize("robot", EMBODIMENTS)
def test_the_expert_recovers_from_disturbances(robot: str) -> None:
    world, rng, done = World(robot), np.random.default_rng(2), Counter()
    for seed, task in enumerate(TASKS):
        world.reset(feasible_start([TASKS[task]], rng), seed)
        done[attempt(world, task, disturb=0.25, seed=seed) is not None] += 1
    assert done[True] >= 15, done


def blind(_: World) -> np.ndarray:
    return np.zeros((2, 2, 2, 3), np.uint8)


def test_demonstrations_are_balanced_reproducible_and_labelled_by_the_expert() -> None:
    tasks = ("open_drawer", "close_drawer", "turn_on_led", "lift_red_block_table")
    found = [list(Demonstrations("panda", "D", tasks, 3, 5, 0.35, blind)) for _ in range(2)]
    assert Counter(episode.task for episode in found[0]) == dict.fromkeys(tasks, 3)
    for ours, theirs in zip(*found, strict=True):
        assert ours.instruction == theirs.instruction
        assert ours.instruction in TASKS[ours.task].train
        np.testing.assert_array_equal(ours.states_TS, theirs.states_TS)
        np.testing.assert_array_equal(ours.actions_TA, theirs.actions_TA)
        assert ours.states_TS.shape == (len(ours), 9)
        assert ours.images_TKYXC.shape == (len(ours), 2, 2, 2, 3)
        assert ours.embodiment == "panda"
    other = list(Demonstrations("panda", "D", tasks, 3, 6, 0.35, blind))
    assert any(len(a) != len(b) or not np.array_equal(a.actions_TA, b.actions_TA)
               for a, b in zip(found[0], other, strict=True))


def test_about_a_fifth_of_executed_actions_differ_from_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[np.ndarray] = []
    step = World.step
    monkeypatch.setattr(World, "step", lambda self, action: (executed.append(np.array(action)), step(self, action))[1])
    source = Demonstrations("stubby", "D", SUITES["furniture"], 100, 0, 0.35, blind)
    labels = np.concatenate([episode.actions_TA for episode in itertools.islice(source, 24)])
    assert not source.dropped, "executed actions and labels line up only where every attempt is kept"
    kept = np.array(executed)[:len(labels)]
    assert 0.1 < np.mean((kept != labels).any(axis=1)) < 0.3
    np.testing.assert_array_equal(kept[:, 6], labels[:, 6])
    assert np.abs(kept).max() <= 1


def test_tasks_of_a_chain_follow_each_other_without_a_reset() -> None:
    resets = Counter()
    source = Demonstrations("panda", "D", SUITES["core"], 2, 0, 0.0, blind)
    reset = source.world.reset
    source.world.reset = lambda *arguments: (resets.update(["reset"]), reset(*arguments))[1]  # type: ignore[method-assign]
    episodes = list(source)
    assert len(episodes) == len(source) == 34
    assert resets["reset"] < len(episodes) / 2


def test_failures_are_dropped_and_counted_and_a_hopeless_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstrations, "MAX_STEPS", 2)
    source = Demonstrations("panda", "D", ("open_drawer",), 1, 0, 0.0, blind)
    with pytest.raises(UsageError, match="failed 40 times in a row at open_drawer"):
        list(source)
    assert source.dropped == {"open_drawer": demonstrations.HOPELESS}


def test_only_feasible_tasks_are_offered() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        state = feasible_start([TASKS["turn_off_led"]], rng)
        assert state["led"] == 1
        names = {task.name for task in feasible(state, list(TASKS.values()))}
        assert "turn_off_led" in names
        assert "turn_on_led" not in names
        assert ("open_drawer" in names) == (state["drawer"] == "closed")
