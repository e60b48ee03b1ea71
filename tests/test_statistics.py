"""Intervals, tests and letters against scipy, hand-made numbers and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from vlactl import statistics
from vlactl.report.letters import READABLE, letters

CHAIN = (0.0, 5.0)


def chains(rng: np.random.Generator, chance: float, shape: tuple[int, ...]) -> np.ndarray:
    """Lengths of chains of five whose tasks succeed with ``chance``."""
    return np.cumprod(rng.random((*shape, 5)) < chance, axis=-1).sum(-1)


# ---- one cell --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (1, 20), (13, 50), (50, 50), (499, 1000)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    from scipy.stats import binomtest

    theirs = binomtest(successes, n).proportion_ci(method="wilson")
    ours = statistics.wilson(successes, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_no_success_in_twenty_is_not_zero() -> None:
    assert statistics.wilson(0, 20).high == pytest.approx(0.161, abs=5e-4)   # reference/evaluation.md 6


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        statistics.wilson(successes, n)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_bootstrap_is_scipys(method: str) -> None:
    from scipy.stats import bootstrap

    values_N = chains(np.random.default_rng(3), 0.45, (60,))      # skewed, so that BCa and percentile differ
    theirs = bootstrap((values_N,), np.mean, n_resamples=20_000, random_state=1, method=method).confidence_interval
    ours = statistics.bootstrap_mean(values_N, bounds=CHAIN, method=method, resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.035)
    assert ours.mean == values_N.mean()


def test_equal_values_still_have_an_interval() -> None:
    nothing, everything = (statistics.bootstrap_mean(np.full(50, value), bounds=CHAIN) for value in (0, 5))
    upper = statistics.wilson(0, 50).high
    assert (nothing.mean, nothing.low, nothing.high) == (0.0, 0.0, pytest.approx(5 * upper))
    assert (everything.low, everything.high) == (pytest.approx(5 - 5 * upper), 5.0)


def test_bootstrap_repeats_itself() -> None:
    values_N = np.arange(30) % 6
    first, again, other = (statistics.bootstrap_mean(values_N, bounds=CHAIN, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_one_seed_is_the_bootstrap_over_episodes() -> None:
    values_N = chains(np.random.default_rng(0), 0.6, (40,))
    assert statistics.score(values_N[None], bounds=CHAIN) == statistics.bootstrap_mean(values_N, bounds=CHAIN)


def test_seeds_that_differ_widen_the_interval_however_many_episodes() -> None:
    rng = np.random.default_rng(0)
    alike_RN = chains(rng, 0.6, (3, 1000))
    apart_RN = np.stack([chains(rng, chance, (1000,)) for chance in (0.5, 0.6, 0.7)])
    alike, apart = (statistics.score(values, bounds=CHAIN) for values in (alike_RN, apart_RN))
    assert apart.high - apart.low > 4 * (alike.high - alike.low)
    assert apart.mean == apart_RN.mean()


def test_hierarchical_interval_covers_the_design() -> None:
    """Designs whose checkpoints differ: about 95 % of the intervals from 3 seeds hold the design's own mean."""
    rng, held, repeats = np.random.default_rng(1), 0, 120
    for _ in range(repeats):
        values_RN = rng.normal(2.5, 0.4, (3, 1)) + rng.normal(0, 0.8, (1, 60)) + rng.normal(0, 1.0, (3, 60))
        estimate = statistics.score(values_RN, bounds=(-100.0, 100.0), resamples=500)
        held += estimate.low <= 2.5 <= estimate.high
    assert 0.88 <= held / repeats <= 1.0


def test_rate_of_one_seed_is_wilson_and_of_several_knows_their_spread() -> None:
    rng = np.random.default_rng(0)
    one_N = rng.random(80) < 0.4
    assert statistics.rate(one_N[None]) == statistics.wilson(int(one_N.sum()), 80)
    apart = statistics.rate(np.stack([rng.random(500) < chance for chance in (0.2, 0.4, 0.6)]))
    assert apart.high - apart.low > 0.3
    assert 0.0 <= apart.low < apart.mean < apart.high <= 1.0


# ---- two cells -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_sign_flip_is_the_enumeration_of_all_signs(seed: int) -> None:
    differences_N = np.random.default_rng(seed).integers(-3, 5, 12)
    sums = [abs(np.dot(signs, differences_N)) for signs in product((-1, 1), repeat=12)]
    exact = np.mean(np.array(sums) >= abs(differences_N.sum()))
    assert statistics.sign_flip(differences_N) == pytest.approx(exact, abs=1e-12)


def test_sign_flip_of_successes_is_mcnemars_exact_test() -> None:
    from scipy.stats import binomtest

    differences_N = np.array([1] * 14 + [-1] * 4 + [0] * 30)
    assert statistics.sign_flip(differences_N) == pytest.approx(binomtest(4, 18).pvalue, abs=1e-12)


def test_sign_flip_of_many_episodes_agrees_with_random_flips() -> None:
    rng = np.random.default_rng(5)
    differences_N = rng.integers(-5, 6, 600) + (rng.random(600) < 0.2)
    signs_QN = rng.choice([-1, 1], size=(20_000, 600))
    flips = np.mean(np.abs(signs_QN @ differences_N) >= abs(differences_N.sum()))
    assert statistics.sign_flip(differences_N) == pytest.approx(flips, abs=0.01)


def test_sign_flip_of_fractions_uses_random_flips() -> None:
    differences_N = np.array([0.5, 1.5, -0.25, 0.75, 1.25, 0.5, 0.3, 0.9])
    sums = [abs(np.dot(signs, differences_N)) for signs in product((-1, 1), repeat=8)]
    exact = np.mean(np.array(sums) >= abs(differences_N.sum()) - 1e-9)
    assert statistics.sign_flip(differences_N) == pytest.approx(exact, abs=0.004)


def test_equal_cells_do_not_differ() -> None:
    values_N = chains(np.random.default_rng(0), 0.5, (50,))
    comparison = statistics.compare(values_N, values_N)
    assert (comparison.difference, comparison.p) == (0.0, 1.0)
    assert comparison.low < 0 < comparison.high


def test_pairing_removes_the_difficulty_of_episodes() -> None:
    """B is A plus 0.3 on average: invisible against the spread of episodes, plain when paired."""
    rng = np.random.default_rng(2)
    first_N = rng.integers(0, 5, 80)
    second_N = first_N + (rng.random(80) < 0.3)
    paired = statistics.compare(second_N, first_N)
    shuffled = statistics.compare(second_N, rng.permutation(first_N))
    assert paired.p < 1e-5 < 0.05 < shuffled.p
    assert paired.high - paired.low < (shuffled.high - shuffled.low) / 2


@pytest.mark.parametrize("seeds", [2, 3])
def test_designs_are_not_told_apart_by_luck_of_training(seeds: int) -> None:
    """Two equal designs, spread of 0.3 between seeds: about 5 % false alarms at most (episodes alone: over 30 %)."""
    from scipy.stats import ttest_1samp

    rng, repeats = np.random.default_rng(7), 300
    designs, checkpoints = 0, 0
    for _ in range(repeats):
        episodes_N = rng.normal(0, 1.0, 200)
        cells = [rng.normal(0, 0.3, (seeds, 1)) + episodes_N + rng.normal(0, 0.8, (seeds, 200)) for _ in range(2)]
        comparison = statistics.compare(*cells)
        assert comparison.designs
        assert comparison.p == pytest.approx(statistics.pairwise(cells).p[0, 1], abs=1e-9)
        designs += comparison.p < 0.05
        checkpoints += ttest_1samp(cells[0].mean(0) - cells[1].mean(0), 0.0).pvalue < 0.05
    assert designs / repeats <= 0.07
    assert checkpoints / repeats >= 0.3


def test_blocks_replicate_a_choice() -> None:
    rng = np.random.default_rng(0)
    noise_KN = rng.normal(0, 0.5, (9, 60))
    same = statistics.mean_difference(rng.normal(0, 0.4, (9, 1)) + noise_KN)
    real = statistics.mean_difference(rng.normal(1.0, 0.4, (9, 1)) + noise_KN)
    assert same.p > 0.05 > real.p
    assert real.low < 1.0 < real.high


# ---- many cells ------------------------------------------------------------------------------------------------------


def test_pairwise_is_compare_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    cells = [chains(rng, chance, (1, 40)) for chance in (0.2, 0.5, 0.5, 0.9)]
    p_CC = statistics.pairwise(cells).p
    for i, j in product(range(4), repeat=2):
        assert p_CC[i, j] == pytest.approx(1.0 if i == j else statistics.compare(cells[i], cells[j]).p, abs=1e-9)


def test_a_cell_with_one_seed_takes_the_spread_of_the_others() -> None:
    rng = np.random.default_rng(1)
    cells = [rng.normal(mean, 0.5, (rows, 1)) + rng.normal(0, 0.5, (rows, 100))
             for mean, rows in ((0, 3), (0, 3), (0.6, 1))]
    alone = statistics.pairwise([cell[:1] for cell in cells]).p[0, 2]
    assert statistics.pairwise(cells).p[0, 2] > 0.05 > alone


def test_holm_is_the_hand_made_example() -> None:
    adjusted = statistics.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm(np.array([0.9, 0.8])).max() == 1.0


def test_false_alarms_over_a_whole_table_stay_below_five_percent() -> None:
    """Ten equal cells, 45 pairs: a letter other than 'a' in at most about 5 % of the tables."""
    rng, repeats = np.random.default_rng(11), 200
    wrong = 0
    for _ in range(repeats):
        cells = [chains(rng, 0.6, (1, 50)) for _ in range(10)]
        wrong += statistics.holm_pairs(statistics.pairwise(cells).p).min() < 0.05
    assert wrong / repeats <= 0.08


def test_probability_of_best_splits_ties_and_finds_the_winner() -> None:
    values_N = chains(np.random.default_rng(0), 0.5, (1, 60))
    assert statistics.probability_of_best([values_N, values_N]) == pytest.approx([0.5, 0.5])
    chances = statistics.probability_of_best([values_N, np.minimum(values_N + 2, 5), np.zeros_like(values_N)])
    assert chances[1] > 0.99
    assert chances.sum() == pytest.approx(1.0)


def test_probability_of_best_is_normal_theory() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    first_N, second_N = rng.normal(0.1, 1, (1, 400)), rng.normal(0, 1, (1, 400))
    gap_N = (first_N - second_N)[0]
    expected = norm.cdf(gap_N.mean() / (gap_N.std() / 20))
    assert statistics.probability_of_best([first_N, second_N], resamples=8000)[0] == pytest.approx(expected, abs=0.02)


# ---- letters ---------------------------------------------------------------------------------------------------------


def matrix(count: int, different: set[tuple[int, int]]) -> np.ndarray:
    p_CC = np.ones((count, count))
    for i, j in different:
        p_CC[i, j] = p_CC[j, i] = 0.01
    return p_CC


def test_letters_of_the_textbook_case() -> None:
    """First differs from third and fourth, second from fourth."""
    assert letters(matrix(4, {(0, 2), (0, 3), (1, 3)})) == ["a", "ab", "bc", "c"]


def test_letters_of_alike_of_none_and_of_one() -> None:
    assert letters(matrix(3, set())) == ["a", "a", "a"]
    assert letters(matrix(3, {(0, 1), (0, 2), (1, 2)})) == ["a", "b", "c"]
    assert letters(matrix(1, set())) == ["a"]
    assert letters(np.ones((0, 0))) == []


@pytest.mark.parametrize("seed", range(6))
def test_cells_share_a_letter_exactly_if_they_are_not_told_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p_CC = matrix(9, {(i, j) for i in range(9) for j in range(i + 1, 9) if rng.random() < 0.4})
    words = letters(p_CC)
    for i, j in product(range(9), repeat=2):
        assert bool(set(words[i]) & set(words[j])) == (p_CC[i, j] >= 0.05)


def test_large_tables_keep_readable_letters_that_never_invent_a_difference() -> None:
    rng = np.random.default_rng(0)
    cells = [chains(rng, chance, (1, 50)) for chance in np.linspace(0.9, 0.1, 80)]
    cells.sort(key=lambda cell: -cell.mean())
    adjusted_CC = statistics.holm_pairs(statistics.pairwise(cells).p)
    words = letters(adjusted_CC)
    assert max(len(word) for word in words) <= READABLE
    assert not set(words[0]) & set(words[-1])
    for i, j in product(range(80), repeat=2):
        if not set(words[i]) & set(words[j]):
            assert adjusted_CC[i, j] < 0.05
