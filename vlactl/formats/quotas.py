"""How a recording of tabletop demonstrations is divided: which episodes there will be, and in which units they are
made.

A unit is what a worker makes in one go and what an interrupted recording loses at most.  Units are a pure function of
the source's fields: neither the number of workers nor interruptions change what is in one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

UNIT_EPISODES = 32
"""About 400 frames: less than a second of one core, and enough tasks to make chains of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A part of a recording, at one desk."""

    number: int
    """Its place in the recording, and the seed of everything in it."""
    scene: str
    quota: dict[str, int]
    """Task -> how many episodes of it, none of them 0."""

    @property
    def episodes(self) -> int:
        return sum(self.quota.values())


def cell(number: int, scenes: int, tasks: int) -> tuple[int, int]:
    """(scene, task) of the episode ``number``: a walk that is over every cell once before any twice.

    However early it ends, no scene has two episodes more than another, and no task either.
    """
    # along the diagonal of the table; where that would close early, a step aside after each round
    number %= scenes * tasks
    return (number + number // math.lcm(scenes, tasks)) % scenes, number % tasks


def divide(episodes: int, scenes: Sequence[str], tasks: Sequence[str]) -> tuple[Unit, ...]:
    """The units of a recording of ``episodes`` in all, spread evenly over scenes and tasks; one scene after another."""
    at_scene: dict[str, list[str]] = {scene: [] for scene in scenes}
    for number in range(episodes):
        scene, task = cell(number, len(scenes), len(tasks))
        at_scene[scenes[scene]].append(tasks[task])
    parts = [(scene, names[start:start + UNIT_EPISODES]) for scene, names in at_scene.items()
             for start in range(0, len(names), UNIT_EPISODES)]
    return tuple(Unit(number=number, scene=scene, quota=dict(Counter(names)))
                 for number, (scene, names) in enumerate(parts))
