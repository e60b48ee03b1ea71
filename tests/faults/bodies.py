"""Stage bodies for tests of the runner and the launchers.  ``stage.json``'s execution says what the stage does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(work_dir: Path) -> None:
    stage = json.loads((work_dir / "stage.json").read_text())
    for name, argument in stage["execution"].items():
        if name in DEEDS:
            DEEDS[name](work_dir, argument)
    if os.environ["RANK"] == "0":
        (work_dir / "out").mkdir(exist_ok=True)
        (work_dir / "out" / "value.json").write_text(json.dumps({"label": stage["label"], "inputs": stage["inputs"]}))
        (work_dir / "result.json").write_text(json.dumps({"value": 1, "execution": stage["execution"]}))


def count(work_dir: Path, ledger: str) -> None:
    """One line per computation of a stage."""
    if os.environ["RANK"] == "0":
        with open(ledger, "a") as file:
            file.write(f"{work_dir.name}\n")


def nap(work_dir: Path, seconds: float) -> None:
    (work_dir / "progress.json").write_text(json.dumps({"done": 1, "total": 2, "unit": "naps"}))
    time.sleep(seconds)


def beat(work_dir: Path, seconds: float) -> None:
    until = time.time() + seconds
    while time.time() < until:
        (work_dir / "progress.json").write_text(json.dumps({"done": 1, "total": 2, "unit": "beats"}))
        time.sleep(0.05)


def stubborn(work_dir: Path, seconds: float) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    nap(work_dir, seconds)


def polite(work_dir: Path, seconds: float) -> None:
    """Saves and asks to be run again when it is told to end; finishes at once when run again."""
    saved = work_dir / "saved"
    if saved.exists():
        return

    def save(*_: object) -> None:
        saved.write_text("yes")
        sys.exit(75)

    signal.signal(signal.SIGTERM, save)
    nap(work_dir, seconds)


def children(work_dir: Path, seconds: float) -> None:
    """A child, and a grandchild in a session of its own, both orphaned by and by."""
    sleep = f"import time; time.sleep({seconds})"
    subprocess.Popen([sys.executable, "-c", sleep])
    fork = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True)"
    subprocess.Popen([sys.executable, "-c", fork], start_new_session=True)


def die(work_dir: Path, number: int) -> None:
    os.kill(os.getpid(), number)


def rank_dies(work_dir: Path, rank: int) -> None:
    """One rank is killed; the others would wait for it for ever."""
    if int(os.environ["RANK"]) == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def fail(work_dir: Path, how: str) -> None:
    from vlactl.errors import FailureClass, StageFailed, UsageError

    if how == "usage":
        raise UsageError("no such thing", remedy="another")
    if how == "bug":
        raise KeyError("a bug")
    if how == "memory":
        raise MemoryError("no room")
    if how == "disk":
        raise OSError(28, "No space left on device")
    if how.startswith("exit"):
        sys.exit(int(how[4:]))
    raise StageFailed("as told", failure=FailureClass(how))


def fail_times(work_dir: Path, plan: list) -> None:
    """``[how, n]``: the first n attempts fail."""
    how, times = plan
    marker = work_dir / "failures"
    so_far = int(marker.read_text()) if marker.exists() else 0
    if so_far < times:
        marker.write_text(str(so_far + 1))
        fail(work_dir, how)


def fail_above(work_dir: Path, limit: int) -> None:
    """Out of memory unless the micro-batch of 8 was divided down to ``limit``."""
    execution = json.loads((work_dir / "stage.json").read_text())["execution"]
    if 8 / execution.get("micro_batch_divisor", 1) > limit:
        fail(work_dir, "memory")


def environment(work_dir: Path, _: object) -> None:
    rank = os.environ["RANK"]
    (work_dir / "out").mkdir(exist_ok=True)
    facts = {**os.environ, "_modules": sorted(sys.modules), "_pid": os.getpid(), "_group": os.getpgid(0)}
    (work_dir / "out" / f"environment-{rank}.json").write_text(json.dumps(facts))


def say(work_dir: Path, text: str) -> None:
    print(text, os.environ["RANK"])
    os.system(f"echo {text} from a child")


DEEDS = {function.__name__: function for function in
         (count, nap, beat, stubborn, polite, children, die, rank_dies, fail, fail_times, fail_above, environment, say)}
