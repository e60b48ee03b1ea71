"""``plan`` and ``explain``: what a recipe means and why its stages will run.  Imports no torch, ray or mlflow."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.screen import columns, emit, error_document, remark, say, say_table
from vlactl.errors import ExitCode, VlactlError

if TYPE_CHECKING:
    from vlactl.cli.loading import Loaded
    from vlactl.plan import Description
    from vlactl.recipe import Execution, Trial


REASONS = 40
"""Lines that say why stages of one recipe run; with several recipes none do unless asked for."""


def plan(
    recipe: Annotated[
        list[Path], typer.Argument(metavar="RECIPE...", help="The recipes: YAML files.", show_default=False)
    ],
    only: options.Only = None,
    skip: options.Skip = None,
    limit: options.Limit = None,
    set_: options.Set = None,
    reasons: Annotated[
        int | None,
        typer.Option(
            min=0, help="How many lines may say why stages run. Default: 40, with several recipes 0.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what a sweep would do: trials, stages, what is cached, what will run and why, time, GPU-hours and disk.

    Also what is excluded and why, and what this machine lacks to run it. Nothing is written and nothing is started.
    With several recipes every one is shown, also where another has mistakes, and then all in one table.

    \b
    vlactl plan recipes/design_space.yaml
    vlactl plan recipes/design_space.yaml --only backbone=smolvlm --set training.updates=400
    vlactl plan recipes/paper/*.yaml
    """
    if len(recipe) == 1:
        description = described(recipe[0], only, skip, limit, set_)
        tell(description, REASONS if reasons is None else reasons, as_json=json)
        return
    found: list[tuple[Path, Description | VlactlError]] = []
    for path in recipe:
        try:
            description = described(path, only, skip, limit, set_)
        except VlactlError as error:
            found.append((path, error))
            if json:
                emit({**error_document(error), "recipe": str(path)})
            else:
                remark(f"vlactl: {error}\n")
        else:
            found.append((path, description))
            if not json:
                say(f"# {path}")
            tell(description, reasons or 0, as_json=json)
            if not json:
                say()
    broken = sum(isinstance(outcome, VlactlError) for _, outcome in found)
    if json:
        emit({"type": "plans", "recipes": len(found), "with_errors": broken, "gpu_hours": sum(gpu_hours(found))})
    else:
        overview(found)
    raise typer.Exit(ExitCode.USAGE if broken else ExitCode.OK)


def described(
    path: Path, only: options.Words, skip: options.Words, limit: int | None, set_: options.Words
) -> Description:
    """The plan of one recipe against its store; raises what loading it raises."""
    from vlactl.cli.loading import load_recipe
    from vlactl.plan import describe

    loaded = load_recipe(options.launch(path, only, skip, limit, set_))
    return describe(loaded.plan, loaded.store)


def tell(description: Description, reasons: int, *, as_json: bool) -> None:
    if as_json:
        emit_plan(description)
    else:
        say("\n".join(description.lines(reasons=reasons, missing=lacks(description))))


def lacks(description: Description) -> dict[str, int]:
    """What this machine lacks, each with what to do -> stages that wait for it; GPUs too, where no cluster is named."""
    here = gpus_here(description.plan.recipe.execution)
    waiting = [item.stage.resources.gpus for item in description.to_run if item.stage.resources.gpus > here]
    if not waiting:
        return description.missing
    text = (f"{max(waiting):g} GPUs for one stage, {here:g} are here: name a cluster that has them (--address or "
            "execution.address), or set execution.gpus_per_stage and gpus_per_evaluation to what there is.")
    return {**description.missing, text: len(waiting)}


def gpus_here(execution: Execution) -> float:
    """GPUs of this machine; without limit where the stages go to a cluster that exists already."""
    from vlactl.launchers.leases import visible_gpus

    elsewhere = execution.launcher == "ray" and (execution.address or os.environ.get("RAY_ADDRESS"))
    return math.inf if elsewhere else len(visible_gpus())


def gpu_hours(found: Sequence[tuple[Path, Description | VlactlError]]) -> list[float]:
    return [outcome.gpu_hours for _, outcome in found if not isinstance(outcome, VlactlError)]


def overview(found: Sequence[tuple[Path, Description | VlactlError]]) -> None:
    """One line for each recipe, and their sum."""
    from vlactl.plan.describe import bases_text

    heads = ("RECIPE", "CELLS", "EXCLUDED", "TRIALS", "STAGES", "TO RUN", "GPU-HOURS", "BY", "LACKS")
    rows, sums = [], [0] * 5
    for path, outcome in found:
        if isinstance(outcome, VlactlError):
            rows.append((str(path), *["-"] * 7, "has mistakes, see above"))
            continue
        recipe = outcome.plan.recipe
        counts = [len(recipe.cells), len(recipe.excluded), len(recipe.trials), len(outcome.stages), len(outcome.to_run)]
        sums = [before + count for before, count in zip(sums, counts, strict=True)]
        absent = f"{len(lacking)} of what it needs" if (lacking := lacks(outcome)) else "nothing"
        basis = bases_text(outcome.gpu_bases) if outcome.gpu_bases else "no GPU"
        rows.append((str(path), *map(str, counts), f"{outcome.gpu_hours:.1f}", basis, absent))
    rows.append((f"{len(found)} recipes", *map(str, sums), f"{sum(gpu_hours(found)):.1f}", "", ""))
    say_table(rows, heads, right=range(1, 7))


def emit_plan(description: Description) -> None:
    """The plan as JSON lines: a summary, then each trial and each stage."""
    document = description.to_json()
    emit({"type": "plan", **summary(description)})
    for trial, entry in document["trials"].items():
        emit({"type": "trial", "id": trial, **entry})
    for entry in document["stages"]:
        emit({"type": "stage", **entry})
    for entry in document["excluded"]:
        emit({"type": "excluded", **entry})


def summary(description: Description) -> dict[str, Any]:
    """Counts and expectations."""
    planned = description.plan
    return {
        "recipe": planned.recipe.name,
        "cells": len(planned.recipe.cells),
        "trials": len(planned.trials),
        "stages": len(planned.stages),
        "cached": len(description.stages) - len(description.to_run),
        "to_run": len(description.to_run),
        "stages_without_sharing": planned.stages_without_sharing,
        "excluded": len(planned.recipe.excluded),
        "left_out": planned.recipe.left_out,
        "references": dict(planned.references),
        "expected": {
            "stage_s": description.stage_seconds,
            "wall_s": description.wall_seconds,
            "gpu_hours": description.gpu_hours,
            "gpu_hours_from": description.gpu_bases,
            "disk_bytes": description.disk_bytes,
        },
        "missing": lacks(description),
    }


def explain(
    trial: Annotated[
        str, typer.Argument(metavar="TRIAL", help="A trial: its slug, id, or a part of them.", show_default=False)
    ],
    other: Annotated[
        str, typer.Argument(metavar="[TRIAL]", help="Another one, to compare with.", show_default=False)
    ] = "",
    sweep: options.OfSweep = "",
    json: options.Json = False,
) -> None:
    """Say why a trial's stages will run, or in what two trials differ.

    \b
    vlactl explain smolvlm/one-step-continuous/in-domain/seed-0
    vlactl explain smolvlm/one-step llava/one-step --sweep recipes/design_space.yaml
    """
    from vlactl.cli.loading import find_trial, load_named

    loaded = load_named(sweep)
    first = find_trial(loaded.recipe, trial)
    if other:
        explain_two(loaded, first, find_trial(loaded.recipe, other), as_json=json)
    else:
        explain_one(loaded, first, as_json=json)


def explain_one(loaded: Loaded, trial: Trial, *, as_json: bool) -> None:
    from vlactl.plan import describe

    mine = set(loaded.plan.trials[trial.id].all())
    rows = [item for item in describe(loaded.plan, loaded.store).stages if item.stage.digest in mine]
    if as_json:
        for item in rows:
            stage = item.stage
            entry = {"kind": stage.kind, "digest": stage.digest, "label": stage.label, "identity": stage.identity}
            emit({"type": "stage", **entry, "cached": item.cached, "reason": item.reason, "trials": item.trials})
        return
    say(f"{trial.slug}  (id {trial.id})")
    table = [
        (
            item.stage.kind,
            item.stage.digest,
            "cached" if item.cached else "will run",
            f"by {item.trials} trials" if item.trials > 1 else "-",
            item.reason,
        )
        for item in rows
    ]
    say(columns(table, ("STAGE", "DIGEST", "STATE", "SHARED", "WHY")))


def explain_two(loaded: Loaded, first: Trial, second: Trial, *, as_json: bool) -> None:
    from vlactl.identity import difference

    found = difference(first.identity(), second.identity())
    theirs = set(loaded.plan.trials[second.id].all())
    shared = [loaded.plan.stages[digest] for digest in loaded.plan.trials[first.id].all() if digest in theirs]
    if as_json:
        for path, ours, other in found:
            emit({"type": "difference", "path": path, "first": absent(ours), "second": absent(other)})
        for stage in shared:
            emit({"type": "shared", "kind": stage.kind, "digest": stage.digest, "label": stage.label})
        return
    say(f"A  {first.slug}  (id {first.id})\nB  {second.slug}  (id {second.id})\n")
    say(columns([(path, shown(ours), shown(other)) for path, ours, other in found], ("FIELD", "A", "B")))
    names = ", ".join(f"{stage.kind} {stage.label} ({stage.digest[:8]})" for stage in shared)
    say(f"\nshared stages: {names or 'none'}")


def absent(value: Any) -> Any:
    return None if value is ... else value


def shown(value: Any) -> str:
    import json

    return "-" if value is ... else value if isinstance(value, str) else json.dumps(value)
