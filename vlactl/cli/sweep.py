"""``sweep``: run a recipe, or resume it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlactl.cli import options
from vlactl.cli.screen import emit, may_ask, remark, say
from vlactl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vlactl.cli.loading import Loaded
    from vlactl.plan import Description

ASK_ABOVE_S = 3600.0
"""A sweep expected to take longer asks first, where there is somebody to answer."""

FailFast = Annotated[bool, typer.Option("--fail-fast", help="Start nothing more after the first failed stage.")]
MaxFailures = Annotated[
    int | None,
    typer.Option(
        "--max-failures", metavar="N", help="Start nothing more after N failed stages.", min=1, show_default=False
    ),
]


def sweep(
    recipe: options.Recipe,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    yes: options.Yes = False,
    launcher: options.LauncherName = "",
    address: options.Address = "",
    jobs: options.Jobs = None,
    only: options.Only = None,
    skip: options.Skip = None,
    limit: options.Limit = None,
    set_: options.Set = None,
    fail_fast: FailFast = False,
    max_failures: MaxFailures = None,
    detach: options.Detach = False,
    json: options.Json = False,
) -> None:
    """Run a recipe: plan it, train and evaluate what is not in the store yet, print the comparative table.

    The same command resumes after anything: an interrupt, a crash, a new value on an axis. Finished stages are never
    run again, and with nothing left to do it prints the table. Ctrl-C lets running stages save and
    ends them; a second one kills them.

    \b
    vlactl sweep recipes/quickstart.yaml
    vlactl sweep recipes/design_space.yaml --only backbone=smolvlm,llava --jobs 2
    vlactl sweep recipes/design_space.yaml --detach       then: vlactl status -w

    Exit codes: 0 done or nothing to do, 1 some trials failed, 2 recipe error, 4 nothing succeeded, 75 another driver
    runs this sweep, 130/143 interrupted.
    """
    from vlactl.cli.loading import load_recipe

    execution = options.execution(
        launcher=launcher, address=address, jobs=jobs, max_failures=1 if fail_fast else max_failures
    )
    loaded = load_recipe(options.launch(recipe, only, skip, limit, set_), execution=execution)
    background = [*selection(loaded), *flags(execution)] if detach else None
    raise typer.Exit(start(loaded, dry_run=dry_run, yes=yes, background=background, as_json=json))


def selection(loaded: Loaded) -> list[str]:
    """The command that selects the same trials again."""
    launch = loaded.launch
    words = ["sweep", launch.recipe, "--yes"]
    for option, values in (("--only", launch.only), ("--skip", launch.skip), ("--set", launch.overrides)):
        words += [word for value in values for word in (option, value)]
    return [*words, *(["--limit", str(launch.limit)] if launch.limit else [])]


def flags(execution: list[str]) -> list[str]:
    """Overrides of this run only, as options of ``sweep``."""
    return [word for override in execution for word in ("--set", override)]


def start(loaded: Loaded, *, dry_run: bool, yes: bool, background: list[str] | None, as_json: bool) -> ExitCode:
    """Plan, ask, and run here or in the background."""
    from vlactl.cli import drive
    from vlactl.cli.plan import emit_plan, summary
    from vlactl.plan import describe

    description = describe(loaded.plan, loaded.store)
    if dry_run:
        if as_json:
            emit_plan(description)
        else:
            say("\n".join(description.lines()))
        return ExitCode.OK
    if not drive.needed(loaded):
        return nothing_to_do(loaded, as_json=as_json)
    refuse_missing(description)
    if as_json:
        emit({"type": "plan", **summary(description)})
    else:
        say("\n".join(description.lines(reasons=8)))
        say()
    if description.wall_seconds > ASK_ABOVE_S and not yes and may_ask() and not typer.confirm("Start?", default=True):
        remark("nothing was started")
        return ExitCode.OK
    if background is not None:
        return drive.detach(loaded.folder, background)
    return drive.drive(loaded, description, as_json=as_json)


def refuse_missing(description: Description) -> None:
    """Raise :class:`UsageError` before the first stage where a later one cannot run here."""
    from vlactl.cli.plan import gpus_here, lacks

    if absent := lacks(description):
        here = gpus_here(description.plan.recipe.execution)
        waiting = [each.stage for each in description.to_run if each.stage.missing or each.stage.resources.gpus > here]
        raise UsageError(
            f"{len(waiting)} of {len(description.to_run)} stages cannot run on this machine; it lacks:\n  "
            + "\n  ".join(absent),
            remedy="mend that, leave those cells out with --only or --skip, or look at the plan only (vlactl plan)",
        )


def nothing_to_do(loaded: Loaded, *, as_json: bool) -> ExitCode:
    """Print the table again; MLflow is looked at only if it is known to be behind."""
    from vlactl.cli import drive

    loaded.folder.remember(loaded.launch)
    drive.catch_up(loaded)
    drive.finish(loaded, None, as_json=as_json)
    if not as_json:
        say("nothing to do")
    return ExitCode.OK
