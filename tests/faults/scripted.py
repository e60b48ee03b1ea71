"""A launcher without processes: each stage ends as its script says.  For tests of the runner's decisions."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlactl.errors import FailureClass
from vlactl.launchers import Command, Notice, Outcome


def failed(failure: str, message: str = "as told") -> Outcome:
    return Outcome(ok=False, failure=FailureClass(failure), message=message, rank=0)


class ScriptedHandle:
    def __init__(self, launcher: ScriptedLauncher, command: Command, outcome: Outcome | None) -> None:
        self.log_path = command.work_dir / "logs" / "rank-0.log"
        self.launcher, self.command, self.outcome = launcher, command, outcome

    @property
    def is_started(self) -> bool:
        return self.command.label not in self.launcher.queued

    def poll(self) -> Outcome | None:
        if self.outcome is None:
            return None
        if self.outcome.ok:
            leave_result(self.command.work_dir, self.command.attempt)
        self.launcher.busy.discard(self)
        return self.outcome

    def cancel(self, grace_s: float, *, stacks: bool = False) -> None:
        self.launcher.cancels.append((self.command.label, grace_s, stacks))
        if self.outcome is None:
            self.outcome = failed("preempted" if grace_s else "cancelled")


def leave_result(work_dir: Path, attempt: int) -> None:
    for folder in ("out", "outcomes"):
        (work_dir / folder).mkdir(exist_ok=True)
    (work_dir / "out" / "value").write_text("1")
    (work_dir / "result.json").write_text(json.dumps({"value": 1}))
    (work_dir / "outcomes" / "rank-0.json").write_text(json.dumps({"status": "ok", "ranks": 1, "attempt": attempt}))


class ScriptedLauncher:
    """``script[label]``: the outcomes of its attempts in order, the last one for all further; absent: success; None:
    runs on."""

    def __init__(self, script: dict[str, list[Outcome | None]] | None = None, slots: int = 1) -> None:
        self.notice: Notice = lambda event: None
        self.script, self.slots = script or {}, slots
        self.busy: set[ScriptedHandle] = set()
        self.started: list[str] = []
        self.stages: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.cancels: list[tuple[str, float, bool]] = []
        self.refusals: dict[str, str] = {}
        self.queued: set[str] = set()
        """Labels of commands that have not got their resources yet."""
        self.on_wait: Callable[[], None] = lambda: None

    def refuses(self, command: Command) -> str | None:
        return self.refusals.get(command.label)

    def can_start(self, command: Command) -> bool:
        return len(self.busy) < self.slots

    def submit(self, command: Command) -> ScriptedHandle:
        outcomes = self.script.get(command.label, [Outcome(ok=True)])
        outcome = outcomes[min(len(self.stages[command.label]), len(outcomes) - 1)]
        self.started.append(command.label)
        self.stages[command.label].append(json.loads((command.work_dir / "stage.json").read_text()))
        handle = ScriptedHandle(self, command, outcome)
        self.busy.add(handle)
        return handle

    def wait(self, timeout_s: float) -> None:
        self.on_wait()
        time.sleep(min(timeout_s, 0.01))

    def close(self) -> None:
        self.busy.clear()
