"""The terms on which a plan is run, and what came of it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vlactl.errors import ExitCode, FailureClass
from vlactl.runner.retries import BUDGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How to run; nothing here changes a result."""

    sweep: str
    """Its id; every process of the sweep carries it in its environment."""
    target: str = "vlactl.stages:main"
    env: Mapping[str, str] = field(default_factory=dict)
    budgets: Mapping[FailureClass, int | None] = field(default_factory=lambda: BUDGETS)
    timeout_s: float | None = None
    """Per attempt; a stage's execution ``timeout_s`` goes before it."""
    grace_s: float = 60.0
    """From SIGTERM (save a checkpoint) to SIGKILL."""
    hang_after_s: float = 300.0
    """No heartbeat for this long, and for 20 times the usual interval, is a hang."""
    max_failures: int | None = None
    """Start nothing more after this many failed stages; 1 is fail-fast."""
    deadline: float | None = None
    """Seconds since 1970 at which running stages are told to save and end."""
    stop_file: Path | None = None
    """When this file appears, nothing more is started and running stages finish."""
    project: Path = field(default_factory=Path.cwd)
    """The folder whose git state is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A stage that will not be tried again in this run."""

    digest: str
    label: str
    failure: FailureClass
    message: str
    log_path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What became of every stage of the plan, as digests in plan order."""

    done: tuple[str, ...]
    cached: tuple[str, ...]
    skipped: tuple[str, ...]
    """Absent, but nothing that had to run reads them."""
    failed: tuple[Failure, ...]
    upstream_failed: tuple[str, ...]
    cancelled: tuple[str, ...]
    waiting: tuple[str, ...]
    """Not started, because the run was stopped."""
    goals: int
    """Stages that no other stage reads, and of them ..."""
    goals_reached: int
    seconds: float
    interrupted: int | None = None
    """The signal that ended the run."""
    reason: str = "finished"

    @property
    def exit_code(self) -> ExitCode:
        if self.interrupted is not None:
            return ExitCode.TERMINATED if self.interrupted == signal.SIGTERM else ExitCode.INTERRUPTED
        if self.goals_reached == self.goals:
            return ExitCode.OK
        return ExitCode.SOME_FAILED if self.goals_reached else ExitCode.NOTHING_SUCCEEDED
