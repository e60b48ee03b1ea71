"""Quotas: exact, even, and the same whoever asks."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlactl.formats.quotas import UNIT_EPISODES, cell, divide

TASKS = [f"task-{number}" for number in range(34)]


@settings(max_examples=60, deadline=None)
@given(episodes=st.integers(1, 700), scenes=st.integers(1, 4), tasks=st.integers(1, 34))
def test_units_hold_every_episode_once_and_evenly(episodes: int, scenes: int, tasks: int) -> None:
    units = divide(episodes, "ABCD"[:scenes], TASKS[:tasks])
    assert [unit.number for unit in units] == list(range(len(units)))
    assert all(0 < unit.episodes <= UNIT_EPISODES and min(unit.quota.values()) > 0 for unit in units)
    by_cell: Counter[tuple[str, str]] = Counter()
    for unit in units:
        by_cell.update({(unit.scene, task): count for task, count in unit.quota.items()})
    assert by_cell.total() == episodes
    for axis, names in ((0, "ABCD"[:scenes]), (1, TASKS[:tasks])):
        counts = [sum(n for key, n in by_cell.items() if key[axis] == name) for name in names]
        assert max(counts) - min(counts) <= 1, counts
    counts = [by_cell[scene, task] for scene in "ABCD"[:scenes] for task in TASKS[:tasks]]
    assert max(counts) - min(counts) <= 1, "no cell twice before every cell once"


@pytest.mark.parametrize(("scenes", "tasks"), [(1, 34), (3, 34), (4, 34), (4, 8), (2, 17), (4, 4)])
def test_the_walk_comes_to_every_cell_once(scenes: int, tasks: int) -> None:
    assert len({cell(number, scenes, tasks) for number in range(scenes * tasks)}) == scenes * tasks
    assert cell(scenes * tasks + 5, scenes, tasks) == cell(5, scenes, tasks)


def test_more_episodes_only_add_at_the_end_of_each_scene() -> None:
    few, many = divide(400, "AB", TASKS), divide(800, "AB", TASKS)
    for scene in "AB":
        ours = [unit.quota for unit in few if unit.scene == scene]
        theirs = [unit.quota for unit in many if unit.scene == scene]
        assert ours[:-1] == theirs[:len(ours) - 1]
