"""Closed-loop skills, one for each kind of goal: from the state of now to the next action, without memory.

Having no memory makes them good teachers: the action is a function of what can be seen, and a disturbed arm simply
finds itself in another state.  A task begins wherever the one before it was done, so every skill first lets go of what
it has no use for.
"""

from __future__ import annotations

from collections.abc import Callable

from vlactl.tabletop.skills import blocks, carrying, furniture
from vlactl.tabletop.skills.hand import Hand
from vlactl.tabletop.tasks import Goal

Skill = Callable[[Hand, Goal], list[float]]

SKILLS: dict[str, Skill] = {
    "push": blocks.push, "rotate": blocks.rotate, "lift": blocks.lift, "stack": carrying.stack,
    "unstack": carrying.unstack, "push_into_drawer": blocks.push_into_drawer,
    "joint drawer": furniture.drawer, "joint slider": furniture.slider,
    "lamp led": furniture.button, "lamp lightbulb": furniture.switch,
    "place slider": carrying.place_in_slider, "place drawer": carrying.place_in_drawer,
}
"""Kind of goal, with its subject or place where that makes a difference -> skill."""


def skill(goal: Goal) -> Skill:
    """The skill for a goal."""
    return SKILLS.get(goal.kind) or SKILLS[f"{goal.kind} {goal.place or goal.subject}"]
