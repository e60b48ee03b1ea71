"""Demonstrations by the scripted expert: successful tasks cut out of chains that are not reset in between.

Chains, not single tasks, because that is how a policy is tested: each task begins where the last one left the arm and
the furniture.  One executed action in five is disturbed while the recorded one stays the expert's, so that the data
show how to recover.  Attempts that fail are dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vlactl.episodes import Episode
from vlactl.errors import UsageError
from vlactl.tabletop.captions import pairs
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.interface import SUBSTEP_HZ
from vlactl.tabletop.rendering import Poses
from vlactl.tabletop.routes import beginnings, feasible
from vlactl.tabletop.tasks import TASKS, Task, after
from vlactl.tabletop.world import World

CHAIN = 5
LONGEST_S = 6.0
"""The longest demonstration kept; the expert needs 1.3 s on average and 4 s in one of a hundred."""
NOISY_FRACTION = 0.2
ROTATION_SHARE = 0.6
"""Noise on the turn about the vertical, as a share of that on translations; the hand is never tilted."""
HOPELESS = 40
"""So many failures of one task in a row mean that the expert cannot do it in this world."""


class Words(NamedTuple):
    """What is true of one frame of a demonstration; see :mod:`vlactl.tabletop.captions`."""

    frame: int
    kind: str
    question: str
    answer: str


class Demonstration(NamedTuple):
    """An episode and what was said about some of its frames, in their order."""

    episode: Episode
    words: list[Words]


class Demonstrations:
    """An iterable of :class:`Demonstration`: as many of each task as ``quota`` says.

    The same arguments give the same episodes, whatever ``world`` did before.  ``noise`` is the standard deviation of
    what is added to a disturbed action; ``draw`` makes images_TKYXC of the poses of T frames, once for each episode;
    ``pairs`` things are said about each episode, which changes nothing else.
    Raises :class:`UsageError` for a task that the expert fails ``HOPELESS`` times in a row, or that cannot be begun.
    """

    def __init__(self, world: World, quota: Mapping[str, int], *, seed: Sequence[int], noise: float,
                 draw: Callable[[Poses], np.ndarray], pairs: int = 0) -> None:
        self.world, self.draw, self.noise, self.pairs = world, draw, noise, pairs
        self.quota, self.seed = dict(quota), tuple(seed)
        self.left: Counter[str] = Counter()
        """Demonstrations still to make, by task."""
        self.dropped: Counter[str] = Counter()
        """Attempts that failed so far, by task."""
        self._in_a_row: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(self.quota.values())

    def __iter__(self) -> Iterator[Demonstration]:
        rng, speaker = (np.random.default_rng([*self.seed, stream]) for stream in (0, 1))
        self.left, self.dropped = +Counter(self.quota), Counter()
        self._in_a_row.clear()
        while self.left:
            yield from self._chain(rng, speaker)

    def _chain(self, rng: np.random.Generator, speaker: np.random.Generator) -> Iterator[Demonstration]:
        """The demonstrations of up to CHAIN tasks; one that fails ends the chain.  Tasks of which no more are wanted
        are done where one that is needs them, but nobody looks."""
        target = _chosen(self.left, rng)
        if not (nearest := beginnings(target)):
            raise UsageError(f"nothing leads to the task {target}", where="tabletop demonstrations")
        state, ways = nearest[rng.integers(len(nearest))]
        way = [*ways[rng.integers(len(ways))], target]
        self.world.reset(state, int(rng.integers(2**31)))
        used: set[int] = set()
        for _ in range(CHAIN):
            name = way.pop(0) if way else self._next(state, used, rng)
            if name is None:
                return
            take = _Take(self.pairs, speaker) if name in self.left else None
            if not self._attempt(TASKS[name], rng, take):
                return
            if take is not None:
                self.left = self.left - Counter([name])
                yield take.finish(TASKS[name], self.world, self.draw, rng)
            left = after(state, TASKS[name])
            assert left is not None, name
            state, used = left, used | {TASKS[name].category}

    def _next(self, state: dict, used: set[int], rng: np.random.Generator) -> str | None:
        """A wanted task of an unused category; None where there is none, because setting the desk anew takes less time
        than doing what nobody wants."""
        tasks = feasible(state, [TASKS[name] for name in self.left])
        wanted = {task.name: self.left[task.name] for task in tasks if task.category not in used}
        return _chosen(wanted, rng) if wanted else None

    def _attempt(self, task: Task, rng: np.random.Generator, take: _Take | None) -> bool:
        """Let the expert try; whether it succeeded within LONGEST_S.  Failures are counted."""
        world, before, expert = self.world, self.world.snapshot(), Expert(self.world, task.name)
        for _ in range(round(LONGEST_S * SUBSTEP_HZ / world.action_repeat)):
            action = expert.act()
            if take is not None:
                take.add(world, action)
            world.step(self._disturbed(action, rng))
            if world.succeeded(task.name, before):
                self._in_a_row[task.name] = 0
                return True
        self.dropped[task.name] += 1
        self._in_a_row[task.name] += 1
        if self._in_a_row[task.name] >= HOPELESS:
            raise UsageError(f"the expert failed {HOPELESS} times in a row at {task.name}",
                             where=f"{world.embodiment.name}, scene {world.layout.name}, noise {self.noise}",
                             remedy="record with less noise, or without this task")
        return False

    def _disturbed(self, action_A: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= NOISY_FRACTION:
            return action_A
        executed_A = action_A.copy()
        executed_A[:3] += rng.normal(0, self.noise, 3)
        executed_A[5] += rng.normal(0, ROTATION_SHARE * self.noise)
        return np.clip(executed_A, -1, 1)


class _Take:
    """What is kept of one attempt while it lasts.  Poses, not pictures: they are drawn when it has succeeded, together.
    """

    def __init__(self, pairs: int, speaker: np.random.Generator) -> None:
        self._speaker = speaker
        self._poses: list[Poses] = []
        self._states, self._robot, self._scene, self._actions = [], [], [], []
        self._words: list[Words | None] = [None] * pairs

    def add(self, world: World, action_A: np.ndarray) -> None:
        frame = len(self._actions)
        self._poses.append(Poses(*(array.copy() for array in world.poses())))
        self._states.append(world.state())
        self._robot.append(world.robot_state())
        self._scene.append(world.scene_state())
        self._actions.append(action_A)
        # reservoir sampling: however long the episode becomes, each word is about a frame drawn evenly from all of it
        for place in range(len(self._words)):
            if self._speaker.random() * (frame + 1) < 1:
                [said] = pairs(world, self._speaker, 1)
                self._words[place] = Words(frame, said.kind, said.question, said.answer)

    def finish(self, task: Task, world: World, draw: Callable[[Poses], np.ndarray], rng: np.random.Generator
               ) -> Demonstration:
        """The demonstration, with an instruction drawn from the task's training phrasings."""
        poses = Poses(*(np.concatenate(arrays) for arrays in zip(*self._poses, strict=True)))
        episode = Episode(task=task.name, instruction=task.train[rng.integers(len(task.train))],
                          embodiment=world.embodiment.name, images_TKYXC=draw(poses),
                          states_TS=np.stack(self._states), actions_TA=np.stack(self._actions),
                          robot_TR=np.array(self._robot, np.float32), scene_TD=np.array(self._scene, np.float32),
                          scene=world.layout.name)
        return Demonstration(episode, sorted(words for words in self._words if words is not None))


def _chosen(weights: Mapping[str, int], rng: np.random.Generator) -> str:
    """A name, the heavier the likelier."""
    names = sorted(weights)
    heavy = np.array([weights[name] for name in names], float)
    return names[rng.choice(len(names), p=heavy / heavy.sum())]
