"""Batches of pictures with words from weighted sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.windows.batch import PairBatch
from vlactl.windows.draw import Draw, places
from vlactl.windows.mixture import join, require_whole_parts
from vlactl.windows.part import Demonstrations, in_order, plain


class PairStream:
    """Captions and questions about single frames; every pair of a source comes once per epoch of that source.

    ``sources`` are ``(episodes, weight)``; ``batch_windows`` is the number of pairs per update over all ranks.  It can
    be trained on alone, or beside the windows of a :class:`vlactl.windows.MixtureStream` of the same ranks.

    Raises:
        UsageError: a source has no pairs, or the ranks do not divide ``batch_windows``.
    """

    history = 1
    """A pair is about one frame."""

    def __init__(self, sources: Sequence[tuple[Demonstrations, float]], *, batch_windows: int, seed: int,
                 rank: int = 0, world: int = 1, cameras: int | None = None) -> None:
        require_whole_parts(batch_windows, world, "pairs")
        self.batch_windows, self.seed, self.rank, self.world = batch_windows, seed, rank, world
        self.cameras = cameras
        self._pictures = [plain(source.images_NKYXC) for source, _ in sources]
        for (source, _), seen in zip(sources, self._pictures, strict=True):
            if seen.shape[2:] != self._pictures[0].shape[2:] or (cameras or seen.shape[1]) > seen.shape[1]:
                raise IncompatibleSpaces(f"its images have the shape {seen.shape[1:]}", where=str(source.path),
                                         expected=f"{self._pictures[0].shape[1:]}, as in the other sources of words")
        rows = [require_pairs(source) for source, _ in sources]
        self._frames = [np.array([row["frame"] for row in found], np.int64) for found in rows]
        self._questions = [[row["question"] for row in found] for found in rows]
        self._answers = [[row["answer"] for row in found] for found in rows]
        self._draw = Draw([len(found) for found in rows], [weight for _, weight in sources], seed=seed, salt=5)

    def texts(self) -> list[str]:
        """Every question and answer once, in order of the alphabet: what a vocabulary must hold."""
        return sorted({text for found in (*self._questions, *self._answers) for text in found if text})

    def at(self, update: int) -> PairBatch:
        """This rank's pairs of update ``update``, in the order in which they were drawn."""
        numbers_W = places(update, self.batch_windows, self.rank, self.world)
        parts = list(self._draw.of(numbers_W))
        images = [in_order(self._pictures[index], self._frames[index][items], self.cameras)
                  for index, _, items in parts]
        questions, answers = [""] * len(numbers_W), [""] * len(numbers_W)
        for index, where, items in parts:
            for row, item in zip(np.arange(len(numbers_W))[where].tolist(), items.tolist(), strict=True):
                questions[row], answers[row] = self._questions[index][item], self._answers[index][item]
        return PairBatch(images_BKYXC=torch.from_numpy(join([where for _, where, _ in parts], images, len(numbers_W))),
                         questions=questions, answers=answers)

    def supervised(self, update: int) -> int:
        """Pairs in the whole global batch of ``update``: what a loss over all ranks divides by."""
        return self.batch_windows

    def epochs(self, updates: int) -> list[float]:
        """How often each source's pairs are seen in ``updates`` updates."""
        return self._draw.epochs(updates * self.batch_windows)


def require_pairs(source: Demonstrations) -> list:
    """The source's pairs; raises :class:`UsageError` that says how to record some where there are none."""
    found = source.pairs()
    if not found:
        raise UsageError("the source has no captions or questions about its pictures", where=str(source.path),
                         expected="a source in the role 'vision-language' that was recorded with words",
                         remedy="set its pairs_per_episode to 1 or more and record it again")
    return found
