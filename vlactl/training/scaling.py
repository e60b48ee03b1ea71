"""Loss scaling for fp16: gradients that would vanish below 6e-8 are multiplied up, and divided again before they count.

Weights are float32 and only matrix products are fp16, so an overflow shows as a gradient that is not finite.  Such an
update is left out and the scale halved; after many good ones it is doubled.
"""

from __future__ import annotations

from typing import Any

FIRST = 2.0**16
GROWS_AFTER = 2000
"""The first scale and the good updates before it is doubled: defaults of ``torch.amp.GradScaler``."""


class LossScale:
    """The factor of the loss.  ``active`` is False for the other number types: the factor is 1 and stays so."""

    def __init__(self, active: bool) -> None:
        self.active = active
        self.value = FIRST if active else 1.0
        self.overflows = 0
        self._good = 0

    def good(self) -> None:
        """An update had a finite gradient."""
        self._good += 1
        if self.active and self._good == GROWS_AFTER:
            self.value, self._good = self.value * 2, 0

    def overflow(self) -> bool:
        """A gradient is not finite: whether that can be the scale's fault; it is smaller then."""
        if not self.active or self.value <= 1:
            return False
        self.value, self._good = self.value / 2, 0
        self.overflows += 1
        return True

    def notes(self) -> dict[str, Any]:
        return {"value": self.value, "good": self._good, "overflows": self.overflows}

    def restore(self, notes: dict[str, Any]) -> None:
        self.value, self._good, self.overflows = notes["value"], notes["good"], notes["overflows"]
