"""Published tables beside ours: which of their rows have the names of our cells, and both as text.

Nothing here is compared: other simulators, cameras and budgets.  A block of its own says so above every such number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlactl.published import TRUST, PublishedTable, leaf, matches, table
from vlactl.report import Quoted, QuotedRow, Report, Row
from vlactl.report.words import heading, interval, number

if TYPE_CHECKING:
    from vlactl.recipe import Recipe, Trial

SECTIONS = ("backbone", "formulation", "strategy", "training", "evaluation")
HEADS = {"avg_len": "avg_len", **{f"sr{k}": f"SR@{k}" for k in range(1, 6)}}


def beside(report: Report, recipe: Recipe, names: Sequence[str]) -> Report:
    """``report`` with the published tables called ``names``; raises :class:`UnknownName`."""
    trials = {trial.cell: trial for trial in recipe.trials}
    cells = [(row, coordinates(row, trials.get(row.cell))) for row in report.rows]
    return replace(report, published=tuple(quote(table(name), cells, report.axes) for name in names))


def coordinates(row: Row, trial: Trial | None) -> dict[str, tuple[str, ...]]:
    """What a cell of ours is: coordinate -> the names of its value, as its axes call them and as its specs do."""
    found: dict[str, tuple[str, ...]] = {}
    for section in SECTIONS if trial is not None else ():
        spec = getattr(trial, section, None)
        if spec is None:
            continue
        found[section] = (spec.kind,) if section != "training" else ()
        for field in type(spec).model_fields:
            value = getattr(spec, field)
            if isinstance(value, (str, bool, int, float)):
                found[f"{section}.{field}"] = (str(value).lower() if isinstance(value, bool) else str(value),)
    splits = {str(split) for source in home_sources(trial) if (split := getattr(source, "split", None))}
    found |= {"sources.split": (splits.pop(),)} if len(splits) == 1 else {}
    found |= {"backbone.vl_pretrain": (str(learned).lower(),)} if (learned := pretrained(trial)) is not None else {}
    for axis, value in row.cell:
        found[axis] = (value, *found.get(axis, ())) if axis in SECTIONS else (value,)
    return {name: values for name, values in found.items() if values}


def home_sources(trial: Trial | None) -> list[Any]:
    """The sources of the evaluated embodiment."""
    return list(getattr(trial, "sources", {}).get("in-domain", {}).values())


def pretrained(trial: Trial | None) -> bool | None:
    """Whether the cell's backbone has learned from pictures with words, with the default filled in."""
    return getattr(getattr(trial, "backbone", None), "learned_from_pictures", None)


def quote(
    found: PublishedTable, cells: Sequence[tuple[Row, Mapping[str, Sequence[str]]]], axes: Sequence[str]
) -> Quoted:
    """One table; a row is joined with the cells that have its names in every axis of ours."""
    shown = varying(found)
    axes = deciding([dict(row.cell) for row, _ in cells], axes, {key for row in found.rows for key in row.cell})
    columns = tuple(dict.fromkeys((*found.columns, *found.means)))
    rows = tuple(
        QuotedRow(
            method=row.method,
            cell=tuple((key, row.cell[key][0]) for key in shown if key in row.cell),
            scores={column: scaled(column, row.scores[column], found) for column in columns if column in row.scores},
            versions=row.versions,
            place=row.place,
            source=row.source,
            trust=row.trust,
            note=row.note,
            ours=tuple((ours.name, ours.estimate) for ours, names in cells if matches(found, row, names, axes)),
        )
        for row in found.rows
    )
    return Quoted(
        id=found.id, title=found.title, mark=found.mark(), setting=found.setting, note=found.note, metric=found.metric,
        coordinates=shown, columns=columns, rows=rows,
    )


def deciding(cells: Sequence[Mapping[str, str]], axes: Sequence[str], coordinates: Collection[str]) -> list[str]:
    """The axes in which cells differ, less those that no table knows and that follow from the others: the updates of a
    strategy, where the two are zipped."""
    kept = list(axes)
    for axis in axes:
        others, seen = [other for other in kept if other != axis], {}
        if leaf(axis) not in coordinates and all(
            seen.setdefault(tuple(cell.get(other) for other in others), cell.get(axis)) == cell.get(axis)
            for cell in cells
        ):
            kept = others
    return kept


def varying(found: PublishedTable) -> tuple[str, ...]:
    """The coordinates to show: those of the table, and what only some of its rows say."""
    told = [row for row in found.rows if set(found.coordinates) <= row.cell.keys()]
    more = [key for row in told for key in row.cell if len({other.cell.get(key) for other in told}) > 1]
    return tuple(dict.fromkeys((*found.coordinates, *more)))


def scaled(column: str, value: float, found: PublishedTable) -> float:
    """Rates in percent, whatever the paper prints them in."""
    return round(100 * value, 6) if found.unit == "share" and column != "avg_len" else value


# ---- as text ----


def title(quoted: Quoted) -> str:
    return f"{quoted.title}: {quoted.mark}"


def heads(quoted: Quoted, metric: str) -> list[tuple[str, bool]]:
    """``(heading, whether it is a column of numbers)``"""
    return [
        ("method", False),
        *((name, False) for name in quoted.coordinates),
        *((HEADS.get(column, column.replace("_", " ")), True) for column in quoted.columns),
        ("version", False),
        ("trust", False),
        *([(f"ours: {heading(metric)}", False)] if joined(quoted) else []),
        *([("", False)] if any(row.note for row in quoted.rows) else []),
    ]


def lines(quoted: Quoted, metric: str) -> list[list[str]]:
    """The strings of every row, under :func:`heads`."""
    return [
        [
            row.method,
            *(dict(row.cell).get(name, "") for name in quoted.coordinates),
            *(score_text(column, row) for column in quoted.columns),
            "/".join(row.versions),
            row.trust,
            *([ours_text(row, metric)] if joined(quoted) else []),
            *([row.note] if any(each.note for each in quoted.rows) else []),
        ]
        for row in quoted.rows
    ]


def name_of(row: QuotedRow) -> str:
    """``KosMos (kosmos-2 / one-step-continuous, v3)``: a row in one line of text."""
    where = [" / ".join(value for _, value in row.cell), "/".join(row.versions)]
    return f"{row.method} ({', '.join(part for part in where if part)})"


def joined(quoted: Quoted) -> bool:
    return any(row.ours for row in quoted.rows)


def score_text(column: str, row: QuotedRow) -> str:
    if column not in row.scores:
        return ""
    return f"{row.scores[column]:.2f}" if column == "avg_len" else f"{row.scores[column]:.1f}"


def ours_text(row: QuotedRow, metric: str) -> str:
    return "; ".join(f"{number(e.mean, metric)} {interval(e, metric)}" if e else "no score" for _, e in row.ours)


def remarks(quoted: Quoted) -> list[str]:
    """The sentences below the table: setting, sources, trust, what is computed."""
    words = [word for word in TRUST if any(row.trust == word for row in quoted.rows)]
    out = [f"Setting: {quoted.setting}.", f"Source: {'; '.join(dict.fromkeys(row.source for row in quoted.rows))}."]
    out += ["Trust: " + "; ".join(f"{word} = {TRUST[word]}" for word in words) + "."]
    out += [f"Note: {quoted.note}."] if quoted.note else []
    computed = [column for column in quoted.columns if column.startswith("mean")]
    out += [f"Computed here, not printed: {', '.join(computed)}."] if computed else []
    return out


def remarks_here(quoted: Quoted) -> list[str]:
    """:func:`remarks`, and what a report says where no cell of ours was joined."""
    return remarks(quoted) + ([] if joined(quoted) else ["No cell here has the names of one of these rows."])


def flat(quoted: Quoted, metric: str) -> list[dict[str, Any]]:
    """One mapping per line for a flat table: the row with ``metric`` and the five rates as shares where it has them,
    one more line for every other score (in percent)."""
    out = []
    for row in quoted.rows:
        own = {key: value for key, value in row.scores.items() if key in HEADS}
        said = f"{quoted.mark}; {row.method}; {row.place}, {'/'.join(row.versions)}; {row.trust}"
        detail = f"{said}; {row.note}" if row.note else said
        if own:
            shares = {key: value if key == "avg_len" else value / 100 for key, value in own.items()}
            out.append({"cell": dict(row.cell), "detail": detail, "metric": metric, "mean": shares.get(metric),
                        **{key: value for key, value in shares.items() if key != "avg_len"}})
        out += [{"cell": dict(row.cell), "detail": detail, "metric": f"{key} %", "mean": value}
                for key, value in row.scores.items() if key not in HEADS]
    return out
