"""A part of a source, or a source whose actions are converted: read like the source, without a copy of its images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vlactl.errors import UsageError
from vlactl.formats.recorded import PairRow, RecordedEpisodes
from vlactl.spaces import Spaces, conversion

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are spread evenly however many of them there are (Weyl's sequence)."""


class Pictures:
    """Some rows of an array that stays where it is; indexed by an array of rows, or by that and a slice of cameras."""

    __slots__ = ("array", "rows_N")

    def __init__(self, array: Any, rows_N: np.ndarray) -> None:
        self.array, self.rows_N = array, rows_N

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows_N), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __len__(self) -> int:
        return len(self.rows_N)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        return self.array[(self.rows_N[rows], *rest)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some demonstrations of a source, numbered anew; frames, episodes and pairs begin at 0 again."""

    path: Path
    spaces: Spaces
    images_NKYXC: Any
    states_NS: np.ndarray
    actions_NA: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    tasks: list[str]
    instructions: list[str]
    frames_N: np.ndarray
    """Which frame of the whole source each frame is; ascending."""
    words: list[PairRow]
    """Captions and questions about its frames."""

    def pairs(self) -> list[PairRow]:
        return self.words

    def __len__(self) -> int:
        return len(self.tasks)


Demonstrations = RecordedEpisodes | Part
"""What windows are cut from."""


def subset(source: Demonstrations, *, portion: float = 1.0, per_task: int | None = None, seed: int = 0,
           ) -> Demonstrations:
    """A share of the demonstrations, the same for every task, then at most ``per_task`` of each.

    Subsets are nested: a smaller portion or cap takes from what a larger one takes, whatever the other is.  The total
    is the portion of all, rounded, at least 1.  A task's count is at most one away from its share where all tasks have
    equally many, and less than three otherwise.

    Raises:
        UsageError: the portion is not in (0, 1] or the cap below 1.
    """
    if not 0 < portion <= 1 or (per_task is not None and per_task < 1):
        raise UsageError(f"a portion of {portion:g} and a cap of {per_task} demonstrations per task",
                         where=str(source.path), expected="a portion above 0 and at most 1, a cap of at least 1")
    chosen = np.sort(np.fromiter(chosen_episodes(source.tasks, portion, per_task, seed), np.int64))
    if len(chosen) == len(source.tasks):
        return source
    lengths = source.ends[chosen] - source.starts[chosen]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    frames_N = np.arange(int(ends[-1])) + np.repeat(source.starts[chosen] - starts, lengths)
    whole = getattr(source, "frames_N", None)
    return Part(path=source.path, spaces=source.spaces, images_NKYXC=Pictures(plain(source.images_NKYXC), frames_N),
                states_NS=source.states_NS[frames_N], actions_NA=source.actions_NA[frames_N], starts=starts, ends=ends,
                tasks=[source.tasks[episode] for episode in chosen],
                instructions=[source.instructions[episode] for episode in chosen],
                frames_N=frames_N if whole is None else whole[frames_N], words=words_about(source, frames_N))


def chosen_episodes(tasks: list[str], portion: float, per_task: int | None, seed: int) -> Iterator[int]:
    """Episodes in the order in which they join a growing subset, as far as ``portion`` goes.

    The j-th of n demonstrations of a task (shuffled) joins when the portion passes (j + u) / n.  Tasks with about as
    many demonstrations have their u evenly spread over [0, 1): all grow alike, and do not all step at once.
    """
    by_task: dict[str, list[int]] = {}
    for episode, task in enumerate(tasks):
        by_task.setdefault(task, []).append(episode)
    queue: list[tuple[float, int, int]] = []
    begin = np.random.default_rng([seed, 8]).random()
    for number, task in enumerate(sorted(by_task, key=lambda task: (len(by_task[task]), task))):
        draw, episodes, offset = np.random.default_rng([seed, 9, number]), by_task[task], (begin + GOLDEN * number) % 1
        queue += [((place + offset) / len(episodes), place, episodes[which])
                  for place, which in enumerate(draw.permutation(len(episodes)).tolist())]
    for _, place, episode in sorted(queue)[: max(1, round(portion * len(tasks)))]:
        if per_task is None or place < per_task:
            yield episode


def words_about(source: Demonstrations, frames_N: np.ndarray) -> list[PairRow]:
    """The source's pairs about these frames (ascending), their frames numbered by place among them."""
    kept: list[PairRow] = []
    for pair in source.pairs():
        place = int(np.searchsorted(frames_N, pair["frame"]))
        if place < len(frames_N) and frames_N[place] == pair["frame"]:
            kept.append({**pair, "frame": place})
    return kept


def aligned(source: Demonstrations, target: Spaces) -> tuple[Part, float]:
    """``source`` with its actions converted to the scale of ``target``, and the share of arm values that were clipped.

    A value of 1 commands the same metres or radians in both afterwards; what the target cannot command in one control
    step is clipped to [-1, 1].  The spaces of the result say the target's scale.

    Raises:
        IncompatibleSpaces: see :func:`vlactl.spaces.align_conflict`.
    """
    factors = np.asarray(conversion(target, source.spaces), np.float32)
    converted = source.actions_NA * factors
    arm = np.abs(converted[:, :-1])
    action = replace(source.spaces.action, position_scale_m=target.action.position_scale_m,
                     rotation_scale_rad=target.action.rotation_scale_rad)
    frames_N = getattr(source, "frames_N", None)
    return Part(path=source.path, spaces=replace(source.spaces, action=action), images_NKYXC=source.images_NKYXC,
                states_NS=source.states_NS, actions_NA=np.clip(converted, -1, 1), starts=source.starts,
                ends=source.ends, tasks=source.tasks, instructions=source.instructions,
                frames_N=np.arange(len(converted)) if frames_N is None else frames_N,
                words=source.pairs()), float((arm > 1 + 1e-6).mean())


def plain(array: Any) -> Any:
    """A memory map as an ordinary array over the same pages: ``np.memmap`` costs microseconds at every index."""
    return np.asarray(array) if isinstance(array, np.ndarray) else array


def in_order(pictures: Any, frames_BH: np.ndarray, cameras: int | None) -> np.ndarray:
    """A copy of the pictures of these frames; of the first ``cameras`` only, where it is given."""
    return pictures[frames_BH] if cameras is None else pictures[frames_BH, :cameras]
