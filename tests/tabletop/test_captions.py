"""Captions and questions: everything said is true and every no is a no, judged by another reading of the state."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

import mujoco
import numpy as np
import pytest

from vlactl.tabletop.captions import DRAWER, Fact, Pair, facts, pairs
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.goals import in_drawer
from vlactl.tabletop.layouts import BAY_FRONT_M, DRAWER_OPEN_M, TABLE_Z_M
from vlactl.tabletop.phrasings import COLOURS
from vlactl.tabletop.rehearsal import perform, route
from vlactl.tabletop.tasks import start_states
from vlactl.tabletop.world import World


# ---- the other reading: coordinates only, no contacts ---------------------------------------------------------------
def at(world: World, colour: str) -> np.ndarray:
    return world.data.xpos[world.model.body(f"{colour}_block").id]


def held(world: World, colour: str) -> bool:
    return bool(np.linalg.norm(at(world, colour) - world.eef_m) < 0.035 and world.gripper_command < 0)


def stands_on(world: World, colour: str) -> str:
    """The block under a block, or nothing."""
    for other in COLOURS:
        offset = at(world, colour) - at(world, other)
        if other != colour and 0.03 < offset[2] < 0.08 and np.hypot(*offset[:2]) < 0.04:
            return other
    return ""


def in_place(world: World, colour: str, place: str) -> bool:
    x, y, z = at(world, colour)
    if place == "in the gripper":
        return held(world, colour)
    if held(world, colour):
        return False
    if (found := re.fullmatch(r"on the (\w+) block", place)) is not None:
        return stands_on(world, colour) == found[1]
    if stands_on(world, colour):
        return False
    if place == "in the sliding cabinet":
        return y > BAY_FRONT_M and z > TABLE_Z_M and abs(x - world.layout.door_x_m - world.joint("slider")) > 0.15
    if place == "in the drawer":
        return z < TABLE_Z_M and y < BAY_FRONT_M
    assert place == "on the table", place
    return TABLE_Z_M < z < TABLE_Z_M + 0.06 and y < BAY_FRONT_M


def left_of(world: World, colour: str, other: str) -> bool:
    return at(world, colour)[0] < at(world, other)[0]


def count_on_table(world: World) -> int:
    return sum(in_place(world, colour, "on the table") for colour in COLOURS)


NUMBER = {"no": 0, "none": 0, "one": 1, "two": 2, "three": 3}
LAMP = {"led": "led", "bulb": "lightbulb"}
JUDGES: dict[str, Callable[..., bool]] = {
    r"the drawer is (open|closed)": lambda w, how: (w.joint("drawer") > DRAWER_OPEN_M / 2) == (how == "open"),
    r"the sliding door is on the (left|right)": lambda w, side: (w.joint("slider") < 0) == (side == "left"),
    r"the (?:green |light )(led|bulb) is (on|off)": lambda w, lamp, how: w.lamps[LAMP[lamp]] == (how == "on"),
    r"only the (?:light )?(led|bulb) shines": lambda w, lamp: w.lamps[LAMP[lamp]] == 1 and sum(w.lamps.values()) == 1,
    r"both lamps (shine|are dark)": lambda w, how: sum(w.lamps.values()) == (2 if how == "shine" else 0),
    r"the gripper holds nothing": lambda w: not any(held(w, colour) for colour in COLOURS),
    r"the gripper holds the (\w+) block": held,
    r"the gripper is (open|closed)": lambda w, how: (w.gripper_width_m > 0.03) == (how == "open"),
    r"the (\w+) block is ((?:on|in) the (?!left|right).+)": in_place,
    r"the (\w+) block is to the left of the (\w+) block": left_of,
    r"the (\w+) block is to the right of the (\w+) block": lambda w, one, other: left_of(w, other, one),
    r"there (?:are|is) (no|one|two|three) blocks? on the table": lambda w, n: count_on_table(w) == NUMBER[n],
    r"the drawer is (?:open and )?empty": lambda w: not any(in_place(w, c, "in the drawer") for c in COLOURS),
    r"the (\w+) block lies in the open drawer": lambda w, colour: in_place(w, colour, "in the drawer"),
}
AS_STATEMENT = (
    (r"does only (.+) shine\?", r"only \1 shines"), (r"are both lamps dark\?", "both lamps are dark"),
    (r"do both lamps shine\?", "both lamps shine"), (r"does the gripper hold (.+)\?", r"the gripper holds \1"),
    (r"is the (\w+) block what lies in the drawer\?", r"the \1 block lies in the open drawer"),
    (r"(are|is) there (.+)\?", r"there \1 \2"),
    (r"is the (\w+ block|sliding door|green led|light bulb|drawer|gripper) (.+)\?", r"the \1 is \2"),
)


def true(world: World, statement: str) -> bool:
    for pattern, judge in JUDGES.items():
        if (found := re.fullmatch(pattern, statement)) is not None:
            return bool(judge(world, *found.groups()))
    raise AssertionError(f"no judge for: {statement}")


def as_statement(question: str) -> str:
    for pattern, statement in AS_STATEMENT:
        if (found := re.fullmatch(pattern, question)) is not None:
            return found.expand(statement)
    raise AssertionError(f"not a yes/no question: {question}")


def answered(world: World, fact: Fact) -> bool:
    """Whether the short answer to the open question says what the statement says."""
    words = {"none": "no|both lamps are dark", "nothing": "nothing|empty", "both": "both lamps shine"}
    return re.search(rf"\b({words.get(fact.value, fact.value)})\b", fact.say) is not None


# ---- states ---------------------------------------------------------------------------------------------------------
def moments() -> Iterator[World]:
    """Resets of all kinds, the expert at work, and blocks put where chains lead them."""
    world = World("panda")
    for index in range(0, 192, 5):
        world.reset(start_states()[index], index)
        yield world
    for task, index in (("lift_red_block_table", 1), ("open_drawer", 4), ("push_blue_block_left", 1),
                        ("move_slider_left", 0), ("turn_on_led", 2), ("turn_on_lightbulb", 3)):
        world.reset(start_states()[index], index)
        expert, before = Expert(world, task), world.snapshot()
        for _ in range(30):
            world.step(expert.act())
            yield world
            if world.succeeded(task, before):
                break
    state = next(s for s in start_states() if s["drawer"] == "open" and s["red_block"] == s["blue_block"] == "table")
    world.reset(state, 3)
    yield placed(world, "red", (world.layout.drawer_x_m, -0.36, TABLE_Z_M - 0.10))
    world.reset(state, 4)
    yield placed(world, "red", at(world, "blue") + np.array([0.0, 0.0, 0.051]))


def placed(world: World, colour: str, centre_m) -> World:
    """The world with one block let go at a place, after half a second."""
    address = world.model.joint(f"{colour}_block").qposadr[0]
    world.data.qpos[address:address + 7] = [*centre_m, 1, 0, 0, 0]
    mujoco.mj_forward(world.model, world.data)
    for _ in range(5):
        world.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    return world


def test_every_statement_is_true_every_yes_is_right_and_every_no_is_wrong() -> None:
    asked, places = Counter(), Counter()
    for world in moments():
        for fact in facts(world):
            assert true(world, fact.say), fact.say
            assert true(world, as_statement(fact.right)), fact.right
            assert fact.wrong
            for question in fact.wrong:
                assert not true(world, as_statement(question)), question
            assert answered(world, fact), fact
            asked[fact.ask] += 1
            places[fact.value] += fact.ask.startswith("where is")
    assert len(asked) >= 14, "every kind of question came up"
    assert {"on the table", "in the sliding cabinet", "in the gripper", "in the drawer", "on the blue block"} <= {
        place for place, count in places.items() if count}


def test_captions_join_true_statements() -> None:
    world = World("panda")
    for index in range(0, 192, 19):
        world.reset(start_states()[index], index)
        for pair in pairs(world, np.random.default_rng(index), 20):
            if pair.kind == "caption":
                assert pair.question == ""
                for clause in re.split(r", | and (?!empty)", pair.answer):
                    assert true(world, clause), pair.answer


def test_yes_and_no_are_balanced_and_half_are_captions() -> None:
    world, rng, found = World("panda"), np.random.default_rng(0), list[Pair]()
    for index in range(192):
        world.reset(start_states()[index], index)
        found += pairs(world, rng, 6)
    answers = Counter(pair.answer for pair in found if pair.kind == "question")
    assert len(found) == 192 * 6
    assert sum(pair.kind == "caption" for pair in found) == pytest.approx(len(found) / 2, rel=0.1)
    assert answers["yes"] == pytest.approx(answers["no"], rel=0.15)
    assert answers["yes"] + answers["no"] < 0.7 * answers.total(), "open questions are asked as well"
    assert all(text == text.lower() and len(text.split()) < 45 for pair in found for text in (pair.answer,))


def test_pairs_are_a_function_of_state_and_generator_and_differ_from_each_other() -> None:
    world = World("panda")
    world.reset(start_states()[7], 7)
    first = pairs(world, np.random.default_rng(5), 15)
    assert first == pairs(world, np.random.default_rng(5), 15)
    assert len({(pair.question, pair.answer) for pair in first}) == 15
    assert first != pairs(world, np.random.default_rng(6), 15)
    assert pairs(world, np.random.default_rng(5), 0) == []


def test_a_block_behind_the_door_is_not_spoken_of() -> None:
    state = next(s for s in start_states() if s["slider"] == "left" and s["pink_block"] == "slider_left")
    world = World("panda")
    world.reset(state, 0)
    assert not [fact for fact in facts(world) if fact.ask == "where is the pink block?"]
    opened = {**state, "slider": "right"}
    world.reset(opened, 0)
    assert "the pink block is in the sliding cabinet" in {fact.say for fact in facts(world)}


def test_blocks_of_other_colours_are_called_by_them() -> None:
    world = World("panda", shift="target#2")
    world.reset(start_states()[1], 0)
    words = {word for fact in facts(world) for text in (fact.ask, fact.value, fact.say, fact.right, *fact.wrong)
             for word in re.findall(r"\w+", text)}
    assert {"white", "purple", "green"} <= words
    assert not words & set(COLOURS)


@pytest.mark.parametrize("task", ["place_in_drawer", "lift_red_block_drawer"])
def test_a_block_on_its_way_through_the_drawer_is_not_said_to_be_elsewhere(task):
    world, way, passed = World("panda"), route(task), 0
    world.reset(way.start, 0)
    assert all(perform(world, name) for name in way.before)

    def watch():
        nonlocal passed
        inside = [c for c in COLOURS if in_drawer(world.snapshot().blocks_m[f"{c}_block"])]
        passed += bool(inside)
        said = {fact.ask: fact.value for fact in facts(world)}
        for colour in inside:
            assert said.get(f"where is the {colour} block?", DRAWER) == DRAWER
            assert "empty" not in " ".join(fact.say for fact in facts(world))

    assert perform(world, task, watch)
    assert passed
