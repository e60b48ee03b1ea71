"""What can be asked of the robot: names, phrasings, symbolic preconditions and effects, and what counts as done.

Names, order, categories and symbols are CALVIN's 34 (``mees/calvin``, ``multistep_sequences.py`` and
``new_playtable_tasks.yaml``).  A task is a row; its goal is decided by :mod:`vlactl.tabletop.goals`, done by
:mod:`vlactl.tabletop.skills` and said by :mod:`vlactl.tabletop.phrasings`.  Nothing here touches the simulator, because
a sweep is planned with this table.

Three of CALVIN's rules lead to what cannot be done, and differ here: a block that is put into the cabinet lies in the
bay that is open (there, symbolically, on the door's side), that bay must be empty, and a block that is taken off a
stack ends on the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from vlactl.tabletop.phrasings import COLOURS, PHRASINGS

__all__ = ["BAYS", "COLOURS", "START_SYMBOLS", "SUITES", "TASKS", "Goal", "Task", "after", "holds", "start_states"]

BLOCKS = tuple(f"{colour}_block" for colour in COLOURS)
BAYS = ("slider_right", "slider_left")
"""Places behind the sliding door; the one on the other side of the door is open."""
OPEN_BAY = MappingProxyType({"right": "slider_left", "left": "slider_right"})
"""The open bay by the side of the door."""
PLACES = ("table", *BAYS, "drawer", "grasped", "stacked_top", "stacked_bottom")
"""Where a block can be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What must have changed between the start of a task and now; :mod:`vlactl.tabletop.goals` decides it."""

    kind: str
    """``joint`` | ``lamp`` | ``push`` | ``rotate`` | ``lift`` | ``place`` | ``stack`` | ``unstack`` |
    ``push_into_drawer``."""
    subject: str = ""
    """The joint, lamp or block that it is about; empty where it is any block."""
    change: float = 0.0
    """Metres moved (joint, push: signed; lift: upwards), degrees turned (rotate: positive is counterclockwise), or +1
    and -1 for a lamp that goes on or off."""
    place: str = ""
    """Where a block is lifted from (``table``, ``slider``, ``drawer``) or put into (``slider``, ``drawer``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One language-described goal."""

    name: str
    category: int
    """CALVIN's category: the five tasks of a chain are of five different ones."""
    goal: Goal
    variants: tuple[tuple[dict, dict], ...]
    """``(what must hold, what changes)`` in the symbolic state; exactly one must apply for the task to be asked."""
    train: tuple[str, ...]
    """Phrasings of demonstrations."""
    validation: str
    """The phrasing of benchmarks: never trained on, of words that are."""
    paraphrases: tuple[str, ...]
    """Phrasings of words that no demonstration has."""
    opposite: str
    """The task that undoes this one, or an empty string."""


def _task(name: str, category: int, goal: Goal, *variants: tuple[dict, dict], opposite: str = "") -> Task:
    said = PHRASINGS[name]
    return Task(name=name, category=category, goal=goal, variants=variants, opposite=opposite, train=said.train,
                validation=said.validation, paraphrases=said.paraphrases)


def _moved_about() -> Iterator[Task]:
    # thresholds: CALVIN's rotate_object, 60 degrees, and push_object, 0.1 m
    for verb, kind, change in (("rotate", "rotate", -60.0), ("push", "push", 0.1)):
        for colour in COLOURS:
            block, sides = f"{colour}_block", (f"{verb}_{colour}_block_right", f"{verb}_{colour}_block_left")
            for name, other, sign in zip(sides, reversed(sides), (1, -1), strict=True):
                yield _task(name, 1, Goal(kind=kind, subject=block, change=sign * change),
                            ({block: "table", "grasped": 0}, {}), opposite=other)


def _furniture() -> Iterator[Task]:
    # thresholds: CALVIN's move_door_rel, +-0.15 m of the slider's 0.28 and +-0.12 m of the drawer's 0.22
    for name, opposite, category, joint, change, before, now in (
            ("move_slider_left", "move_slider_right", 2, "slider", -0.15, "right", "left"),
            ("move_slider_right", "move_slider_left", 2, "slider", 0.15, "left", "right"),
            ("open_drawer", "close_drawer", 3, "drawer", 0.12, "closed", "open"),
            ("close_drawer", "open_drawer", 3, "drawer", -0.12, "open", "closed")):
        yield _task(name, category, Goal(kind="joint", subject=joint, change=change),
                    ({joint: before, "grasped": 0}, {joint: now}), opposite=opposite)


def _lifts() -> Iterator[Task]:
    for colour in COLOURS:
        block = f"{colour}_block"
        held = {block: "grasped", "grasped": 1}
        # thresholds: CALVIN's lift_object, 0.05 m from table and drawer, 0.03 m from behind the door
        yield _task(f"lift_{block}_table", 4, Goal(kind="lift", subject=block, change=0.05, place="table"),
                    ({block: "table", "grasped": 0}, held))
        yield _task(f"lift_{block}_slider", 5, Goal(kind="lift", subject=block, change=0.03, place="slider"),
                    *(({block: bay, "slider": door, "grasped": 0}, held) for door, bay in OPEN_BAY.items()))
        yield _task(f"lift_{block}_drawer", 6, Goal(kind="lift", subject=block, change=0.05, place="drawer"),
                    ({block: "drawer", "drawer": "open", "grasped": 0}, held))


def _places() -> Iterator[Task]:
    def others(block: str, places: tuple[str, ...]) -> dict:
        return {other: places for other in BLOCKS if other != block}
    yield _task("place_in_slider", 7, Goal(kind="place", place="slider"), *(
        ({block: "grasped", "grasped": 1, "slider": door} | others(block, tuple(p for p in PLACES if p != bay)),
         {block: bay, "grasped": 0}) for block in BLOCKS for door, bay in OPEN_BAY.items()))
    yield _task("place_in_drawer", 7, Goal(kind="place", place="drawer"), *(
        ({block: "grasped", "grasped": 1, "drawer": "open"}, {block: "drawer", "grasped": 0}) for block in BLOCKS))
    pairs = list(itertools.permutations(BLOCKS, 2))
    yield _task("stack_block", 10, Goal(kind="stack"), *(
        ({top: "grasped", bottom: "table", "grasped": 1}, {top: "stacked_top", bottom: "stacked_bottom", "grasped": 0})
        for top, bottom in pairs))
    yield _task("unstack_block", 11, Goal(kind="unstack"), *(
        ({top: "stacked_top", bottom: "stacked_bottom", "grasped": 0}, {top: "table", bottom: "table"})
        for top, bottom in pairs))


def _lamps() -> Iterator[Task]:
    for lamp in ("lightbulb", "led"):
        names = (f"turn_on_{lamp}", f"turn_off_{lamp}")
        for name, other, lit in zip(names, reversed(names), (1, 0), strict=True):
            yield _task(name, 8, Goal(kind="lamp", subject=lamp, change=1.0 if lit else -1.0),
                        ({lamp: 1 - lit, "grasped": 0}, {lamp: lit}), opposite=other)


def _into_drawer() -> Iterator[Task]:
    yield _task("push_into_drawer", 9, Goal(kind="push_into_drawer"), *(
        ({block: "table", "drawer": "open", "grasped": 0} | {other: BAYS for other in BLOCKS if other != block},
         {block: "drawer"}) for block in BLOCKS))


TASKS: dict[str, Task] = {task.name: task for rows in (
    _moved_about, _furniture, _lifts, _places, _lamps, _into_drawer) for task in rows()}
"""Every task that the world knows, by name, in CALVIN's order."""

_FURNITURE = tuple(name for name, task in TASKS.items() if task.goal.kind in ("joint", "lamp"))
_CORE_BLOCKS = tuple(name for colour in COLOURS for name in (
    f"push_{colour}_block_right", f"push_{colour}_block_left", f"lift_{colour}_block_table"))

SUITES: dict[str, tuple[str, ...]] = {
    "full": tuple(TASKS),
    "core": (*_CORE_BLOCKS, *_FURNITURE),
    "furniture": _FURNITURE,
    "blocks": _CORE_BLOCKS,
}
"""Named sets of tasks: the only ones that a recipe can ask for; their order is part of the chain lists.  ``full`` and
``core`` (without the lifts from elsewhere, places, rotations and stacks) have chains of five; the others are for
data."""


START_SYMBOLS = ("led", "lightbulb", "slider", "drawer", *BLOCKS, "grasped")


def start_states() -> list[dict]:
    """CALVIN's 192: one or two blocks on the table, at most one in each bay, nothing in the hand, any furniture."""
    found = []
    for led, bulb, slider, drawer in itertools.product((0, 1), (0, 1), ("right", "left"), ("closed", "open")):
        for blocks in itertools.product(("table", *BAYS), repeat=len(COLOURS)):
            in_bays = [place for place in blocks if place != "table"]
            if len(in_bays) in (1, 2) and len(set(in_bays)) == len(in_bays):
                found.append(dict(zip(START_SYMBOLS, (led, bulb, slider, drawer, *blocks, 0), strict=True)))
    return found


def holds(state: dict, needs: dict) -> bool:
    """Whether a symbolic state has everything in ``needs``; a tuple there means any of its values."""
    return all(state[key] in wanted if isinstance(wanted, tuple) else state[key] == wanted
               for key, wanted in needs.items())


def after(state: dict, task: Task) -> dict | None:
    """The symbolic state that ``task`` leaves, or None unless exactly one variant applies (CALVIN's rule)."""
    effects = [effect for needs, effect in task.variants if holds(state, needs)]
    return {**state, **effects[0]} if len(effects) == 1 else None
