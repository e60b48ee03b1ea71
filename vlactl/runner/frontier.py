"""Which stage may start next.  Pure bookkeeping over a plan, linear in its size; knows neither processes nor
files."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING

from vlactl.events import Status

if TYPE_CHECKING:
    from vlactl.plan import Stage

LOOK_AGAIN_S = 1.0
"""How often a stage that another driver is computing is looked at."""


class Frontier:
    """The stages of a plan (topological order), each with a status.

    A stage is needed when its artifact is absent and it is either a goal (nothing reads it) or read by a needed stage;
    an absent stage that nothing needs is ``skipped``.
    """

    def __init__(self, stages: Mapping[str, Stage], has: Callable[[str], bool]) -> None:
        self.stages = stages
        self._index = {digest: index for index, digest in enumerate(stages)}
        self._order = tuple(stages)
        self._readers: dict[str, list[str]] = {digest: [] for digest in stages}
        for stage in stages.values():
            for source in set(stage.inputs.values()):
                self._readers[source].append(stage.digest)
        self.goals = tuple(digest for digest, readers in self._readers.items() if not readers)
        self.status: dict[str, Status] = {}
        for digest in reversed(self._order):
            readers = self._readers[digest]
            needed = not readers or any(self.status[reader] == "waiting" for reader in readers)
            self.status[digest] = "cached" if has(digest) else "waiting" if needed else "skipped"
        self._unmet: dict[str, int] = {}
        self._ready: dict[Hashable, list[int]] = {}
        self._delayed: list[tuple[float, int]] = []
        self._held: set[str] = set()
        self._left = 0
        for digest in self._order:
            if self.status[digest] == "waiting":
                self._left += 1
                sources = set(stages[digest].inputs.values())
                self._unmet[digest] = sum(self.status[source] != "cached" for source in sources)
                if not self._unmet[digest]:
                    self._push(digest)

    def _push(self, digest: str) -> None:
        resources = self.stages[digest].resources
        shape = (resources.nodes, resources.ranks, resources.cpus_per_rank, resources.gpus_per_rank)
        heapq.heappush(self._ready.setdefault(shape, []), self._index[digest])

    def next(self, can_start: Callable[[Stage], bool]) -> Stage | None:
        """The first ready stage, in plan order, that can start; it is then running.  Asks once per shape, not per
        stage."""
        for heap in sorted((heap for heap in self._ready.values() if heap), key=lambda heap: heap[0]):
            stage = self.stages[self._order[heap[0]]]
            if can_start(stage):
                heapq.heappop(heap)
                self.status[stage.digest] = "running"
                return stage
        return None

    def hold(self, digest: str) -> bool:
        """Somebody else computes it: look again in a while.  True the first time."""
        first = digest not in self._held
        self._held.add(digest)
        self.delay(digest, time.monotonic() + LOOK_AGAIN_S)
        return first

    def delay(self, digest: str, until: float) -> None:
        """Ready again at ``until`` (monotonic seconds)."""
        self.status[digest] = "waiting"
        heapq.heappush(self._delayed, (until, self._index[digest]))

    def wake(self, now: float) -> None:
        """Move what is due among the ready."""
        while self._delayed and self._delayed[0][0] <= now:
            self._push(self._order[heapq.heappop(self._delayed)[1]])

    def next_due_s(self) -> float:
        """Seconds until :meth:`wake` has something to do; infinite if never."""
        return max(0.0, self._delayed[0][0] - time.monotonic()) if self._delayed else math.inf

    def finish(self, digest: str, status: Status) -> None:
        """It is over; with its artifact (done, cached) its readers come closer to being ready."""
        self.status[digest] = status
        self._left -= 1
        if status not in ("done", "cached"):
            return
        for reader in self._readers[digest]:
            if self.status[reader] == "waiting":
                self._unmet[reader] -= 1
                if not self._unmet[reader]:
                    self._push(reader)

    def fail(self, digest: str) -> list[str]:
        """It failed for good; returns everything below it, now ``upstream_failed``, in plan order."""
        self.finish(digest, "failed")
        below, queue = [], [digest]
        while queue:
            for reader in self._readers[queue.pop()]:
                if self.status[reader] == "waiting":
                    self.finish(reader, "upstream_failed")
                    below.append(reader)
                    queue.append(reader)
        return sorted(below, key=self._index.__getitem__)

    @property
    def has_ready(self) -> bool:
        return any(self._ready.values())

    @property
    def is_exhausted(self) -> bool:
        """Whether every needed stage is over."""
        return self._left == 0

    def having(self, status: Status) -> tuple[str, ...]:
        """The stages with this status, in plan order."""
        return tuple(digest for digest in self._order if self.status[digest] == status)

    def totals(self) -> dict[str, int]:
        return dict(Counter(self.status.values()))
