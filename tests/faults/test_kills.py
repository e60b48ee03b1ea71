"""Whatever is killed, and whenever: nothing survives, nothing finished runs again, nothing partial is ever read."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.driver import stages_of
from tests.faults.plans import ROOT, eventually
from vlactl.events import is_live, read
from vlactl.launchers import SWEEP_MARK
from vlactl.launchers.processes import descendants, is_running, marked
from vlactl.store import Store

LAUNCHERS = ("local", "ray")


class Drive:
    """Runs drivers on one store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.ledger = folder, folder / "home", folder / "ledger"
        self.sweep = f"kill-{uuid.uuid4().hex}"
        self.drivers: list[subprocess.Popen] = []

    def start(self, kind: str, stages: list[dict[str, Any]], *, sweep: str | None = None,
              jobs: int = 2) -> subprocess.Popen:
        plan = self.folder / f"plan-{uuid.uuid4().hex}.json"
        plan.write_text(json.dumps({"stages": [{"count": str(self.ledger), **one} for one in stages], "jobs": jobs}))
        arguments = [sys.executable, "-m", "tests.faults.driver", self.home, kind, sweep or self.sweep, plan]
        driver = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  start_new_session=True)
        self.drivers.append(driver)
        return driver

    def finish(self, *arguments: Any, **fields: Any) -> tuple[int, str]:
        driver = self.start(*arguments, **fields)
        text, _ = driver.communicate(timeout=120)
        return driver.returncode, text

    def computed(self) -> Counter[str]:
        """Work folder name -> how often its stage was started."""
        return Counter(self.ledger.read_text().split()) if self.ledger.exists() else Counter()

    def kin(self, driver: subprocess.Popen) -> list[int]:
        """What runs for this sweep.  A process that sets its title may have overwritten its mark: take the tree too."""
        return sorted({*marked(SWEEP_MARK, self.sweep), *descendants(driver.pid)})

    def gone(self, kin: Iterable[int] = (), within_s: float = 10.0) -> None:
        eventually(lambda: not marked(SWEEP_MARK, self.sweep) and not any(map(is_running, kin)), within_s)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    drive = Drive(tmp_path)
    yield drive
    for driver in drive.drivers:
        if driver.poll() is None:
            driver.kill()
            driver.communicate()


def plan(**slow: Any) -> list[dict[str, Any]]:
    return [{"name": "data"}, {"name": "quick", "inputs": ["data"]}, {"name": "slow", "inputs": ["data"], **slow},
            {"name": "last", "inputs": ["slow"]}]


@pytest.mark.parametrize("kind", LAUNCHERS)
def test_a_killed_driver_leaves_no_process_and_a_rerun_repeats_nothing(drive, kind):
    driver = drive.start(kind, plan(ranks=2, children=300, stubborn=300))
    _, quick, slow, last = stages_of({"stages": plan()})
    eventually(lambda: (drive.home / "work" / f"data-{slow.digest}" / "progress.json").exists()
               and Store(drive.home).has(quick.digest), within_s=60)
    eventually(lambda: len(marked(SWEEP_MARK, drive.sweep)) >= 5)
    kin = drive.kin(driver)
    os.kill(driver.pid, signal.SIGKILL)
    drive.gone(kin)
    assert not is_live(drive.home / "sweeps" / drive.sweep / "events.jsonl")
    before = drive.computed()
    code, text = drive.finish(kind, plan(ranks=2))
    assert code == 0, text
    assert json.loads(text.splitlines()[-1]) == {"done": 2, "cached": 2}
    again = drive.computed() - before
    assert set(again) == {f"data-{slow.digest}", f"data-{last.digest}"}
    drive.gone()


def test_a_terminated_driver_lets_its_stages_save_and_goes(drive):
    driver = drive.start("local", plan(polite=300))
    slow = next(one for one in stages_of({"stages": plan()}) if one.label == "slow")
    work = drive.home / "work" / f"data-{slow.digest}"
    eventually(lambda: (work / "progress.json").exists(), within_s=60)
    driver.terminate()
    text, _ = driver.communicate(timeout=30)
    assert driver.returncode == 143, text
    assert (work / "saved").exists()
    drive.gone()
    events = read(drive.home / "sweeps" / drive.sweep / "events.jsonl")
    assert [event["digests"] for event in events if event["event"] == "cancelled"] == [[slow.digest]]
    assert events[-1]["reason"] == "signal SIGTERM"
    assert drive.finish("local", plan(polite=300))[0] == 0


def test_killed_again_and_again_at_random_moments_it_still_ends_whole(drive):
    stages = [{"name": f"s{index}", "inputs": [f"s{index - 1}"] if index % 4 else [], "nap": 0.02}
              for index in range(40)]
    expected, dice = stages_of({"stages": stages}), random.Random(0)
    for _ in range(6):
        driver = drive.start("local", stages)
        time.sleep(dice.uniform(0.5, 1.2))
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
        store = Store(drive.home)
        finished = {f"data-{one.digest}" for one in expected if store.has(one.digest)}
        counted = {name: times for name, times in drive.computed().items() if name in finished}
    code, text = drive.finish("local", stages)
    assert code == 0, text
    assert {name: times for name, times in drive.computed().items() if name in finished} == counted
    store = Store(drive.home)
    assert [wrong for one in expected for wrong in store.verify(one.digest)] == []
    assert list((drive.home / "work").iterdir()) == []
    assert list((drive.home / "locks").iterdir()) == []
    drive.gone()


def test_two_drivers_on_one_store_compute_each_stage_once(drive):
    stages = [{"name": f"s{index}", "inputs": [f"s{index - 1}"] if index % 5 else [], "nap": 0.05}
              for index in range(20)]
    drivers = [drive.start("local", stages, sweep=f"{drive.sweep}-{name}", jobs=1) for name in "ab"]
    for driver in drivers:
        text, _ = driver.communicate(timeout=90)
        assert driver.returncode == 0, text
    assert set(drive.computed().values()) == {1}
    assert len(drive.computed()) == 20


def test_a_second_driver_of_the_same_sweep_is_turned_away(drive):
    driver = drive.start("local", [{"name": "slow", "nap": 300}])
    eventually(lambda: drive.computed(), within_s=60)
    code, text = drive.finish("local", [{"name": "slow"}])
    assert code != 0
    assert "already running" in text
    driver.terminate()
    driver.communicate(timeout=30)
    drive.gone()


def test_a_killed_worker_is_an_infrastructure_failure_that_is_retried(drive):
    driver = drive.start("local", [{"name": "slow", "nap": 3}], jobs=1)
    eventually(lambda: drive.computed(), within_s=60)
    for pid in marked(SWEEP_MARK, drive.sweep):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "vlactl-shepherd":
            os.kill(pid, signal.SIGKILL)
    text, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0, text
    assert "retry slow the worker process died" in text
    assert list(drive.computed().values()) == [2]
