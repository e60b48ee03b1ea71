"""Batches of windows from weighted sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.windows.batch import Batch
from vlactl.windows.cut import Frames, cut
from vlactl.windows.draw import Draw, RowSeeds, places
from vlactl.windows.part import Demonstrations, Pictures, in_order, plain

if TYPE_CHECKING:
    from vlactl.windows.pairs import PairStream

Rows = np.ndarray | slice


class MixtureStream:
    """Batches from weighted sources; every frame of a source is the anchor of one window per epoch of that source.

    ``sources`` are ``(episodes, codec, weight)``; one with weight 0 is never drawn.  ``codec.encode(actions_BHLA,
    states_BHS)`` normalises.  ``batch_windows`` is the number of windows per update over all ranks; the ranks must
    divide it.  ``temperature`` T multiplies the weights by (frames of the source) ** (1 / T).  ``cameras``: only the
    first so many are read.  ``features``: for each source what the vision part makes of its frames, (N, K, P, D), which
    takes the place of the images.  ``pairs`` adds pictures with words to every batch.
    """

    def __init__(self, sources: Sequence[tuple[Demonstrations, Any, float]], *, history: int, horizon: int,
                 execute: int, batch_windows: int, seed: int, rank: int = 0, world: int = 1,
                 names: Sequence[str] | None = None, temperature: float | None = None, cameras: int | None = None,
                 repeat_current: bool = False, pairs: PairStream | None = None,
                 features: Sequence[np.ndarray | None] | None = None) -> None:
        require_whole_parts(batch_windows, world, "windows")
        drawn = [index for index, (_, _, weight) in enumerate(sources) if weight]
        if not drawn:
            raise UsageError("no source of the mixture has a weight above 0", where="strategy")
        self.sources = [sources[index][0] for index in drawn]
        self.codecs = [sources[index][1] for index in drawn]
        self.names = tuple(str(index) if names is None else names[index] for index in drawn)
        self.history, self.horizon, self.execute = history, horizon, execute
        self.batch_windows, self.seed, self.rank, self.world = batch_windows, seed, rank, world
        self.repeat_current, self.pairs, self.cameras = repeat_current, pairs, cameras
        self._features = None if features is None else [
            features_of(source, features[index]) for source, index in zip(self.sources, drawn, strict=True)]
        self._pictures: list[Any] = self._features or [plain(source.images_NKYXC) for source in self.sources]
        require_equal_shapes(self.sources, self._pictures, cameras)
        frames = [len(source.states_NS) for source in self.sources]
        weights = [sources[index][2] for index in drawn]
        if temperature is not None:
            weights = [weight * size ** (1 / temperature) for weight, size in zip(weights, frames, strict=True)]
        self._draw, self._noise = Draw(frames, weights, seed=seed, salt=1), RowSeeds(seed)

    def at(self, update: int) -> Batch:
        """This rank's windows of update ``update``, in the order in which they were drawn."""
        numbers_W = places(update, self.batch_windows, self.rank, self.world)
        parts = list(self._frames(numbers_W))
        rows = [where for _, where, _ in parts]
        read = [self._read(index, frames) for index, _, frames in parts]
        pictures, states, actions = (torch.from_numpy(join(rows, [fields[number] for fields in read], len(numbers_W)))
                                     for number in range(3))
        texts, source_B = [""] * len(numbers_W), np.zeros(len(numbers_W), np.int64)
        for index, where, frames in parts:
            instructions = self.sources[index].instructions
            source_B[where] = index
            for row, episode in zip(np.arange(len(numbers_W))[where].tolist(), frames.episodes_B.tolist(), strict=True):
                texts[row] = instructions[episode]
        return Batch(images_BHKYXC=pictures if self._features is None else None,
                     features_BHKPD=None if self._features is None else pictures, states_BHS=states, texts=texts,
                     actions_BHLA=actions,
                     mask_BHL=torch.from_numpy(join(rows, [frames.mask_BHL for _, _, frames in parts], len(numbers_W))),
                     source_B=torch.from_numpy(source_B), sources=self.names,
                     noise_B=torch.from_numpy(self._noise.of(numbers_W)),
                     pairs=None if self.pairs is None else self.pairs.at(update))

    def supervised(self, update: int) -> int:
        """Actions under the mask in the whole global batch of ``update``: what a loss over all ranks divides by."""
        return sum(int(frames.mask_BHL.sum())
                   for _, _, frames in self._frames(places(update, self.batch_windows, 0, 1)))

    def epochs(self, updates: int) -> list[float]:
        """How often each drawn source is seen in ``updates`` updates."""
        return self._draw.epochs(updates * self.batch_windows)

    def _frames(self, numbers_W: np.ndarray) -> Iterator[tuple[int, Rows, Frames]]:
        """``(source, rows, frames)`` of the windows with these global numbers, once per source that occurs."""
        for index, rows, anchors in self._draw.of(numbers_W):
            yield index, rows, cut(self.sources[index], anchors, history=self.history, horizon=self.horizon,
                                   execute=self.execute, repeat_current=self.repeat_current)

    def _read(self, index: int, frames: Frames) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures or features, states, and normalised actions."""
        source = self.sources[index]
        states = source.states_NS[frames.images_BH]
        return (in_order(self._pictures[index], frames.images_BH, self.cameras), states,
                self.codecs[index].encode(source.actions_NA[frames.actions_BHL], states))


def join(rows: Sequence[Rows], parts: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The rows of all parts in one array; the part itself where there is only one."""
    if len(parts) == 1:
        return parts[0]
    whole = np.empty((count, *parts[0].shape[1:]), parts[0].dtype)
    for where, part in zip(rows, parts, strict=True):
        whole[where] = part
    return whole


def features_of(source: Demonstrations, features_NKPD: np.ndarray | None) -> np.ndarray | Pictures:
    """The features of the frames of ``source``, which may be a part of what they were computed for."""
    where = str(source.path)
    if features_NKPD is None:
        raise UsageError("there are no features of a source that is drawn from", where=where)
    frames_N = getattr(source, "frames_N", None)
    if frames_N is not None:
        return Pictures(plain(features_NKPD), frames_N)
    if len(features_NKPD) != len(source.states_NS):
        raise UsageError(f"there are features of {len(features_NKPD)} frames", where=where,
                         expected=f"of {len(source.states_NS)}, as many as the source has")
    return plain(features_NKPD)


def require_whole_parts(count: int, world: int, what: str) -> None:
    if count % world:
        raise UsageError(f"{world} ranks do not divide {count} {what} per update", where="training.global_batch",
                         remedy="use fewer ranks or a larger batch")


def require_equal_shapes(sources: Sequence[Demonstrations], pictures: Sequence[Any], cameras: int | None) -> None:
    """Raise :class:`IncompatibleSpaces` unless a batch can hold rows of all sources."""
    shapes = [{"images_NKYXC": (min(cameras or seen.shape[1], seen.shape[1]), *seen.shape[2:]),
               "states_NS": source.states_NS.shape[1:], "actions_NA": source.actions_NA.shape[1:]}
              for source, seen in zip(sources, pictures, strict=True)]
    for source, seen, found in zip(sources, pictures, shapes, strict=True):
        where = str(getattr(source, "path", ""))
        if not len(source.states_NS):
            raise UsageError("the source has no frames", where=where)
        if cameras is not None and seen.shape[1] < cameras:
            raise IncompatibleSpaces(f"it has {seen.shape[1]} of {cameras} cameras", where=where)
        for name, shape in found.items():
            if shape != shapes[0][name]:
                raise IncompatibleSpaces(f"{name} has the shape {shape} in one source of the mixture and "
                                         f"{shapes[0][name]} in another", where=where,
                                         remedy="mix sources with equal cameras, states and actions")
