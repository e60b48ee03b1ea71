"""What the curve says: means since its last row, and for every source of a mixture its loss and its share."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

SUM = "sum/"
"""Parts of a loss whose name begins so are added up over micro-batches, ranks and updates; others are averaged.

``sum/loss/S`` and ``sum/steps/S`` are a source's summed loss and the actions that it is over, ``sum/windows/S`` its
windows.
"""


class Meter:
    """Survives a restart, so that the curve does too."""

    def __init__(self) -> None:
        self._count, self._loss, self._norm = 0, 0.0, 0.0
        self._parts: dict[str, float] = {}
        self._windows: dict[str, float] = {}
        self._before_s = 0.0
        self._began = self._row_began = time.monotonic()
        self.last = math.nan
        """Mean loss in the last row."""

    def add(self, loss: float, parts: Mapping[str, float], norm: float) -> None:
        self._count += 1
        self._loss += loss
        self._norm += norm
        for name, part in parts.items():
            self._parts[name] = self._parts.get(name, 0.0) + part
            kind, _, source = name.removeprefix(SUM).partition("/")
            if name.startswith(SUM) and kind == "windows":
                self._windows[source] = self._windows.get(source, 0.0) + part

    def row(self, update: int, rate: float) -> dict[str, Any] | None:
        """The row of the curve that ends with ``update`` updates done; starts the next one.  None where all of its
        updates were left out."""
        count, now = self._count, time.monotonic()
        if not count:
            return None
        self.last = self._loss / count
        means = {name: value / count for name, value in self._parts.items() if not name.startswith(SUM)}
        row = {"update": update, "loss": self.last, "parts": means, "lr": rate, "grad_norm": self._norm / count,
               "updates_per_s": round(count / max(now - self._row_began, 1e-9), 3)}
        sources = by_source(self._parts)
        self._count, self._loss, self._norm, self._parts, self._row_began = 0, 0.0, 0.0, {}, now
        return {**row, "sources": sources} if sources else row

    def sources(self) -> dict[str, dict[str, float]]:
        """Windows of every source since the beginning, and their share; empty where there is one source only."""
        total = sum(self._windows.values())
        return {name: {"windows": int(count), "share": count / total} for name, count in self._windows.items()}

    def seconds(self) -> float:
        """Time in this loop over all attempts that led here."""
        return self._before_s + time.monotonic() - self._began

    def notes(self) -> dict[str, Any]:
        return {"count": self._count, "loss": self._loss, "norm": self._norm, "parts": self._parts,
                "windows": self._windows, "seconds": self.seconds()}

    def restore(self, notes: Mapping[str, Any]) -> None:
        self._count, self._loss, self._norm = notes["count"], notes["loss"], notes["norm"]
        self._parts, self._windows, self._before_s = dict(notes["parts"]), dict(notes["windows"]), notes["seconds"]


def by_source(sums: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
    """``{source: {"loss", "share"}}``: its mean loss, None where none of it was drawn, and its share of the windows."""
    kinds: dict[str, dict[str, float]] = {}
    for name, value in sums.items():
        kind, _, source = name.removeprefix(SUM).partition("/")
        if name.startswith(SUM):
            kinds.setdefault(kind, {})[source] = value
    windows, losses, steps = kinds.get("windows", {}), kinds.get("loss", {}), kinds.get("steps", {})
    total = sum(windows.values())
    return {name: {"loss": losses[name] / steps[name] if steps.get(name) else None, "share": count / total}
            for name, count in windows.items()}
