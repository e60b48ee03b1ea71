"""One attempt at one stage: its work folder before, its heartbeat meanwhile, its words afterwards.

The protocol of a work folder: the runner writes ``stage.json``; the body writes ``out/``, ``progress.json`` (the
heartbeat), ``result.json``; each rank leaves ``outcomes/rank-K.json`` and ``logs/rank-K.log``.  ``attempts.json``
remembers over driver runs how often the stage was tried and how far its micro-batch had to be divided.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlactl.disk import replace_text
from vlactl.errors import FailureClass
from vlactl.launchers import Command, Handle, Outcome
from vlactl.store import Claim, Store

if TYPE_CHECKING:
    from vlactl.plan import Stage

HANG_FACTOR = 20
"""A stage hangs when its heart has been still for this many times the median interval (and the floor of the
settings)."""
LOOK_EVERY_S = 1.0


def read_json(path: Path) -> dict[str, Any]:
    """The document, or an empty one when it is absent or torn."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def replace_json(path: Path, document: Mapping[str, Any]) -> None:
    replace_text(path, json.dumps(document, ensure_ascii=False))


@dataclass(slots=True, kw_only=True)
class History:
    """``attempts.json``: what earlier attempts at this stage cost and taught."""

    attempts: int = 0
    seconds: float = 0.0
    micro_batch_divisor: int = 1
    started: float | None = None

    @classmethod
    def read(cls, work_dir: Path) -> History:
        document = read_json(work_dir / "attempts.json")
        return cls(**{name: document[name] for name in cls.__slots__ if name in document})

    def write(self, work_dir: Path) -> None:
        replace_json(work_dir / "attempts.json", {name: getattr(self, name) for name in self.__slots__})


def command_for(stage: Stage, work_dir: Path, *, target: str, env: Mapping[str, str], attempt: int = 1) -> Command:
    """The stage as a launcher sees it."""
    resources = stage.resources
    return Command(label=stage.label, digest=stage.digest, work_dir=work_dir, target=target, env=env, attempt=attempt,
                   nodes=resources.nodes, ranks=resources.ranks, cpus_per_rank=resources.cpus_per_rank,
                   gpus_per_rank=resources.gpus_per_rank, warm=bool(stage.execution.get("warm", True)))


def prepare(store: Store, stage: Stage, *, target: str, env: Mapping[str, str]) -> Command:
    """Make the work folder ready for one more attempt.  Checkpoints, ``out/`` and logs of earlier ones stay."""
    work_dir = store.work_dir(stage)
    history = History.read(work_dir)
    history.attempts += 1
    history.started = history.started or round(time.time(), 3)
    shutil.rmtree(work_dir / "outcomes", ignore_errors=True)
    for name in ("result.json", "progress.json"):
        (work_dir / name).unlink(missing_ok=True)
    execution = {**stage.execution, "micro_batch_divisor": history.micro_batch_divisor, "attempt": history.attempts}
    inputs = {role: str(store.artifact(digest).path) for role, digest in stage.inputs.items()}
    replace_json(work_dir / "stage.json", {"kind": stage.kind, "digest": stage.digest, "label": stage.label,
                                           "identity": stage.identity, "inputs": inputs, "execution": execution})
    history.write(work_dir)
    return command_for(stage, work_dir, target=target, env=env, attempt=history.attempts)


def is_finished(work_dir: Path) -> bool:
    """Whether the last attempt ended well in every rank, so that only the commit is missing (the driver died before
    it)."""
    history, first = History.read(work_dir), read_json(work_dir / "outcomes" / "rank-0.json")
    if not history.attempts or not (work_dir / "stage.json").exists():
        return False
    said = [read_json(work_dir / "outcomes" / f"rank-{rank}.json") for rank in range(first.get("ranks", 0))]
    return bool(said) and all(one.get("status") == "ok" and one.get("attempt") == history.attempts for one in said)


class Heartbeat:
    """Watches ``progress.json``; only changes of its time stamp count, so clocks need not agree."""

    def __init__(self, path: Path, floor_s: float) -> None:
        self._path, self._floor_s = path, floor_s
        self._stamp: int | None = None
        self._last = time.monotonic()
        self._intervals: deque[float] = deque(maxlen=64)
        self._looked = 0.0

    def look(self, now: float) -> dict[str, Any] | None:
        """New progress, or None.  Looks at most once a second."""
        if now - self._looked < LOOK_EVERY_S:
            return None
        self._looked = now
        try:
            stamp = os.stat(self._path).st_mtime_ns
        except OSError:
            return None
        if stamp == self._stamp:
            return None
        if self._stamp is not None:
            self._intervals.append(now - self._last)
        self._stamp, self._last = stamp, now
        return read_json(self._path) or None

    def rest(self, now: float) -> None:
        """It cannot beat yet."""
        self._last = now

    def silent_s(self, now: float) -> float | None:
        """For how long it has been still, if that is too long; else None."""
        usual = statistics.median(self._intervals) if self._intervals else 0.0
        silent = now - self._last
        return silent if silent > max(self._floor_s, HANG_FACTOR * usual) else None


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A stage that is being computed, or committed."""

    stage: Stage
    command: Command
    claim: Claim
    handle: Handle
    heartbeat: Heartbeat
    began: float = field(default_factory=time.monotonic)
    ended_for: FailureClass | None = None
    """Why *we* ended it: hang or timeout."""
    message: str = ""

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 3)

    def overdue(self, now: float, timeout_s: float | None) -> tuple[FailureClass, str] | None:
        """Whether it must be ended: it takes too long, or its heart has stopped."""
        if self.ended_for:
            return None
        if not self.handle.is_started:
            self.began = now
            self.heartbeat.rest(now)
            return None
        if timeout_s is not None and now - self.began > timeout_s:
            return FailureClass.TIMEOUT, f"took longer than {timeout_s:g} s"
        silent = self.heartbeat.silent_s(now)
        if silent is not None:
            return FailureClass.HANG, f"no progress for {silent:.0f} s; the stacks of its threads are in the log"
        return None

    def close_books(self, *, halve: bool = False) -> History:
        """Write down what the attempt cost; ``halve``: the next one divides the micro-batch once more."""
        history = History.read(self.command.work_dir)
        history.seconds = round(history.seconds + self.seconds, 3)
        history.micro_batch_divisor *= 2 if halve else 1
        history.write(self.command.work_dir)
        return history


class Leftover:
    """Stands for an attempt whose ranks had all ended well when the driver died: there is nothing to wait for but
    the commit."""

    def __init__(self, work_dir: Path) -> None:
        self.log_path = work_dir / "logs" / "rank-0.log"

    @property
    def is_started(self) -> bool:
        return True

    def poll(self) -> Outcome:
        return Outcome(ok=True)

    def cancel(self, grace_s: float, *, stacks: bool = False) -> None:
        """It has ended."""
