"""The table as text: one heading and one string per column, shared by the formats that people read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlactl.report.words import heading, interval, number

if TYPE_CHECKING:
    from vlactl.report import Level, Margin, Report, Row

NONE = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and what stands below it."""

    head: str
    text: Callable[[Row], str]
    right: bool = True


def columns(report: Report) -> list[Column]:
    """Axes first, then the score; columns that would be empty are left out."""
    metric = report.metric
    out = [Column(axis, lambda row, axis=axis: dict(row.cell).get(axis, ""), right=False) for axis in report.axes]
    if not out:
        out = [Column("policy", lambda row: row.name, right=False)]
    out += [
        Column(heading(metric), lambda row: number(row.estimate.mean, metric) if row.estimate else NONE),
        Column("95 % interval", lambda row: interval(row.estimate, metric) if row.estimate else "", right=False),
    ]
    if any(row.letters for row in report.rows):
        out.append(Column("group", lambda row: row.letters, right=False))
    out += [
        Column(f"SR@{k + 1}", lambda row, k=k: f"{100 * row.rates[k].mean:.0f}" if row.rates else "") for k in range(5)
    ]
    out += [Column("n", lambda row: str(row.n) if row.n else ""), Column("seeds", seeds)]
    if any(remark(row) for row in (*report.rows, *report.references)):
        out.append(Column("", remark, right=False))
    return out


def seeds(row: Row) -> str:
    if row.reference or not row.seeds:
        return ""
    return str(row.seeds) if row.seeds == row.seeds_wanted else f"{row.seeds}/{row.seeds_wanted}"


def remark(row: Row) -> str:
    """What is the matter with a row, or which reference it is; empty for a plain result."""
    parts = [] if row.state == "done" or (row.state == "partial") else [row.state.replace("_", " ")]
    parts += [row.detail] if row.detail else []
    parts += [f"{row.infra} lost to infrastructure"] if row.infra else []
    return ": ".join(parts[:2]) + "".join(f", {part}" for part in parts[2:])


def cells(report: Report) -> list[list[str]]:
    """The strings of every row: references with a score above the best cell first, the others last."""
    return [[column.text(row) for column in columns(report)] for row in ordered(report)]


def ordered(report: Report) -> list[Row]:
    """The ceiling, the cells, the floors.  A reference carries its name in the first axis' column by :func:`named`."""
    ceiling = [row for row in report.references if row.policy == "expert"]
    floor = [row for row in report.references if row.policy != "expert"]
    scored = [row for row in report.rows if row.estimate]
    rest = [row for row in report.rows if not row.estimate]
    return [named(row, report) for row in (*ceiling, *scored, *floor, *rest)]


def named(row: Row, report: Report) -> Row:
    from dataclasses import replace

    return replace(row, cell=((report.axes[0], f"({row.reference})"),)) if row.reference and report.axes else row


MARGIN_HEADS = ("mean", "95 % interval", "effect", "95 % interval", "group", "cells")


def margin_row(level: Level, report: Report) -> list[str]:
    """value, mean, its interval, effect against the axis' mean, its interval, letters, cells."""
    metric = report.metric
    effect = level.effect
    return [
        level.value,
        number(level.estimate.mean, metric) if level.estimate else NONE,
        interval(level.estimate, metric) if level.estimate else "",
        signed(effect.difference, metric) if effect else "",
        f"[{signed(effect.low, metric)}, {signed(effect.high, metric)}]" if effect else "",
        level.letters,
        str(level.cells),
    ]


def signed(value: float, metric: str) -> str:
    text = number(value, metric)
    return text if text.startswith("-") or not text.strip("0.") else f"+{text}"


def margin_title(margin: Margin, report: Report) -> str:
    """``formulation: mean avg_len over 9 combinations of the other axes``, with the note."""
    what = (
        f"{margin.axis}: {heading(report.metric)} averaged over {margin.blocks} "
        f"{'combination' if margin.blocks == 1 else 'combinations'} of the other axes"
    )
    return f"{what} ({margin.note})" if margin.note else what


def head_lines(report: Report) -> list[tuple[str, str]]:
    """``(label, text)`` lines that stand above every table."""
    lines = [("date", report.created.strftime("%Y-%m-%d %H:%M UTC")), *report.provenance]
    return lines + ([("protocol", report.protocol)] if report.protocol else [])
