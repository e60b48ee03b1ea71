"""Demonstrations by the scripted expert: successful tasks cut out of chains that are not reset in between.

Chains, not single tasks, because that is how a policy is tested: each task begins where the last one left the arm and
the furniture.  One executed action in five is disturbed while the recorded one stays the expert's, so that the data
show how to recover.  Attempts that fail are dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vlactl.episodes import Episode
from vlactl.errors import UsageError
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.tasks import TASKS, Task, after, start_states
from vlactl.tabletop.world import World

CHAIN = 5
MAX_STEPS = 60
"""Control steps of the longest demonstration kept; the expert needs 8 to 25."""
NOISY_FRACTION = 0.2
ROTATION_SHARE = 0.6
"""Noise on the turn about the vertical, as a share of that on translations; the hand is never tilted."""
HOPELESS = 40
"""So many failures of one task in a row mean that the expert cannot do it in this world."""


class Demonstrations:
    """An iterable of :class:`Episode`, ``episodes_per_task`` of each task; the same arguments give the same episodes.

    ``noise`` is the standard deviation of what is added to a disturbed action; ``look`` draws the images_KYXC of a
    world. Raises :class:`UsageError` for a task that the expert fails ``HOPELESS`` times in a row.
    """

    def __init__(self, embodiment: str, scene: str, tasks: Sequence[str], episodes_per_task: int, seed: int,
                 noise: float, look: Callable[[World], np.ndarray]) -> None:
        self.world, self.look, self.noise = World(embodiment, scene), look, noise
        self.tasks, self.target, self.seed = {name: TASKS[name] for name in tasks}, episodes_per_task, seed
        self.kept: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        """Attempts kept and dropped so far, by task."""

    def __len__(self) -> int:
        return self.target * len(self.tasks)

    def __iter__(self) -> Iterator[Episode]:
        rng = np.random.default_rng(self.seed)
        self.kept, self.dropped, in_a_row = Counter(), Counter(), Counter[str]()
        while any(self._wanted(task) for task in self.tasks):
            state = feasible_start([task for name, task in self.tasks.items() if self._wanted(name)], rng)
            self.world.reset(state, int(rng.integers(2**31)))
            used: set[int] = set()
            while len(used) < CHAIN and (choice := self._next(state, used, rng)) is not None:
                episode = self._attempt(choice, rng)
                if episode is None:
                    self.dropped[choice.name] += 1
                    in_a_row[choice.name] += 1
                    self._refuse_hopeless(choice.name, in_a_row[choice.name])
                    break
                in_a_row[choice.name] = 0
                if self._wanted(choice.name):
                    self.kept[choice.name] += 1
                    yield episode
                state, used = after(state, choice) or state, used | {choice.category}

    def _wanted(self, task: str) -> int:
        return self.target - self.kept[task]

    def _next(self, state: dict, used: set[int], rng: np.random.Generator) -> Task | None:
        """A feasible task of an unused category, the rarer so far the likelier; None when there is nothing to go on
        with."""
        tasks = feasible(state, [task for task in self.tasks.values() if task.category not in used])
        if not tasks:
            return None
        # complete tasks still happen now and then: they lead to states in which others begin
        weights = np.array([max(self._wanted(task.name), 0) / self.target + 0.02 for task in tasks])
        return tasks[rng.choice(len(tasks), p=weights / weights.sum())]

    def _attempt(self, task: Task, rng: np.random.Generator) -> Episode | None:
        """Let the expert try; None if it did not succeed in MAX_STEPS."""
        world, before, expert = self.world, self.world.snapshot(), Expert(self.world, task.name)
        images, states, actions = [], [], []
        for _ in range(MAX_STEPS):
            action = expert.act()
            images.append(self.look(world))
            states.append(world.state())
            actions.append(action)
            world.step(self._disturbed(action, rng))
            if world.succeeded(task.name, before):
                return Episode(task=task.name, instruction=task.train[rng.integers(len(task.train))],
                               embodiment=world.embodiment.name, images_TKYXC=np.stack(images),
                               states_TS=np.stack(states), actions_TA=np.stack(actions))
        return None

    def _disturbed(self, action_A: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= NOISY_FRACTION:
            return action_A
        executed_A = action_A.copy()
        executed_A[:3] += rng.normal(0, self.noise, 3)
        executed_A[5] += rng.normal(0, ROTATION_SHARE * self.noise)
        return np.clip(executed_A, -1, 1)

    def _refuse_hopeless(self, task: str, failures: int) -> None:
        if failures >= HOPELESS:
            raise UsageError(f"the expert failed {failures} times in a row at {task}",
                             where=f"{self.world.embodiment.name}, scene {self.world.layout.name}, noise {self.noise}",
                             remedy="record with less noise, or without this task")


def feasible(state: dict, tasks: Sequence[Task]) -> list[Task]:
    """Those of ``tasks`` that can be asked in a symbolic state."""
    return [task for task in tasks if after(state, task) is not None]


def feasible_start(tasks: Sequence[Task], rng: np.random.Generator) -> dict:
    """A random start state in which at least one of ``tasks`` can be asked."""
    states = [state for state in start_states() if feasible(state, tasks)]
    return states[rng.integers(len(states))]
