"""The journal of a sweep: append-only, fsynced JSON lines; the state of a sweep is a fold over it.

One process writes (it holds a ``flock`` on the file, which the kernel releases on any death); anybody reads.  The last
line may be torn by a crash: readers skip it and the next writer cuts it off.  The journal tells what happened; whether
a stage *is done* only the store knows.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vlactl.disk import is_locked, storage_errors
from vlactl.errors import StoreConflict, UsageError

Status = Literal["waiting", "running", "done", "cached", "skipped", "failed", "upstream_failed", "cancelled"]
"""``skipped``: absent, but nothing that is still to run reads it."""

SWEEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def sweep_id(name: str, recipe: Path) -> str:
    """``<name>-<8 hex of name and absolute recipe path>``; raises :class:`UsageError` for a name that is no folder
    name."""
    if not SWEEP_NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot name a sweep",
                         expected="letters, digits, '.', '_', '-'; at most 64 characters")
    return f"{name}-{hashlib.sha256(f'{name} {recipe.resolve()}'.encode()).hexdigest()[:8]}"


def sweep_dir(home: Path, name: str, recipe: Path) -> Path:
    """``<home>/sweeps/<name>-<hash>``: where the recipe, the plan and the journal of a sweep are."""
    return home / "sweeps" / sweep_id(name, recipe)


class Journal:
    """The writing end.  Raises :class:`StoreConflict` when another process is writing, :class:`StoreError` when it
    cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors("open the journal", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b")  # noqa: SIM115  closed in close()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StoreConflict("this sweep is already running", where=str(path), expected="one driver per sweep",
                                remedy=f"wait for it, or end it: {holder_of(path)}") from None
        with storage_errors("repair the journal", path):
            self._cut_torn_tail()

    def _cut_torn_tail(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        position = end
        while position:
            start = max(0, position - 65536)
            self._file.seek(start)
            newline = self._file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position < end:
            self._file.truncate(position)

    def append(self, *events: Mapping[str, Any]) -> None:
        """Write the events and wait until they are on the disk; each gets the time ``t`` (seconds since 1970) if it
        has none."""
        if not events:
            return
        now = round(time.time(), 3)
        text = "".join(json.dumps({"t": now, **event}, separators=(",", ":"), default=str) + "\n" for event in events)
        with storage_errors("write the journal", self.path):
            self._file.write(text.encode())
            self._file.flush()
            os.fsync(self._file.fileno())

    def read(self) -> list[dict[str, Any]]:
        return read(self.path)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> list[dict[str, Any]]:
    """All whole events of a journal; an absent journal is an empty one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    events = []
    for line in data.split(b"\n")[:-1]:  # what follows the last newline is torn
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def is_live(path: Path) -> bool:
    """Whether a process is writing this journal now."""
    return is_locked(path)


def holder_of(path: Path) -> str:
    """``pid 12 on host`` of the run that the journal speaks of last, for people."""
    started = [event for event in read(path) if event.get("event") == "run-started"]
    return f"pid {started[-1].get('pid')} on {started[-1].get('host')}" if started else "a process that is starting"


def run_started(sweep: str, **facts: Any) -> dict[str, Any]:
    """The event that opens a run of the driver."""
    return {"event": "run-started", "sweep": sweep, "pid": os.getpid(), "host": socket.gethostname(), **facts}


@dataclass(slots=True, kw_only=True)
class StageState:
    """What the journal knows of one stage."""

    digest: str
    kind: str = ""
    label: str = ""
    status: Status = "waiting"
    attempts: int = 0
    failure: str | None = None
    """The failure class of the last failed attempt."""
    message: str = ""
    log: str | None = None
    started: float | None = None
    ended: float | None = None
    seconds: float | None = None
    """Of the attempt that succeeded, or of the last one."""


@dataclass(slots=True, kw_only=True)
class SweepState:
    """The fold of a journal."""

    sweep: str = ""
    stages: dict[str, StageState] = field(default_factory=dict)
    """In plan order; only stages of the newest plan."""
    plan: str | None = None
    """Digest of the newest stage list."""
    runs: int = 0
    pid: int | None = None
    host: str | None = None
    started: float | None = None
    """When the first run started."""
    updated: float | None = None
    ended: str | None = None
    """Why the last run ended; None while it runs or when it was killed (see :func:`is_live`)."""

    @property
    def totals(self) -> dict[str, int]:
        """How many stages have each status."""
        return dict(Counter(stage.status for stage in self.stages.values()))

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take one event in; unknown events are ignored, so that an older vlactl can read a newer journal."""
        t = event.get("t")
        self.updated = t if t is not None else self.updated
        match event.get("event"):
            case "run-started":
                self.sweep, self.pid, self.host = event.get("sweep", ""), event.get("pid"), event.get("host")
                self.runs, self.ended = self.runs + 1, None
                self.started = t if self.started is None else self.started
                for stage in self.stages.values():
                    stage.status = "waiting"  # the new run looks at the store and says anew
            case "planned":
                self.plan, known = event.get("plan"), self.stages
                self.stages = {digest: known.get(digest) or StageState(digest=digest) for digest, *_ in event["stages"]}
                for digest, kind, label in event["stages"]:
                    self.stages[digest].kind, self.stages[digest].label = kind, label
            case "cached" | "skipped" | "upstream-failed" | "cancelled" as kind:
                status: Status = "upstream_failed" if kind == "upstream-failed" else kind
                for digest in event["digests"]:
                    self._stage(digest).status = status
            case "started":
                stage = self._stage(event["digest"])
                stage.status, stage.attempts = "running", stage.attempts + 1
                stage.started, stage.ended, stage.log = t, None, event.get("log")
            case "done" | "failed" | "retry" as kind:
                self._end(self._stage(event["digest"]), kind, event)
            case "run-ended":
                self.ended = event.get("reason", "finished")

    def _stage(self, digest: str) -> StageState:
        return self.stages.setdefault(digest, StageState(digest=digest))

    def _end(self, stage: StageState, kind: str, event: Mapping[str, Any]) -> None:
        stage.status = "waiting" if kind == "retry" else "done" if kind == "done" else "failed"
        stage.ended, stage.seconds = event.get("t"), event.get("seconds")
        stage.failure, stage.message = event.get("failure"), event.get("message", "")


def fold(events: Iterable[Mapping[str, Any]]) -> SweepState:
    """The state that the events add up to."""
    state = SweepState()
    for event in events:
        state.apply(event)
    return state
