"""Compact letters: which cells of a table are not told apart, as a word per cell."""

from __future__ import annotations

import numpy as np

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
READABLE = 26
"""More groups than letters of the alphabet are no longer read; then groups become runs of neighbours."""


def letters(adjusted_CC: np.ndarray, alpha: float = 0.05) -> list[str]:
    """One word per cell, cells given best first; cells without a common letter differ at ``alpha``.

    Up to 26 groups also the converse holds (Piepho 2004).  Large grids have hundreds of such groups; there, two cells
    count as different only if all pairs that lie around them in the table do, so that each group is one run of rows.
    """
    count = len(adjusted_CC)
    different_CC = adjusted_CC < alpha
    groups = _insert_and_absorb(different_CC)
    if groups is None:
        groups = _runs(different_CC)
    groups.sort()
    return ["".join(_letter(index) for index, group in enumerate(groups) if cell in group) for cell in range(count)]


def _insert_and_absorb(different_CC: np.ndarray) -> list[list[int]] | None:
    """Maximal groups of cells without a different pair, as sorted lists; None if they are too many to be read."""
    count = len(different_CC)
    groups = [(1 << count) - 1] if count else []
    for i, j in zip(*(index.tolist() for index in np.nonzero(np.triu(different_CC, 1))), strict=True):
        both = (1 << i) | (1 << j)
        whole = [group for group in groups if group & both == both]
        groups = [group for group in groups if group & both != both]
        for part in [group & ~(1 << cell) for group in whole for cell in (i, j)]:
            if not any(part & other == part for other in groups):
                groups = [*(other for other in groups if other & part != other), part]
        if len(groups) > 4 * READABLE:
            return None
    return None if len(groups) > READABLE else [[k for k in range(count) if group >> k & 1] for group in groups]


def _runs(different_CC: np.ndarray) -> list[list[int]]:
    """Maximal runs of neighbours, after keeping a difference only where every pair around it differs too."""
    count = len(different_CC)
    around_CC = np.logical_and.accumulate(different_CC, axis=0)  # all better first cells
    around_CC = np.logical_and.accumulate(around_CC[:, ::-1], axis=1)[:, ::-1]  # all worse second cells
    runs: list[list[int]] = []
    for start in range(count):
        last = max(k for k in range(start, count) if k == start or not around_CC[start, k])
        if not runs or last > runs[-1][-1]:
            runs.append(list(range(start, last + 1)))
    return runs


def _letter(index: int) -> str:
    return ALPHABET[index] if index < len(ALPHABET) else f"({index + 1})"
