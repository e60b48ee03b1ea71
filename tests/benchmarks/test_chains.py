"""Chains: CALVIN's rule, drawn another way, and frozen lists that cannot change unseen."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vlactl.benchmarks import CHAIN_LISTS, chains
from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop.tasks import SUITES, TASKS, after, start_states


def table(suite: str) -> dict:
    return {name: TASKS[name] for name in SUITES[suite]}


@pytest.mark.parametrize("suite", CHAIN_LISTS)
def test_the_rule_regenerates_the_frozen_list(suite: str) -> None:
    made = chains.generate(table(suite))
    assert chains.content_hash(made) == CHAIN_LISTS[suite]
    assert tuple(made) == chains.frozen(suite)


@pytest.mark.parametrize("suite", CHAIN_LISTS)
def test_frozen_chains_are_legal_and_share_the_start_states_evenly(suite: str) -> None:
    frozen = chains.frozen(suite)
    assert len(frozen) == 1000
    assert len({(*state.values(), *tasks) for state, tasks in frozen}) == 1000
    for state, tasks in frozen:
        assert len({TASKS[task].category for task in tasks}) == len(tasks) == 5
        for task in tasks:
            left = after(state, TASKS[task])
            assert left is not None, (state, task)
            state = left
    per_state = Counter(tuple(state.values()) for state, _ in frozen)
    assert set(per_state.values()) == {5, 6}
    assert len(per_state) == len(start_states())
    assert {task for _, tasks in frozen for task in tasks} == set(SUITES[suite])


@pytest.mark.parametrize("suite", CHAIN_LISTS)
def test_the_first_chains_are_a_fair_share_of_all(suite: str) -> None:
    """The list is shuffled: the first 200 hold every kind of goal about as often as the rest."""
    first = Counter(TASKS[task].category for _, tasks in chains.frozen(suite)[:200] for task in tasks)
    every = Counter(TASKS[task].category for _, tasks in chains.frozen(suite) for task in tasks)
    for category, count in every.items():
        assert abs(first[category] - count / 5) < 3.5 * (count / 5) ** 0.5, category


def test_the_full_list_asks_for_everything_about_as_often_as_calvins() -> None:
    """Against counts of CALVIN's own 1000 chains; more are stacked here, because a full bay takes no block."""
    found = Counter(TASKS[task].goal.kind for _, tasks in chains.frozen("full") for task in tasks)
    for kind, count in {"joint": 1230, "lamp": 753, "lift": 1118, "rotate": 416, "push": 438, "place": 606,
                        "push_into_drawer": 138}.items():
        assert found[kind] == pytest.approx(count, rel=0.2), kind
    assert found["stack"] > 200
    assert found["unstack"] > 80


def test_enumeration_finds_what_calvins_rejection_would() -> None:
    """Ordered draws of five tasks, kept if legal, give the enumerated set for one start state."""
    state, tasks = start_states()[3], table("core")

    def legal(chain: tuple[str, ...]) -> bool:
        if len({tasks[name].category for name in chain}) < 5:
            return False
        now = state
        for name in chain:
            left = after(now, tasks[name])
            if left is None:
                return False
            now = left
        return True

    found = chains.LegalChains(tasks)
    numbered = [found.chain(state, number) for number in range(found.count(state))]
    assert len(set(numbered)) == len(numbered)
    assert numbered == list(filter(legal, itertools.permutations(tasks, 5))), "in the order of the table"


def test_counting_is_right_for_every_length_and_start() -> None:
    """Against plain recursion over dictionaries."""
    tasks = table("core")

    def enumerated(state: dict, used: frozenset[int], length: int) -> int:
        left = [(task.category, after(state, task)) for task in tasks.values() if task.category not in used]
        return 1 if length == 0 else sum(enumerated(state, used | {category}, length - 1)
                                         for category, state in left if state is not None)

    for length in range(4):
        found = chains.LegalChains(tasks, length)
        for state in start_states()[::31]:
            assert found.count(state) == enumerated(state, frozenset(), length)


def test_a_list_of_an_unknown_suite_is_not_written() -> None:
    with pytest.raises(UnknownName, match="did you mean 'core'"):
        chains.write("cores")


def test_another_count_is_another_list_and_too_many_are_refused() -> None:
    few = chains.generate(table("core"), 192)
    assert set(Counter(tuple(state.values()) for state, _ in few).values()) == {1}
    assert few != list(chains.frozen("core")[:192])
    with pytest.raises(UsageError, match="legal chains of 5 start from"):
        chains.generate(table("furniture"))


def test_numpys_legacy_stream_is_what_the_list_was_drawn_with() -> None:
    assert np.random.RandomState(0).permutation(5).tolist() == [2, 0, 1, 3, 4]


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = chains.path("core").read_text().replace("open_drawer", "close_drawer", 1)
    (tmp_path / "core.json").write_text(changed)
    monkeypatch.setattr(chains, "path", lambda suite: tmp_path / f"{suite}.json")
    chains.frozen.cache_clear()
    with pytest.raises(UsageError, match="the chain list has the hash"):
        chains.frozen("core")
    monkeypatch.undo()
    assert len(chains.frozen("core")) == 1000


def test_writing_gives_the_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = chains.path("core").read_text()
    monkeypatch.setattr(chains, "path", lambda suite: tmp_path / f"{suite}.json")
    assert chains.write("core") == CHAIN_LISTS["core"]
    assert (tmp_path / "core.json").read_text() == original
