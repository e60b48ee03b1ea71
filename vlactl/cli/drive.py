"""Running a loaded sweep: lock, launcher, tracker, view, runner; then the table and where things are."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlactl.cli.screen import emit, is_terminal, remark, say
from vlactl.errors import ExitCode, FailureClass, UsageError, VlactlError

if TYPE_CHECKING:
    from vlactl.cli.loading import Loaded
    from vlactl.cli.sweeps import SweepFolder
    from vlactl.events import Journal, SweepState
    from vlactl.launchers import Launcher
    from vlactl.plan import Description
    from vlactl.runner import RunResult, RunSettings
    from vlactl.store import Store
    from vlactl.tracking import Tracker
    from vlactl.view import View

MIRROR_PATIENCE_S = 60.0
"""How long the end of a sweep waits for MLflow; what is missing then, ``vlactl mlflow sync`` adds."""
FAILURES_SHOWN = 10
DETACH_PATIENCE_S = 60.0
"""How long a driver in the background may take until it holds its sweep."""


def needed(loaded: Loaded) -> tuple[str, ...]:
    """The stages that a run would compute now."""
    from vlactl.runner.frontier import Frontier

    return Frontier(loaded.plan.stages, loaded.store.has).having("waiting")


def drive(loaded: Loaded, description: Description, *, as_json: bool) -> ExitCode:
    """Run the sweep to its end; raises :class:`~vlactl.errors.StoreConflict` where another driver does."""
    from vlactl.events import Journal

    loaded.store.prepare()
    with Journal(loaded.folder.journal) as journal:
        loaded.folder.remember(loaded.launch)
        write_plan(loaded, description)
        loaded.folder.stop_file.unlink(missing_ok=True)
        result = run_in_view(loaded, description, journal, as_json=as_json)
    finish(loaded, result, as_json=as_json)
    return result.exit_code


def run_in_view(loaded: Loaded, description: Description, journal: Journal, *, as_json: bool) -> RunResult:
    """Everything between the lock and the table."""
    from vlactl.runner import run
    from vlactl.view import Board, open_view

    board = Board(loaded.store.root / "work", description.expected_s)
    for event in journal.read():
        board.apply(event)
    launcher = launcher_of(loaded)
    try:
        with open_view(board, as_json=as_json, is_terminal=is_terminal()) as view, tracked(loaded, view) as tracker:

            def on_event(event: dict[str, Any]) -> None:
                view(event)
                if event.get("event") != "progress":
                    tracker.on_event(event)

            return run(loaded.plan, loaded.store, launcher, journal, settings_of(loaded), on_event)
    finally:
        launcher.close()


def launcher_of(loaded: Loaded) -> Launcher:
    """The recipe's launcher; nothing is started before the first stage."""
    from vlactl.launchers import LAUNCHERS

    execution = loaded.recipe.execution
    fields: dict[str, Any] = {"kind": execution.launcher, "jobs": execution.jobs}
    if execution.launcher == "ray":
        fields["address"] = execution.address
    return LAUNCHERS.parse(fields).build(loaded.store.root, loaded.folder.name)


def settings_of(loaded: Loaded) -> RunSettings:
    from vlactl.runner import RunSettings

    execution = loaded.recipe.execution
    budgets = {FailureClass(name): budget for name, budget in execution.retries.model_dump().items()}
    return RunSettings(
        sweep=loaded.folder.name,
        budgets=budgets,
        timeout_s=execution.timeout_s,
        hang_after_s=execution.hang_after_s,
        grace_s=execution.grace_s,
        max_failures=execution.max_failures,
        stop_file=loaded.folder.stop_file,
        project=Path(loaded.recipe.path).resolve().parent,
    )


@contextlib.contextmanager
def tracked(loaded: Loaded, view: View) -> Iterator[Tracker]:
    """A tracker for the length of a run; its end is waited for, and remembered when MLflow has everything."""
    from vlactl.tracking import Tracker

    tracker = Tracker(
        loaded.store.root,
        loaded.recipe,
        loaded.plan,
        tables=tables_of(loaded),
        notice=lambda event: view.note(event["message"]),
    ).start()
    try:
        yield tracker
    finally:
        view.note(f"bringing MLflow up to date ({tracker.address})")
        if tracker.close(MIRROR_PATIENCE_S):
            remember_mirror(loaded)
            view.note("")
        else:
            view.note(f"MLflow is behind ({tracker.problem}): vlactl mlflow sync")


def tables_of(loaded: Loaded) -> Any:
    """What the tracker calls for the files on the parent run."""

    def tables(store: Store, state: SweepState) -> Mapping[str, str]:
        from vlactl.report import artifacts, build

        return artifacts(build(loaded.recipe, loaded.plan, store, loaded.recipe.report.metric, state=state))

    return tables


def mirror_mark(loaded: Loaded) -> str:
    """What MLflow has after a complete mirroring of the present state: where, which trials, which artifacts."""
    from vlactl.identity import digest
    from vlactl.tracking.address import address_of

    there = [stage for stage in loaded.plan.stages if loaded.store.has(stage)]
    return digest(
        {"uri": address_of(loaded.store.root).uri, "trials": sorted(loaded.plan.trials), "stages": sorted(there)}
    )


def remember_mirror(loaded: Loaded) -> None:
    from vlactl.disk import replace_text

    replace_text(loaded.folder.mirrored, mirror_mark(loaded))


def catch_up(loaded: Loaded) -> None:
    """Bring MLflow up to date if the last run could not; trouble is a remark, never a failure."""
    with contextlib.suppress(OSError):
        if loaded.folder.mirrored.read_text() == mirror_mark(loaded):
            return
    from vlactl.tracking import sync

    try:
        sync(loaded.recipe, loaded.plan, loaded.store, tables=tables_of(loaded))
    except VlactlError as error:
        remark(f"MLflow is behind: {error.what} (vlactl mlflow sync)")
    else:
        remember_mirror(loaded)


def write_plan(loaded: Loaded, description: Description) -> None:
    """The recipe, the plan and the estimates of the newest run, for people, other tools and ``status``."""
    from vlactl.disk import replace_text

    replace_text(loaded.folder.path / "plan.json", json.dumps(loaded.plan.to_json(), indent=1, default=str) + "\n")
    replace_text(loaded.folder.expected_file, json.dumps(description.expected_s))
    shutil.copyfile(loaded.launch.recipe, loaded.folder.path / "recipe.yaml")


def finish(loaded: Loaded, result: RunResult | None, *, as_json: bool) -> None:
    """The table, the HTML report, and where to look next; ``result`` is None where nothing had to run."""
    from vlactl.disk import replace_text
    from vlactl.report import build, render

    report = build(loaded.recipe, loaded.plan, loaded.store, loaded.recipe.report.metric, state=loaded.state())
    loaded.folder.path.mkdir(parents=True, exist_ok=True)
    replace_text(loaded.folder.report, render(report, "html"))
    if as_json:
        emit({"type": "report", "report": json.loads(render(report, "json"))})
        emit({"type": "sweep", "sweep": loaded.folder.name, "report": str(loaded.folder.report), **outcome(result)})
        return
    colour = is_terminal() and not os.environ.get("NO_COLOR")
    say()
    say(render(report, colour=colour, width=shutil.get_terminal_size().columns if is_terminal() else None))
    for failure in result.failed[:FAILURES_SHOWN] if result else ():
        first = failure.message.strip().partition("\n")[0]
        say(f"FAILED {failure.label} ({failure.failure}): {first}\n  vlactl logs {failure.digest[:8]}")
    if result is not None and len(result.failed) > FAILURES_SHOWN:
        say(f"and {len(result.failed) - FAILURES_SHOWN} more failed stages (vlactl status {loaded.folder.name})")
    say(f"report   {loaded.folder.report}")
    say(f"mlflow   vlactl mlflow ui   ({mlflow_place(loaded)})")
    say(f"sweep    {loaded.folder.name}   (vlactl status {loaded.folder.name})")
    if result is not None and result.reason != "finished":
        say(f"{result.reason}: the same command goes on from here")


def outcome(result: RunResult | None) -> dict[str, Any]:
    """A run's result as plain data."""
    if result is None:
        return {"reason": "nothing to do", "done": 0, "failed": []}
    failed = [
        {"digest": each.digest, "label": each.label, "failure": str(each.failure), "message": each.message}
        for each in result.failed
    ]
    counts = {
        name: len(getattr(result, name))
        for name in ("done", "cached", "skipped", "upstream_failed", "cancelled", "waiting")
    }
    return {"reason": result.reason, "seconds": result.seconds, **counts, "failed": failed}


def mlflow_place(loaded: Loaded) -> str:
    from vlactl.tracking.address import address_of

    return str(address_of(loaded.store.root))


def detach(folder: SweepFolder, arguments: Sequence[str]) -> ExitCode:
    """Start ``vlactl ARGUMENTS`` in a session of its own and wait until it holds the sweep, or has ended."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with open(folder.log, "ab") as log:
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}  vlactl {' '.join(arguments)}\n".encode())
        log.flush()
        begin = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "vlactl", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACH_PATIENCE_S
    while process.poll() is None and folder.driver() != process.pid:
        if time.monotonic() > deadline:
            raise UsageError(
                "the driver in the background has not begun", where=str(folder.log), remedy=f"tail -f {folder.log}"
            )
        time.sleep(0.1)
    if process.returncode is not None:
        with open(folder.log, errors="replace") as written:
            written.seek(begin)
            (say if process.returncode == 0 else remark)(written.read().rstrip())
        return ExitCode(process.returncode) if process.returncode in set(ExitCode) else ExitCode.SOME_FAILED
    say(f"running in the background as process {process.pid}")
    say(f"follow   vlactl status {folder.name} -w   or   tail -f {folder.log}")
    say(f"end      vlactl stop {folder.name}   or   vlactl cancel {folder.name}")
    return ExitCode.OK
