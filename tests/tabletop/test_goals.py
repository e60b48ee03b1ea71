"""Each predicate, driven both ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlactl.tabletop.goals import reached
from vlactl.tabletop.tasks import TASKS
from vlactl.tabletop.world import Snapshot

REST = Snapshot(joints={"slider": 0.0, "drawer": 0.06, "button": 0.0, "switch": 0.0}, lamps={"led": 0, "lightbulb": 1},
                blocks_m={f"{c}_block": np.array([0.0, -0.1, 0.485]) for c in ("red", "blue", "pink")},
                touching={f"{c}_block": frozenset({"desk"}) for c in ("red", "blue", "pink")})


def joint(name: str, position: float) -> Snapshot:
    return replace(REST, joints={**REST.joints, name: position})


def lamp(name: str, lit: int) -> Snapshot:
    return replace(REST, lamps={**REST.lamps, name: lit})


def block(x: float = 0.0, y: float = -0.1, z: float = 0.485,
          touching: frozenset[str] = frozenset({"desk"})) -> Snapshot:
    return replace(REST, blocks_m={**REST.blocks_m, "red_block": np.array([x, y, z])},
                   touching={**REST.touching, "red_block": touching})


HELD = frozenset({"robot"})


@pytest.mark.parametrize(("task", "before", "now", "done"), [
    ("move_slider_left", REST, joint("slider", -0.151), True),
    ("move_slider_left", REST, joint("slider", -0.149), False),
    ("move_slider_left", REST, joint("slider", 0.2), False),
    ("move_slider_right", REST, joint("slider", 0.151), True),
    ("move_slider_right", REST, joint("slider", 0.149), False),
    ("open_drawer", joint("drawer", 0.0), joint("drawer", 0.121), True),
    ("open_drawer", joint("drawer", 0.05), joint("drawer", 0.121), False),
    ("close_drawer", joint("drawer", 0.18), joint("drawer", 0.059), True),
    ("close_drawer", joint("drawer", 0.10), joint("drawer", 0.0), False),
    ("turn_on_led", lamp("led", 0), lamp("led", 1), True),
    ("turn_on_led", lamp("led", 1), lamp("led", 1), False),
    ("turn_off_led", lamp("led", 1), lamp("led", 0), True),
    ("turn_off_led", lamp("led", 0), lamp("led", 0), False),
    ("turn_on_lightbulb", lamp("lightbulb", 0), lamp("lightbulb", 1), True),
    ("turn_off_lightbulb", lamp("lightbulb", 1), lamp("lightbulb", 0), True),
    ("turn_off_lightbulb", lamp("lightbulb", 1), lamp("lightbulb", 1), False),
    ("push_red_block_right", REST, block(x=0.101), True),
    ("push_red_block_right", REST, block(x=0.099), False),
    ("push_red_block_right", REST, block(x=-0.101), False),
    ("push_red_block_right", REST, block(x=0.2, z=0.54, touching=HELD), False),
    ("push_red_block_right", REST, block(x=0.2, y=-0.4, z=0.2), False),
    ("push_red_block_right", block(z=0.55, touching=HELD), block(x=0.2, z=0.55, touching=HELD), False),
    ("push_red_block_left", REST, block(x=-0.101), True),
    ("push_red_block_left", REST, block(x=0.101), False),
    ("push_blue_block_left", REST, block(x=-0.2), False),
    ("lift_red_block_table", REST, block(z=0.54, touching=HELD), True),
    ("lift_red_block_table", REST, block(z=0.53, touching=HELD), False),
    ("lift_red_block_table", REST, block(z=0.54, touching=HELD | {"block"}), False),
    ("lift_red_block_table", REST, block(z=0.54, touching=frozenset()), False),
    ("lift_red_block_table", block(y=0.185), block(y=0.0, z=0.6, touching=HELD), False),
    ("lift_red_block_table", block(y=-0.2, z=0.35), block(y=-0.2, z=0.6, touching=HELD), False),
    ("lift_pink_block_table", REST, block(z=0.6, touching=HELD), False),
])
def test_predicates(task: str, before: Snapshot, now: Snapshot, done: bool) -> None:
    assert reached(TASKS[task].goal, before, now) is done


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_done_where_nothing_changed(task: str) -> None:
    assert not reached(TASKS[task].goal, REST, REST)
