"""``status``, ``logs``, ``stop``, ``cancel``: what is read from a journal, and who is signalled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fakes import ANSI, plainly, same_as_golden
from vlactl.cli import watch
from vlactl.cli.sweeps import Launch, SweepFolder, find
from vlactl.errors import ExitCode, UsageError
from vlactl.events import Journal, run_started

ROOT = Path(__file__).resolve().parents[2]
A, B, C = "a" * 16, "b" * 16, "c" * 16
PLANNED = {
    "event": "planned",
    "plan": "p",
    "stages": [[A, "data", "panda"], [B, "finetune", "x/seed-0"], [C, "evaluate", "x/seed-0"]],
}


def sweep_folder(home: Path, name: str = "small-01234567") -> SweepFolder:
    folder = SweepFolder(home / "sweeps" / name)
    folder.path.mkdir(parents=True)
    (home / "work").mkdir(exist_ok=True)
    return folder


def write(folder: SweepFolder, *events: dict[str, Any]) -> None:
    with Journal(folder.journal) as journal:
        journal.append(run_started(folder.name), PLANNED, *events)


def at_work(home: Path, kind: str, digest: str, **progress: Any) -> Path:
    path = home / "work" / f"{kind}-{digest}"
    (path / "logs").mkdir(parents=True)
    (path / "logs" / "rank-0.log").write_text("".join(f"line {number}\n" for number in range(30)))
    (path / "progress.json").write_text(json.dumps({"time": time.time(), **progress}))
    return path


DRIVER = """
import signal, sys, time
from pathlib import Path
from vlactl.events import Journal, run_started
got = []
signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
folder = Path(sys.argv[1])
with Journal(folder / "events.jsonl") as journal:
    journal.append(run_started(folder.name), *[__import__("json").loads(line) for line in sys.argv[2:]])
    print("ready", flush=True)
    while not got and not (folder / "stop").exists():
        time.sleep(0.02)
    journal.append({"event": "run-ended", "reason": "signal" if got else "stopped"})
"""


@pytest.fixture
def driver(home: Path) -> Iterator[SweepFolder]:
    """A process that holds the sweep as a real driver does, and obeys."""
    folder = sweep_folder(home)
    events = [
        PLANNED,
        {"event": "cached", "digests": [A]},
        {"event": "started", "digest": B, "log": "x", "t": time.time() - 5},
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder.path), *map(json.dumps, events)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield folder
    process.kill()
    process.wait()
    process.stdout.close()


def test_status_of_a_killed_sweep_says_so_and_how_to_resume(vlactl, home, tmp_path):
    folder = sweep_folder(home)
    write(
        folder,
        {"event": "done", "digest": A, "seconds": 12.0},
        {"event": "started", "digest": B, "log": "/logs/rank-0.log"},
        {"event": "failed", "digest": B, "failure": "oom", "message": "CUDA out of memory\ntried 2 GiB"},
        {"event": "upstream-failed", "digests": [C]},
    )
    answer = vlactl("status")
    assert answer.code == 0
    same_as_golden("status_killed.txt", plainly(answer.out, tmp_path))
    document = vlactl("status", "small", "--json").lines[0]
    assert (document["condition"], document["pid"], document["totals"]) == (
        "killed",
        None,
        {"done": 1, "failed": 1, "not run": 1},
    )
    assert document["failed"][0]["failure"] == "oom"


def test_status_of_a_live_sweep_shows_how_far_its_stages_are(vlactl, home, driver, tmp_path):
    at_work(home, "finetune", B, done=400, total=1600, unit="updates", elapsed_s=40.0, loss=0.25, eta_s=120.0)
    answer = vlactl("status")
    assert "small-01234567: running (pid " in answer.out
    assert "3 stages: 0 done, 1 cached, 1 running, 1 left\n" in answer.out, "how long is not known"
    assert "400/1600 updates  10/s  loss 0.25  2m00s left" in answer.out
    assert not ANSI.search(answer.out)
    driver.expected_file.write_text(json.dumps({C: 60.0}))
    assert "1 left, about 3m00s left" in vlactl("status").out


def test_a_stage_without_a_heartbeat_is_called_stalled(vlactl, home, driver, monkeypatch):
    monkeypatch.setattr(watch, "STALLED_S", 2.0)
    at_work(home, "finetune", B, done=1, total=2)
    assert vlactl("status", "--json").lines[0]["running"][0]["condition"] == "running"
    (home / "work" / f"finetune-{B}" / "progress.json").write_text(json.dumps({"time": time.time() - 60}))
    assert vlactl("status", "--json").lines[0]["running"][0]["condition"] == "stalled"


def test_stop_leaves_a_word_and_cancel_a_signal(vlactl, driver):
    assert vlactl("cancel", "--wait").code == 0
    assert vlactl("status", "--json").lines[0]["condition"] == "signal"
    answer = vlactl("stop")
    assert (answer.code, "nobody runs this sweep now" in answer.err) == (ExitCode.USAGE, True)


def test_stop_lets_the_driver_finish(vlactl, driver):
    assert vlactl("stop", "--wait", "--json").lines[0]["type"] == "stopping"
    assert vlactl("status", "--json").lines[0]["condition"] == "stopped"


def test_a_stranger_with_the_drivers_number_is_never_signalled(home):
    folder = sweep_folder(home)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            DRIVER.replace(
                "run_started(folder.name)",
                "{'event': 'run-started', 'pid': 1, 'host': __import__('socket').gethostname()}",
            ),
            str(folder.path),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        assert folder.driver() is None
        with pytest.raises(UsageError, match="another machine"):
            folder.require_driver()
    finally:
        holder.kill()
        holder.communicate()


def test_watching_ends_with_the_driver(vlactl, driver):
    threading.Timer(0.5, (driver.path / "stop").touch).start()
    answer = vlactl("status", "-w")
    assert answer.code == 0
    assert "ended     stopped" in answer.out
    assert "small-01234567: stopped" in answer.out


def test_logs_are_found_by_digest_label_and_kind(vlactl, home):
    write(sweep_folder(home), {"event": "started", "digest": B})
    at_work(home, "finetune", B)
    for name in (B[:6], "x/seed-0", "finetune:x/seed-0", "x/s"):
        answer = vlactl("logs", name, "--tail", 2)
        assert (answer.code, answer.out) == (0, "line 28\nline 29\n"), name
    assert vlactl("logs", B).out.count("line") == 30
    answer = vlactl("logs", B, "--rank", 3)
    assert (answer.code, "no log of rank 3" in answer.err, "rank-0.log" in answer.err) == (2, True, True)
    assert vlactl("logs", "evaluate:x/seed-0").code == ExitCode.USAGE


def test_logs_of_a_finished_stage_come_from_its_artifact(vlactl, recipe, launcher):
    vlactl("sweep", recipe)
    assert vlactl("logs", "data:panda").out == "this is data panda\nsecond line\n"
    assert vlactl("logs", "panda", "-f", "--tail", 1).out == "second line\n"


def test_following_ends_when_the_stage_is_no_longer_at_work(vlactl, home, driver):
    path = at_work(home, "finetune", B) / "logs" / "rank-0.log"

    def grow():
        with open(path, "a") as file:
            file.write("late line\n")
        time.sleep(0.3)
        (driver.path / "stop").touch()

    threading.Timer(0.3, grow).start()
    answer = vlactl("logs", B, "-f", "--tail", 1)
    assert answer.out == "line 29\nlate line\n"


def test_a_sweep_is_found_by_name_beginning_and_recipe(home, tmp_path):
    first, second = sweep_folder(home, "design-01234567"), sweep_folder(home, "small-01234567")
    write(first)
    os.utime(first.journal, (1, 1))
    write(second)
    path = tmp_path / "some.yaml"
    path.write_text("")
    second.remember(Launch(recipe=str(path)))
    assert find(home, "") == second
    assert find(home, "des") == find(home, first.name) == first
    assert find(home, str(path)) == second
    with pytest.raises(UsageError, match="no sweep begins with 'x'"):
        find(home, "x")
    other = tmp_path / "other.yaml"
    other.write_text("")
    with pytest.raises(UsageError, match="not swept here yet"):
        find(home, str(other))


def test_without_a_sweep_status_says_what_to_do(vlactl):
    answer = vlactl("status")
    assert (answer.code, "vlactl sweep RECIPE" in answer.err) == (ExitCode.USAGE, True)
