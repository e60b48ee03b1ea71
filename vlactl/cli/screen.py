"""Where a command's words go: JSON lines or text on standard output, remarks and errors on standard error.

Off a terminal nothing is coloured, wrapped or redrawn; ``NO_COLOR`` and ``TERM=dumb`` mean the same on one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlactl.errors import ExitCode, RecipeError, VlactlError
from vlactl.view import PREPARING, duration


def is_terminal() -> bool:
    """Whether standard output is a screen that can be redrawn."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def may_ask() -> bool:
    """Whether there is somebody to answer a question."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def emit(document: Mapping[str, Any]) -> None:
    """One JSON object on one line of standard output."""
    print(json.dumps(document, ensure_ascii=False, default=str), flush=True)


def say(text: str = "") -> None:
    """Plain text on standard output."""
    print(text, flush=True)


def paint(drawing: Any) -> None:
    """Something that rich draws, on a terminal; without any style where NO_COLOR is set."""
    from rich.console import Console

    colours = None if os.environ.get("NO_COLOR") else "auto"
    Console(highlight=False, emoji=False, markup=False, color_system=colours).print(drawing)


def say_table(rows: Sequence[Sequence[str]], titles: Sequence[str], *, right: Iterable[int] = ()) -> None:
    """A table that folds its texts on a terminal; off one, plain columns, with headings where there are several.

    ``right`` names the columns of numbers.
    """
    numbers = set(right)
    if not is_terminal():
        say(columns(rows, titles if len(titles) > 2 else (), right=numbers))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, title in enumerate(titles):
        table.add_column(title, no_wrap=index == 0 or index in numbers, overflow="fold",
                         justify="right" if index in numbers else "left", style="cyan" if index == 0 else "")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    paint(table)


def remark(text: str) -> None:
    """Something beside the answer, on standard error."""
    print(text, file=sys.stderr, flush=True)


def columns(rows: Iterable[Sequence[object]], heads: Sequence[str] = (), *, right: Iterable[int] = ()) -> str:
    """Rows in aligned columns, two spaces apart; ``right`` names the columns of numbers."""
    cells = [[str(cell) for cell in row] for row in ([heads] if heads else [])] + [
        [str(cell) for cell in row] for row in rows
    ]
    if not cells:
        return ""
    numbers = set(right)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def error_document(error: VlactlError) -> dict[str, Any]:
    document: dict[str, Any] = {
        "type": "error",
        "error": type(error).__name__,
        "message": error.what,
        "where": error.where,
        "expected": error.expected,
        "remedy": error.remedy,
    }
    if isinstance(error, RecipeError):
        document["problems"] = [
            {
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "message": problem.what,
                "expected": problem.expected,
                "remedy": problem.remedy,
            }
            for problem in error.problems
        ]
    return document


def report_error(error: VlactlError, *, as_json: bool) -> ExitCode:
    """Show ``error`` without a traceback; returns the exit code that belongs to it."""
    if as_json:
        emit(error_document(error))
    else:
        remark(f"vlactl: {error}")
    return error.exit_code


class ProgressLine:
    """What the science calls as ``progress(done, total, unit, **numbers)``: a line that is rewritten on a terminal,
    a line every 30 s off one, an object per second as JSON."""

    def __init__(self, label: str, *, as_json: bool) -> None:
        self.label, self.as_json = label, as_json
        self.every_s = 1.0 if as_json else 0.1 if sys.stderr.isatty() else 30.0
        self._last = time.monotonic() if self.every_s == 30.0 else 0.0
        self._drawn = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            print(file=sys.stderr)

    def __call__(self, done: float, total: float | None, unit: str = "", **numbers: Any) -> None:
        now = time.monotonic()
        if now - self._last < self.every_s:
            return
        self._last = now
        if self.as_json:
            emit({"type": "progress", "label": self.label, "done": done, "total": total, "unit": unit, **numbers})
            return
        text = f"{self.label}: {progress_text(done, total, unit, numbers)}"
        if sys.stderr.isatty():
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
            self._drawn = True
        else:
            remark(text)


def progress_text(done: float, total: float | None, unit: str, numbers: Mapping[str, Any]) -> str:
    """``184/600 episodes  frames_per_s 480  1m53s left``; in words where no work is counted yet."""
    if unit in PREPARING:
        return PREPARING[unit]
    words = [f"{done:g}/{total:g} {unit}" if total else f"{done:g} {unit}"]
    words += [
        f"{name} {value:g}" for name, value in numbers.items() if isinstance(value, (int, float)) and name != "eta_s"
    ]
    if "eta_s" in numbers:
        words.append(f"{duration(numbers['eta_s'])} left")
    return "  ".join(words)
