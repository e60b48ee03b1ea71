"""Intervals, paired comparisons, multiplicity and letters for scores of rollouts; numpy, and scipy inside functions.

Every score is a mean over *episodes* (shared by all cells, so comparisons are paired on the episode) and over *training
seeds* (which are not paired between cells).  One seed compares checkpoints: only episodes are resampled.  Two or more
compare designs: the spread between seeds enters every interval and every p-value, because no number of episodes
replaces it.  Axis letters: R training seeds (or other random rows), N episodes, C cells, P pairs of cells, Q resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
RESAMPLES = 4000
EXACT_SIGN_FLIP = 128
"""Up to this many non-zero differences the sign-flip distribution is exact; beyond, normal with continuity correction,
which errs towards larger p (sums of random signs have lighter tails than the normal)."""
SMALLEST_P = 1e-12
"""Rounding of the Fourier transform; smaller p-values are reported as this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its confidence interval, in the units of the metric."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """First minus second, paired on episodes."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided, not adjusted for other comparisons."""
    n: int
    """Episodes that both have."""
    designs: bool
    """True where the seed spread is included; False: these two checkpoints only."""


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Wilson score interval of a proportion, never of width zero; ``ValueError`` unless 0 <= successes <= n, n > 0."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes in {n} attempts is no proportion")
    z, share = _z(confidence), successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(mean=share, low=low, high=high)


def bootstrap_mean(values_N: np.ndarray, *, bounds: tuple[float, float], method: str = "bca", seed: int = 0,
                   resamples: int = RESAMPLES, confidence: float = CONFIDENCE) -> Estimate:
    """Interval of a mean over episodes, ``method`` ``bca`` or ``percentile``.

    Resampling N episodes is drawing how often each distinct value occurs, so the cost does not grow with N.  Where all
    values are equal the bootstrap has nothing to say and the interval says what an unseen other value could do:
    Wilson's upper limit for 0 of N times the distance to ``bounds``.
    """
    values_N = np.asarray(values_N, dtype=float)
    n, mean = len(values_N), float(values_N.mean())
    distinct_U, counts_U = np.unique(values_N, return_counts=True)
    if len(distinct_U) == 1:
        unseen = wilson(0, n, confidence).high
        return Estimate(mean=mean, low=mean - unseen * (mean - bounds[0]), high=mean + unseen * (bounds[1] - mean))
    draws_QU = np.random.default_rng(seed).multinomial(n, counts_U / n, size=resamples)
    means_Q = draws_QU @ distinct_U / n
    tail = (1 - confidence) / 2
    tails = _bca_tails(values_N, means_Q, mean, tail) if method == "bca" else (tail, 1 - tail)
    low, high = np.quantile(means_Q, tails)
    return Estimate(mean=mean, low=float(low), high=float(high))


def _bca_tails(values_N: np.ndarray, means_Q: np.ndarray, mean: float, tail: float) -> tuple[float, float]:
    """Efron's corrected quantile levels; the jackknife acceleration of a mean is its skewness / (6 sqrt(N))."""
    normal = NormalDist()
    close = np.isclose(means_Q, mean, rtol=0, atol=1e-9)
    below = (np.sum((means_Q < mean) & ~close) + 0.5 * np.sum(close)) / len(means_Q)
    bias = normal.inv_cdf(min(max(below, 1e-6), 1 - 1e-6))
    deviations = values_N - mean
    acceleration = np.sum(deviations**3) / (6 * np.sum(deviations**2) ** 1.5)
    shifted = [bias + normal.inv_cdf(level) for level in (tail, 1 - tail)]
    low, high = (normal.cdf(bias + s / (1 - acceleration * s)) for s in shifted)
    return low, high


@dataclass(frozen=True, slots=True)
class _Spread:
    """A grand mean of rows x episodes, its standard error, and Satterthwaite's degrees of freedom."""

    mean: float
    error: float
    df: float


def _crossed(values_RN: np.ndarray) -> _Spread:
    """Rows and episodes both random and crossed: var = rows/R + episodes/N - residual/(RN)."""
    rows, n = values_RN.shape
    mean = float(values_RN.mean())
    row_R, episode_N = values_RN.mean(1), values_RN.mean(0)
    of_rows, of_episodes = float(row_R.var(ddof=1)) / rows, float(episode_N.var(ddof=1)) / n
    squares = of_rows**2 / (rows - 1) + of_episodes**2 / (n - 1)
    return _Spread(mean, float(_error(of_rows, of_episodes, _residual(values_RN))),
                   (of_rows + of_episodes) ** 2 / squares if squares else n - 1)


def _residual(values_RN: np.ndarray) -> float:
    """Variance of the grand mean that comes from row x episode noise."""
    rows, n = values_RN.shape
    left_RN = values_RN - values_RN.mean(1)[:, None] - values_RN.mean(0)[None] + values_RN.mean()
    return float((left_RN**2).sum()) / ((rows - 1) * (n - 1)) / (rows * n)


def _error(of_rows: ArrayLike, of_episodes: ArrayLike, twice: ArrayLike) -> np.ndarray:
    """Standard error of a mean from its components; ``twice`` is the residual that both of them contain."""
    of_rows, of_episodes = np.asarray(of_rows), np.asarray(of_episodes)
    return np.sqrt(np.maximum(of_rows + of_episodes - np.asarray(twice), np.maximum(of_rows, of_episodes)))


def score(values_RN: np.ndarray, *, bounds: tuple[float, float], seed: int = 0, resamples: int = RESAMPLES,
          confidence: float = CONFIDENCE) -> Estimate:
    """Mean over training seeds and episodes: BCa over episodes for one seed, :func:`hierarchical` for more."""
    values_RN = np.atleast_2d(np.asarray(values_RN, dtype=float))
    if 1 in values_RN.shape:
        return bootstrap_mean(values_RN.mean(0), bounds=bounds, seed=seed, resamples=resamples, confidence=confidence)
    return hierarchical(values_RN, bounds=bounds, seed=seed, resamples=min(resamples, 2000), confidence=confidence)


def hierarchical(values_RN: np.ndarray, *, bounds: tuple[float, float], seed: int = 0, resamples: int = 2000,
                 confidence: float = CONFIDENCE) -> Estimate:
    """Bootstrap over training seeds, then over the episodes that all of them share; for two or more seeds.

    A bootstrap over R = 2..5 seeds is too narrow twice: by sqrt((R-1)/R), and by the normal tails it assumes.  Seeds'
    deviations are rescaled for the first, and all draws are widened by t/z with Satterthwaite's df for the second.
    """
    spread = _crossed(values_RN)
    if spread.error == 0:
        return bootstrap_mean(values_RN[0], bounds=bounds, confidence=confidence)
    means_QR = _weights(values_RN.shape[1], resamples, seed) @ values_RN.T
    means_Q = _resample_seeds(np.random.default_rng(seed), means_QR)
    widen = float(_t(confidence, spread.df)) / _z(confidence)
    low, high = np.quantile(spread.mean + widen * (means_Q - spread.mean), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(mean=spread.mean, low=max(float(low), bounds[0]), high=min(float(high), bounds[1]))


def rate(successes_RN: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Share of 0/1 outcomes: Wilson for one seed, a t interval with the seed spread for more."""
    successes_RN = np.atleast_2d(np.asarray(successes_RN, dtype=float))
    spread = _crossed(successes_RN) if 1 not in successes_RN.shape else None
    if spread is None or spread.error == 0:
        return wilson(int(successes_RN[0].sum()), successes_RN.shape[1], confidence)
    half = float(_t(confidence, spread.df)) * spread.error
    return Estimate(mean=spread.mean, low=max(spread.mean - half, 0.0), high=min(spread.mean + half, 1.0))


@lru_cache(maxsize=2)
def _weights(n: int, resamples: int, seed: int) -> np.ndarray:
    """(Q, N) shares with which each episode occurs in each resample; the same for every cell of a table."""
    picks_QN = np.random.default_rng([seed, n]).integers(0, n, size=(resamples, n)) + np.arange(resamples)[:, None] * n
    return np.bincount(picks_QN.ravel(), minlength=resamples * n).reshape(resamples, n) / n


def _resample_seeds(rng: np.random.Generator, means_QR: np.ndarray) -> np.ndarray:
    """(Q,) means over seeds drawn with replacement, their deviations rescaled by sqrt(R / (R - 1))."""
    resamples, rows = means_QR.shape
    if rows == 1:
        return means_QR[:, 0]
    centre_Q = means_QR.mean(1)
    seeds_QR = rng.multinomial(rows, np.full(rows, 1 / rows), size=resamples) / rows
    return centre_Q + math.sqrt(rows / (rows - 1)) * ((means_QR - centre_Q[:, None]) * seeds_QR).sum(1)


def compare(first_RN: np.ndarray, second_RN: np.ndarray, *, seed: int = 0,
            confidence: float = CONFIDENCE) -> Comparison:
    """Difference of two cells on the same episodes, in the same order.

    Two or more seeds on both sides: t interval and test with the seed spread of these two.  Otherwise seeds
    are averaged and the paired bootstrap gives the interval, the sign-flip permutation the p-value.
    """
    first_RN, second_RN = (np.atleast_2d(np.asarray(v, dtype=float)) for v in (first_RN, second_RN))
    difference_N = first_RN.mean(0) - second_RN.mean(0)
    if len(first_RN) > 1 and len(second_RN) > 1:
        of_seeds = sum(float(v.mean(1).var(ddof=1)) / len(v) for v in (first_RN, second_RN))
        n, noise = len(difference_N), _residual(first_RN) + _residual(second_RN)
        error = float(_error(of_seeds, difference_N.var(ddof=1) / n, noise))
        return _by_t(float(difference_N.mean()), error, len(first_RN) + len(second_RN) - 2, n, confidence)
    reach = float(max(first_RN.max(), second_RN.max()) - min(first_RN.min(), second_RN.min())) or 1.0
    estimate = bootstrap_mean(difference_N, bounds=(-reach, reach), method="percentile", seed=seed,
                              confidence=confidence)
    return Comparison(difference=estimate.mean, low=estimate.low, high=estimate.high,
                      p=sign_flip(difference_N, seed=seed), n=len(difference_N), designs=False)


def mean_difference(differences_RN: np.ndarray, *, seed: int = 0, confidence: float = CONFIDENCE) -> Comparison:
    """Mean of differences that are paired in rows (what else varied) and in episodes, both random; t interval and test.

    One row: the paired bootstrap and the sign-flip permutation over episodes.
    """
    differences_RN = np.atleast_2d(np.asarray(differences_RN, dtype=float))
    rows, n = differences_RN.shape
    if rows == 1:
        return compare(differences_RN, np.zeros((1, n)), seed=seed, confidence=confidence)
    spread = _crossed(differences_RN)
    return _by_t(spread.mean, spread.error, rows - 1, n, confidence)


def _by_t(mean: float, error: float, df: int, n: int, confidence: float) -> Comparison:
    half, p = float(_t(confidence, df)) * error, float(_t_p(mean, error, df))
    return Comparison(difference=mean, low=mean - half, high=mean + half, p=p, n=n, designs=True)


def sign_flip(differences_N: np.ndarray, *, seed: int = 0, flips: int = 20_000) -> float:
    """Two-sided permutation p of a mean difference: each episode's sign is as likely + as -.

    Whole-number differences (chain lengths, successes) are exact up to 128 non-zero ones; others use random flips.
    """
    values_N = np.asarray(differences_N, dtype=float)
    if np.all(values_N == np.round(values_N)):
        return float(_sign_flip_whole(np.round(values_N)[None].astype(np.int64))[0])
    signs_QN = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(flips, len(values_N)))
    extreme = np.sum(np.abs(signs_QN @ values_N) >= abs(values_N.sum()) - 1e-9)
    return float((extreme + 1) / (flips + 1))


def _sign_flip_whole(differences_PN: np.ndarray) -> np.ndarray:
    """p of each row of whole numbers, from how often each magnitude occurs."""
    sizes_PN, sums_P = np.abs(differences_PN), np.abs(differences_PN.sum(1))
    counts_PM = np.stack([(sizes_PN == m).sum(1) for m in range(1, max(int(sizes_PN.max(initial=0)), 1) + 1)], axis=1)
    sizes_M = np.arange(1, counts_PM.shape[1] + 1)
    few_P = counts_PM.sum(1) <= EXACT_SIGN_FLIP
    p_P = np.ones(len(sums_P))
    for start in range(0, int(few_P.sum()), 512):
        rows = np.flatnonzero(few_P)[start:start + 512]
        p_P[rows] = _sign_flip_exact(counts_PM[rows], sizes_M, sums_P[rows])
    errors_P = np.sqrt(counts_PM @ sizes_M**2)
    for row in np.flatnonzero(~few_P):
        p_P[row] = math.erfc(max(sums_P[row] - 1, 0) / errors_P[row] / math.sqrt(2))
    return np.clip(p_P, SMALLEST_P, 1.0)


def _sign_flip_exact(counts_PM: np.ndarray, sizes_M: np.ndarray, sums_P: np.ndarray) -> np.ndarray:
    """Sum of +-m over all signs: its characteristic function is the product of cos(m t)^count; inverted by FFT."""
    reach = int((counts_PM @ sizes_M).max())
    length = 1 << (2 * reach + 1).bit_length()
    angles_F = 2 * np.pi * np.arange(length // 2 + 1) / length
    product_PF = np.ones((len(counts_PM), len(angles_F)))
    for column, size in enumerate(sizes_M):
        cosines_KF = np.tile(np.cos(size * angles_F), (int(counts_PM[:, column].max()) + 1, 1))
        cosines_KF[0] = 1.0
        product_PF *= np.cumprod(cosines_KF, axis=0)[counts_PM[:, column]]
    chances_PS = np.fft.irfft(product_PF, n=length, axis=1)     # index s: the sum is s, or s - length if beyond half
    upper_PS = np.cumsum(chances_PS[:, length // 2::-1], axis=1)[:, ::-1]    # P(sum >= s), s = 0..length/2
    return np.where(sums_P == 0, 1.0, 2 * upper_PS[np.arange(len(sums_P)), sums_P])


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """All pairs of C cells."""

    p: np.ndarray
    """(C, C) two-sided p-values, not adjusted."""
    half: np.ndarray | None
    """(C, C) half widths of the confidence intervals of differences; None where cells are compared as checkpoints."""


def pairwise(cells: Sequence[np.ndarray], confidence: float = CONFIDENCE) -> Pairs:
    """Compare all pairs of cells, each (R, N) on the same episodes.

    If no cell has two seeds: sign-flip over episodes.  Else t with the seed spread, see :func:`_pairwise_designs`.
    """
    count = len(cells)
    means_CN = np.stack([cell.mean(0) for cell in cells]).astype(float)
    first, second = np.triu_indices(count, 1)
    p_CC, half_CC = np.ones((count, count)), None
    if max(len(cell) for cell in cells) > 1:
        error_P, df_P = _pairwise_designs(cells, means_CN, first, second)
        p_CC[first, second] = _t_p((means_CN[first] - means_CN[second]).mean(1), error_P, df_P)
        half_CC = np.zeros((count, count))
        half_CC[first, second] = _t(confidence, df_P) * error_P
        half_CC += half_CC.T
    elif np.all(means_CN == np.round(means_CN)):
        whole_CN = np.round(means_CN).astype(np.int64)
        for start in range(0, len(first), 512):
            i, j = first[start:start + 512], second[start:start + 512]
            p_CC[i, j] = _sign_flip_whole(whole_CN[i] - whole_CN[j])
    else:
        p_CC[first, second] = [sign_flip(means_CN[i] - means_CN[j]) for i, j in zip(first, second, strict=True)]
    p_CC[second, first] = p_CC[first, second]
    return Pairs(p=p_CC, half=half_CC)


def _pairwise_designs(cells: Sequence[np.ndarray], means_CN: np.ndarray, first: np.ndarray,
                      second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard error and df of each pair.

    A cell's variance between seeds rests on two or three numbers, so it borrows strength from the others: Smyth's
    moderated t (2004), whose prior weighs much where cells have similar variances and little where they do not.  A cell
    with one seed takes the prior.  The df are those of seeds alone: where few seeds happen to agree, Satterthwaite's
    would trust that luck (two seeds, two cells: 9 % false alarms, against 4 % so).
    """
    n = means_CN.shape[1]
    df_C = np.array([len(cell) - 1 for cell in cells])
    several = df_C > 0
    own_C = np.array([float(cell.mean(1).var(ddof=1)) if len(cell) > 1 else 0.0 for cell in cells])
    typical, weight = _prior(own_C[several], df_C[several])
    variance_C = (weight * typical + df_C * own_C) / (weight + df_C) if weight else np.where(several, own_C, typical)
    noise_C = np.array([_residual(cell) * len(cell) if len(cell) > 1 else np.nan for cell in cells])
    noise_C[~several] = np.nanmean(noise_C)
    rows_C = df_C + 1
    covariance_CC = np.atleast_2d(np.cov(means_CN)) / n
    spread_C = np.diag(covariance_CC)
    of_episodes_P = np.maximum(spread_C[first] + spread_C[second] - 2 * covariance_CC[first, second], 0.0)
    own_df_P = df_C[first] + df_C[second]
    df_P = own_df_P + np.minimum(weight, df_C.sum() - own_df_P)      # the prior knows no more than the other cells do
    error_P = _error((variance_C / rows_C)[first] + (variance_C / rows_C)[second], of_episodes_P,
                     (noise_C / rows_C)[first] + (noise_C / rows_C)[second])
    return error_P, np.maximum(df_P, 1)


def _prior(variances_C: np.ndarray, df_C: np.ndarray) -> tuple[float, float]:
    """Smyth's empirical Bayes: the typical variance and the degrees of freedom that it is worth (at most all of them).

    The spread of log variances beyond what df_C explain tells how different the cells really are.
    """
    from scipy.special import digamma, polygamma

    pooled = float((variances_C * df_C).sum() / df_C.sum())
    if len(variances_C) < 3 or pooled == 0:
        return pooled, 0.0
    logs_C = np.log(np.maximum(variances_C, 1e-2 * pooled)) - digamma(df_C / 2) + np.log(df_C / 2)
    excess = float(logs_C.var(ddof=1) - polygamma(1, df_C / 2).mean())
    low, high = 1e-3, float(df_C.sum())
    if excess <= polygamma(1, high / 2):
        return pooled, high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if polygamma(1, middle / 2) > excess else (low, middle)
    return float(np.exp(logs_C.mean() + digamma(low / 2) - np.log(low / 2))), low


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment, for any dependence; same shape as ``p``."""
    flat = np.asarray(p, dtype=float).ravel()
    order = np.argsort(flat, kind="stable")
    stepped = np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.reshape(np.shape(p))


def holm_pairs(p_CC: np.ndarray) -> np.ndarray:
    """Holm over the upper triangle of a symmetric matrix of p-values."""
    first, second = np.triu_indices(len(p_CC), 1)
    adjusted_CC = np.ones_like(p_CC)
    adjusted_CC[first, second] = adjusted_CC[second, first] = holm(p_CC[first, second])
    return adjusted_CC


def probability_of_best(cells: Sequence[np.ndarray], *, seed: int = 0, resamples: int = 2000) -> np.ndarray:
    """(C,) share of resamples (episodes jointly, seeds per cell) in which each cell is best; ties are split."""
    rng = np.random.default_rng(seed)
    episodes_QN = _weights(cells[0].shape[1], resamples, seed)
    means_QC = np.stack([_resample_seeds(rng, episodes_QN @ np.asarray(cell, dtype=float).T) for cell in cells], axis=1)
    best_QC = means_QC >= means_QC.max(1, keepdims=True) - 1e-12
    return (best_QC / best_QC.sum(1, keepdims=True)).mean(0)


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _t(confidence: float, df: ArrayLike) -> np.ndarray:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, (1 + confidence) / 2))


def _t_p(difference: ArrayLike, error: ArrayLike, df: ArrayLike) -> np.ndarray:
    """Two-sided p of difference / error.  No spread at all: 1 if equal, else the smallest p."""
    from scipy.special import stdtr

    difference, error, df = (np.asarray(x, dtype=float) for x in (difference, error, df))
    ratio = np.divide(np.abs(difference), error, out=np.where(difference == 0, 0.0, np.inf), where=error > 0)
    return np.clip(2 * stdtr(df, -ratio), SMALLEST_P, 1.0)
