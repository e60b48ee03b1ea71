"""Where everything is at the start: as the symbols say, seeded, at rest."""

from __future__ import annotations

import numpy as np
import pytest

from vlactl.errors import UsageError
from vlactl.tabletop import layouts
from vlactl.tabletop.embodiments import EMBODIMENTS
from vlactl.tabletop.goals import in_slider, on_table
from vlactl.tabletop.layouts import LAYOUTS, Layout
from vlactl.tabletop.placement import initial
from vlactl.tabletop.tasks import BLOCKS, TASKS, start_states
from vlactl.tabletop.world import World

START = {"led": 0, "lightbulb": 1, "slider": "right", "drawer": "open", "red_block": "table", "blue_block": "table",
         "pink_block": "slider_left", "grasped": 0}
SAMPLE = [(name, start_states()[(7 * index + offset) % 192]) for offset, name in enumerate(LAYOUTS)
          for index in range(0, 28, 2)]


def place(desk: Layout, state: dict, seed: int = 0) -> dict[str, np.ndarray]:
    return initial(desk, state, np.random.default_rng(seed))


@pytest.mark.parametrize("desk", LAYOUTS.values(), ids=LAYOUTS)
def test_all_192_starts_are_what_the_symbols_say(desk: Layout) -> None:
    for seed, state in enumerate(start_states()):
        found = place(desk, state, seed)
        assert np.sign(found["slider"][0]) == {"left": -1, "right": 1}[state["slider"]]
        assert found["drawer"][0] == (layouts.DRAWER_OPEN_M if state["drawer"] == "open" else 0)
        assert (found["switch"][0] > 0) == state["lightbulb"]
        for block in BLOCKS:
            assert found[block].shape == (7,)
            assert np.linalg.norm(found[block][3:]) == pytest.approx(1)
            assert on_table(found[block]) == (state[block] == "table")
            if state[block] != "table":
                assert in_slider(found[block])
                assert np.sign(found[block][0] - desk.door_x_m) == {"slider_left": -1, "slider_right": 1}[state[block]]


def test_the_seed_decides_slots_offsets_and_yaws() -> None:
    desk = LAYOUTS["D"]
    first, again, other = (place(desk, START, seed) for seed in (3, 3, 4))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
    assert any((first[block] != other[block]).any() for block in BLOCKS)
    reds = np.array([place(desk, START, seed)["red_block"] for seed in range(200)])
    slots = np.array(desk.slots_xy_m)
    nearest = np.abs(reds[:, None, :2] - slots).sum(axis=2).argmin(axis=1)
    assert set(nearest) == {0, 1}
    assert (np.abs(reds[:, :2] - slots[nearest]) <= layouts.SLOT_JITTER_M).all()
    yaws = 2 * np.arctan2(reds[:, 6], reds[:, 3])
    assert np.abs(yaws).max() <= layouts.YAW_JITTER_RAD
    assert np.ptp(yaws) > layouts.YAW_JITTER_RAD


@pytest.mark.parametrize(("change", "message"), [
    ({"led": 2}, "led = 2"),
    ({"slider": "middle"}, "slider = 'middle'"),
    ({"grasped": 1}, "grasped = 1"),
    ({"red_block": "drawer"}, "red_block = 'drawer'"),
    ({"green_block": "table"}, "missing or unknown: .'green_block'"),
    ({"pink_block": "table"}, "blocks at .'table', 'table', 'table'"),
    ({"blue_block": "slider_left"}, "blocks at .'table', 'slider_left', 'slider_left'"),
])
def test_a_start_that_cannot_be_built_is_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        place(LAYOUTS["D"], START | change)


@pytest.mark.parametrize("robot", EMBODIMENTS)
def test_blocks_rest_where_the_start_says_and_nothing_is_done(robot: str) -> None:
    worlds = {name: World(robot, name) for name in LAYOUTS}
    for seed, (name, state) in enumerate(SAMPLE):
        world = worlds[name]
        world.reset(state, seed)
        seen, put = world.snapshot(), place(world.layout, state, seed)
        for block in BLOCKS:
            assert np.abs(seen.blocks_m[block] - put[block][:3]).max() < 2e-3
            assert seen.touching[block] == {"desk"}
        assert seen.joints["drawer"] == pytest.approx(put["drawer"][0], abs=2e-3)
        assert seen.joints["slider"] == pytest.approx(put["slider"][0], abs=2e-3)
        assert seen.lamps == {"led": state["led"], "lightbulb": state["lightbulb"]}
        assert np.abs(world.data.qvel).max() < 0.05
        assert not [task for task in TASKS if world.succeeded(task, seen)]
