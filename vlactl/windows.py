"""Recorded episodes -> windows of history and horizon -> batches.

A stream has no state: which windows update ``u`` trains on is a function of (seed, u), and a rank takes its part of
them.  So resuming is exact, and neither the number of ranks nor the micro-batch changes what is learned from.
Axis letters as in :mod:`vlactl.episodes`; N frames of a source, B windows, H history, L horizon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vlactl.errors import IncompatibleSpaces, UsageError

if TYPE_CHECKING:
    from vlactl.actions import ActionNormalizer
    from vlactl.formats.recorded import RecordedEpisodes

BLOCK = 1000
"""Windows after which the mixture has its exact shares: weights are rounded to thousandths."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """What a policy is trained on.  Position h is supervised with the L actions from its own frame on."""

    images_BHKYXC: Tensor
    """uint8; a padded position repeats the last real frame."""
    states_BHS: Tensor
    """float32 in the units of the source."""
    texts: list[str]
    """One instruction per row."""
    actions_BHLA: Tensor
    """float32, already normalised by the codec of the row's source."""
    mask_BHL: Tensor
    """bool; False beyond the end of the episode and at padded positions, which come last."""

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop``, as views."""
        return Batch(images_BHKYXC=self.images_BHKYXC[start:stop], states_BHS=self.states_BHS[start:stop],
                     texts=self.texts[start:stop], actions_BHLA=self.actions_BHLA[start:stop],
                     mask_BHL=self.mask_BHL[start:stop])

    def to(self, device: torch.device | str) -> Batch:
        return Batch(images_BHKYXC=self.images_BHKYXC.to(device, non_blocking=True),
                     states_BHS=self.states_BHS.to(device, non_blocking=True), texts=self.texts,
                     actions_BHLA=self.actions_BHLA.to(device, non_blocking=True),
                     mask_BHL=self.mask_BHL.to(device, non_blocking=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Which frames of one source some windows hold; indices into the source's flat arrays."""

    anchors_B: np.ndarray
    images_BH: np.ndarray
    actions_BHL: np.ndarray
    mask_BHL: np.ndarray


def cut(source: RecordedEpisodes, anchors_B: np.ndarray, *, history: int, horizon: int, execute: int) -> Frames:
    """The windows anchored at ``anchors_B``: frames t - (H-1) * execute, ..., t, real ones first.

    Frames before the start of the episode are dropped and the row is padded at the end with its anchor, so that
    position 0 is always a real frame, as it is in the first steps of a rollout.
    """
    episodes_B = source.episode_of_N[anchors_B]
    starts_B, ends_B = source.starts[episodes_B], source.ends[episodes_B]
    real_B = np.minimum((anchors_B - starts_B) // execute + 1, history)
    back_BH = np.maximum(real_B[:, None] - 1 - np.arange(history), 0)
    images_BH = anchors_B[:, None] - back_BH * execute
    actions_BHL = images_BH[:, :, None] + np.arange(horizon)
    inside_BHL = actions_BHL < ends_B[:, None, None]
    mask_BHL = inside_BHL & (np.arange(history) < real_B[:, None])[:, :, None]
    return Frames(anchors_B=anchors_B, images_BH=images_BH, mask_BHL=mask_BHL,
                  actions_BHL=np.minimum(actions_BHL, ends_B[:, None, None] - 1))


class MixtureStream:
    """Batches from weighted sources; every frame of a source is the anchor of one window per epoch of that source.

    ``batch_windows`` is the number of windows per update over all ranks; the ranks must divide it.
    """

    def __init__(self, sources: Sequence[tuple[RecordedEpisodes, ActionNormalizer, float]], *, history: int,
                 horizon: int, execute: int, batch_windows: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch_windows % world:
            raise UsageError(f"{world} ranks do not divide {batch_windows} windows per update",
                             where="training.global_batch", remedy="use fewer ranks or a larger batch")
        self.sources = [source for source, _, _ in sources]
        self.normalizers = [normalizer for _, normalizer, _ in sources]
        self.history, self.horizon, self.execute = history, horizon, execute
        self.batch_windows, self.seed, self.rank, self.world = batch_windows, seed, rank, world
        self._require_equal_shapes()
        self._counts = per_block([weight for _, _, weight in sources])
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    def _require_equal_shapes(self) -> None:
        first = self.sources[0]
        for source in self.sources:
            for name in ("images_NKYXC", "states_NS", "actions_NA"):
                ours, theirs = getattr(first, name).shape[1:], getattr(source, name).shape[1:]
                if ours != theirs:
                    raise IncompatibleSpaces(f"{name} has the shape {theirs} in one source of the mixture and {ours} "
                                             "in another", where=str(getattr(source, "path", "")),
                                             remedy="mix sources with equal cameras, states and actions")
            if not len(source.episode_of_N):
                raise UsageError("the source has no frames", where=str(getattr(source, "path", "")))

    def at(self, update: int) -> Batch:
        """This rank's windows of update ``update``, in the order in which they were drawn."""
        each = self.batch_windows // self.world
        first = update * self.batch_windows + self.rank * each
        shape = (each, self.history)
        lead = self.sources[0]
        images = np.empty((*shape, *lead.images_NKYXC.shape[1:]), np.uint8)
        states = np.empty((*shape, lead.states_NS.shape[1]), np.float32)
        actions = np.empty((*shape, self.horizon, lead.actions_NA.shape[1]), np.float32)
        mask = np.empty((*shape, self.horizon), bool)
        texts = [""] * each
        for index, rows, part in self._frames(np.arange(first, first + each)):
            source = self.sources[index]
            images[rows] = source.images_NKYXC[part.images_BH]
            states[rows] = source.states_NS[part.images_BH]
            actions[rows] = self.normalizers[index].encode(source.actions_NA[part.actions_BHL])
            mask[rows] = part.mask_BHL
            for row, episode in zip(rows, source.episode_of_N[part.anchors_B], strict=True):
                texts[row] = source.instructions[episode]
        return Batch(images_BHKYXC=torch.from_numpy(images), states_BHS=torch.from_numpy(states), texts=texts,
                     actions_BHLA=torch.from_numpy(actions), mask_BHL=torch.from_numpy(mask))

    def supervised(self, update: int) -> int:
        """Actions under the mask in the whole global batch of ``update``: what a loss over all ranks divides by."""
        first = update * self.batch_windows
        numbers_W = np.arange(first, first + self.batch_windows)
        return sum(int(part.mask_BHL.sum()) for _, _, part in self._frames(numbers_W))

    def epochs(self, updates: int) -> list[float]:
        """How often each source is seen in ``updates`` updates."""
        windows = updates * self.batch_windows
        return [windows * count / BLOCK / len(source.episode_of_N)
                for count, source in zip(self._counts, self.sources, strict=True)]

    def _frames(self, numbers_W: np.ndarray) -> Iterator[tuple[int, np.ndarray, Frames]]:
        """``(source, rows, frames)`` of the windows with these global numbers, once per source that occurs."""
        source_W, nth_W = self._draw(numbers_W)
        for index, source in enumerate(self.sources):
            rows = np.flatnonzero(source_W == index)
            if len(rows):
                yield index, rows, cut(source, self._anchors(index, nth_W[rows]), history=self.history,
                                       horizon=self.horizon, execute=self.execute)

    def _draw(self, numbers_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each window the source it comes from, and how many windows of that source came before it."""
        if len(self.sources) == 1:
            return np.zeros_like(numbers_W), numbers_W
        blocks_W, within_W = np.divmod(numbers_W, BLOCK)
        source_W, nth_W = np.empty_like(numbers_W), np.empty_like(numbers_W)
        for block in np.unique(blocks_W):
            of_block = blocks_W == block
            pattern, nth = self._block(int(block))
            source_W[of_block] = pattern[within_W[of_block]]
            nth_W[of_block] = nth[within_W[of_block]]
        return source_W, nth_W

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        if block not in self._blocks:
            pattern = np.repeat(np.arange(len(self.sources)), self._counts)
            np.random.default_rng([self.seed, 1, block]).shuffle(pattern)
            nth = np.empty(BLOCK, np.int64)
            for index, count in enumerate(self._counts):
                nth[pattern == index] = block * count + np.arange(count)
            remember(self._blocks, block, (pattern, nth), keep=2)
        return self._blocks[block]

    def _anchors(self, index: int, nth_B: np.ndarray) -> np.ndarray:
        """Anchor frames of the windows number ``nth_B`` of a source: a new shuffle of all its frames each epoch."""
        size = len(self.sources[index].episode_of_N)
        epochs_B, within_B = np.divmod(nth_B, size)
        anchors_B = np.empty_like(nth_B)
        for epoch in np.unique(epochs_B):
            of_epoch = epochs_B == epoch
            anchors_B[of_epoch] = self._order(index, int(epoch))[within_B[of_epoch]]
        return anchors_B

    def _order(self, index: int, epoch: int) -> np.ndarray:
        if (index, epoch) not in self._orders:
            shuffle = np.random.default_rng([self.seed, 2, index, epoch])
            remember(self._orders, (index, epoch), shuffle.permutation(len(self.sources[index].episode_of_N)),
                     keep=2 * len(self.sources))
        return self._orders[index, epoch]


def per_block(weights: Sequence[float]) -> list[int]:
    """Windows of each source per block of :data:`BLOCK`: largest remainders, at least one each."""
    total = sum(weights)
    if min(weights) <= 0 or len(weights) > BLOCK:
        raise UsageError(f"the weights {list(weights)} of a mixture are not all positive", where="strategy")
    exact = [weight / total * BLOCK for weight in weights]
    counts = [max(1, int(share)) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda index: counts[index] - exact[index])
    for index in (by_remainder * BLOCK)[: max(0, BLOCK - sum(counts))]:
        counts[index] += 1
    while sum(counts) > BLOCK:
        counts[counts.index(max(counts))] -= 1
    return counts


def remember(cache: dict[Any, Any], key: Any, value: Any, *, keep: int) -> None:
    """Add to a small cache and forget the oldest entries: a batch straddles at most two epochs of a source."""
    cache[key] = value
    while len(cache) > keep:
        del cache[next(iter(cache))]
