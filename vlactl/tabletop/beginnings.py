"""How a single task begins in an environment: a start state, what the expert does first, and the words that ask for it.

Chains begin at start states and tasks follow from each other; who practises one task alone needs a state in which it
makes sense.  Where no start state is one (nothing can be stacked before it was lifted), the expert leads there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop.perturbations import colour_words, instruction_set
from vlactl.tabletop.phrasings import PHRASINGS, recoloured
from vlactl.tabletop.placement import check_start
from vlactl.tabletop.readings import Snapshot
from vlactl.tabletop.rehearsal import perform, route
from vlactl.tabletop.tasks import SUITES, TASKS, after
from vlactl.tabletop.world import World

INSTRUCTIONS = ("training", "validation", "paraphrased")
OPTIONS = ("start", "task")
ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """A task that was just begun."""

    task: str
    instruction: str
    before: Snapshot
    """For :meth:`Readings.succeeded`."""


class Beginnings:
    """Draws tasks and begins them; the same generator gives the same beginnings."""

    def __init__(self, tasks: str | Sequence[str], instructions: str, shift: str) -> None:
        """``tasks``: the name of a suite or of a task, or several names of tasks.

        Raises :class:`UnknownName` for an unknown task or set of instructions.
        """
        self.tasks = SUITES[tasks] if isinstance(tasks, str) and tasks in SUITES else tuple(
            [tasks] if isinstance(tasks, str) else tasks)
        for task in self.tasks:
            if task not in TASKS:
                raise UnknownName("task", task, (*TASKS, *SUITES))
        if instructions not in INSTRUCTIONS:
            raise UnknownName("set of instructions", instructions, INSTRUCTIONS)
        self._instructions, self._words = instruction_set(instructions, shift), colour_words(shift)

    def begin(self, world: World, rng: np.random.Generator, options: Mapping[str, Any] | None = None) -> Beginning:
        """Reset ``world`` and lead it to where a task can begin.

        ``options``: ``task``, a name, drawn from the tasks where it is absent; ``start``, a whole symbolic start state,
        drawn among the nearest to the task where it is absent.  Raises :class:`UsageError` for options that do not fit.
        """
        options = options or {}
        if unknown := sorted(options.keys() - set(OPTIONS)):
            raise UsageError(f"unknown options {unknown}", where="reset", expected=" | ".join(OPTIONS))
        for _ in range(ATTEMPTS):
            task, start, first = self._drawn(world, rng, options)
            world.reset(start, int(rng.integers(2**31)))
            if all(perform(world, name) is not None for name in first):
                return Beginning(task=task, instruction=self._instruction(task, rng), before=world.snapshot())
        raise UsageError(f"the expert failed {ATTEMPTS} times to make {task} possible", where="reset",
                         remedy="choose another task, or another start")

    def _drawn(self, world: World, rng: np.random.Generator,
               options: Mapping[str, Any]) -> tuple[str, dict, tuple[str, ...]]:
        """Task, start state, and the tasks to do first."""
        start, task = options.get("start"), options.get("task")
        if task is not None and task not in TASKS:
            raise UnknownName("task", task, TASKS, where="reset")
        if start is None:
            way = route(task or self.tasks[rng.integers(len(self.tasks))], int(rng.integers(2**16)))
            return way.tasks[-1], way.start, way.before
        check_start(world.layout, start)
        candidates = [name for name in ([task] if task else self.tasks) if after(start, TASKS[name]) is not None]
        if not candidates:
            raise UsageError(f"{task or 'none of the tasks'} can begin at {start}", where="reset",
                             remedy="leave the start out: one is drawn that fits the task")
        return candidates[rng.integers(len(candidates))], start, ()

    def _instruction(self, task: str, rng: np.random.Generator) -> str:
        chosen = PHRASINGS[task].texts(self._instructions)
        return recoloured(chosen[rng.integers(len(chosen))], self._words)

