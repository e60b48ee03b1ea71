"""How often a stage is tried again: one budget per failure class, counted per stage and run of the driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from vlactl.errors import FailureClass

BUDGETS: Mapping[FailureClass, int | None] = {
    FailureClass.USER_ERROR: 0,
    FailureClass.OUT_OF_MEMORY: 3,
    FailureClass.NAN: 0,
    FailureClass.INFRASTRUCTURE: 2,
    FailureClass.PREEMPTED: None,
    FailureClass.TIMEOUT: 0,
    FailureClass.HANG: 1,
    FailureClass.CANCELLED: 0,
}
"""Retries beyond the first attempt; None: without limit.  Three halvings take a micro-batch of 8 to 1."""

BACKOFF_S = {FailureClass.INFRASTRUCTURE: 2.0, FailureClass.PREEMPTED: 1.0}
"""Wait before the first retry of a class, four times as long before each further one, at most a minute."""
LONGEST_BACKOFF_S = 60.0


@dataclass(slots=True)
class Retries:
    """What one stage has used up."""

    budgets: Mapping[FailureClass, int | None]
    used: Counter[FailureClass] = field(default_factory=Counter)

    def again(self, failure: FailureClass) -> float | None:
        """Seconds to wait before the next attempt, or None when the budget of this class is spent."""
        budget = self.budgets.get(failure, BUDGETS[failure])
        if budget is not None and self.used[failure] >= budget:
            return None
        self.used[failure] += 1
        return min(LONGEST_BACKOFF_S, BACKOFF_S.get(failure, 0.0) * 4 ** (self.used[failure] - 1))
