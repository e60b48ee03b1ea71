"""Watching a sweep: events in, words out.  A redrawn display on a terminal, a line per event elsewhere, or JSON lines.

A view is a context manager that is called with every event of the runner.  Between events it looks at the heartbeat
files of the running stages by itself, in a thread; it never writes anything but the display.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vlactl.events import StageState, SweepState

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

HEARTBEAT_S = 30.0
"""Off a terminal a running stage says something at most this often; as JSON, every ``JSON_S``."""
JSON_S = 5.0
PREPARING = {"kernels": "compiling the kernels"}
"""Units of a heartbeat that count no work yet: what is going on instead."""
REDRAWS_PER_S = 4
RECENT = 5
OVER = ("done", "cached", "skipped", "failed", "upstream_failed", "cancelled")
COUNTED = {
    "cached": ("cached", ""),
    "skipped": ("unneeded", ""),
    "cancelled": ("cancelled", ""),
    "upstream-failed": ("not run", "  (an input failed)"),
}
"""Events about several stages at once: their word and the reason."""
SHOWN = ("loss", "avg_len", "sr1", "success", "episodes", "memory_gb")
"""Numbers of a heartbeat worth a place on the line, in this order; at most two are shown."""


def duration(seconds: float | None) -> str:
    """``95`` -> ``1m35s``; unknown is a dash."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


class Board:
    """What is known of a sweep: the fold of its events, the heartbeats of running stages, and what is left to do."""

    def __init__(self, work: Path, expected_s: Mapping[str, float] | None = None) -> None:
        """``work``: the home's ``work/``; ``expected_s``: digest -> estimated seconds, until this run knows better."""
        self.work, self.expected_s = work, dict(expected_s or {})
        self.state = SweepState()
        self.most_at_once = 1
        self.run_began: float | None = None

    def apply(self, event: Mapping[str, Any]) -> None:
        self.state.apply(event)
        if event.get("event") == "run-started":
            self.run_began, self.most_at_once = event.get("t"), 1
        self.most_at_once = max(self.most_at_once, len(self.running))

    @property
    def running(self) -> list[StageState]:
        return [stage for stage in self.state.stages.values() if stage.status == "running"]

    def heartbeat(self, stage: StageState) -> dict[str, Any] | None:
        """The stage's newest progress document, unless it is an earlier attempt's."""
        try:
            document = json.loads((self.work / f"{stage.kind}-{stage.digest}" / "progress.json").read_bytes())
        except (OSError, ValueError):
            return None
        return document if document.get("time", 0) >= (stage.started or 0) - 1 else None

    def left_s(self, now: float) -> float | None:
        """Expected seconds to the end at the present parallelism; None while some kind of stage is a blank."""
        known: dict[str, list[float]] = {}
        for stage in self.state.stages.values():
            if stage.status == "done" and stage.seconds is not None:
                known.setdefault(stage.kind, []).append(stage.seconds)
        total = 0.0
        for stage in self.state.stages.values():
            if stage.status in OVER:
                continue
            seen = known.get(stage.kind)
            expected = sum(seen) / len(seen) if seen else self.expected_s.get(stage.digest)
            if stage.status == "running":
                document = self.heartbeat(stage) or {}
                eta = None if document.get("unit") in PREPARING else document.get("eta_s")
                if eta is None and expected is not None:
                    eta = max(0.0, expected - (now - began(stage, now)))
                expected = eta
            if expected is None:
                return None
            total += expected
        return total / self.most_at_once

    def totals(self) -> list[tuple[str, int]]:
        """``("done", 3), ...``; what is zero is left out, except done."""
        count = self.state.totals
        left = sum(number for status, number in count.items() if status not in OVER and status != "running")
        shown = [
            ("done", count.get("done", 0)),
            ("cached", count.get("cached", 0)),
            ("running", count.get("running", 0)),
            ("left", left),
            ("not needed", count.get("skipped", 0)),
            ("failed", count.get("failed", 0)),
            ("not run", count.get("upstream_failed", 0)),
            ("cancelled", count.get("cancelled", 0)),
        ]
        return [(word, number) for word, number in shown if number or word == "done"]


def began(stage: StageState, now: float) -> float:
    """When the present attempt started."""
    return now if stage.started is None else stage.started


def progress_words(document: Mapping[str, Any] | None) -> str:
    """``400/1600 updates  12.3/s  loss 0.42  1m38s left``."""
    document = document or {}
    done, total, unit = document.get("done") or 0, document.get("total"), document.get("unit", "")
    if unit in PREPARING:
        return PREPARING[unit]
    if not done and not total:
        return "starting"
    words = [f"{done:g}/{total:g} {unit}".strip() if total else f"{done:g} {unit}"]
    rate = rate_of(document)
    if rate:
        words.append(f"{rate:.3g}/s")
    words += numbers_of(document)
    if document.get("eta_s") is not None:
        words.append(f"{duration(document['eta_s'])} left")
    return "  ".join(words)


def rate_of(document: Mapping[str, Any]) -> float | None:
    if document.get("rate") is not None:
        return float(document["rate"])
    elapsed = document.get("elapsed_s")
    return document["done"] / elapsed if elapsed and document.get("done") else None


def numbers_of(document: Mapping[str, Any]) -> list[str]:
    return [f"{name} {document[name]:.3g}" for name in SHOWN if isinstance(document.get(name), (int, float))][:2]


class View(ABC):
    """A context manager called with each event."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._lock = threading.Lock()

    def __call__(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            self.board.apply(event)
            self.show(event)

    def note(self, message: str) -> None:
        """Something that is going on beside the stages, such as a cluster that starts; empty when it is over."""
        self({"event": "notice", "message": message})

    @abstractmethod
    def show(self, event: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def __enter__(self) -> View: ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...


class Lines(View):
    """One timestamped line per event, and a heartbeat of long stages; with ``as_json``, objects."""

    def __init__(
        self, board: Board, out: IO[str] | None = None, *, as_json: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(board)
        self.out, self.as_json, self.clock = out or sys.stdout, as_json, clock
        self._said: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)

    def __enter__(self) -> Lines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(1.0):
            with self._lock:
                self.heartbeats()

    def heartbeats(self) -> None:
        """Say how far each running stage is, if it has not said anything for a while."""
        now = self.clock()
        for stage in self.board.running:
            if now - self._said.setdefault(stage.digest, now) >= (JSON_S if self.as_json else HEARTBEAT_S):
                self._said[stage.digest] = now
                document = self.board.heartbeat(stage)
                if self.as_json:
                    self._print(
                        {
                            "type": "progress",
                            "digest": stage.digest,
                            "kind": stage.kind,
                            "label": stage.label,
                            **(document or {}),
                        }
                    )
                else:
                    self._line(now, "running", f"{stage.label}  {progress_words(document)}")

    def show(self, event: Mapping[str, Any]) -> None:
        if event.get("event") == "progress":
            return  # said by heartbeats(), at its own pace
        if event.get("digest"):
            self._said[event["digest"]] = self.clock()
        if self.as_json:
            self._print({"type": "event", **event})
            return
        for word, text in in_words(event, self.board):
            self._line(event.get("t") or self.clock(), word, text)

    def _line(self, at: float, word: str, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S', time.localtime(at))}  {word:<9} {text}", file=self.out, flush=True)

    def _print(self, document: Mapping[str, Any]) -> None:
        print(json.dumps(document, default=str), file=self.out, flush=True)


def in_words(event: Mapping[str, Any], board: Board) -> list[tuple[str, str]]:
    """``(word, text)`` lines for an event; events without news for a person give none."""
    stage = board.state.stages.get(event.get("digest", ""))
    label = f"{stage.kind} {stage.label}" if stage else str(event.get("digest", ""))
    name = str(event.get("event", ""))
    if name in COUNTED:
        count = len(event["digests"])
        word, reason = COUNTED[name]
        return [(word, f"{count} stage{'s' if count != 1 else ''}{reason}")] if count else []
    match name:
        case "notice":
            return [("note", str(event["message"]))] if event.get("message") else []
        case "held":
            return [("waiting", f"{label}: {first_line(event)}")]
        case "started":
            return [("started", label + (f"  (attempt {stage.attempts})" if stage and stage.attempts > 1 else ""))]
        case "done":
            over = sum(each.status in OVER for each in board.state.stages.values())
            return [("done", f"{label}  {duration(event.get('seconds'))}  [{over}/{len(board.state.stages)}]")]
        case "failed":
            lines = [("FAILED", f"{label}  {event.get('failure')}: {first_line(event)}")]
            return [*lines, ("", f"log: {stage.log}")] if stage and stage.log else lines
        case "retry":
            return [("retry", f"{label}  after {event.get('failure')}: {first_line(event)}")]
        case "run-ended":
            totals = ", ".join(f"{number} {word}" for word, number in board.totals())
            return [("ended", f"{event.get('reason', 'finished')}: {totals}")]
    return []


def first_line(event: Mapping[str, Any]) -> str:
    return str(event.get("message") or "").strip().partition("\n")[0]


class Live(View):
    """A display that is redrawn in place: totals, one line per running stage, what ended last."""

    def __init__(self, board: Board, console: Console) -> None:
        super().__init__(board)
        self.console = console
        self.recent: deque[tuple[str, str]] = deque(maxlen=RECENT)
        self.notice = ""

    def __enter__(self) -> Live:
        from rich.live import Live as RichLive

        self._live = RichLive(get_renderable=self._locked, console=self.console, refresh_per_second=REDRAWS_PER_S)
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, event: Mapping[str, Any]) -> None:
        if event.get("event") == "notice":
            self.notice = str(event.get("message", ""))
            return
        if event.get("event") in ("started", "progress", "done", "run-ended"):
            self.notice = ""
        if event.get("event") in ("done", "failed", "retry"):
            self.recent.extend((word, text) for word, text in in_words(event, self.board) if word)

    def _locked(self) -> RenderableType:
        with self._lock:
            return self.render(time.time())

    def render(self, now: float) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        parts: list[RenderableType] = [self._header(now)]
        if self.notice:
            parts.append(Spinner("dots", Text(self.notice, style="cyan")))
        if self.board.running:
            parts.append(self._running(now))
        for word, text in self.recent:
            style = {"done": "green", "FAILED": "bold red", "retry": "yellow"}[word]
            parts.append(Text.assemble((f"{word:<7}", style), text, no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _header(self, now: float) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        state = self.board.state
        over = sum(stage.status in OVER for stage in state.stages.values())
        left = self.board.left_s(now)
        words = [f"{number} {word}" for word, number in self.board.totals()]
        words.append("starting" if self.board.run_began is None else f"{duration(now - self.board.run_began)} so far")
        if left:
            words.append(f"about {duration(left)} left")
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            Text(state.sweep or "sweep", style="bold"),
            ProgressBar(total=max(1, len(state.stages)), completed=over, width=24),
            Text(f"{over}/{len(state.stages)} stages"),
        )
        page = Table.grid()
        page.add_row(grid)
        page.add_row(Text(" · ".join(words), style="dim"))
        return page

    def _running(self, now: float) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        table.add_column(style="blue", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(width=12)
        table.add_column(no_wrap=True)
        for stage in self.board.running:
            document = self.board.heartbeat(stage)
            total = None if (document or {}).get("unit") in PREPARING else (document or {}).get("total")
            bar = (
                ProgressBar(total=total, completed=document.get("done") or 0, width=12)
                if document and total
                else ProgressBar(total=None, pulse=True, width=12)
            )
            words = progress_words(document) if document else f"starting, {duration(now - began(stage, now))}"
            table.add_row(stage.kind, Text(stage.label), bar, Text(words))
        table.expand = True
        return table


def open_view(board: Board, *, as_json: bool, is_terminal: bool) -> View:
    """The view that fits where the output goes."""
    if as_json or not is_terminal:
        return Lines(board, as_json=as_json)
    from rich.console import Console

    return Live(board, Console(highlight=False))
