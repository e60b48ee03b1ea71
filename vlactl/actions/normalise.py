"""Statistics of a source, and the scales that they give a network's inputs and outputs.

Axis letters: N any number of control steps, A action dimensions (the last is the gripper), S state dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vlactl.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

LOWER, UPPER = 0.01, 0.99
"""Quantiles that become -1 and +1 (RoboVLMs, arXiv 2412.14058, eq. 5-6)."""
SMALLEST_RANGE = 1e-3
"""A dimension whose quantiles lie closer is hardly used; without a floor its noise would be blown up to full scale."""
SMALLEST_DEVIATION = 1e-2
"""Metres or radians: below it a state dimension counts as constant."""
LARGEST_STATE = 5.0
"""Normalised states are clipped here, so that a state never seen in training stays within what a network has met."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionNormalizer:
    """Arm dimensions: a range to [-1, 1], clipped.  Gripper: -1 closed, +1 open, by its sign.

    ``decode(encode(a)) == a`` for arm values within the range and gripper values of -1 and +1.
    """

    low: tuple[float, ...]
    """What becomes -1, for each arm dimension."""
    high: tuple[float, ...]
    """What becomes +1, for each arm dimension."""
    kind: Literal["quantiles", "fixed"] = "quantiles"
    """Where the range comes from: percentiles 1 and 99 of the source, or the recipe."""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise UsageError(
                f"action statistics of {len(self.low)} and {len(self.high)} dimensions", where="action normaliser"
            )
        if not np.isfinite([*self.low, *self.high]).all() or np.any(np.asarray(self.high) < np.asarray(self.low)):
            raise UsageError(f"action statistics {self.low} to {self.high} are no ranges", where="action normaliser")

    @classmethod
    def fit(cls, actions_NA: np.ndarray) -> ActionNormalizer:
        """Statistics of a source's actions; raises :class:`UsageError` when there are none or some are not finite."""
        arm = np.asarray(actions_NA, np.float64)[:, :-1]
        if len(arm) == 0 or not np.isfinite(arm).all():
            raise UsageError(
                f"statistics need finite actions; these are {len(arm)} rows, some not finite or none at all",
                where="action normaliser",
                remedy="record the data again",
            )
        low, high = np.quantile(arm, [LOWER, UPPER], axis=0)
        return cls(low=tuple(map(float, low)), high=tuple(map(float, high)))

    @classmethod
    def fixed(cls, range_: float, action_size: int) -> ActionNormalizer:
        """-``range_`` to +``range_`` for every arm dimension, whatever the source (RoboVLMs' code on CALVIN)."""
        arm = action_size - 1
        return cls(low=(-range_,) * arm, high=(range_,) * arm, kind="fixed")

    @property
    def size(self) -> int:
        """A: action dimensions, the gripper included."""
        return len(self.low) + 1

    def _middle_and_half(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.asarray(self.low), np.asarray(self.high)
        return (low + high) / 2, np.maximum(high - low, SMALLEST_RANGE) / 2

    def encode(self, actions_NA: np.ndarray) -> np.ndarray:
        """Commanded (..., A) -> normalised float32 (..., A) in [-1, 1]."""
        middle, half = self._middle_and_half()
        arm = np.clip((actions_NA[..., :-1] - middle) / half, -1, 1)
        return np.concatenate([arm, sign(actions_NA[..., -1:])], -1).astype(np.float32)

    def decode(self, actions_NA: np.ndarray) -> np.ndarray:
        """Normalised (..., A) -> commanded float32 (..., A); not a number stays not a number."""
        middle, half = self._middle_and_half()
        arm = actions_NA[..., :-1] * half + middle
        return np.concatenate([arm, sign(actions_NA[..., -1:])], -1).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        origin = {"lower": LOWER, "upper": UPPER} if self.kind == "quantiles" else {}
        return {"kind": self.kind, **origin, "low": list(self.low), "high": list(self.high)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ActionNormalizer:
        """The inverse of :meth:`to_json`; raises :class:`UsageError` when statistics are missing."""
        missing = [key for key in ("low", "high") if not document.get(key)]
        if missing or document.get("kind") not in ("quantiles", "fixed"):
            raise UsageError(
                "action statistics are missing: " + (", ".join(missing) or f"kind {document.get('kind')!r}"),
                where="action normaliser",
                expected="kind: quantiles | fixed, low, high",
                remedy="record the data again",
            )
        low, high = (tuple(map(float, document[key])) for key in ("low", "high"))
        return cls(low=low, high=high, kind=document["kind"])


def sign(values: np.ndarray) -> np.ndarray:
    """+1 above zero, -1 otherwise; not a number stays not a number."""
    return np.where(np.isnan(values), values, np.where(values > 0, 1.0, -1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class StateStatistics:
    """Mean and standard deviation of proprioception, in the units of the source."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, states_NS: np.ndarray) -> StateStatistics:
        """Statistics of a source's states; raises :class:`UsageError` when there are none or some are not finite."""
        states = np.asarray(states_NS, np.float64)
        if len(states) == 0 or not np.isfinite(states).all():
            raise UsageError(
                f"statistics need finite states; these are {len(states)} rows",
                where="state statistics",
                remedy="record the data again",
            )
        return cls(mean=tuple(map(float, states.mean(0))), std=tuple(map(float, states.std(0))))

    @property
    def size(self) -> int:
        return len(self.mean)

    def normalize(self, states: Tensor) -> Tensor:
        """(..., S) in source units -> (..., S) of mean 0 and deviation 1, clipped at 5."""
        mean, std = states.new_tensor(self.mean), states.new_tensor(self.std)
        return ((states - mean) / std.clamp(min=SMALLEST_DEVIATION)).clamp(-LARGEST_STATE, LARGEST_STATE)

    def to_json(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StateStatistics:
        """The inverse of :meth:`to_json`; raises :class:`UsageError` when statistics are missing."""
        if not document.get("mean") or not document.get("std"):
            raise UsageError("state statistics are missing", where="state statistics", expected="mean, std")
        return cls(mean=tuple(map(float, document["mean"])), std=tuple(map(float, document["std"])))
