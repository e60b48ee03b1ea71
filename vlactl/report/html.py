"""The report as one HTML file: no script, nothing loaded from elsewhere, everything escaped, intervals drawn as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from vlactl.report import quoted
from vlactl.report.columns import MARGIN_HEADS, columns, head_lines, margin_row, margin_title, ordered
from vlactl.report.words import heading, interval, number

if TYPE_CHECKING:
    from vlactl.report import Quoted, Report, Row
    from vlactl.statistics import Estimate

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #e3e6ea}th{border-bottom:2px solid #1b1f24}
.r{text-align:right}.reference td{color:#0b5c8a}.failed td,.upstream_failed td{color:#a3201d}
.published td{font-style:italic}
.excluded td,.unfinished td{color:#6a737d}.answer{font-size:1.1rem;font-weight:600}.scroll{overflow-x:auto}
dt{float:left;clear:left;width:6rem;color:#6a737d}dd{margin-left:6.5rem}ul{color:#424a53}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#dfe3e8}th,td{border-color:#333a41}
svg text{fill:#dfe3e8}
.reference td{color:#6cb8e6}.failed td,.upstream_failed td{color:#ff8b86}ul{color:#aab2bb}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content-Security-Policy: should a name ever slip through unescaped, it can neither run nor load anything."""
ROW_PX, NAME_PX, PLOT_PX, EDGE_PX = 20, 420, 480, 20


def render(report: Report) -> str:
    parts = [f"<h1>{escape(report.name)}</h1>"]
    parts += [f"<p>{escape(report.description)}</p>"] if report.description else []
    parts.append(f'<p class="answer">{escape(report.answer)}</p>')
    if report.by is None:
        parts += [
            main_table(report),
            plot([(row.name, row.estimate, kind(row)) for row in ordered(report) if row.estimate], report.metric),
        ]
    for margin in report.margins:
        parts += [
            f"<h2>{escape(margin.axis)}</h2>",
            f"<p>{escape(margin_title(margin, report))}</p>",
            table(
                [margin.axis, *MARGIN_HEADS],
                [(margin_row(level, report), "") for level in margin.levels],
                [i in (1, 3, 6) for i in range(7)],
            ),
            plot([(level.value, level.estimate, "") for level in margin.levels if level.estimate], report.metric),
        ]
    parts.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in report.notes) + "</ul>")
    parts.append(
        "<dl>"
        + "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in head_lines(report))
        + "</dl>"
    )
    parts += [part for block in report.published for part in quoted_block(block, report)]
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width"><title>{escape(report.name)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def quoted_block(block: Quoted, report: Report) -> list[str]:
    """A published table under its own heading, with what it is said above it."""
    heads = quoted.heads(block, report.metric)
    rows = [(line, "published") for line in quoted.lines(block, report.metric)]
    return [
        f"<h2>{escape(block.title)}</h2>",
        f"<p>{escape(block.mark)}</p>",
        table([head for head, _ in heads], rows, [right for _, right in heads]),
        "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in quoted.remarks_here(block)) + "</ul>",
    ]


def kind(row: Row) -> str:
    return "reference" if row.reference else row.state


def main_table(report: Report) -> str:
    shown = columns(report)
    rows = [([column.text(row) for column in shown], kind(row)) for row in ordered(report)]
    return table([column.head for column in shown], rows, [column.right for column in shown])


def table(heads: Sequence[str], rows: Sequence[tuple[Sequence[str], str]], right: Sequence[bool]) -> str:
    def line(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=r' if is_right else ''}>{escape(text)}</{tag}>"
            for text, is_right in zip(texts, right, strict=True)
        )

    body = "\n".join(f'<tr class="{escape(name)}">{line("td", texts)}</tr>' for texts, name in rows)
    head = f"<thead><tr>{line('th', heads)}</tr></thead>"
    return f'<div class="scroll"><table>{head}\n<tbody>\n{body}\n</tbody></table></div>'


def plot(rows: Sequence[tuple[str, Estimate, str]], metric: str) -> str:
    """A dot and its interval per row, on one scale from 0 to the greatest limit."""
    if not rows:
        return ""
    top = max(max(estimate.high for _, estimate, _ in rows), 1e-9)
    height = ROW_PX * len(rows) + 40

    def x(value: float) -> float:
        return round(NAME_PX + EDGE_PX + PLOT_PX * max(value, 0.0) / top, 1)

    marks = []
    best = next((index for index, (_, _, what) in enumerate(rows) if what != "reference"), None)
    for index, (name, estimate, what) in enumerate(rows):
        y = ROW_PX * index + 16
        colour = "#0b7fbf" if what == "reference" else "#c0392b" if index == best else "#57606a"
        marks.append(
            f'<text x="{NAME_PX}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<line x1="{x(estimate.low)}" x2="{x(estimate.high)}" y1="{y}" y2="{y}" stroke="{colour}" '
            'stroke-width="2"/>'
            f'<circle cx="{x(estimate.mean)}" cy="{y}" r="4" fill="{colour}"><title>'
            f"{escape(name)}: {number(estimate.mean, metric)} {interval(estimate, metric)}</title></circle>"
        )
    axis_y = ROW_PX * len(rows) + 10
    ticks = "".join(
        f'<text x="{x(top * k / 4)}" y="{axis_y + 18}" text-anchor="middle">{number(top * k / 4, metric)}</text>'
        for k in range(5)
    )
    return (
        f'<div class="scroll"><svg width="{NAME_PX + PLOT_PX + 3 * EDGE_PX}" height="{height}" role="img" '
        f'aria-label="{escape(heading(metric))} with 95 % intervals" font-size="12">'
        f'<line x1="{x(0)}" x2="{x(top)}" y1="{axis_y}" y2="{axis_y}" stroke="#8b949e"/>'
        f"{ticks}{''.join(marks)}</svg></div>"
    )
