"""Count, mean, deviation, range and quantiles of what an episode holds, and how those of many episodes are merged.

Values are what LeRobot stores in ``stats.json``: images per channel in [0, 1] and shaped (C, 1, 1), everything else per
dimension.  Merged quantiles are means weighted by the count, as LeRobot merges them; all else is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
"""LeRobot's; stored as ``q01`` to ``q99``."""

MERGED_AT_ONCE = 256
Moments = dict[str, np.ndarray]
"""``min``, ``max``, ``mean``, ``std``, ``count`` and the quantiles, float64 (the count int64, shape (1,))."""


def of_vectors(values_NV: np.ndarray) -> Moments:
    """Of N > 0 vectors, per dimension (V,)."""
    values_NV = np.asarray(values_NV, np.float64)
    quantiles_QV = np.quantile(values_NV, QUANTILES, axis=0)
    return {"min": values_NV.min(0), "max": values_NV.max(0), "mean": values_NV.mean(0), "std": values_NV.std(0),
            "count": np.array([len(values_NV)]), **_named(quantiles_QV)}


def of_images(images_TYXC: np.ndarray) -> Moments:
    """Of T > 0 uint8 images, per channel (C, 1, 1) in [0, 1]; exact, from the 256 counts of each channel."""
    levels_L = np.arange(256) / 255
    counts_CL = np.stack([np.bincount(images_TYXC[..., channel].ravel(), minlength=256)
                          for channel in range(images_TYXC.shape[-1])])
    total = counts_CL[0].sum()
    mean_C = counts_CL @ levels_L / total
    variance_C = counts_CL @ levels_L**2 / total - mean_C**2
    ranks_CL = counts_CL.cumsum(1)
    present_CL = counts_CL > 0
    quantiles_QC = np.stack([levels_L[(ranks_CL >= share * total).argmax(1)] for share in QUANTILES])
    moments = {"min": levels_L[present_CL.argmax(1)], "max": levels_L[255 - present_CL[:, ::-1].argmax(1)],
               "mean": mean_C, "std": np.sqrt(np.maximum(variance_C, 0)), **_named(quantiles_QC)}
    return {**{name: value_C[:, None, None] for name, value_C in moments.items()},
            "count": np.array([len(images_TYXC)])}


class Running:
    """Merges what it is given as it goes, so that a dataset of any length fits into memory."""

    def __init__(self) -> None:
        self._parts: list[Moments] = []

    def add(self, part: Moments) -> None:
        self._parts.append(part)
        if len(self._parts) == MERGED_AT_ONCE:
            self._parts = [merged(self._parts)]

    def merged(self) -> Moments:
        """Of everything so far, at least one part."""
        return merged(self._parts)


def merged(parts: Sequence[Moments]) -> Moments:
    """Of everything that the parts (at least one) were taken of."""
    counts_P = np.array([part["count"][0] for part in parts])
    total = counts_P.sum()

    def mean(values_PV: np.ndarray) -> np.ndarray:
        return np.tensordot(counts_P, values_PV, 1) / total

    means_PV = np.stack([part["mean"] for part in parts])
    mean_V = mean(means_PV)
    variances_PV = np.stack([part["std"] for part in parts]) ** 2 + (means_PV - mean_V) ** 2
    return {"min": np.min([part["min"] for part in parts], 0), "max": np.max([part["max"] for part in parts], 0),
            "mean": mean_V, "std": np.sqrt(mean(variances_PV)), "count": np.array([total]),
            **{name: mean(np.stack([part[name] for part in parts])) for name in _named(QUANTILES)}}


def _named(quantiles: Sequence | np.ndarray) -> dict:
    return {f"q{round(100 * share):02d}": value for share, value in zip(QUANTILES, quantiles, strict=True)}
