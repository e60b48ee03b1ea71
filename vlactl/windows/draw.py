"""Which item of which source is drawn when: weighted, shuffled, without replacement, and without memory.

Draw number n is a function of (seed, n).  In every block of 1000 draws each source has exactly its share, and a source
is gone through once, in a new order, before any of its items comes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vlactl.errors import UsageError

BLOCK = 1000
"""Draws after which the mixture has its exact shares: weights are rounded to thousandths."""
LARGEST_TABLE = 1 << 21
"""Items of a source whose order is kept as a table (17 MB, shuffled within 0.3 s); the order of more is computed."""
ROUNDS = 6
"""Of the Feistel network; four already make it indistinguishable from a random permutation (Luby and Rackoff, 1988)."""


class Draw:
    """Draws from weighted sources with these numbers of items; all weights are above 0."""

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], *, seed: int, salt: int) -> None:
        self.sizes, self.seed, self.salt = tuple(sizes), seed, salt
        self.counts = per_block(weights)
        """Draws of each source in a block."""
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._orders: dict[tuple[int, int], np.ndarray | Scramble] = {}

    def of(self, numbers_W: np.ndarray) -> Iterator[tuple[int, np.ndarray | slice, np.ndarray]]:
        """``(source, rows, items)`` of the draws with these numbers (ascending), once per source that occurs."""
        if len(self.sizes) == 1:
            yield 0, slice(None), self._items(0, numbers_W)
            return
        source_W, nth_W = self._sources(numbers_W)
        for index in range(len(self.sizes)):
            rows = np.flatnonzero(source_W == index)
            if len(rows):
                yield index, rows, self._items(index, nth_W[rows])

    def epochs(self, draws: int) -> list[float]:
        """How often each source is gone through in that many draws."""
        return [draws * count / BLOCK / size for count, size in zip(self.counts, self.sizes, strict=True)]

    def _sources(self, numbers_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each draw the source it comes from, and how many draws of that source came before it."""
        first, last = int(numbers_W[0]) // BLOCK, int(numbers_W[-1]) // BLOCK
        if first == last:
            pattern, nth = self._block(first)
            return pattern[numbers_W - first * BLOCK], nth[numbers_W - first * BLOCK]
        blocks = [self._block(block) for block in range(first, last + 1)]
        within_W = numbers_W - first * BLOCK
        return (np.concatenate([pattern for pattern, _ in blocks])[within_W],
                np.concatenate([nth for _, nth in blocks])[within_W])

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        if block not in self._blocks:
            pattern = np.repeat(np.arange(len(self.sizes)), self.counts)
            np.random.default_rng([self.seed, self.salt, block]).shuffle(pattern)
            nth = np.empty(BLOCK, np.int64)
            for index, count in enumerate(self.counts):
                nth[pattern == index] = block * count + np.arange(count)
            remember(self._blocks, block, (pattern, nth), keep=2)
        return self._blocks[block]

    def _items(self, index: int, nth_B: np.ndarray) -> np.ndarray:
        """The items of a source that its draws number ``nth_B`` (ascending) are: a new order of all each epoch."""
        size = self.sizes[index]
        first, last = int(nth_B[0]) // size, int(nth_B[-1]) // size
        if first == last:
            return self._order(index, first)[nth_B - first * size]
        epochs_B, within_B = np.divmod(nth_B, size)
        items_B = np.empty_like(nth_B)
        for epoch in range(first, last + 1):
            of_epoch = epochs_B == epoch
            items_B[of_epoch] = self._order(index, epoch)[within_B[of_epoch]]
        return items_B

    def _order(self, index: int, epoch: int) -> np.ndarray | Scramble:
        if (index, epoch) not in self._orders:
            shuffle = np.random.default_rng([self.seed, self.salt + 1, index, epoch])
            size = self.sizes[index]
            order = shuffle.permutation(size) if size <= LARGEST_TABLE else Scramble(size, shuffle)
            remember(self._orders, (index, epoch), order, keep=2 * len(self.sizes))
        return self._orders[index, epoch]


class Scramble:
    """A permutation of range(size) that is computed where it is asked for: no table, whatever the size.

    A balanced Feistel network over the next even number of bits; what falls outside is sent through it again until it
    falls inside (cycle walking: Black and Rogaway, 2002), at most four times on average.
    """

    def __init__(self, size: int, shuffle: np.random.Generator) -> None:
        self.size = size
        self._half = np.uint64(max(1, (max(1, size - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        self._keys = shuffle.integers(0, 1 << 64, ROUNDS, np.uint64)

    def __getitem__(self, items_B: np.ndarray) -> np.ndarray:
        placed = self._once(items_B.astype(np.uint64))
        while len(outside := np.flatnonzero(placed >= self.size)):
            placed[outside] = self._once(placed[outside])
        return placed.astype(np.int64)

    def _once(self, items_B: np.ndarray) -> np.ndarray:
        left, right = items_B >> self._half, items_B & self._mask
        for key in self._keys:
            left, right = right, left ^ (mix(right ^ key) & self._mask)
        return left << self._half | right


def mix(words: np.ndarray) -> np.ndarray:
    """Every bit of a 64-bit word depends on all bits of the old one: the finaliser of SplitMix64 (Steele et al., 2014).
    """
    words = (words ^ words >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ words >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return words ^ words >> np.uint64(31)


class RowSeeds:
    """One int64 of 63 random bits for each number, a function of (seed, number)."""

    def __init__(self, seed: int) -> None:
        self._key = np.random.SeedSequence((seed, 7)).generate_state(1, np.uint64)

    def of(self, numbers_W: np.ndarray) -> np.ndarray:
        return (mix(mix(numbers_W.astype(np.uint64) + self._key)) >> np.uint64(1)).astype(np.int64)


def per_block(weights: Sequence[float]) -> list[int]:
    """Draws of each source per block of :data:`BLOCK`: largest remainders, at least one each."""
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


def places(update: int, batch: int, rank: int, world: int) -> np.ndarray:
    """Numbers of the draws that a rank takes of an update's ``batch``, which ``world`` divides."""
    each = batch // world
    first = update * batch + rank * each
    return np.arange(first, first + each)
