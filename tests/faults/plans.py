"""Small plans of fake stages, whose bodies are in :mod:`tests.faults.bodies`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vlactl.identity import digest
from vlactl.plan import Resources, Stage

BODY = "tests.faults.bodies:main"
ROOT = Path(__file__).resolve().parents[2]


def stage(name: str, *inputs: Stage, kind: str = "data", ranks: int = 1, nodes: int = 1, gpus: float = 0.0,
          cpus: float = 1.0, **execution: Any) -> Stage:
    """A stage whose identity is its name and its inputs; ``execution`` are deeds of the body."""
    sources = {one.label: one.digest for one in inputs}
    identity = {"kind": kind, "name": name, "inputs": sources}
    return Stage(kind=kind, digest=digest(identity), identity=identity, inputs=sources, label=name,
                 resources=Resources(nodes=nodes, ranks=ranks, cpus_per_rank=cpus, gpus_per_rank=gpus),
                 execution=execution)


def plan_of(*stages: Stage) -> Any:
    """What the runner needs of a plan."""
    return SimpleNamespace(stages={one.digest: one for one in stages})


def eventually(condition: Callable[[], Any], within_s: float = 10.0) -> Any:
    """The first true value of ``condition``; fails after ``within_s``."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s: {condition}")


def show_repository() -> None:
    """Let other interpreters that are started from here import ``tests.faults.bodies``."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
