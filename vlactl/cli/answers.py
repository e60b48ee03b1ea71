"""``report`` and ``compare``: what a sweep found, read from the store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.screen import columns, emit, is_terminal, remark, say
from vlactl.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from vlactl.cli.loading import Loaded
    from vlactl.report.measured import Measured

Metric = Annotated[
    str,
    typer.Option("--metric", help="avg_len | sr1 | sr2 | sr3 | sr4 | sr5. Default: the recipe's.", show_default=False),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="FIELD",
        help="A protocol field in which the scores may differ ('*': any); the table then says so. May be repeated.",
        show_default=False,
    ),
]


With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="published[:TABLE]",
        help="Show the published table that the recipe names, or that TABLE (vlactl list published), beside ours: in "
        "a block of its own, in no test. May be repeated.",
        show_default=False,
    ),
]


def report(
    which: Annotated[
        str,
        typer.Argument(
            metavar="[RECIPE|SWEEP]",
            help="A recipe, or a sweep's name or its beginning. Default: the newest sweep.",
            show_default=False,
        ),
    ] = "",
    metric: Metric = "",
    by: Annotated[
        str,
        typer.Option(metavar="AXIS", help="Only this axis's marginal effect. Default: every axis.", show_default=False),
    ] = "",
    format: Annotated[str, typer.Option("--format", help="table | markdown | latex | csv | json | html")] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: standard output.", show_default=False)
    ] = None,
    with_: With = None,
    ignore: Ignore = None,
    only: options.Only = None,
    skip: options.Skip = None,
    set_: options.Set = None,
) -> None:
    """Print the comparative table: axes as columns, best first, with 95 % intervals.

    Every cell is shown, also those that failed, were excluded or are not done. Cells that share a letter cannot be told
    apart.

    \b
    vlactl report --metric sr1
    vlactl report --with published
    vlactl report recipes/design_space.yaml --format latex -o table.tex
    """
    from vlactl.cli.loading import load_named
    from vlactl.report import build, render

    loaded = load_named(which, only=only or (), skip=skip or (), overrides=set_ or ())
    found = build(
        loaded.recipe,
        loaded.plan,
        loaded.store,
        metric or loaded.recipe.report.metric,
        by or None,
        state=loaded.state(),
        ignore=ignore or (),
        published=published_beside(with_ or (), loaded),
    )
    if output is None:
        colour = format == "table" and is_terminal() and not os.environ.get("NO_COLOR")
        width = shutil.get_terminal_size().columns if is_terminal() else None
        print(render(found, format, colour=colour, width=width), end="")
    else:
        from vlactl.disk import replace_text

        replace_text(output, render(found, format))
        remark(f"wrote {output}")


def published_beside(wanted: Sequence[str], loaded: Loaded) -> list[str]:
    """The published tables that ``--with`` means; raises :class:`UsageError` where it means none."""
    found: list[str] = []
    for word in wanted:
        what, colon, name = word.partition(":")
        if what != "published" or (colon and not name):
            raise UsageError(f"--with does not know '{word}'", where="--with", expected="published | published:TABLE",
                             remedy=did_you_mean(what, ["published"]) or "vlactl list published")
        name = name or loaded.recipe.report.published or ""
        if not name:
            raise UsageError("the recipe names no published table", where=loaded.recipe.path,
                             expected="report: {published: TABLE}",
                             remedy="add it to the recipe, or name one: --with published:TABLE (vlactl list published)")
        found += [name] if name not in found else []
    return found


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A cell or a trial of the sweep, or an evaluation's digest.", show_default=False
        ),
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="What it is compared with; also expert | random.", show_default=False)
    ],
    sweep: options.OfSweep = "",
    metric: Metric = "",
    ignore: Ignore = None,
    json: options.Json = False,
) -> None:
    """Compare two cells or policies on the same episodes, paired.

    Cells with two or more seeds on both sides are compared as designs: the spread between seeds counts. Otherwise these
    checkpoints are.

    \b
    vlactl compare smolvlm/one-step-continuous/in-domain smolvlm/one-step-discrete/in-domain
    """
    from vlactl.cli.loading import load_named
    from vlactl.report import METRICS

    loaded = load_named(sweep)
    metric = metric or loaded.recipe.report.metric
    if metric not in METRICS:
        raise UsageError(
            f"unknown metric '{metric}'", expected=" | ".join(METRICS), remedy=did_you_mean(metric, METRICS)
        )
    document = contrast((a, measured(loaded, a)), (b, measured(loaded, b)), metric, ignore or ())
    if json:
        emit({"type": "comparison", **document})
    else:
        say(comparison_page(document))


def measured(loaded: Loaded, wanted: str) -> Measured:
    """The finished evaluations that ``wanted`` means; raises :class:`UsageError` when there is none."""
    from vlactl.report.measured import measure

    found = measure(loaded.store.artifact(digest) for digest in evaluations(loaded, wanted) if loaded.store.has(digest))
    if found is None:
        raise UsageError(f"'{wanted}' has no finished evaluation yet", where=loaded.recipe.name, remedy="vlactl status")
    return found


def evaluations(loaded: Loaded, wanted: str) -> list[str]:
    """Digests of the evaluate stages of a cell (all its seeds), a trial, a reference, or one stage."""
    plan = loaded.plan
    if wanted in plan.references:
        return [plan.references[wanted]]
    found = [
        plan.trials[trial.id].evaluate
        for trial in loaded.recipe.trials
        if wanted in (trial.slug, trial.slug.rpartition("/seed-")[0])
        or (len(wanted) >= 4 and trial.id.startswith(wanted))
    ]
    if found:
        return found
    matching = [
        artifact.digest
        for artifact in loaded.store.manifests("evaluate")
        if len(wanted) >= 4 and artifact.digest.startswith(wanted)
    ]
    if len(matching) == 1:
        return matching
    cells = list(dict.fromkeys(trial.slug.rpartition("/seed-")[0] for trial in loaded.recipe.trials))
    raise UsageError(
        f"no cell, trial or evaluation is called '{wanted}'",
        where=loaded.recipe.name,
        expected="one of\n            " + "\n            ".join([*cells, *plan.references]),
        remedy=did_you_mean(wanted, cells),
    )


def contrast(
    first: tuple[str, Measured], second: tuple[str, Measured], metric: str, ignore: Sequence[str]
) -> dict[str, Any]:
    """Two measured things on their shared episodes, as plain data."""
    from vlactl import statistics
    from vlactl.report import METRICS
    from vlactl.report.measured import bounds_of
    from vlactl.report.protocols import the_protocol

    (name_a, a), (name_b, b) = first, second
    _, digest, notes = the_protocol(
        [(name, artifact) for name, each in (first, second) for artifact in each.artifacts], ignore
    )
    keys = sorted(a.keys & b.keys)
    if not keys:
        raise UsageError(f"'{name_a}' and '{name_b}' share no episode", expected="evaluations on one list of episodes")
    rows = []
    for name in METRICS:
        values_a_RN, values_b_RN = a.values_RN(name, keys), b.values_RN(name, keys)
        difference = statistics.compare(values_a_RN, values_b_RN)
        scores = [
            statistics.score(v, bounds=bounds_of(name)) if name == "avg_len" else statistics.rate(v)
            for v in (values_a_RN, values_b_RN)
        ]
        rows.append(
            {
                "metric": name,
                "a": interval(scores[0]),
                "b": interval(scores[1]),
                "p": difference.p,
                "designs": difference.designs,
                "difference": {"mean": difference.difference, "low": difference.low, "high": difference.high},
            }
        )
    solved_a_N, solved_b_N = a.values_RN("avg_len", keys).mean(0), b.values_RN("avg_len", keys).mean(0)
    return {
        "a": name_a,
        "b": name_b,
        "metric": metric,
        "rows": rows,
        "episodes": len(keys),
        "seeds": [0 if "policy" in each.artifacts[0].identity else len(each.scores) for each in (a, b)],
        "protocol": digest,
        "notes": list(notes),
        "further": {"a": int((solved_a_N > solved_b_N).sum()), "b": int((solved_b_N > solved_a_N).sum())},
    }


def interval(estimate: Any) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


def comparison_page(document: dict[str, Any]) -> str:
    rows = [
        (row["metric"], spelled(row["a"]), spelled(row["b"]), spelled(row["difference"], sign="+"), p_text(row["p"]))
        for row in document["rows"]
    ]
    chosen = next(row for row in document["rows"] if row["metric"] == document["metric"])
    better, worse = ("A", "B") if chosen["difference"]["mean"] > 0 else ("B", "A")
    verdict = (
        f"{better} is better than {worse} in {document['metric']} (p = {p_text(chosen['p'])})."
        if chosen["p"] < 0.05
        else f"No difference in {document['metric']} can be shown (p = {p_text(chosen['p'])})."
    )
    scope = (
        "Designs are compared: the spread between seeds counts."
        if chosen["designs"]
        else "These checkpoints are compared, not their designs."
    )
    further = document["further"]
    same = document["episodes"] - further["a"] - further["b"]
    return "\n".join(
        [
            f"A  {document['a']}  ({counted(document['seeds'][0])})",
            f"B  {document['b']}  ({counted(document['seeds'][1])})",
            "",
            columns(rows, ("METRIC", "A", "B", "A - B", "P"), right=(4,)),
            "",
            f"{document['episodes']} episodes, paired: A came further in {further['a']}, B in {further['b']}, "
            f"as far in {same}.",
            *document["notes"],
            f"{verdict} {scope}",
        ]
    )


def counted(seeds: int) -> str:
    """How many trainings a score stands for; references have none."""
    return "reference" if not seeds else "1 seed" if seeds == 1 else f"{seeds} seeds"


def spelled(estimate: dict[str, float], *, sign: str = "") -> str:
    return f"{estimate['mean']:{sign}.2f} [{estimate['low']:{sign}.2f}, {estimate['high']:{sign}.2f}]"


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
