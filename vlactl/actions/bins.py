"""Equal bins of [-1, 1]: the vocabulary of RT-2, OpenVLA and RoboVLMs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Bins:
    """``count`` equal bins of [-1, 1].  ``encode(decode(i)) == i``, and ``|decode(encode(x)) - x| <= 1 / count``."""

    count: int

    def encode(self, values: Tensor) -> Tensor:
        """[-1, 1] -> int64 bin 0 .. count-1; values outside fall into the end bins."""
        return ((values.float() + 1) * (self.count / 2)).floor().clamp(0, self.count - 1).long()

    def decode(self, bins: Tensor) -> Tensor:
        """Bins -> float32 centres."""
        return (bins.float() * 2 + 1) / self.count - 1
