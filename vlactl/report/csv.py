"""The report as CSV: one line per row, unrounded, with the protocol and the state beside every number."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from vlactl.errors import UsageError
from vlactl.published import leaf
from vlactl.report.quoted import flat

if TYPE_CHECKING:
    from vlactl.report import Report, Row


def render(report: Report) -> str:
    """``--by AXIS``: one line per value of the axis; otherwise one per cell, reference and published row.

    Raises :class:`UsageError` where published rows have no place: among the values of one axis.
    """
    if report.by is not None and report.published:
        raise UsageError("published rows have no place in a CSV file of one axis' values", where="--by --with",
                         remedy="leave out --by or --with, or take another format")
    heads, lines = margin_lines(report) if report.by is not None else row_lines(report)
    lines += [published_line(line, heads, report) for block in report.published for line in flat(block, report.metric)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([guarded(value) for value in line] for line in lines)
    return out.getvalue()


def guarded(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def row_lines(report: Report) -> tuple[list[str], list[list[Any]]]:
    heads = [
        "row",
        *report.axes,
        "state",
        "detail",
        "metric",
        "mean",
        "low",
        "high",
        *(f"sr{k}{end}" for k in range(1, 6) for end in ("", "_low", "_high")),
        "n",
        "seeds",
        "seeds_wanted",
        "group",
        "probability_best",
        "behind_best",
        "behind_low",
        "behind_high",
        "p_holm",
        "invalid",
        "infra",
        "updates",
        "train_s",
        "protocol_digest",
    ]
    return heads, [row_line(row, report) for row in (*report.rows, *report.references)]


def row_line(row: Row, report: Report) -> list[Any]:
    cell, estimate, behind = dict(row.cell), row.estimate, row.behind
    rates = [x for rate in row.rates for x in (rate.mean, rate.low, rate.high)] if row.rates else [None] * 15
    return [
        row.reference or "cell",
        *(cell.get(axis) for axis in report.axes),
        row.state,
        row.detail,
        report.metric,
        *((estimate.mean, estimate.low, estimate.high) if estimate else (None,) * 3),
        *rates,
        row.n,
        row.seeds,
        row.seeds_wanted,
        row.letters,
        row.best,
        *((behind.difference, behind.low, behind.high) if behind else (None,) * 3),
        row.p_adjusted,
        row.invalid,
        row.infra,
        row.updates,
        row.train_s,
        report.protocol_digest,
    ]


def published_line(line: dict[str, Any], heads: list[str], report: Report) -> list[Any]:
    """A published row: ``row`` says so, ``detail`` whose it is; no interval, no group, no protocol of ours."""
    axes = {axis: line["cell"].get(leaf(axis)) for axis in report.axes}
    known = {**line, **axes, "row": "published", "state": "done"}
    return [known.get(head) for head in heads]


def margin_lines(report: Report) -> tuple[list[str], list[list[Any]]]:
    heads = [
        "axis",
        "value",
        "metric",
        "mean",
        "low",
        "high",
        "effect",
        "effect_low",
        "effect_high",
        "p",
        "group",
        "cells",
        "blocks",
        "protocol_digest",
    ]
    lines = []
    for margin in report.margins:
        for level in margin.levels:
            estimate, effect = level.estimate, level.effect
            lines.append(
                [
                    margin.axis,
                    level.value,
                    report.metric,
                    *((estimate.mean, estimate.low, estimate.high) if estimate else (None,) * 3),
                    *((effect.difference, effect.low, effect.high, effect.p) if effect else (None,) * 4),
                    level.letters,
                    level.cells,
                    margin.blocks,
                    report.protocol_digest,
                ]
            )
    return heads, lines


def table_json(report: Report) -> str:
    """The rows as MLflow stores a logged table: ``{"columns": [...], "data": [[...]]}``."""
    heads, lines = row_lines(report)
    return json.dumps({"columns": heads, "data": lines}, ensure_ascii=False)
