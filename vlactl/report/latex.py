"""The report as a LaTeX table (packages: booktabs)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlactl.report import quoted
from vlactl.report.columns import MARGIN_HEADS, Column, columns, head_lines, margin_row, margin_title, ordered

if TYPE_CHECKING:
    from vlactl.report import Report

ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
}


def render(report: Report) -> str:
    lines = [f"% {' '.join(f'{label}: {text}'.split())}" for label, text in head_lines(report)]
    if report.by is None:
        shown = columns(report)
        rows = [[column.text(row) for column in shown] for row in ordered(report)]
        lines += table(
            shown,
            rows,
            f"{report.answer} {' '.join(report.notes)} Protocol: {report.protocol or 'none'}.",
            f"tab:{label(report.name)}",
        )
    for margin in report.margins:
        heads = [
            Column(head, lambda row: "", right=index in (1, 3, 6))
            for index, head in enumerate((margin.axis, *MARGIN_HEADS))
        ]
        lines += [
            "",
            *table(
                heads,
                [margin_row(level, report) for level in margin.levels],
                margin_title(margin, report) + ".",
                f"tab:{label(report.name)}-{label(margin.axis)}",
            ),
        ]
    for block in report.published:
        heads = [Column(head, lambda row: "", right=right) for head, right in quoted.heads(block, report.metric)]
        caption = f"{quoted.title(block)}. {' '.join(quoted.remarks_here(block))}"
        name = f"tab:{label(report.name)}-published-{label(block.id)}"
        lines += ["", *table(heads, quoted.lines(block, report.metric), caption, name)]
    return "\n".join(lines).lstrip("\n") + "\n"


def table(shown: Sequence[Column], rows: Sequence[Sequence[str]], caption: str, name: str) -> list[str]:
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{tex(caption)}}}",
        rf"  \label{{{name}}}",
        rf"  \begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in shown)}}}",
        r"    \toprule",
        "    " + " & ".join(tex(column.head) for column in shown) + r" \\",
        r"    \midrule",
    ]
    lines += [
        "    " + " & ".join(bracketed(tex(text), first=index == 0) for index, text in enumerate(row)) + r" \\"
        for row in rows
    ]
    return [*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]


def bracketed(text: str, *, first: bool) -> str:
    """A row that begins with ``[`` would be read as the optional argument of the line break before it."""
    return f"{{{text}}}" if first and text.startswith("[") else text


def tex(text: str) -> str:
    return "".join(ESCAPES.get(letter, letter) for letter in " ".join(text.split()))


def label(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name).strip("-")
