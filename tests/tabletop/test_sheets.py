"""Contact sheets, the way to each task, and the state in words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vlactl.errors import UnknownName
from vlactl.panels import COLOURS
from vlactl.tabletop import layouts, rehearsal, sheets
from vlactl.tabletop.perturbations import SHIFTS
from vlactl.tabletop.readout import readout
from vlactl.tabletop.rehearsal import perform, route
from vlactl.tabletop.tasks import SUITES, TASKS, after, start_states
from vlactl.tabletop.world import World

SMALL = 64


@pytest.mark.parametrize("task", TASKS)
def test_the_way_to_a_task_is_legal(task):
    for number in range(3):
        way = route(task, number)
        assert way.tasks == (*way.before, task)
        assert way.start in start_states()
        state = way.start
        for name in way.tasks:
            state = after(state, TASKS[name])
            assert state is not None, name
        assert way == route(task, number)


def test_numbers_give_other_ways_and_unknown_tasks_are_named():
    assert len({str(route("open_drawer", number).start) for number in range(4)}) == 4
    with pytest.raises(UnknownName, match="did you mean 'open_drawer'"):
        route("open_drawr")


def test_a_task_that_is_done_has_three_different_pictures():
    (done,) = sheets.strips("panda", "D", ["open_drawer"], image_px=SMALL)
    assert done.success
    assert done.note.endswith("steps")
    assert [image.shape for image in done.images] == [(SMALL, SMALL, 3)] * 3
    assert all((one != other).any() for one, other in zip(done.images, done.images[1:], strict=False))
    again = next(iter(sheets.strips("panda", "D", ["open_drawer"], image_px=SMALL)))
    assert all((one == other).all() for one, other in zip(done.images, again.images, strict=True))


def test_failures_are_shown_and_counted(monkeypatch):
    monkeypatch.setattr(rehearsal, "TASK_S", 0.2)
    monkeypatch.setattr(rehearsal, "Expert", lambda world, task: SimpleNamespace(act=lambda: np.zeros(7)))
    found = list(sheets.strips("panda", "D", ["open_drawer", "unstack_block"], image_px=SMALL))
    assert [each.success for each in found] == [False, False]
    assert found[0].note == "2 steps"
    assert found[1].note == f"not begun: {route('unstack_block', 1).before[0]} failed before it"
    (page,) = sheets.pages(found, "a title")
    assert (page == COLOURS["failed"]).all(axis=2).sum() > 2 * 3 * SMALL


def test_all_tasks_are_on_the_pages():
    image = np.full((SMALL, SMALL, 3), 77, np.uint8)
    done = [sheets.Strip(task=task, instruction="a", images=(image,) * 3, success=True, note="9 steps")
            for task in TASKS]
    pages = sheets.pages(done, "a title")
    assert len(pages) == -(-len(TASKS) // sheets.PER_PAGE)
    shown = sum(int((page == 77).all(axis=2).sum()) for page in pages)
    covered = 3 * 50 * 22  # by the labels in the corners
    assert len(TASKS) * (3 * SMALL**2 - covered) < shown <= len(TASKS) * 3 * SMALL**2


def test_tasks_are_selected_by_suite_or_name():
    assert sheets.selected("") == tuple(TASKS)
    assert sheets.selected("core") == SUITES["core"]
    assert sheets.selected("open_drawer, turn_on_led") == ("open_drawer", "turn_on_led")
    with pytest.raises(UnknownName):
        sheets.selected("open_drawer,turn_on_leed")


def test_the_overview_has_a_picture_for_each_pair():
    names = list(layouts.LAYOUTS)[:2]
    page = sheets.overview(scenes=names, embodiments=("panda",), image_px=SMALL)
    assert page.shape[1] > 2 * SMALL
    assert page.std() > 20
    assert (page == sheets.overview(scenes=names, embodiments=("panda",), image_px=SMALL)).all()


def test_every_shift_that_can_be_seen_is_on_the_page(monkeypatch):
    drawn = []
    monkeypatch.setattr(sheets, "_sample", lambda *what: drawn.append(what) or np.zeros((SMALL, SMALL, 3), np.uint8))
    sheets.shifts("panda", "D", image_px=SMALL)
    assert {shift for _, _, shift, _ in drawn} == set(SHIFTS) - {"description"}


def test_the_state_in_words_follows_the_world():
    world = World("panda", "D")
    start = {"led": 1, "lightbulb": 0, "slider": "left", "drawer": "open", "red_block": "table",
             "blue_block": "slider_right", "pink_block": "table", "grasped": 0}
    world.reset(start, 3)
    said = dict(readout(world))
    assert said["door"].startswith("left")
    assert said["drawer"].startswith("open")
    assert (said["led"], said["bulb"], said["holds"]) == ("on", "off", "nothing")
    assert (said["red"], said["blue"]) == ("on the desk", "in the right bay")
    assert perform(world, "lift_red_block_table") is not None
    said = dict(readout(world))
    assert (said["holds"], said["red"]) == ("red", "in the hand")
    assert said["gripper"].startswith("shut")
    world.reset({**start, "drawer": "closed", "led": 0, "lightbulb": 1, "slider": "right", "blue_block": "slider_left"},
                3)
    said = dict(readout(world))
    assert said["door"].startswith("right")
    assert said["drawer"].startswith("closed")
    assert (said["led"], said["bulb"]) == ("off", "on")


def test_a_block_in_the_drawer_and_one_on_another_are_named():
    world = World("panda", "D")
    for task, value in (("lift_red_block_drawer", "in the drawer"), ("unstack_block", "on a block")):
        way = route(task)
        world.reset(way.start, 0)
        assert all(perform(world, name) for name in way.before)
        assert value in dict(readout(world)).values(), task
