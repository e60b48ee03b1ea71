"""``stop``, ``cancel`` and ``retry``: steering a sweep that runs or ran."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from vlactl.cli import options
from vlactl.cli.screen import emit, say
from vlactl.errors import ExitCode, FailureClass, UsageError, did_you_mean

if TYPE_CHECKING:
    from vlactl.cli.loading import Loaded
    from vlactl.cli.sweeps import SweepFolder

Wait = Annotated[bool, typer.Option("--wait", help="Return when the driver has gone.")]


def stop(sweep: options.Sweep = "", wait: Wait = False, json: options.Json = False) -> None:
    """Let the running stages of a sweep finish and start no more.

    The same 'vlactl sweep' command goes on later.
    """
    folder = running(sweep)
    folder.stop_file.touch()
    say_done(folder, "stopping", "its running stages finish, nothing more is started", wait=wait, as_json=json)


def cancel(
    sweep: options.Sweep = "",
    now: Annotated[
        bool, typer.Option("--now", help="Kill the stages instead of letting them save a checkpoint.")
    ] = False,
    wait: Wait = False,
    json: options.Json = False,
) -> None:
    """End a sweep now: running stages save a checkpoint and end.

    The same 'vlactl sweep' command resumes; finished stages are not run again.
    """
    folder = running(sweep)
    folder.signal_driver(signal.SIGTERM)
    if now:
        time.sleep(1.0)  # the runner tells the first signal from the second, not two of the same moment
        if folder.driver() is not None:
            folder.signal_driver(signal.SIGTERM)
    what = "its stages are killed" if now else "its stages save and end"
    say_done(folder, "cancelling", what, wait=wait, as_json=json)


def running(sweep: str) -> SweepFolder:
    """The sweep's folder; raises :class:`UsageError` where nobody runs it here."""
    from pathlib import Path

    from vlactl.cli.sweeps import find
    from vlactl.store import home

    folder = find(home(Path(sweep) if sweep and Path(sweep).is_file() else Path.cwd()), sweep)
    folder.require_driver()
    return folder


def say_done(folder: SweepFolder, action: str, text: str, *, wait: bool, as_json: bool) -> None:
    if as_json:
        emit({"type": action, "sweep": folder.name, "pid": folder.driver()})
    else:
        say(f"{folder.name}: {action}, {text}")
    while wait and folder.driver() is not None:
        time.sleep(0.2)


def retry(
    sweep: options.Sweep = "",
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Only failures of this class: " + " | ".join(FailureClass) + ". May be repeated.",
            show_default=False,
        ),
    ] = None,
    yes: options.Yes = False,
    launcher: options.LauncherName = "",
    address: options.Address = "",
    jobs: options.Jobs = None,
    json: options.Json = False,
) -> None:
    """Run the failed trials of a sweep again, with fresh retry budgets.

    The whole 'vlactl sweep' command does so too; this one leaves alone what did not fail.

    \b
    vlactl retry --class oom --class infra
    """
    from vlactl.cli.loading import launch_of, load_recipe
    from vlactl.cli.sweep import start

    for name in class_ or ():
        if name not in set(FailureClass):
            raise UsageError(
                f"unknown class of failure '{name}'",
                where="--class",
                expected=" | ".join(FailureClass),
                remedy=did_you_mean(name, list(FailureClass)),
            )
    loaded = load_recipe(launch_of(sweep), execution=options.execution(launcher=launcher, address=address, jobs=jobs))
    chosen = failed_trials(loaded, set(class_ or FailureClass))
    if chosen is None:
        if not json:
            say(f"{loaded.folder.name}: nothing failed" + (f" with class {' or '.join(class_)}" if class_ else ""))
        raise typer.Exit(ExitCode.OK)
    raise typer.Exit(start(chosen, dry_run=False, yes=yes, background=None, as_json=json))


def failed_trials(loaded: Loaded, classes: set[str]) -> Loaded | None:
    """The sweep with only the trials that need a stage that failed so; None when there is none."""
    failed = {
        digest
        for digest, stage in loaded.state().stages.items()
        if stage.status == "failed" and stage.failure in classes
    }
    trials = [trial for trial in loaded.recipe.trials if failed.intersection(loaded.plan.trials[trial.id].all())]
    references = failed.intersection(loaded.plan.references.values())
    if not trials and not references:
        return None
    return loaded.of_trials(trials) if trials else loaded
