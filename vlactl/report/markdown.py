"""The report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlactl.report import quoted
from vlactl.report.columns import MARGIN_HEADS, cells, columns, head_lines, margin_row, margin_title

if TYPE_CHECKING:
    from vlactl.report import Report


def render(report: Report) -> str:
    lines = [f"# {plain(report.name)}", ""]
    lines += [plain(report.description), ""] if report.description else []
    lines += [f"**{plain(report.answer)}**", ""]
    if report.by is None:
        shown = columns(report)
        lines += [*table([column.head for column in shown], cells(report), [column.right for column in shown]), ""]
    for margin in report.margins:
        rows = [margin_row(level, report) for level in margin.levels]
        lines += [
            f"### {plain(margin_title(margin, report))}",
            "",
            *table([margin.axis, *MARGIN_HEADS], rows, [i in (1, 3, 6) for i in range(7)]),
            "",
        ]
    lines += [f"- {plain(note)}" for note in report.notes]
    lines += [f"- {label}: {plain(text)}" for label, text in head_lines(report)]
    for block in report.published:
        heads = quoted.heads(block, report.metric)
        lines += ["", f"### {plain(quoted.title(block))}", ""]
        lines += table([head for head, _ in heads], quoted.lines(block, report.metric), [right for _, right in heads])
        lines += ["", *(f"- {plain(note)}" for note in quoted.remarks_here(block))]
    return "\n".join(lines) + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    rule = ["---:" if is_right else ":---" for is_right in right]
    return ["| " + " | ".join(plain(text) for text in line) + " |" for line in (heads, rule, *rows)]


def plain(text: str) -> str:
    """``text`` without meaning for Markdown or HTML, on one line; underscores inside words have none."""
    return re.sub(r"([\\`*<>|~]|(?<!\w)_|_(?!\w)|(?<=\])\()", r"\\\1", " ".join(text.split()))
