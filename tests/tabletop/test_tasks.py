"""The table of tasks: CALVIN's, with symbols that fit together and chains that can be done."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from vlactl.benchmarks.chains import frozen
from vlactl.tabletop.phrasings import PHRASINGS
from vlactl.tabletop.tasks import BAYS, BLOCKS, OPEN_BAY, PLACES, SUITES, TASKS, Task, after, holds, start_states

CALVINS_CATEGORIES = [1] * 12 + [2, 2, 3, 3] + [4, 5, 6] * 3 + [7, 7, 10, 11, 8, 8, 8, 8, 9]
"""Of tasks 0 .. 33."""


def reachable() -> list[dict]:
    """Every symbolic state that some tasks lead to from some start."""
    found = {tuple(state.items()): state for state in start_states()}
    new = list(found.values())
    while new:
        left = [later for state in new for task in TASKS.values() if (later := after(state, task)) is not None]
        new = [state for state in {tuple(state.items()): state for state in left}.values()
               if tuple(state.items()) not in found]
        found |= {tuple(state.items()): state for state in new}
    return list(found.values())


STATES = reachable()


def test_there_are_calvins_34_tasks_in_its_order() -> None:
    assert [task.category for task in TASKS.values()] == CALVINS_CATEGORIES
    assert SUITES["full"] == tuple(TASKS)
    assert TASKS.keys() == PHRASINGS.keys()
    assert (tuple(TASKS)[:2], tuple(TASKS)[-1]) == (("rotate_red_block_right", "rotate_red_block_left"),
                                                    "push_into_drawer")


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_says_what_its_phrasings_say(task: Task) -> None:
    said = PHRASINGS[task.name]
    assert (task.train, task.validation, task.paraphrases) == (said.train, said.validation, said.paraphrases)


def test_core_has_the_seventeen_tasks_of_the_recipes() -> None:
    assert len(SUITES["core"]) == 17
    assert {TASKS[name].category for name in SUITES["core"]} == {1, 2, 3, 4, 8}
    assert set(SUITES["furniture"]) | set(SUITES["blocks"]) == set(SUITES["core"])
    assert SUITES["core"][:3] == ("push_red_block_right", "push_red_block_left", "lift_red_block_table")


def test_an_opposite_undoes_the_symbolic_effect() -> None:
    for state in STATES:
        for task in TASKS.values():
            left = after(state, task)
            if task.opposite and left is not None:
                assert TASKS[task.opposite].opposite == task.name
                assert after(left, TASKS[task.opposite]) == state


def test_a_task_is_asked_only_where_exactly_one_variant_applies() -> None:
    state = start_states()[0]
    both = ({}, {"led": 1})
    twice = Task(name="x", category=1, goal=TASKS["turn_on_led"].goal, variants=(both, both), train=(), validation="",
                 paraphrases=(), opposite="")
    assert after(state, twice) is None
    assert holds(state, {"led": (0, 1)})
    assert not holds(state, {"led": (2, 3)})


def test_the_start_states_are_calvins_192() -> None:
    states = start_states()
    assert len(states) == len({tuple(state.values()) for state in states}) == 192
    assert all(1 <= list(state.values()).count("table") <= 2 and state["grasped"] == 0 for state in states)


def test_no_state_is_impossible() -> None:
    """One hand, one block in a bay, one on top of one."""
    for state in STATES:
        places = Counter(state[block] for block in BLOCKS)
        assert places.keys() <= set(PLACES)
        assert places["grasped"] == state["grasped"] <= 1
        assert all(places[bay] <= 1 for bay in BAYS)
        assert places["stacked_top"] == places["stacked_bottom"] <= 1


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_what_is_asked_can_be_done(task: Task) -> None:
    """Nothing is lifted or put behind the door, nothing goes through a closed drawer, one hand holds one block."""
    asked = 0
    for state in STATES:
        left = after(state, task)
        if left is None:
            continue
        asked += 1
        open_bay, holding = OPEN_BAY[state["slider"]], task.goal.kind in ("place", "stack")
        assert state["grasped"] == holding
        moved = {block: (state[block], left[block]) for block in BLOCKS if state[block] != left[block]}
        for was, now in moved.values():
            assert open_bay in (was, now) or not {was, now} & set(BAYS), "only the open bay is within reach"
            assert "drawer" not in (was, now) or state["drawer"] == "open"
        if task.name == "place_in_slider":
            assert open_bay not in [state[block] for block in BLOCKS], "the bay must be empty"
        if task.name == "unstack_block":
            assert [now for _, now in moved.values()] == ["table", "table"]
    assert asked


def test_every_block_can_be_moved_by_every_kind_of_task_that_names_none() -> None:
    for name in ("place_in_slider", "place_in_drawer", "stack_block", "unstack_block", "push_into_drawer"):
        moved = {block for state in STATES if (left := after(state, TASKS[name])) for block in BLOCKS
                 if state[block] != left[block]}
        assert moved == set(BLOCKS), name


def test_the_frozen_chains_follow_the_table() -> None:
    for state, chain in frozen("full"):
        for name in chain:
            state = after(state, TASKS[name])
            assert state is not None
        assert len({TASKS[name].category for name in chain}) == len(chain) == 5


def test_planning_modules_import_no_simulator() -> None:
    code = ("import sys, vlactl.tabletop.tasks, vlactl.tabletop.embodiments, vlactl.tabletop.layouts\n"
            "import vlactl.tabletop.perturbations\n"
            "from vlactl.tabletop.interface import spaces\n"
            "spaces('panda', 64, pictures='')\n"
            "print(sorted({'mujoco', 'numba', 'numpy', 'torch'} & sys.modules.keys()))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
