"""From a plan and a store to a :class:`~vlactl.report.Report`: read rollouts, align episodes, compare.

Axis letters: R training seeds, N episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from vlactl import statistics
from vlactl.outcomes import TrialOutcome, trial_outcomes
from vlactl.report import CHAIN, Report, Row, State
from vlactl.report.letters import letters
from vlactl.report.margins import margins
from vlactl.report.measured import Measured, bounds_of, measure
from vlactl.report.protocols import fields_of_axes, protocol_line, same_episodes, the_protocol
from vlactl.report.provenance import describe_provenance
from vlactl.report.words import answer, notes

if TYPE_CHECKING:
    from vlactl.events import SweepState
    from vlactl.plan import Plan
    from vlactl.recipe import Recipe, Trial
    from vlactl.store import Store

Cell = tuple[tuple[str, str], ...]


def assemble(
    recipe: Recipe,
    plan: Plan,
    store: Store,
    metric: str,
    by: str | None,
    *,
    state: SweepState | None,
    ignore: Sequence[str],
    now: datetime | None,
) -> Report:
    """The body of :func:`vlactl.report.build`."""
    axes = tuple(axis.name for axis in recipe.axes)
    outcomes = trial_outcomes(plan, store, state)
    trials = seeds_of_cells(recipe)
    measured = {cell: m for cell, group in trials.items() if (m := measure(outcomes[t.id].evaluation for t in group))}
    references = {
        name: m
        for name, digest in plan.references.items()
        if (m := measure([store.artifact(digest)] if store.has(digest) else []))
    }
    used = [(row_name(cell), artifact) for cell, m in measured.items() for artifact in m.artifacts]
    used += [(name, artifact) for name, m in references.items() for artifact in m.artifacts]
    protocol, digest, protocol_notes = the_protocol(used, ignore, fields_of_axes(recipe))
    rows = {
        cell: cell_row(cell, group, [outcomes[t.id] for t in group], measured.get(cell), metric)
        for cell, group in trials.items()
    }
    scored = sorted((row for row in rows.values() if row.estimate), key=lambda row: -row.estimate.mean)  # type: ignore
    paired = same_episodes([artifact for m in measured.values() for artifact in m.artifacts])
    shared = sorted(frozenset.intersection(*(measured[row.cell].keys for row in scored))) if scored and paired else []
    scored = compared(scored, {row.cell: measured[row.cell].values_RN(metric, shared) for row in scored})
    excluded = [Row(cell=item.cell, state="excluded", detail=item.because) for item in recipe.excluded]
    report = Report(
        name=recipe.name,
        description=recipe.description,
        metric=metric,
        by=by,
        axes=axes,
        rows=(*scored, *(row for row in rows.values() if not row.estimate), *excluded),
        references=tuple(reference_row(name, references.get(name), metric) for name in plan.references),
        margins=margins(
            axes if by is None else (by,),
            {row.cell: measured[row.cell].values_RN(metric, shared) for row in scored},
            bounds_of(metric),
            recipe.document.get("zip") or (),
        )
        if shared
        else (),
        answer="",
        notes=(),
        protocol=protocol_line(protocol, digest),
        protocol_digest=digest,
        protocol_fields=protocol,
        created=now or datetime.now(UTC),
        provenance=describe_provenance([artifact for _, artifact in used]),
        shared=len(shared),
        designs=any(row.seeds > 1 for row in scored),
    )
    said = notes(report, left_out=recipe.left_out, tiny=tiny_cells(recipe))
    return replace(report, answer=answer(report), notes=(*protocol_notes, *said))


def seeds_of_cells(recipe: Recipe) -> dict[Cell, list[Trial]]:
    """Every cell with its trials in the order of their seeds."""
    trials: dict[Cell, list[Trial]] = {}
    for trial in sorted(recipe.trials, key=lambda trial: trial.seed):
        trials.setdefault(trial.cell, []).append(trial)
    return trials


def tiny_cells(recipe: Recipe) -> int:
    """Cells whose backbone began with tiny random weights."""
    return len({trial.cell for trial in recipe.trials if trial.identity()["backbone"].get("weights") == "tiny"})


def row_name(cell: Cell) -> str:
    return " / ".join(value for _, value in cell)


def cell_row(
    cell: Cell, trials: Sequence[Trial], outcomes: Sequence[TrialOutcome], measured: Measured | None, metric: str
) -> Row:
    """The row of one cell before it is compared with others."""
    open_trials = [
        (trial, outcome) for trial, outcome in zip(trials, outcomes, strict=True) if outcome.standing != "done"
    ]
    worst = min(
        (outcome for _, outcome in open_trials),
        default=None,
        key=lambda outcome: ("failed", "upstream_failed", "running", "unfinished").index(outcome.standing),
    )
    row = Row(cell=cell, state="done", seeds_wanted=len(trials), trials=tuple(trial.id for trial in trials))
    if measured is None:
        if worst is None:
            return replace(row, state="failed", detail="evaluate: no episode could be scored")
        return replace(row, state=state_of(worst), detail=worst.detail)
    if worst is not None:
        missing = ", ".join(str(trial.seed) for trial, _ in open_trials)
        row = replace(row, state="partial", detail=f"seed {missing} missing ({worst.detail})")
    training = [
        outcome.artifacts["finetune"].manifest["result"] for outcome in outcomes if "finetune" in outcome.artifacts
    ]
    seconds = [result["seconds"] for result in training if result.get("seconds") is not None]
    return replace(
        with_scores(row, measured, metric),
        updates=max((result["updates"] for result in training if result.get("updates")), default=None),
        train_s=float(np.mean(seconds)) if seconds else None,
    )


def state_of(outcome: TrialOutcome) -> State:
    return outcome.standing if outcome.standing in ("failed", "upstream_failed") else "unfinished"


def reference_row(name: str, measured: Measured | None, metric: str) -> Row:
    what = {"expert": "scripted expert: ceiling", "random": "random actions: floor", "zero": "zero actions: floor"}
    row = Row(cell=(), state="done", detail=what.get(name.partition("/")[0], "reference"), reference=name)
    return with_scores(row, measured, metric) if measured else replace(row, state="unfinished")


def with_scores(row: Row, measured: Measured, metric: str) -> Row:
    """``row`` with everything that its own rollouts say."""
    keys = sorted(measured.keys)
    values_RN = measured.values_RN(metric, keys)
    rates = tuple(statistics.rate(measured.values_RN(f"sr{k}", keys)) for k in range(1, CHAIN + 1))
    estimate = (
        statistics.score(values_RN, bounds=bounds_of(metric)) if metric == "avg_len" else rates[int(metric[2:]) - 1]
    )
    tasks: dict[str, list[int]] = {}
    for scores in measured.scores:
        for task, (won, tried) in scores.per_task.items():
            counts = tasks.setdefault(task, [0, 0])
            counts[0], counts[1] = counts[0] + won, counts[1] + tried
    return replace(
        row,
        estimate=estimate,
        rates=rates,
        n=len(keys),
        seeds=0 if row.reference else len(values_RN),
        per_seed=tuple(float(v) for v in values_RN.mean(1)),
        invalid=sum(s.invalid for s in measured.scores),
        infra=sum(s.infra for s in measured.scores),
        digests=tuple(a.manifest["digest"] for a in measured.artifacts),
        per_task=tuple((task, won, tried) for task, (won, tried) in sorted(tasks.items())),
    )


def compared(rows: Sequence[Row], values: Mapping[Cell, np.ndarray]) -> list[Row]:
    """Rows (best first) with letters, probability of best, and the paired difference to the first."""
    cells = [values[row.cell] for row in rows]
    if not cells or cells[0].shape[1] < 2:
        return list(rows)
    pairs = statistics.pairwise(cells)
    adjusted_CC = statistics.holm_pairs(pairs.p)
    words = letters(adjusted_CC)
    chances = statistics.probability_of_best(cells)
    out = [replace(rows[0], letters=words[0] if len(rows) > 1 else "", best=float(chances[0]))]
    for index in range(1, len(rows)):
        gap = statistics.compare(cells[0], cells[index])
        if pairs.half is not None:
            half = float(pairs.half[0, index])
            gap = replace(gap, low=gap.difference - half, high=gap.difference + half, designs=True,
                          p=float(pairs.p[0, index]))
        out.append(replace(rows[index], letters=words[index], best=float(chances[index]), behind=gap,
                           p_adjusted=float(adjusted_CC[0, index])))
    return out
