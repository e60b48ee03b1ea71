"""What is drawn when: exact shares, whole epochs, and nothing that depends on what was asked before."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlactl.errors import UsageError
from vlactl.windows import BLOCK, Draw, per_block
from vlactl.windows.draw import LARGEST_TABLE, RowSeeds, Scramble

WEIGHTS = st.lists(st.floats(0.01, 10), min_size=1, max_size=6)


def drawn(draw: Draw, numbers: np.ndarray) -> list[tuple[int, int]]:
    """(source, item) of each draw."""
    found: list[tuple[int, int]] = [(-1, -1)] * len(numbers)
    for index, where, items in draw.of(numbers):
        for row, item in zip(np.arange(len(numbers))[where].tolist(), items.tolist(), strict=True):
            found[row] = (index, item)
    return found


def test_weights_become_exact_counts() -> None:
    assert per_block([1.0]) == [BLOCK]
    assert per_block([2, 1, 1]) == [500, 250, 250]
    assert per_block([1, 1, 1]) == [334, 333, 333]
    assert per_block([1e6, 1.0]) == [BLOCK - 1, 1]
    for bad in ([0.0, 1.0], [-1.0, 2.0]):
        with pytest.raises(UsageError, match="not all positive"):
            per_block(bad)


@given(weights=WEIGHTS, seed=st.integers(0, 99), block=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_block_has_the_shares_of_its_weights(weights: list[float], seed: int, block: int) -> None:
    sizes = [7 + 40 * index for index in range(len(weights))]
    draw = Draw(sizes, weights, seed=seed, salt=1)
    counts = Counter(index for index, _ in drawn(draw, np.arange(block * BLOCK, (block + 1) * BLOCK)))
    assert [counts[index] for index in range(len(weights))] == draw.counts
    for count, weight in zip(draw.counts, weights, strict=True):
        assert abs(count - BLOCK * weight / sum(weights)) < 1


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4), seed=st.integers(0, 99),
       cuts=st.lists(st.integers(1, 400), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_draws_are_a_function_of_their_number(sizes: list[int], seed: int, cuts: list[int]) -> None:
    """However the draws are asked for, in whatever pieces and order, they are the same: resuming is exact."""
    weights = [index + 1.0 for index in range(len(sizes))]
    bounds = np.cumsum([0, *cuts]).tolist()
    whole = drawn(Draw(sizes, weights, seed=seed, salt=1), np.arange(bounds[-1]))
    again = Draw(sizes, weights, seed=seed, salt=1)
    pieces = {first: drawn(again, np.arange(first, last)) for first, last in
              sorted(itertools.pairwise(bounds), reverse=True)}
    assert [pair for first in sorted(pieces) for pair in pieces[first]] == whole


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=3), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_every_item_comes_once_before_any_comes_again(sizes: list[int], seed: int) -> None:
    found = drawn(Draw(sizes, [1.0] * len(sizes), seed=seed, salt=1), np.arange(600))
    for index, size in enumerate(sizes):
        items = [item for which, item in found if which == index]
        for epoch in range(len(items) // size):
            assert sorted(items[epoch * size: (epoch + 1) * size]) == list(range(size))


def test_sources_are_shuffled_into_each_other() -> None:
    found = [index for index, _ in drawn(Draw([50, 50], [1, 1], seed=0, salt=1), np.arange(BLOCK))]
    changes = sum(a != b for a, b in itertools.pairwise(found))
    assert 430 < changes < 570, "like a fair coin; 500 on average with a deviation of 16"


def test_salts_seeds_and_epochs_draw_differently() -> None:
    numbers = np.arange(50)
    base = drawn(Draw([50], [1], seed=0, salt=1), numbers)
    assert base != drawn(Draw([50], [1], seed=1, salt=1), numbers)
    assert base != drawn(Draw([50], [1], seed=0, salt=5), numbers)
    assert base != drawn(Draw([50], [1], seed=0, salt=1), numbers + 50)


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_scramble_is_a_permutation(size: int, seed: int) -> None:
    found = Scramble(size, np.random.default_rng(seed))[np.arange(size)]
    assert np.array_equal(np.sort(found), np.arange(size))


def test_a_scramble_spreads_like_a_shuffle() -> None:
    """Neighbours end up anywhere: no correlation of place and item, nor of consecutive items."""
    size = 200_000
    found = Scramble(size, np.random.default_rng(0))[np.arange(size)].astype(float)
    assert abs(np.corrcoef(found, np.arange(size))[0, 1]) < 0.01
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.01
    ahead = np.histogram(found[: size // 10], bins=50, range=(0, size))[0]
    assert np.all(np.abs(ahead - 400) < 5 * 20), "the first tenth of an epoch comes from everywhere"


def test_a_large_source_costs_no_table() -> None:
    """Ten million items: an update of 16 asks for 16 of them (measured: 0.6 ms), and nothing of their size is made."""
    draw = Draw([10_000_000, 5 * LARGEST_TABLE], [1, 1], seed=0, salt=1)
    tracemalloc.start()
    began = time.perf_counter()
    for number in range(20):
        drawn(draw, np.arange(16 * number, 16 * number + 16))
    took, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 1.0
    assert peak < 1_000_000


def test_seeds_of_rows_are_their_own_and_the_same_in_any_batch() -> None:
    seeds = RowSeeds(3).of(np.arange(10_000))
    assert len(np.unique(seeds)) == 10_000
    assert seeds.min() >= 0
    assert np.array_equal(RowSeeds(3).of(np.arange(500, 520)), seeds[500:520])
    assert not np.isin(RowSeeds(4).of(np.arange(10_000)), seeds).any()
    ones = np.unpackbits(seeds.view(np.uint8)).mean()
    assert abs(ones - 63 / 128) < 0.005, "63 fair bits of 64"
