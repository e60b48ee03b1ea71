"""One way to a task: a start state, the tasks that must be done first for it to make sense, and the expert doing them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.interface import SUBSTEP_HZ
from vlactl.tabletop.routes import beginnings
from vlactl.tabletop.tasks import TASKS
from vlactl.tabletop.world import World

TASK_S = 12.0
"""Simulated time that the expert gets for a task: CALVIN's 360 steps at 30 Hz."""
STRIDE = 37
"""Routes that follow each other in the table of states look alike: numbers that follow each other are so far apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """From a start state to the task at the end of ``tasks``."""

    start: dict
    tasks: tuple[str, ...]

    @property
    def before(self) -> tuple[str, ...]:
        """What must be done first, in this order."""
        return self.tasks[:-1]


def route(task: str, number: int = 0) -> Route:
    """The ``number``-th of the shortest routes to ``task``; they repeat when there are no more.

    Raises :class:`UnknownName` for an unknown task and :class:`UsageError` for one that no start state leads to.
    """
    if task not in TASKS:
        raise UnknownName("task", task, TASKS)
    found = [(start, way) for start, ways in beginnings(task) for way in ways]
    if not found:
        raise UsageError(f"no start state leads to {task}", where="tabletop tasks")
    start, way = found[number * STRIDE % len(found)]
    return Route(start=start, tasks=(*way, task))


def perform(world: World, task: str, watch: Callable[[], object] = lambda: None) -> int | None:
    """Let the expert do ``task``; the control steps that it needed, or None after TASK_S.  ``watch`` is called after
    each."""
    before, expert = world.snapshot(), Expert(world, task)
    for step in range(1, round(TASK_S * SUBSTEP_HZ / world.action_repeat) + 1):
        world.step(expert.act())
        watch()
        if world.succeeded(task, before):
            return step
    return None
