"""Vision-language pairs about a desk: captions, and questions with short answers, all read off the state.

A scene is a list of :class:`Fact`: something that can be asked, its answer now, and what else the answer could be.
Captions say facts, open questions ask for them, and yes/no questions put the true value or, as often, one of the
others.  Only what is plainly so becomes a fact: a drawer half open, a block behind the door or one on its way through
the air is not spoken of, and left and right are said only where the desk and the static camera agree.
Pretraining on such pairs is the paper's vision-language co-training without a download.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from vlactl.tabletop import layouts
from vlactl.tabletop.goals import CARRIER, PLACES, at_place
from vlactl.tabletop.perturbations import colour_words
from vlactl.tabletop.phrasings import COLOURS

if TYPE_CHECKING:
    import numpy as np

    from vlactl.tabletop.world import Snapshot, World

AJAR_M = 0.04
"""A drawer that is out by less is closed, and one that lacks less than this is open; between, neither is said."""
BESIDE_M = 0.06
"""Two blocks are left and right of each other when they are further apart than this."""
UNCOVERED_M = 0.20
"""A block in a bay is in plain sight when the middle of the door is further away than this."""
ABOVE_M, OVER_M = 0.035, 0.035
"""A block stands on another when its centre is at least so much higher and at most so far beside it."""
SPREAD, SHUT_M, GRIPPED_M = 0.8, 0.01, 0.03
"""Fingers are apart at more than this share of their opening, together at less than this distance, and may have a block
between them at more than the last."""
TABLE, CABINET, DRAWER, HAND = "on the table", "in the sliding cabinet", "in the drawer", "in the gripper"
WORDS = {"table": TABLE, "slider": CABINET, "drawer": DRAWER}
"""What the places of goals are called."""
NUMBERS = ("none", "one", "two", "three")
CLAUSES = 3
"""A caption says one to so many facts."""
TRIES = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One picture's worth of language."""

    kind: Literal["caption", "question"]
    question: str
    """Empty for a caption."""
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One thing that can be asked about a scene."""

    ask: str
    value: str
    """The answer."""
    say: str
    """The same as a statement."""
    right: str
    """A question that is answered by yes."""
    wrong: tuple[str, ...]
    """Questions like it that are answered by no: one for everything else that the value could have been."""


def pairs(world: World, rng: np.random.Generator, count: int) -> list[Pair]:
    """``count`` different pairs that are true of ``world`` now, half of them captions; fewer where there is no more to
    say.  The same world state and generator state give the same pairs."""
    known = facts(world)
    found: dict[tuple[str, str], Pair] = {}
    for _ in range(count * TRIES):
        if len(found) == count:
            break
        pair = _caption(known, rng) if rng.random() < 0.5 else _question(known, rng)
        found.setdefault((pair.question, pair.answer), pair)
    return list(found.values())


def facts(world: World) -> list[Fact]:
    """Everything that is plain to see in ``world``; blocks are called by the colours that they have under its shift."""
    now, names = world.snapshot(), colour_words(world.shift)
    places = {colour: _place(world, now, colour) for colour in COLOURS}
    called = {colour: names.get(colour, colour) for colour in COLOURS}
    return [*_furniture(now), *_hand(world, now, called), *_whereabouts(places, called),
            *_sides(world, now, places, called), *_counts(now, places, called)]


def _caption(known: list[Fact], rng: np.random.Generator) -> Pair:
    chosen = rng.permutation(len(known))[:1 + rng.integers(CLAUSES)]
    *first, last = (known[index].say for index in chosen)
    return Pair(kind="caption", question="", answer=f"{', '.join(first)} and {last}" if first else last)


def _question(known: list[Fact], rng: np.random.Generator) -> Pair:
    fact = known[rng.integers(len(known))]
    if rng.random() < 0.5:
        return Pair(kind="question", question=fact.ask, answer=fact.value)
    if rng.random() < 0.5:
        return Pair(kind="question", question=fact.right, answer="yes")
    return Pair(kind="question", question=fact.wrong[rng.integers(len(fact.wrong))], answer="no")


# ---- facts ----------------------------------------------------------------------------------------------------------
def _fact(ask: str, value: str, values: Iterable[str], say: str, check: str) -> Fact:
    """``{}`` in ``say`` and ``check`` stands for a value; ``values`` are all that it could be."""
    return Fact(ask=ask, value=value, say=say.format(value), right=check.format(value),
                wrong=tuple(check.format(other) for other in values if other != value))


def _is(ask: str, what: str, value: str, *values: str) -> Fact:
    return _fact(ask, value, values, f"the {what} is {{}}", f"is the {what} {{}}?")


def _furniture(now: Snapshot) -> list[Fact]:
    found = [_is(f"is the {words} on or off?", words, "on" if now.lamps[lamp] else "off", "on", "off")
             for lamp, words in (("led", "green led"), ("lightbulb", "light bulb"))]
    found.append(_lamps(now.lamps["led"], now.lamps["lightbulb"]))
    if (drawer := drawer_word(now)) != "ajar":
        found.append(_is("is the drawer open or closed?", "drawer", drawer, "open", "closed"))
    if side := door_side(now):
        found.append(_is("on which side is the sliding door?", "sliding door", f"on the {side}", "on the left",
                         "on the right"))
    return found


def _lamps(led: int, bulb: int) -> Fact:
    said = {(0, 0): ("none", "both lamps are dark", "are both lamps dark?"),
            (1, 0): ("the led", "only the led shines", "does only the led shine?"),
            (0, 1): ("the light bulb", "only the light bulb shines", "does only the light bulb shine?"),
            (1, 1): ("both", "both lamps shine", "do both lamps shine?")}
    value, say, right = said.pop((led, bulb))
    return Fact(ask="which lamps shine?", value=value, say=say, right=right,
                wrong=tuple(question for *_, question in said.values()))


def drawer_word(now: Snapshot, ajar_m: float = AJAR_M) -> str:
    """closed, open, or ajar where it is further than ``ajar_m`` from both."""
    if now.joints["drawer"] < ajar_m:
        return "closed"
    return "open" if now.joints["drawer"] > layouts.DRAWER_OPEN_M - ajar_m else "ajar"


def door_side(now: Snapshot) -> str:
    """left, right, or nothing where the door stands between."""
    slider_m, half_m = now.joints["slider"], layouts.SLIDER_SIDE_M["right"] / 2
    return "left" if slider_m < -half_m else "right" if slider_m > half_m else ""


def _hand(world: World, now: Snapshot, called: dict[str, str]) -> list[Fact]:
    """What the gripper holds, and whether it is open where it holds nothing."""
    touched = [colour for colour in COLOURS if "robot" in now.touching[f"{colour}_block"]]
    held = [colour for colour in touched if _held(world, now, colour)]
    if touched and not held:
        return []
    values = (*(f"the {name} block" for name in called.values()), "nothing")
    found = [_fact("what does the gripper hold?", f"the {called[held[0]]} block" if held else "nothing", values,
                   "the gripper holds {}", "does the gripper hold {}?")]
    opening_m, width_m = 2 * world.embodiment.gripper.opening_m, world.gripper_width_m
    if not held and (width_m > SPREAD * opening_m or width_m < SHUT_M):
        found.append(_is("is the gripper open or closed?", "gripper", "open" if width_m > SHUT_M else "closed", "open",
                         "closed"))
    return found


def _held(world: World, now: Snapshot, colour: str) -> bool:
    """Between closed fingers and on nothing else; a block that is pushed skips, and then touches only the robot too."""
    gripped = world.gripper_command < 0 and world.gripper_width_m > GRIPPED_M
    return gripped and now.touching[f"{colour}_block"] == {"robot"}


def _place(world: World, now: Snapshot, colour: str) -> str:
    """Where a block is, in words, or nothing where that cannot be seen or said plainly."""
    block = f"{colour}_block"
    at_m, touching = now.blocks_m[block], now.touching[block]
    if _held(world, now, colour):  # on its way into or out of a bay or the drawer it is at two places
        return "" if PLACES["drawer"](at_m) or PLACES["slider"](at_m) else HAND
    if "robot" in touching:
        return ""
    for other in now.touched_blocks[block]:
        offset = at_m - now.blocks_m[other]
        if offset[2] > ABOVE_M and offset[0] ** 2 + offset[1] ** 2 < OVER_M**2:
            return f"on the {other.removesuffix('_block')} block"
    place = next((place for place in PLACES if at_place(place, block, now) and CARRIER[place] in touching), "")
    door_m = world.layout.door_x_m + now.joints["slider"]
    hidden = {"drawer": drawer_word(now) != "open", "slider": abs(at_m[0] - door_m) < UNCOVERED_M}
    return "" if hidden.get(place) else WORDS.get(place, "")


def _whereabouts(places: dict[str, str], called: dict[str, str]) -> list[Fact]:
    found = []
    for colour, place in places.items():
        upon = {f"on the {other} block": f"on the {called[other]} block" for other in COLOURS if other != colour}
        if place:
            block = f"{called[colour]} block"
            found.append(_is(f"where is the {block}?", block, upon.get(place, place), TABLE, CABINET, DRAWER, HAND,
                             *upon.values()))
    return found


def _sides(world: World, now: Snapshot, places: dict[str, str], called: dict[str, str]) -> list[Fact]:
    """Left and right of, for blocks that stand in the open."""
    camera = world.data.cam_xmat[world.model.camera(world.embodiment.static.name).id].reshape(3, 3)[:, 0]
    found = []
    for colour, other in combinations([colour for colour in COLOURS if places[colour] in (TABLE, CABINET)], 2):
        offset = now.blocks_m[f"{colour}_block"] - now.blocks_m[f"{other}_block"]
        across = float(camera @ offset)
        if min(abs(offset[0]), abs(across)) > BESIDE_M and offset[0] * across > 0:
            first, second = f"the {called[colour]} block", f"the {called[other]} block"
            found.append(_fact(f"on which side of {second} is {first}?", "right" if across > 0 else "left",
                               ("left", "right"), f"{first} is to the {{}} of {second}",
                               f"is {first} to the {{}} of {second}?"))
    return found


def _counts(now: Snapshot, places: dict[str, str], called: dict[str, str]) -> list[Fact]:
    """How many blocks are on the table and what is in the drawer, where every block's place is plain enough."""
    plain = all(place or PLACES["slider"](now.blocks_m[f"{colour}_block"]) for colour, place in places.items())
    if not plain or any(place.endswith("block") for place in places.values()):
        return []
    count = sum(place == TABLE for place in places.values())
    inside = [colour for colour in COLOURS if places[colour] == DRAWER]
    are = ("are no blocks", "is one block", "are two blocks", "are three blocks")
    asked = [f"{verb} there {blocks} on the table?" for verb, blocks in (words.split(" ", 1) for words in are)]
    found = [Fact(ask="how many blocks are on the table?", value=NUMBERS[count], say=f"there {are[count]} on the table",
                  right=asked.pop(count), wrong=tuple(asked))]
    if drawer_word(now) == "open" and len(inside) < 2:
        asked = {"": "is the drawer empty?", **{colour: f"is the {name} block what lies in the drawer?"
                                                for colour, name in called.items()}}
        colour = inside[0] if inside else ""
        block = f"the {called[colour]} block" if colour else "nothing"
        found.append(Fact(ask="what is in the drawer?", value=block, right=asked.pop(colour),
                          wrong=tuple(asked.values()),
                          say=f"{block} lies in the open drawer" if colour else "the drawer is open and empty"))
    return found
