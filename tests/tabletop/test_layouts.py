"""Desks: four that differ, with room for every task."""

from __future__ import annotations

import itertools
import math

import pytest

from vlactl.errors import UnknownName
from vlactl.tabletop.layouts import (
    BAY_FRONT_M,
    BLOCK_HALF_M,
    DESK_FRONT_M,
    DOOR_HALF_M,
    DRAWER_FLOOR_M,
    LAYOUTS,
    SLIDER_RANGE_M,
    SLIDER_SIDE_M,
    SLOT_JITTER_M,
    TABLE_Z_M,
    Layout,
    layout,
)
from vlactl.tabletop.rendering.textures import TEXTURES
from vlactl.tabletop.tasks import COLOURS

PUSHED_M = 0.13
"""How far a push may carry a block."""
REACH_M = max(math.hypot(x, y) for x, y, _ in BLOCK_HALF_M.values())


def test_four_scenes_by_calvins_letters() -> None:
    assert "".join(LAYOUTS) == "ABCD"
    assert all(layout(name).name == name for name in LAYOUTS)
    with pytest.raises(UnknownName, match="unknown scene 'E'"):
        layout("E")


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(LAYOUTS.values(), 2)),
                         ids=lambda desk: desk.name)
def test_scenes_differ_in_places_and_in_looks(one: Layout, other: Layout) -> None:
    assert one.drawer_x_m != other.drawer_x_m or one.door_x_m != other.door_x_m
    assert one.button_xy_m != other.button_xy_m
    assert one.look.desk != other.look.desk
    assert one.look.door != other.look.door
    assert one.look.light_dir != other.look.light_dir


def test_button_and_switch_change_sides() -> None:
    assert {desk.button_xy_m[0] < desk.switch_xy_m[0] for desk in LAYOUTS.values()} == {True, False}


@pytest.mark.parametrize("desk", LAYOUTS.values(), ids=LAYOUTS)
def test_looks_name_textures_that_exist(desk: Layout) -> None:
    look = desk.look
    paints = (look.desk, look.door, look.drawer, look.handle, look.button, look.lever, look.knob, look.floor)
    assert {paint.texture for paint in paints} <= set(TEXTURES)
    colours = [value for paint in paints for value in paint.rgb]
    assert 0 <= min(colours) <= max(colours) <= 1


@pytest.mark.parametrize("desk", LAYOUTS.values(), ids=LAYOUTS)
def test_blocks_start_on_the_desk_apart_and_clear_of_furniture(desk: Layout) -> None:
    for x, y in desk.slots_xy_m:
        assert y - SLOT_JITTER_M[1] - REACH_M > DESK_FRONT_M
        assert y + SLOT_JITTER_M[1] + REACH_M < BAY_FRONT_M - 0.075, "the handle of the door passes"
        for thing_x, thing_y in (desk.button_xy_m, desk.switch_xy_m):
            beside = abs(x - thing_x) - SLOT_JITTER_M[0] - REACH_M
            assert beside > 0.05
            assert beside > PUSHED_M - 0.02 or abs(y - thing_y) > 0.08, "a push ends short of button and switch"
    (x, y), (other_x, other_y) = desk.slots_xy_m
    assert math.hypot(abs(x - other_x) - 2 * SLOT_JITTER_M[0], max(abs(y - other_y) - 2 * SLOT_JITTER_M[1], 0)) > (
        2 * REACH_M)


def test_the_door_covers_a_bay_and_leaves_the_other() -> None:
    assert DOOR_HALF_M > REACH_M
    assert SLIDER_SIDE_M["left"] + DOOR_HALF_M < SLIDER_SIDE_M["right"] - REACH_M
    assert SLIDER_SIDE_M["right"] < SLIDER_RANGE_M


def test_a_closed_drawer_has_room_for_every_block() -> None:
    assert list(BLOCK_HALF_M) == list(COLOURS)
    assert DRAWER_FLOOR_M + 2 * max(max(half) for half in BLOCK_HALF_M.values()) < TABLE_Z_M - 0.03
