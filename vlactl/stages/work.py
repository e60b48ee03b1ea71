"""What every stage body works with: its directory, its heartbeat, its curve, and the specs that the plan wrote down."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlactl.disk import replace_text

HEARTBEAT_S = 0.5
"""At most two writes of progress.json a second; the runner calls a stage hung after minutes without one."""


@dataclass(frozen=True, slots=True)
class Work:
    """One stage's working directory and what it was asked to do."""

    path: Path
    kind: str
    digest: str
    label: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, Path]
    execution: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Work:
        stage = json.loads((path / "stage.json").read_text())
        return cls(path=path, kind=stage["kind"], digest=stage["digest"], label=stage.get("label", stage["digest"]),
                   identity=stage["identity"], inputs={role: Path(p) for role, p in stage["inputs"].items()},
                   execution=stage.get("execution", {}))

    @property
    def out(self) -> Path:
        return self.path / "out"

    def finish(self, result: Mapping[str, Any]) -> None:
        """Say that the body is done; only rank 0 does."""
        replace_text(self.path / "result.json", json.dumps(result, indent=1))


class Heartbeat:
    """Writes progress.json: ``{"done", "total", "unit", "time", numbers...}``, throttled, replaced atomically."""

    def __init__(self, path: Path, *, writes: bool) -> None:
        self.path, self.writes = path, writes
        self._started = time.monotonic()
        self._first: tuple[float, float, str] | None = None
        self._last = -HEARTBEAT_S

    def __call__(self, done: float, total: float | None, unit: str = "", **numbers: Any) -> None:
        now = time.monotonic()
        if not self.writes or (now - self._last < HEARTBEAT_S and done != total):
            return
        self._last = now
        if self._first is None or self._first[2] != unit:  # another unit is another piece of work
            self._first = (now, done, unit)
        document = {"done": done, "total": total, "unit": unit, "time": time.time(),
                    "elapsed_s": round(now - self._started, 3), **numbers}
        since, begun, _ = self._first
        if total and "eta_s" not in numbers and done > begun:
            document["eta_s"] = round((now - since) / (done - begun) * (total - done), 1)
        replace_text(self.path, json.dumps(document))


def place(name: str, otherwise: int) -> int:
    """This process's rank or the number of ranks, as its launcher said in the environment."""
    return int(os.environ.get(name, str(otherwise)))


def accelerator() -> str:
    """Where networks run that are not trained: a GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def spec_of(work: Work, section: str) -> dict[str, Any]:
    """What a spec's ``parse`` wants: its identity, and the settings of this machine that its identity leaves out."""
    return {**work.identity[section], **work.execution.get(section, {})}


class Curve:
    """Appends rows to metrics.jsonl.  A resumed run repeats some updates; their old rows are dropped first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._trimmed = False

    def __call__(self, row: dict[str, Any]) -> None:
        if not self._trimmed:
            kept = [json.dumps(old) for old in read_rows(self.path) if old["update"] < row["update"]]
            replace_text(self.path, "".join(line + "\n" for line in kept))
            self._trimmed = True
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file that may not exist or may end in a torn line."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
