"""Demonstrations fill their quota, are reproducible and labelled by the expert; what leads where is found out."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest

from vlactl.errors import UsageError
from vlactl.tabletop import demonstrations
from vlactl.tabletop.demonstrations import Demonstrations
from vlactl.tabletop.rendering import Poses
from vlactl.tabletop.routes import beginnings, feasible
from vlactl.tabletop.tasks import SUITES, TASKS, after, start_states
from vlactl.tabletop.world import World

QUOTA = {"open_drawer": 3, "close_drawer": 3, "turn_on_led": 3, "lift_red_block_table": 2}


def blind(poses: Poses) -> np.ndarray:
    return np.zeros((len(poses.geom_xpos), 2, 2, 2, 3), np.uint8)


def made(world: World, **changes: Any) -> Demonstrations:
    settings = {"quota": QUOTA, "seed": (5, 0), "noise": 0.35, "draw": blind, **changes}
    return Demonstrations(world, settings.pop("quota"), **settings)


@pytest.fixture(scope="module")
def world() -> World:
    return World("panda")


def same(ours: list, theirs: list) -> bool:
    return len(ours) == len(theirs) and all(
        (a.episode.instruction == b.episode.instruction)
        and np.array_equal(a.episode.states_TS, b.episode.states_TS)
        and np.array_equal(a.episode.actions_TA, b.episode.actions_TA) for a, b in zip(ours, theirs, strict=True))


def test_they_fill_the_quota_and_depend_on_seed_and_quota_only(world: World) -> None:
    first, other = list(made(world)), list(made(world, seed=(5, 1)))
    assert Counter(each.episode.task for each in first) == QUOTA == Counter(each.episode.task for each in other)
    assert same(first, list(made(world))), "a world that was used before"
    assert same(first, list(made(World("panda")))), "a fresh world"
    assert not same(first, other)
    for each in first:
        episode = each.episode
        assert each.words == []
        assert episode.instruction in TASKS[episode.task].train
        assert episode.images_TKYXC.shape == (len(episode), 2, 2, 2, 3)
        assert (episode.embodiment, episode.scene) == ("panda", "D")
        assert episode.robot_TR is not None
        assert episode.scene_TD is not None
        assert (episode.robot_TR.shape, episode.scene_TD.shape) == ((len(episode), 15), (len(episode), 24))
        np.testing.assert_allclose(episode.robot_TR[:, :3], episode.states_TS[:, :3], atol=1e-6)


def test_words_are_about_the_frame_that_they_name_and_change_nothing_else(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = list(made(world))
    seen: list[tuple[float, str]] = []

    def pairs(world: World, rng: np.random.Generator, count: int) -> list:
        said = demonstrations.Words(0, "caption", "", f"{world.state()[0]:.6f} {rng.integers(9)}")
        return [said] * count

    monkeypatch.setattr(demonstrations, "pairs", pairs)
    spoken = list(made(world, pairs=3))
    assert same(silent, spoken)
    for each in spoken:
        assert len(each.words) == 3
        for said in each.words:
            assert said.answer.split()[0] == f"{each.episode.states_TS[said.frame, 0]:.6f}"
            seen.append((said.frame / len(each.episode), said.answer))
    assert 0.3 < np.mean([place for place, _ in seen]) < 0.6, "evenly over the episode"


def test_about_a_fifth_of_executed_actions_differ_from_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[np.ndarray] = []
    step = World.step
    monkeypatch.setattr(World, "step", lambda self, action: (executed.append(np.array(action)), step(self, action))[1])
    source = made(World("stubby"), quota=dict.fromkeys(SUITES["furniture"], 10), seed=(1, 0))
    labels = np.concatenate([each.episode.actions_TA for each in itertools.islice(source, 24)])
    assert not source.dropped, "executed actions and labels line up only where every attempt is kept"
    kept = np.array(executed)[:len(labels)]
    assert 0.1 < np.mean((kept != labels).any(axis=1)) < 0.3
    np.testing.assert_array_equal(kept[:, 6], labels[:, 6])
    assert np.abs(kept).max() <= 1


def test_tasks_of_a_chain_follow_each_other_without_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    resets, world = [], World("panda")
    reset = world.reset
    monkeypatch.setattr(world, "reset", lambda *arguments: (resets.append(1), reset(*arguments))[1])
    assert len(list(made(world, quota=dict.fromkeys(SUITES["core"], 2)))) == 34
    assert len(resets) < 17


def test_failures_are_dropped_and_counted_and_a_hopeless_task_is_refused(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstrations, "LONGEST_S", 0.2)
    source = made(world, quota={"open_drawer": 1})
    with pytest.raises(UsageError, match="failed 40 times in a row at open_drawer"):
        list(source)
    assert source.dropped == {"open_drawer": demonstrations.HOPELESS}


def test_what_only_leads_to_a_task_is_done_but_not_kept_and_failures_are_not_drawn(world: World) -> None:
    drawn: list[Poses] = []
    source = made(world, quota={"place_in_drawer": 2}, draw=lambda poses: (drawn.append(poses), blind(poses))[1])
    found = list(source)
    assert Counter(each.episode.task for each in found) == {"place_in_drawer": 2}
    assert [len(poses.geom_xpos) for poses in drawn] == [len(each.episode) for each in found], "one call for each"
    for poses, each in zip(drawn, found, strict=True):
        assert each.episode.scene_TD is not None
        block = world.model.geom("red_block").id
        np.testing.assert_allclose(poses.geom_xpos[:, block], each.episode.scene_TD[:, 6:9], atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_beginnings_and_ways_that_lead_to_it(task: str) -> None:
    found = beginnings(task)
    assert found
    assert len({len(way) for _, ways in found for way in ways}) == 1, "the nearest ones only"
    for state, ways in found:
        assert state in start_states()
        assert ways
        for way in ways:
            now = state
            for name in way:
                left = after(now, TASKS[name])
                assert left is not None
                now = left
            assert feasible(now, [TASKS[task]])
