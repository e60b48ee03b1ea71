"""``status`` and ``logs``: what a sweep does now, read from its journal, heartbeats and log files."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.screen import columns, emit, is_terminal, remark, say
from vlactl.errors import UsageError

if TYPE_CHECKING:
    from vlactl.cli.lookup import KnownStage
    from vlactl.cli.sweeps import SweepFolder
    from vlactl.view import Board

POLL_S = 0.5
STALLED_S = 120.0
"""A running stage whose heartbeat is older than this is called stalled."""


def status(
    sweep: options.Sweep = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Follow it until it ends.")] = False,
    json: options.Json = False,
) -> None:
    """Say how a sweep stands: totals, what runs and how far it is, what failed and where its log is.

    Whether the sweep's driver lives is checked, not remembered: a killed one is shown as such.

    \b
    vlactl status                the newest sweep here
    vlactl status design -w      the sweep whose name begins with 'design', live
    """
    from vlactl.cli.sweeps import find
    from vlactl.events import is_live
    from vlactl.store import home
    from vlactl.view import Board

    root = home(Path(sweep) if sweep and Path(sweep).is_file() else Path.cwd())
    folder = find(root, sweep)
    board = Board(root / "work", folder.expected_s())
    position = feed(board, folder, 0)
    live = is_live(folder.journal)
    if watch and live:
        follow(board, folder, position, as_json=json)
        live = is_live(folder.journal)
    document = snapshot(board, folder, live=live, now=time.time())
    if json:
        emit({"type": "status", **document})
    else:
        say(page(document))


def feed(board: Board, folder: SweepFolder, position: int) -> int:
    """Bring ``board`` up to date with the journal; returns how many events it has taken in."""
    from vlactl.events import read

    events = read(folder.journal)
    for event in events[position:]:
        board.apply(event)
    return len(events)


def follow(board: Board, folder: SweepFolder, position: int, *, as_json: bool) -> None:
    """Show new events until the driver has gone."""
    from vlactl.events import is_live, read
    from vlactl.view import open_view

    with open_view(board, as_json=as_json, is_terminal=is_terminal()) as view:
        while True:
            live = is_live(folder.journal)
            events = read(folder.journal)
            for event in events[position:]:
                view(event)
            position = len(events)
            if not live:
                return
            time.sleep(POLL_S)


def snapshot(board: Board, folder: SweepFolder, *, live: bool, now: float) -> dict[str, Any]:
    """The state of a sweep as plain data."""
    state = board.state
    running, failed = [], []
    for stage in state.stages.values():
        row: dict[str, Any] = {
            "kind": stage.kind,
            "label": stage.label,
            "digest": stage.digest,
            "attempts": stage.attempts,
        }
        if stage.status == "running":
            heartbeat = board.heartbeat(stage) if live else None
            silent_s = now - max((heartbeat or {}).get("time", 0), stage.started or now)
            running.append(
                {
                    **row,
                    "progress": heartbeat,
                    "seconds": round(now - (stage.started or now), 1),
                    "condition": "lost" if not live else "stalled" if silent_s > STALLED_S else "running",
                }
            )
        elif stage.status == "failed":
            failed.append({**row, "failure": stage.failure, "message": stage.message, "log": stage.log})
    condition = "running" if live else state.ended or ("killed" if state.runs else "not started")
    return {
        "sweep": folder.name,
        "condition": condition,
        "pid": state.pid if live else None,
        "host": state.host,
        "runs": state.runs,
        "started": state.started,
        "updated": state.updated,
        "left_s": board.left_s(now) if live else None,
        "stages": len(state.stages),
        "totals": dict(board.totals()),
        "running": running,
        "failed": failed,
        "report": str(folder.report) if folder.report.exists() else None,
    }


def page(document: dict[str, Any]) -> str:
    """The snapshot for people."""
    from vlactl.view import duration, progress_words

    where = f" (pid {document['pid']} on {document['host']})" if document["pid"] else ""
    lines = [f"{document['sweep']}: {document['condition']}{where}"]
    totals = ", ".join(f"{number} {word}" for word, number in document["totals"].items())
    left = f", about {duration(document['left_s'])} left" if document["left_s"] else ""
    lines.append(f"{document['stages']} stages: {totals}{left}")
    if document["condition"] == "killed":
        lines.append("its driver was killed: the same 'vlactl sweep' command resumes it")
    if document["running"]:
        lines += [
            "",
            columns(
                [
                    (
                        row["condition"],
                        row["kind"],
                        row["label"],
                        duration(row["seconds"]),
                        progress_words(row["progress"]) if row["progress"] else "-",
                    )
                    for row in document["running"]
                ]
            ),
        ]
    for row in document["failed"]:
        lines += [
            "",
            f"FAILED {row['kind']} {row['label']} ({row['digest'][:8]}), attempt {row['attempts']}: {row['failure']}",
            *(f"  {line}" for line in str(row["message"]).strip().splitlines()[:6]),
        ]
        if row["log"]:
            lines.append(f"  log: {row['log']}  (vlactl logs {row['digest'][:8]})")
    if document["report"]:
        lines += ["", f"report: {document['report']}"]
    return "\n".join(lines)


def logs(
    stage: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL|STAGE",
            help="A trial, a part of a stage's name, or the beginning of its digest; 'finetune:NAME' picks a kind.",
            show_default=False,
        ),
    ],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the stage ends.")] = False,
    rank: Annotated[int, typer.Option(min=0, help="Which rank's log.")] = 0,
    tail: Annotated[
        int | None,
        typer.Option(min=0, help="Only the last so many lines. Default: all; 20 with --follow.", show_default=False),
    ] = None,
) -> None:
    """Print what a stage wrote, while it runs or afterwards.

    Of a trial's stages the one that runs is meant, else the one that failed, else the last.

    \b
    vlactl logs smolvlm/one-step-continuous/in-domain/seed-0 -f
    vlactl logs finetune:smolvlm/one-step-continuous/in-domain/seed-0
    vlactl logs 3fa9c1 --rank 1
    """
    from vlactl.cli.lookup import find_stage, known_stages
    from vlactl.store import home

    root = home(Path.cwd())
    found = find_stage(known_stages(root), stage)
    path = log_file(root, found, rank)
    remark(f"{found}: {path}")
    with open(path, errors="replace") as file:
        last = 20 if follow and tail is None else tail
        for line in deque(file, maxlen=last) if last is not None else file:
            print(line, end="")
        if follow:
            for text in growth(file, root, found, path):
                print(text, end="", flush=True)


def log_file(root: Path, stage: KnownStage, rank: int) -> Path:
    from vlactl.cli.lookup import log_folder

    folder = log_folder(root, stage)
    path = folder / f"rank-{rank}.log" if folder else None
    if path is None or not path.exists():
        there = sorted(file.name for file in folder.glob("*.log")) if folder else []
        raise UsageError(
            f"{stage} has no log of rank {rank}",
            expected=" | ".join(there) or "a stage that has begun",
            remedy="vlactl status",
        )
    return path


def growth(file: Any, root: Path, stage: KnownStage, path: Path) -> Iterator[str]:
    """What is appended to ``file`` until the stage is no longer at work; the file may be committed meanwhile."""
    from vlactl.store import Store

    store = Store(root)
    while True:
        over = not path.exists() or store.has(stage.digest) or not at_work(root, stage)
        if text := file.read():
            yield text
        if over:
            return
        time.sleep(POLL_S)


def at_work(root: Path, stage: KnownStage) -> bool:
    """Whether some live sweep has the stage running."""
    from vlactl.events import fold, is_live, read

    for journal in (root / "sweeps").glob("*/events.jsonl"):
        if is_live(journal):
            state = fold(read(journal)).stages.get(stage.digest)
            if state is not None and state.status == "running":
                return True
    return False
