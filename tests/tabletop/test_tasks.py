"""The table of tasks: phrasings that a small policy can tell apart, and symbols that fit together."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from vlactl.tabletop.tasks import SUITES, TASKS, Task, after, holds, start_states


def words(text: str) -> Counter[str]:
    return Counter(text.replace(",", "").split())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_has_eight_phrasings_and_an_unseen_one_of_known_words(task: Task) -> None:
    assert len(set(task.train)) >= 8
    assert task.validation not in {phrase for other in TASKS.values() for phrase in other.train}
    assert words(task.validation).keys() <= {word for phrase in task.train for word in words(phrase)}


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.opposite], ids=lambda task: task.name)
def test_opposites_differ_in_more_than_one_word_in_every_phrasing(task: Task) -> None:
    opposite = TASKS[task.opposite]
    assert opposite.opposite == task.name
    for ours in (*task.train, task.validation):
        for theirs in (*opposite.train, opposite.validation):
            ours_only, theirs_only = words(ours) - words(theirs), words(theirs) - words(ours)
            assert max(ours_only.total(), theirs_only.total()) > 1, (ours, theirs)


def test_no_phrasing_names_two_tasks() -> None:
    phrasings = [phrase for task in TASKS.values() for phrase in {*task.train, task.validation}]
    assert len(phrasings) == len(set(phrasings))


def test_the_first_landing_has_seventeen_of_calvins_tasks_in_five_categories() -> None:
    assert len(SUITES["core"]) == 17
    assert {TASKS[name].category for name in SUITES["core"]} == {1, 2, 3, 4, 8}
    assert set(SUITES["furniture"]) | set(SUITES["blocks"]) == set(SUITES["core"])


def test_an_opposite_undoes_the_symbolic_effect() -> None:
    for state in start_states():
        for task in TASKS.values():
            left = after(state, task)
            if task.opposite and left is not None:
                assert after(left, TASKS[task.opposite]) == state


def test_a_task_is_asked_only_where_exactly_one_variant_applies() -> None:
    state = start_states()[0]
    both = ({}, {"led": 1})
    twice = Task(name="x", category=1, goal=TASKS["turn_on_led"].goal, variants=(both, both), train=(), validation="",
                 opposite="")
    assert after(state, twice) is None
    assert holds(state, {"led": (0, 1)})
    assert not holds(state, {"led": (2, 3)})


def test_the_start_states_are_calvins_192() -> None:
    states = start_states()
    assert len(states) == len({tuple(state.values()) for state in states}) == 192
    assert all(1 <= list(state.values()).count("table") <= 2 and state["grasped"] == 0 for state in states)


def test_planning_modules_import_no_simulator() -> None:
    code = ("import sys, vlactl.tabletop.tasks, vlactl.tabletop.embodiments, vlactl.tabletop.layouts\n"
            "vlactl.tabletop.embodiments.spaces('panda', 64)\n"
            "print(sorted({'mujoco', 'numba', 'numpy', 'torch'} & sys.modules.keys()))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
