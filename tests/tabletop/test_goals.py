"""Each of the 34 predicates, driven both ways on snapshots that are made by hand."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from vlactl.tabletop.goals import in_drawer, in_slider, on_table, reached
from vlactl.tabletop.layouts import BAY_Y_M
from vlactl.tabletop.tasks import BLOCKS, TASKS, start_states
from vlactl.tabletop.world import Snapshot, World

DESK, HELD, STACKED, DRAWER = (frozenset({name}) for name in ("desk", "robot", "block", "drawer"))
AWAY = {"red_block": (-0.2, -0.2, 0.485), "blue_block": (0.2, -0.2, 0.485), "pink_block": (0.2, -0.05, 0.49)}
BAY = (0.13, BAY_Y_M, 0.485)
IN_DRAWER = (0.0, -0.38, 0.377)


def turned(yaw_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    """A rotation: about x, then about the vertical."""
    (c, s), (d, t) = ((np.cos(a), np.sin(a)) for a in np.radians([yaw_deg, roll_deg]))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, d, -t], [0, t, d]])


REST = Snapshot(joints={"slider": 0.0, "drawer": 0.06, "button": 0.0, "switch": 0.0}, lamps={"led": 0, "lightbulb": 1},
                blocks_m={name: np.array(at) for name, at in AWAY.items()},
                blocks_rotation={name: np.eye(3) for name in BLOCKS}, touching=dict.fromkeys(BLOCKS, DESK),
                touched_blocks=dict.fromkeys(BLOCKS, frozenset()))


def joint(name: str, position: float) -> Snapshot:
    return replace(REST, joints={**REST.joints, name: position})


def lamp(name: str, lit: int) -> Snapshot:
    return replace(REST, lamps={**REST.lamps, name: lit})


def block(name: str, x: float = 0.0, y: float = -0.1, z: float = 0.485, touching: frozenset[str] = DESK,
          rotation: np.ndarray = REST.blocks_rotation["red_block"], on: str = "") -> Snapshot:
    """One block elsewhere, perhaps on another block."""
    return replace(REST, blocks_m={**REST.blocks_m, name: np.array([x, y, z])},
                   blocks_rotation={**REST.blocks_rotation, name: rotation},
                   touching={**REST.touching, name: touching} | ({on: DESK | STACKED} if on else {}),
                   touched_blocks={**REST.touched_blocks} | ({name: frozenset({on}), on: frozenset({name})}
                                                             if on else {}))


FURNITURE = [
    ("move_slider_left", REST, joint("slider", -0.151), True),
    ("move_slider_left", REST, joint("slider", -0.149), False),
    ("move_slider_left", REST, joint("slider", 0.2), False),
    ("move_slider_right", REST, joint("slider", 0.151), True),
    ("move_slider_right", REST, joint("slider", 0.149), False),
    ("open_drawer", joint("drawer", 0.0), joint("drawer", 0.121), True),
    ("open_drawer", joint("drawer", 0.05), joint("drawer", 0.121), False),
    ("close_drawer", joint("drawer", 0.18), joint("drawer", 0.059), True),
    ("close_drawer", joint("drawer", 0.10), joint("drawer", 0.0), False),
    *((f"turn_{way}_{name}", lamp(name, before), lamp(name, now), now - before == (1 if way == "on" else -1))
      for way in ("on", "off") for name in ("led", "lightbulb") for before in (0, 1) for now in (0, 1)),
]


def about(name: str) -> list[tuple[str, Snapshot, Snapshot, bool]]:
    """The rows that are the same for each of the three blocks."""
    other = next(block for block in BLOCKS if block != name)
    start, bay, drawer = block(name), block(name, *BAY), block(name, *IN_DRAWER, touching=DRAWER)
    return [
        (f"push_{name}_right", start, block(name, x=0.101), True),
        (f"push_{name}_right", start, block(name, x=0.101, touching=frozenset()), True),
        (f"push_{name}_right", start, block(name, x=0.099), False),
        (f"push_{name}_right", start, block(name, x=-0.101), False),
        (f"push_{name}_right", start, block(name, x=0.2, z=0.54, touching=HELD), False),
        (f"push_{name}_right", start, block(name, x=0.2, y=-0.4, z=0.2), False),
        (f"push_{name}_right", block(name, z=0.55, touching=HELD), block(name, x=0.2, z=0.55, touching=HELD), False),
        (f"push_{name}_left", start, block(name, x=-0.101), True),
        (f"push_{name}_left", start, block(name, x=0.101), False),
        (f"push_{name}_left", REST, block(other, x=-0.4), False),
        (f"rotate_{name}_left", start, block(name, rotation=turned(61)), True),
        (f"rotate_{name}_left", start, block(name, x=0.09, rotation=turned(61)), True),
        (f"rotate_{name}_left", start, block(name, rotation=turned(59)), False),
        (f"rotate_{name}_left", start, block(name, rotation=turned(-61)), False),
        (f"rotate_{name}_left", start, block(name, x=0.11, rotation=turned(61)), False),
        (f"rotate_{name}_left", start, block(name, rotation=turned(61, roll_deg=40)), False),
        (f"rotate_{name}_left", start, block(name, z=0.51, touching=HELD, rotation=turned(61)), False),
        (f"rotate_{name}_left", REST, block(other, rotation=turned(61)), False),
        (f"rotate_{name}_left", block(name, rotation=turned(170)), block(name, rotation=turned(-120)), True),
        (f"rotate_{name}_right", start, block(name, rotation=turned(-61)), True),
        (f"rotate_{name}_right", start, block(name, rotation=turned(-59)), False),
        (f"rotate_{name}_right", start, block(name, rotation=turned(61)), False),
        (f"lift_{name}_table", start, block(name, z=0.54, touching=HELD), True),
        (f"lift_{name}_table", start, block(name, z=0.53, touching=HELD), False),
        (f"lift_{name}_table", start, block(name, z=0.54, touching=HELD | STACKED), False),
        (f"lift_{name}_table", start, block(name, z=0.54, touching=frozenset()), False),
        (f"lift_{name}_table", REST, block(other, z=0.6, touching=HELD), False),
        (f"lift_{name}_table", bay, block(name, z=0.6, touching=HELD), False),
        (f"lift_{name}_table", drawer, block(name, z=0.6, touching=HELD), False),
        (f"lift_{name}_slider", bay, block(name, *BAY[:2], 0.516, HELD), True),
        (f"lift_{name}_slider", bay, block(name, *BAY[:2], 0.514, HELD), False),
        (f"lift_{name}_slider", bay, block(name, *BAY[:2], 0.516, HELD | {"furniture"}), False),
        (f"lift_{name}_slider", start, block(name, z=0.6, touching=HELD), False),
        (f"lift_{name}_drawer", drawer, block(name, *IN_DRAWER[:2], 0.428, HELD), True),
        (f"lift_{name}_drawer", drawer, block(name, *IN_DRAWER[:2], 0.426, HELD), False),
        (f"lift_{name}_drawer", drawer, block(name, *IN_DRAWER[:2], 0.428, HELD | DRAWER), False),
        (f"lift_{name}_drawer", start, block(name, z=0.6, touching=HELD), False),
    ]


HAND = block("red_block", z=0.6, touching=HELD)
STACK = block("red_block", 0.205, -0.205, 0.535, STACKED, on="blue_block")
ANY_BLOCK = [
    ("place_in_slider", HAND, block("red_block", *BAY), True),
    ("place_in_slider", HAND, block("red_block", *BAY, touching=DESK | HELD), False),
    ("place_in_slider", HAND, block("red_block", *BAY, touching=frozenset()), False),
    ("place_in_slider", HAND, block("red_block"), False),
    ("place_in_slider", HAND, block("red_block", *IN_DRAWER, touching=DRAWER), False),
    ("place_in_slider", HAND, replace(HAND, blocks_m={**HAND.blocks_m, "blue_block": np.array(BAY)}), False),
    ("place_in_slider", REST, block("red_block", *BAY), False),
    ("place_in_drawer", HAND, block("red_block", *IN_DRAWER, touching=DRAWER), True),
    ("place_in_drawer", HAND, block("red_block", *IN_DRAWER, touching=DRAWER | HELD), False),
    ("place_in_drawer", HAND, block("red_block", *IN_DRAWER, touching=frozenset()), False),
    ("place_in_drawer", HAND, block("red_block", *BAY), False),
    ("place_in_drawer", HAND, block("red_block", 0.0, -0.5, 0.025, frozenset({"furniture"})), False),
    ("place_in_drawer", REST, block("red_block", *IN_DRAWER, touching=DRAWER), False),
    ("stack_block", HAND, STACK, True),
    ("stack_block", HAND, replace(STACK, touching={**STACK.touching, "red_block": STACKED | HELD}), False),
    ("stack_block", HAND, replace(STACK, touching={**STACK.touching, "red_block": STACKED | DESK}), False),
    ("stack_block", HAND, replace(STACK, blocks_rotation={**STACK.blocks_rotation, "red_block": turned(0, 20)}), False),
    ("stack_block", HAND, replace(STACK, blocks_m={**STACK.blocks_m, "blue_block": np.array(IN_DRAWER)}), False),
    ("stack_block", HAND, block("red_block"), False),
    ("stack_block", STACK, STACK, False),
    ("unstack_block", STACK, block("red_block"), True),
    ("unstack_block", STACK, block("red_block", touching=DESK | HELD), False),
    ("unstack_block", STACK, block("red_block", touching=DESK | STACKED), False),
    ("unstack_block", STACK, block("red_block", z=0.6, touching=HELD), False),
    ("unstack_block", STACK, block("red_block", *BAY), False),
    ("unstack_block", REST, block("red_block"), False),
    ("unstack_block", HAND, block("red_block"), False),
    ("place_in_slider", HAND, block("red_block", 0.36, BAY_Y_M), False),
    ("place_in_slider", replace(HAND, door_x_m=0.1), replace(block("red_block", 0.36, BAY_Y_M), door_x_m=0.1), True),
    ("lift_red_block_slider", block("red_block", 0.36, BAY_Y_M), block("red_block", 0.36, BAY_Y_M, 0.55, HELD), False),
    ("push_into_drawer", REST, block("pink_block", *IN_DRAWER, touching=DRAWER), True),
    ("push_into_drawer", block("pink_block", touching=DESK | HELD), block("pink_block", *IN_DRAWER, touching=DRAWER),
     True),
    ("push_into_drawer", REST, block("pink_block", *IN_DRAWER, touching=frozenset()), False),
    ("push_into_drawer", REST, block("pink_block", 0.0, -0.5, 0.03, frozenset({"furniture"})), False),
    ("push_into_drawer", block("pink_block", *BAY), block("pink_block", *IN_DRAWER, touching=DRAWER), False),
    ("push_into_drawer", HAND, block("red_block", *IN_DRAWER, touching=DRAWER), False),
]
CASES = [*FURNITURE, *(row for name in BLOCKS for row in about(name)), *ANY_BLOCK]


@pytest.mark.parametrize(("task", "before", "now", "done"), CASES, ids=[row[0] for row in CASES])
def test_predicates(task: str, before: Snapshot, now: Snapshot, done: bool) -> None:
    assert reached(TASKS[task].goal, before, now) is done


def test_every_task_is_driven_both_ways() -> None:
    assert {(task, done) for task, *_, done in CASES} == {(task, done) for task in TASKS for done in (True, False)}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("state", [REST, HAND, STACK, block("blue_block", *IN_DRAWER, touching=DRAWER)], ids=str)
def test_nothing_is_done_where_nothing_changed(task: str, state: Snapshot) -> None:
    assert not reached(TASKS[task].goal, state, state)


def test_a_block_is_at_one_place_at_most() -> None:
    for x, y, z in np.random.default_rng(0).uniform([-0.4, -0.6, 0.0], [0.4, 0.3, 0.7], (4000, 3)):
        assert on_table([x, y, z]) + in_slider([x, y, z]) + in_drawer([x, y, z]) <= 1


def test_a_block_on_the_handle_is_not_in_the_drawer() -> None:
    world = World("panda")
    world.reset(next(state for state in start_states() if state["drawer"] == "open"), 0)
    handle = world.data.geom_xpos[world.model.geom("drawer_handle").id]
    inside, found = [world.layout.drawer_x_m, -0.37, 0.38], []
    for at, rest in ((handle + np.array([0, 0, 0.04]), "furniture"), (inside, "drawer")):
        address = world.model.joint("red_block").qposadr[0]
        world.data.qpos[address:address + 7] = [*at, 1, 0, 0, 0]
        world.data.qvel[:] = 0
        mujoco.mj_forward(world.model, world.data)
        world.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
        assert rest in world.snapshot().touching["red_block"]
        found.append(world.succeeded("place_in_drawer", HAND))
    assert found == [False, True]
