"""``plan`` and ``explain``: what a recipe means and why its stages will run.  Imports no torch, ray or mlflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.screen import columns, emit, say

if TYPE_CHECKING:
    from vlactl.cli.loading import Loaded
    from vlactl.plan import Description
    from vlactl.recipe import Trial


def plan(
    recipe: options.Recipe,
    only: options.Only = None,
    skip: options.Skip = None,
    limit: options.Limit = None,
    set_: options.Set = None,
    reasons: Annotated[int, typer.Option(min=0, help="How many lines may say why stages run.")] = 40,
    json: options.Json = False,
) -> None:
    """Show what a sweep would do: trials, stages, what is cached, what will run and why, time and disk.

    Nothing is written and nothing is started.

    \b
    vlactl plan recipes/design_space.yaml
    vlactl plan recipes/design_space.yaml --only backbone=smolvlm --set training.updates=400
    """
    from vlactl.cli.loading import load_recipe
    from vlactl.plan import describe

    loaded = load_recipe(options.launch(recipe, only, skip, limit, set_))
    description = describe(loaded.plan, loaded.store)
    if json:
        emit_plan(description)
    else:
        say("\n".join(description.lines(reasons=reasons)))


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
            "disk_bytes": description.disk_bytes,
        },
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
