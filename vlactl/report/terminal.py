"""The report on a terminal, by rich."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from vlactl.report import quoted
from vlactl.report.columns import MARGIN_HEADS, Column, columns, head_lines, margin_row, margin_title, ordered

if TYPE_CHECKING:
    from vlactl.report import Margin, Quoted, Report, Row

UNBOUNDED = 10_000
"""Characters: off a terminal no line is wrapped."""
GAP, REMARK = 2, 24
"""Characters between columns; narrowest column of remarks."""


def renderable(report: Report, width: int = UNBOUNDED) -> RenderableType:
    """What a rich console of ``width`` characters can print."""
    title = report.name + (f": {report.description}" if report.description else "")
    parts: list[RenderableType] = [Text(title, style="bold")]
    parts += [Text.assemble((f"{label} ", "dim"), text) for label, text in head_lines(report)]
    parts.append(Text(""))
    if report.by is None:
        parts += [*main_table(report, width), Text("")]
    parts += [part for margin in report.margins for part in (margin_table(margin, report), Text(""))]
    parts.append(Text(report.answer, style="bold"))
    parts += [Text(note, style="dim") for note in report.notes]
    for block in report.published:
        parts += [Text(""), *quoted_table(block, report, width)]
        parts += [Text(note, style="dim") for note in quoted.remarks_here(block)]
    return Group(*parts)


def main_table(report: Report, width: int) -> list[RenderableType]:
    """The table; where it is too wide, without SR@2..4, then with the remarks as lines below it."""
    shown = columns(report)
    if width_of(report, shown) > width:
        shown = [column for column in shown if column.head not in ("SR@2", "SR@3", "SR@4")]
    remarks: list[RenderableType] = []
    if width_of(report, shown) > width and shown[-1].head == "":
        remark = shown.pop()
        remarks = [Text(f"{row.name}: {remark.text(row)}") for row in ordered(report) if remark.text(row)]
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index, column in enumerate(shown):
        table.add_column(
            Text(column.head),
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.head != "" and index >= len(report.axes),
        )
    for row in ordered(report):
        table.add_row(*(Text(column.text(row)) for column in shown), style=style(row, report))
    return [table, *remarks]


def width_of(report: Report, shown: Sequence[Column]) -> int:
    """Characters of the widest line; a remark may fold to ``REMARK`` characters."""
    rows = ordered(report)
    widths = [max(len(column.head), *(len(column.text(row)) for row in rows), 0) for column in shown]
    if shown[-1].head == "":
        widths[-1] = min(widths[-1], REMARK)
    return sum(widths) + GAP * len(shown)


def style(row: Row, report: Report) -> str:
    if row.reference:
        return "cyan"
    if row.state in ("failed", "upstream_failed"):
        return "red"
    if row.estimate is None:
        return "dim"
    return "bold green" if report.rows and row.cell == report.rows[0].cell else ""


def margin_table(margin: Margin, report: Report) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
        title=Text(margin_title(margin, report)),
        title_justify="left",
        title_style="",
    )
    for index, head in enumerate((margin.axis, *MARGIN_HEADS)):
        table.add_column(Text(head), justify="right" if index in (1, 3, 6) else "left", no_wrap=True)
    for level in margin.levels:
        table.add_row(*(Text(text) for text in margin_row(level, report)))
    return table


def quoted_table(block: Quoted, report: Report, width: int) -> list[RenderableType]:
    """A published table; where it is too wide, with the notes as lines below it, then without SR@2..4 and trust."""
    heads, lines = quoted.heads(block, report.metric), quoted.lines(block, report.metric)
    shown = list(range(len(heads)))
    below: list[int] = []
    for dropped in (("",), ("SR@2", "SR@3", "SR@4"), ("trust",)):
        if sum(max(len(heads[k][0]), *(len(line[k]) for line in lines)) + GAP for k in shown) <= width + GAP:
            break
        below += [k for k in shown if heads[k][0] in dropped and not heads[k][1]]
        shown = [k for k in shown if heads[k][0] not in dropped]
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for head, right in (heads[k] for k in shown):
        table.add_column(Text(head), justify="right" if right else "left", overflow="fold", no_wrap=right)
    for line in lines:
        table.add_row(*(Text(line[k]) for k in shown), style="magenta")
    rows = zip(block.rows, lines, strict=True)
    said = [(quoted.name_of(row), "; ".join(line[k] for k in sorted(below) if line[k])) for row, line in rows]
    return [Text(quoted.title(block)), table, *(Text(f"{name}: {text}") for name, text in said if text)]


def render_table(report: Report, *, colour: bool, width: int | None) -> str:
    """The renderable as text; without ``width`` no line is wrapped."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width or UNBOUNDED,
        force_terminal=colour,
        no_color=not colour,
        highlight=False,
        color_system="standard" if colour else None,
        legacy_windows=False,
        emoji=False,
        markup=False,
    )
    console.print(renderable(report, width or UNBOUNDED))
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n")).rstrip("\n") + "\n"
