"""Stand-ins for what a sweep needs outside this process, and helpers to compare words."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlactl.errors import FailureClass
from vlactl.launchers import Command, Notice, Outcome

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cli"
ANSI = re.compile(r"\x1b\[")

RECIPE = """\
version: 1
name: small
description: Two formulations, two strategies.

axes:
  formulation: [one-step-continuous, one-step-discrete]
  strategy: [in-domain, post-train]
seeds: [0]

backbone: smolvlm
training: {updates: 20, global_batch: 8, warmup_updates: 2}
evaluation: {kind: tabletop, tasks: core, chains: 4, steps_per_task: 12}
sources:
  in-domain:
    panda: {kind: tabletop, embodiment: panda, tasks: core, episodes: 17}
  cross-embodiment:
    stubby: {kind: tabletop, embodiment: stubby, tasks: core, episodes: 17}
references: [random]

execution:
  launcher: local
  jobs: 2
  hint_s: {data: 10, pretrain: 20, finetune: 30, evaluate: 5}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Finished:
    """A stage that was over at once."""

    def __init__(self, command: Command, outcome: Outcome) -> None:
        self.log_path = command.work_dir / "logs" / "rank-0.log"
        self.outcome = outcome

    def poll(self) -> Outcome:
        return self.outcome

    def cancel(self, grace_s: float, *, stacks: bool = False) -> None:
        """It is over."""


class InstantLauncher:
    """Ends every stage at once with a plausible result; ``fails``: a part of ``kind label`` -> class of failure."""

    def __init__(self) -> None:
        self.notice: Notice = lambda event: None
        self.fails: dict[str, FailureClass] = {}
        self.started: list[str] = []
        self.opens = self.closes = 0

    def opened(self, loaded: Any) -> InstantLauncher:
        self.opens += 1
        return self

    def refuses(self, command: Command) -> str | None:
        return None

    def can_start(self, command: Command) -> bool:
        return True

    def submit(self, command: Command) -> Finished:
        stage = json.loads((command.work_dir / "stage.json").read_text())
        name = f"{stage['kind']} {stage['label']}"
        self.started.append(name)
        (command.work_dir / "logs").mkdir(exist_ok=True)
        (command.work_dir / "logs" / "rank-0.log").write_text(f"this is {name}\nsecond line\n")
        for part, failure in self.fails.items():
            if part in name:
                return Finished(command, Outcome(ok=False, failure=failure, message=f"{failure} as told", rank=0))
        leave(command.work_dir, stage)
        return Finished(command, Outcome(ok=True))

    def wait(self, timeout_s: float) -> None:
        time.sleep(0.001)

    def close(self) -> None:
        self.closes += 1


def leave(work: Path, stage: Mapping[str, Any]) -> None:
    """The files of a stage that went well: one-step-continuous solves two tasks of each chain, everything else one."""
    out = work / "out"
    out.mkdir(exist_ok=True)
    result: dict[str, Any] = {"seconds": 1.0}
    if stage["kind"] == "evaluate":
        solved = 2 if "continuous" in stage["label"] else 0 if stage["label"] == "random" else 1
        rollouts = [
            {"key": f"chain-{index}", "status": "ok", "verdicts": verdicts(solved + index % 2)}
            for index in range(stage["identity"]["evaluation"]["chains"])
        ]
        (out / "rollouts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rollouts))
        result |= {"protocol": stage["identity"]["protocol"], "protocol_digest": "0123456789abcdef"}
    elif stage["kind"] != "data":
        (out / "metrics.jsonl").write_text('{"update": 20, "loss": 0.5}\n')
        result |= {"updates": stage["identity"]["updates"]}
    else:
        (out / "episodes.json").write_text("[]")
        result |= {"episodes": 9, "frames": 400, "tasks": {"open_drawer": 9}}
    (work / "result.json").write_text(json.dumps(result))
    (work / "outcomes").mkdir(exist_ok=True)
    (work / "outcomes" / "rank-0.json").write_text(json.dumps({"status": "ok", "ranks": 1, "attempt": 1}))


def verdicts(solved: int) -> list[dict[str, Any]]:
    won = [{"task": f"task_{index}", "success": True, "steps": 5} for index in range(solved)]
    return [*won, {"task": f"task_{solved}", "success": False, "steps": 12}]


class QuietTracker:
    """Mirrors nowhere; ``agrees`` is what its end reports."""

    agrees = True
    synced = 0
    address = "nowhere"
    problem = "no route"

    def __init__(self, *_: Any, **__: Any) -> None:
        self.events: list[Mapping[str, Any]] = []

    def start(self) -> QuietTracker:
        return self

    def on_event(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)

    def close(self, timeout: float = 0.0) -> bool:
        return self.agrees

    @classmethod
    def sync(cls, *_: Any, **__: Any) -> dict[str, int]:
        cls.synced += 1
        return {"runs": 1, "metrics": 0}


def plainly(text: str, *paths: Path) -> str:
    """``text`` without what differs from run to run: digests, times, durations, places."""
    for path in paths:
        text = text.replace(str(path), "<PATH>")
    text = re.sub(r"\bsmall-[0-9a-f]{8}\b", "small-<HASH>", text)
    text = re.sub(r"\b[0-9a-f]{16}\b", "<DIGEST>".ljust(16), text)
    text = re.sub(r"\(([0-9a-f]{8})\b", "(<DIGEST>", text)
    text = re.sub(r"logs [0-9a-f]{8}", "logs <DIGEST>", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?( UTC)?", "<DATE>", text)
    return re.sub(r"\b\d\d:\d\d:\d\d\b", "<TIME>", text)


def same_as_golden(name: str, text: str) -> None:
    """Compare with ``tests/golden/cli/<name>``; ``UPDATE_GOLDEN=1`` writes it."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
