"""Run a plan: the ready set in plan order, retries by failure class, failed ancestors, signals; every stage once.

The store says what is done, the launcher what can start, the journal remembers what happened.  One thread, one loop;
its cost per tick is proportional to the stages that are running, not to those that are planned.  Whatever ends the
loop, no rank is left behind: the launcher's workers die with this process.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlactl.errors import FailureClass, StoreConflict, StoreError
from vlactl.events import Journal, fold, run_started
from vlactl.identity import digest as digest_of
from vlactl.launchers import SWEEP_MARK, Launcher, Outcome
from vlactl.provenance import provenance
from vlactl.runner.attempts import Attempt, Heartbeat, History, Leftover, command_for, is_finished, prepare, read_json
from vlactl.runner.frontier import Frontier
from vlactl.runner.retries import Retries
from vlactl.runner.terms import Failure, RunResult, RunSettings
from vlactl.store import Artifact, Claim, Store

if TYPE_CHECKING:
    from vlactl.plan import Plan, Stage

OnEvent = Callable[[dict[str, Any]], None]
INLINE_COMMIT_BYTES = 64 << 20
"""Larger artifacts are hashed in a thread, so that the loop goes on."""
TICK_S = 0.5


def run(plan: Plan, store: Store, launcher: Launcher, journal: Journal, settings: RunSettings,
        on_event: OnEvent = lambda event: None) -> RunResult:
    """Compute what the store lacks.  Raises :class:`StoreError` before anything starts when the store cannot be used.

    The first SIGINT or SIGTERM tells running stages to save and end, the second kills them.  The caller closes the
    launcher.
    """
    store.prepare()
    sweep = Sweep(plan, store, launcher, journal, settings, on_event)
    with sweep.signals():
        sweep.begin()
        try:
            sweep.loop()
        finally:
            sweep.end()
    return sweep.result()


class Sweep:
    """The state of one call of :func:`run`."""

    def __init__(self, plan: Plan, store: Store, launcher: Launcher, journal: Journal, settings: RunSettings,
                 on_event: OnEvent) -> None:
        self.store, self.launcher, self.journal = store, launcher, journal
        self.settings, self.on_event = settings, on_event
        self.stages: Mapping[str, Stage] = plan.stages
        self.frontier = Frontier(plan.stages, store.has)
        self.running: list[Attempt] = []
        self.committing: list[tuple[Future[Artifact], Attempt, History]] = []
        self.failures: dict[str, Failure] = {}
        self.retries: dict[str, Retries] = {}
        self.facts: dict[str, Any] = {}
        self.reason = "finished"
        self.ending = self.draining = False
        self.signalled: list[int] = []
        self._killed = False
        self._outbox: list[dict[str, Any]] = []
        self._began, self._idle_since = time.monotonic(), time.monotonic()
        self._env = {**settings.env, SWEEP_MARK: settings.sweep}
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="commit")
        launcher.notice = self.emit

    # ---- events ----------------------------------------------------------------------------------------------------
    def emit(self, event: dict[str, Any], *, journal: bool = True) -> None:
        event.setdefault("t", round(time.time(), 3))
        if journal:
            self._outbox.append(event)
        self.on_event(event)

    def emit_stage(self, name: str, stage: Stage, **facts: Any) -> None:
        self.emit({"event": name, "digest": stage.digest, "kind": stage.kind, "label": stage.label, **facts},
                  journal=name not in ("progress", "held"))

    def flush(self) -> None:
        """One fsync for all events of a tick."""
        events, self._outbox = self._outbox, []
        self.journal.append(*events)

    def begin(self) -> None:
        self.facts = provenance(self.settings.project)
        known = fold(self.journal.read()).plan
        listed = [[stage.digest, stage.kind, stage.label] for stage in self.stages.values()]
        totals = self.frontier.totals()
        self.emit(run_started(self.settings.sweep, totals=totals, git=self.facts["git"]))
        if digest_of(listed) != known:
            self.emit({"event": "planned", "plan": digest_of(listed), "stages": listed})
        for status in ("cached", "skipped"):
            if digests := self.frontier.having(status):
                self.emit({"event": status, "digests": digests})
        self.flush()

    # ---- the loop --------------------------------------------------------------------------------------------------
    def loop(self) -> None:
        while True:
            self._heed()
            self._collect()
            self._admit()
            self.flush()
            over = self.ending or self.draining or self.frontier.is_exhausted
            if over and not self.running and not self.committing:
                return
            self.launcher.wait(self._patience())

    def _patience(self) -> float:
        if self.committing:
            return 0.02
        return min(TICK_S, self.frontier.next_due_s())

    def _heed(self) -> None:
        """Signals, the deadline and the stop file."""
        settings = self.settings
        if self.signalled and not self.ending:
            self._cancel(f"signal {signal.Signals(self.signalled[0]).name}", settings.grace_s)
        elif settings.deadline is not None and time.time() > settings.deadline and not self.ending:
            self._cancel("deadline", settings.grace_s)
        elif len(self.signalled) > 1 and not self._killed:
            self._killed = True
            self._cancel(f"second signal {signal.Signals(self.signalled[1]).name}", 0.0)
        if settings.stop_file is not None and not self.draining and settings.stop_file.exists():
            self._drain("stopped")

    def _cancel(self, reason: str, grace_s: float) -> None:
        self.ending, self.reason = True, reason
        told = "told to save and end" if grace_s else "killed"
        self.emit({"event": "notice", "message": f"{reason}: {len(self.running)} running stages are {told}"})
        for attempt in self.running:
            attempt.handle.cancel(grace_s)

    def _drain(self, reason: str) -> None:
        if not self.draining and not self.ending:
            self.draining, self.reason = True, reason
            self.emit({"event": "notice",
                       "message": f"{reason}: nothing more is started; {len(self.running)} running stages finish"})

    # ---- starting --------------------------------------------------------------------------------------------------
    def _admit(self) -> None:
        self.frontier.wake(time.monotonic())
        while not self.ending and not self.draining and (stage := self.frontier.next(self._can_start)):
            self._idle_since = time.monotonic()
            self._start(stage)
        if self.running or self.committing or not self.frontier.has_ready:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > 30:
            self._idle_since = time.monotonic() + 270  # say it again in five minutes
            self.emit({"event": "notice", "message": "waiting: no stage can start, others hold the resources"})

    def _can_start(self, stage: Stage) -> bool:
        """Refused stages count as startable: :meth:`_start` fails them."""
        command = command_for(stage, self.store.root, target=self.settings.target, env=self._env)
        return bool(self.launcher.refuses(command)) or self.launcher.can_start(command)

    def _start(self, stage: Stage) -> None:
        try:
            self.store.check_space()
            claim = self.store.claim(stage.digest, stage.label)
        except StoreConflict as conflict:
            if self.frontier.hold(stage.digest):
                self.emit_stage("held", stage, message=conflict.what)
            return
        except StoreError as error:
            self._fail(stage, FailureClass.INFRASTRUCTURE, str(error), None)
            self._drain(error.what)
            return
        try:
            self._launch(stage, claim)
        except BaseException as error:
            claim.release()
            if not isinstance(error, StoreError):
                raise
            self._fail(stage, FailureClass.INFRASTRUCTURE, str(error), None)

    def _launch(self, stage: Stage, claim: Claim) -> None:
        if self.store.has(stage.digest):  # somebody else has made it since this run began
            claim.release()
            self._settle(stage, "cached")
            return
        work_dir = self.store.work_dir(stage)
        leftover = is_finished(work_dir)
        command = command_for(stage, work_dir, target=self.settings.target, env=self._env)
        if refusal := None if leftover else self.launcher.refuses(command):
            claim.release()
            self._fail(stage, FailureClass.USER_ERROR, refusal, None)
            return
        heartbeat = Heartbeat(work_dir / "progress.json", self.settings.hang_after_s)
        if leftover:
            attempt = Attempt(stage=stage, command=command, claim=claim, handle=Leftover(work_dir), heartbeat=heartbeat)
        else:
            command = prepare(self.store, stage, target=self.settings.target, env=self._env)
            self.emit_stage("started", stage, attempt=command.attempt, work_dir=str(work_dir),
                            log=str(work_dir / "logs" / "rank-0.log"))
            attempt = Attempt(stage=stage, command=command, claim=claim, handle=self.launcher.submit(command),
                              heartbeat=heartbeat)
        self.running.append(attempt)

    # ---- ending ----------------------------------------------------------------------------------------------------
    def _collect(self) -> None:
        now = time.monotonic()
        for attempt in tuple(self.running):
            outcome = attempt.handle.poll()
            if outcome is not None:
                self.running.remove(attempt)
                self._ended(attempt, outcome)
                continue
            if progress := attempt.heartbeat.look(now):
                self.emit_stage("progress", attempt.stage, **{"done": None, "total": None, **progress})
            timeout_s = attempt.stage.execution.get("timeout_s") or self.settings.timeout_s
            if overdue := attempt.overdue(now, timeout_s):
                attempt.ended_for, attempt.message = overdue
                attempt.handle.cancel(min(self.settings.grace_s, 30.0), stacks=True)
        for entry in tuple(self.committing):
            if entry[0].done():
                self.committing.remove(entry)
                self._committed(*entry)

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        if outcome.ok:
            self._commit(attempt)
            return
        failure, message = outcome.failure or FailureClass.INFRASTRUCTURE, outcome.message
        if attempt.ended_for:
            failure, message = attempt.ended_for, attempt.message
        again = None if self.ending else self._retries(attempt.stage.digest).again(failure)
        history = attempt.close_books(halve=failure is FailureClass.OUT_OF_MEMORY and again is not None)
        attempt.claim.release()
        if self.ending and failure in (FailureClass.PREEMPTED, FailureClass.CANCELLED):
            self._settle(attempt.stage, "cancelled")
        elif again is not None:
            self.emit_stage("retry", attempt.stage, failure=failure, message=message, rank=outcome.rank, in_s=again,
                            seconds=attempt.seconds, micro_batch_divisor=history.micro_batch_divisor)
            self.frontier.delay(attempt.stage.digest, time.monotonic() + again)
        else:
            self._fail(attempt.stage, failure, message, attempt.handle.log_path, rank=outcome.rank,
                       seconds=attempt.seconds)

    def _retries(self, digest: str) -> Retries:
        return self.retries.setdefault(digest, Retries(self.settings.budgets))

    def _commit(self, attempt: Attempt) -> None:
        work_dir, history = attempt.command.work_dir, attempt.close_books()
        facts = {**self.facts, "started": history.started, "seconds": history.seconds, "attempts": history.attempts,
                 "sweep": self.settings.sweep}
        result = read_json(work_dir / "result.json")
        size = sum(path.stat().st_size for path in (work_dir / "out").rglob("*") if path.is_file())
        if size > INLINE_COMMIT_BYTES:
            future = self._threads.submit(self.store.commit, attempt.stage, work_dir, result, facts)
            self.committing.append((future, attempt, history))
            return
        future = Future()
        try:
            future.set_result(self.store.commit(attempt.stage, work_dir, result, facts))
        except StoreError as error:
            future.set_exception(error)
        self._committed(future, attempt, history)

    def _committed(self, future: Future[Artifact], attempt: Attempt, history: History) -> None:
        attempt.claim.release()
        stage = attempt.stage
        try:
            artifact = future.result()
        except StoreError as error:  # the work folder is whole: a retry commits it again without computing
            again = None if self.ending else self._retries(stage.digest).again(FailureClass.INFRASTRUCTURE)
            if again is None:
                self._fail(stage, FailureClass.INFRASTRUCTURE, str(error), attempt.handle.log_path)
            else:
                self.emit_stage("retry", stage, failure=FailureClass.INFRASTRUCTURE, message=str(error), in_s=again)
                self.frontier.delay(stage.digest, time.monotonic() + again)
            return
        self.frontier.finish(stage.digest, "done")
        self.emit_stage("done", stage, seconds=attempt.seconds, attempts=history.attempts, path=str(artifact.path),
                        adopted=isinstance(attempt.handle, Leftover))

    def _settle(self, stage: Stage, status: Any) -> None:
        self.frontier.finish(stage.digest, status)
        self.emit({"event": status, "digests": [stage.digest]})

    def _fail(self, stage: Stage, failure: FailureClass, message: str, log: Path | None, **facts: Any) -> None:
        self.failures[stage.digest] = Failure(digest=stage.digest, label=stage.label, failure=failure, message=message,
                                              log_path=log)
        self.emit_stage("failed", stage, failure=failure, message=message, log=str(log) if log else None, **facts)
        if below := self.frontier.fail(stage.digest):
            self.emit({"event": "upstream-failed", "digests": below, "because": stage.digest})
        if self.settings.max_failures is not None and len(self.failures) >= self.settings.max_failures:
            self._drain(f"{len(self.failures)} stages failed")

    # ---- around ----------------------------------------------------------------------------------------------------
    @contextmanager
    def signals(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM instead of dying of them; restored afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.signal(number, lambda got, _: self.signalled.append(got))
                  for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def end(self) -> None:
        """Also on the way out of an exception: nothing keeps running, every claim is released, the journal is closed
        off."""
        unfinished, self.running = self.running, []
        for attempt in unfinished:
            attempt.handle.cancel(0.0)
            attempt.claim.release()
        self._threads.shutdown(wait=True)
        for future, attempt, history in self.committing:
            self._committed(future, attempt, history)
        reason = "error" if unfinished else self.reason
        self.emit({"event": "run-ended", "reason": reason, "totals": self.frontier.totals(),
                   "seconds": round(time.monotonic() - self._began, 3)})
        self.flush()

    def result(self) -> RunResult:
        having, goals = self.frontier.having, self.frontier.goals
        reached = set(having("done")) | set(having("cached"))
        return RunResult(done=having("done"), cached=having("cached"), skipped=having("skipped"),
                         failed=tuple(self.failures.values()), upstream_failed=having("upstream_failed"),
                         cancelled=having("cancelled"), waiting=having("waiting"), goals=len(goals),
                         goals_reached=len(reached.intersection(goals)), reason=self.reason,
                         seconds=round(time.monotonic() - self._began, 3),
                         interrupted=self.signalled[0] if self.signalled else None)
