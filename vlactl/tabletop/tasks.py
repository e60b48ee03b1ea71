"""What can be asked of the robot: names, phrasings, symbolic preconditions and effects, and what counts as done.

Names, categories and symbols are CALVIN's (its 34 tasks; these are the 17 of furniture, pushes and lifts from the
table). A task is a row: the rest of the 34 joins by adding rows here, their goals to :mod:`vlactl.tabletop.goals` and
their skills to :mod:`vlactl.tabletop.skills`.  Nothing here touches the simulator, because a sweep is planned with this
table.

Two tasks that are opposites (left and right, on and off) differ in more than one word in every phrasing: tiny policies
lose the grounding of a single word.  Validation phrasings are never trained on, but use only words that some training
phrasing of the same task has.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

COLOURS = ("red", "blue", "pink")
BAYS = ("slider_right", "slider_left")
"""Places behind the sliding door; the one on the other side of the door is open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What must have changed between the start of a task and now; :mod:`vlactl.tabletop.goals` decides it."""

    kind: str
    """``joint`` | ``lamp`` | ``push`` | ``lift``."""
    subject: str
    """The joint, lamp or block that it is about."""
    change: float
    """Metres moved (joint, push: signed; lift: upwards), or +1 and -1 for a lamp that goes on or off."""


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
    validation: str
    opposite: str
    """The task that undoes this one, or an empty string."""


def _furniture() -> list[Task]:
    def row(name, opposite, category, joint, change, symbol, before, after, validation, *train):
        return Task(name=name, opposite=opposite, category=category,
                    goal=Goal(kind="joint", subject=joint, change=change),
                    variants=(({symbol: before, "grasped": 0}, {symbol: after}),), train=train, validation=validation)
    # thresholds: CALVIN's move_door_rel, +-0.15 m of the slider's 0.28 and +-0.12 m of the drawer's 0.22
    return [
        row("move_slider_left", "move_slider_right", 2, "slider", -0.15, "slider", "right", "left",
            "push the sliding door to the left side",
            "push the door over to the left side", "move the sliding door left until it stands at the left end",
            "push the sliding panel leftwards, to the left", "bring the door across to the left end",
            "push the handle of the sliding door to the left side",
            "move the door leftwards as far as it goes, to the left",
            "push the sliding door left, over to the left side", "move the panel to the left end of the cabinet",
            "get the door over to the left side of the cabinet"),
        row("move_slider_right", "move_slider_left", 2, "slider", 0.15, "slider", "left", "right",
            "slide the cabinet door towards the right edge",
            "slide the door towards the right edge", "slide the cabinet door right so that it rests at the right edge",
            "shift the cabinet panel rightwards, towards the right", "slide the door along towards the right edge",
            "slide the grip of the cabinet door towards the right",
            "shift the door rightwards all the way, towards the right",
            "slide the cabinet door right, towards the right edge",
            "shift the panel towards the right edge of the cupboard",
            "have the door slide towards the right edge of the cupboard"),
        row("open_drawer", "close_drawer", 3, "drawer", 0.12, "drawer", "closed", "open",
            "pull the handle to open the drawer",
            "pull the drawer open", "open the drawer by its handle", "pull the handle of the drawer out",
            "open up the drawer",
            "pull out the drawer under the table", "grab the handle and open the drawer", "go pull the drawer out",
            "draw the drawer out to open it", "hook the handle and pull until it is open"),
        row("close_drawer", "open_drawer", 3, "drawer", -0.12, "drawer", "open", "closed",
            "push the front to close the drawer",
            "push the drawer shut", "close the drawer from the front", "push the drawer back in",
            "shut the drawer again",
            "push in the drawer beneath the table", "press against the front and close the drawer",
            "go close and shut the drawer",
            "push against the front to shut the drawer", "push the front until the drawer is closed"),
    ]


def _lamps() -> list[Task]:
    def row(name, opposite, lamp, change, validation, *train):
        return Task(name=name, opposite=opposite, category=8, goal=Goal(kind="lamp", subject=lamp, change=change),
                    variants=(({lamp: int(change < 0), "grasped": 0}, {lamp: int(change > 0)}),), train=train,
                    validation=validation)
    return [
        row("turn_on_lightbulb", "turn_off_lightbulb", "lightbulb", 1.0, "use the switch to turn on the light bulb",
            "turn on the light bulb", "move the switch to light up the bulb",
            "use the switch and light the yellow bulb",
            "switch on the yellow lamp", "turn the bulb on with the switch",
            "toggle the switch so that the bulb shines",
            "move the switch to make the bulb shine", "light up the yellow lamp",
            "turn on the yellow bulb using the switch"),
        row("turn_off_lightbulb", "turn_on_lightbulb", "lightbulb", -1.0, "pull the lever to put out the light bulb",
            "put out the light bulb", "pull the lever to darken the bulb", "pull the lever and put the yellow bulb out",
            "put out the yellow lamp", "put the bulb out with the lever",
            "flick the lever back so that the bulb goes dark",
            "pull back the lever to make the bulb dark", "darken the yellow lamp",
            "pull the lever, the yellow bulb must go out"),
        row("turn_on_led", "turn_off_led", "led", 1.0, "press the button to turn on the led light",
            "turn on the led light", "press the button to light up the led", "turn on the green light",
            "push down the button to switch on the led", "press the button so that the green led shines",
            "light up the green led",
            "press the button until the led is on", "turn the green led on by pressing the button",
            "switch on the led"),
        row("turn_off_led", "turn_on_led", "led", -1.0, "hit the button to put out the led light",
            "put out the led light", "hit the button to darken the led", "put out the green light",
            "hit the button once and put the led out", "hit the button so that the green led goes dark",
            "darken the green led",
            "tap the button until the led is dark", "put the green led out by a hit on the button",
            "make the led go out"),
    ]


def _blocks() -> list[Task]:
    rows = []
    for c in COLOURS:
        on_table = {f"{c}_block": "table", "grasped": 0}
        for side, other, sign in (("right", "left", 1.0), ("left", "right", -1.0)):
            # threshold: CALVIN's push_object, 0.1 m
            rows.append(Task(
                name=f"push_{c}_block_{side}", opposite=f"push_{c}_block_{other}", category=1,
                goal=Goal(kind="push", subject=f"{c}_block", change=0.1 * sign), variants=((on_table, {}),),
                validation=_VALIDATION_PUSH[side].format(c=c), train=tuple(p.format(c=c) for p in _TRAIN_PUSH[side])))
        # threshold: CALVIN's lift_object from the table, 0.05 m
        rows.append(Task(
            name=f"lift_{c}_block_table", opposite="", category=4,
            goal=Goal(kind="lift", subject=f"{c}_block", change=0.05),
            variants=((on_table, {f"{c}_block": "grasped", "grasped": 1}),),
            validation=f"grasp and lift the {c} block",
            train=tuple(p.format(c=c) for p in _TRAIN_LIFT)))
    return rows


_TRAIN_PUSH = {
    "right": ("push the {c} block to the right side", "push the {c} block rightwards, to the right",
              "go push the {c} block right",
              "push the {c} block over the table to the right", "move the {c} block to the right side by pushing",
              "push right against the {c} block, to the right", "move the {c} block further to the right side",
              "push the {c} block until it is further right", "go and move the {c} block to the right"),
    "left": ("sweep the {c} block towards the left edge", "sweep the {c} block leftwards, towards the left",
             "now sweep the {c} block left", "sweep the {c} block along the table towards the left",
             "shift the {c} block towards the left edge by sweeping",
             "sweep left against the {c} block, towards the left",
             "shift the {c} block farther towards the left edge", "sweep the {c} block so that it ends farther left",
             "now shift the {c} block towards the left"),
}
_VALIDATION_PUSH = {"right": "go push the {c} block to the right", "left": "now sweep the {c} block towards the left"}
_TRAIN_LIFT = ("lift the {c} block", "lift the {c} block from the table", "grasp the {c} block and lift it up",
               "pick up the {c} block", "pick the {c} block up from the table", "take the {c} block and raise it",
               "grasp the {c} block", "raise the {c} block off the table", "lift up the {c} block with the gripper")

TASKS: dict[str, Task] = {task.name: task for task in (*_blocks(), *_furniture(), *_lamps())}
"""Every task that the world knows, by name; the order is part of the chain lists."""

SUITES: dict[str, tuple[str, ...]] = {
    "core": tuple(TASKS),
    "furniture": tuple(name for name, task in TASKS.items() if task.goal.kind in ("joint", "lamp")),
    "blocks": tuple(name for name, task in TASKS.items() if task.goal.kind in ("push", "lift")),
}
"""Named sets of tasks: the only ones that a recipe can ask for.  ``core`` has chains of five; the others are for
data."""


START_SYMBOLS = ("led", "lightbulb", "slider", "drawer", *(f"{c}_block" for c in COLOURS), "grasped")


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
