"""The shepherd: what it preloads, that forked ranks can use it, and that it dies with its owner at any moment."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.plans import ROOT, eventually, show_repository
from vlactl.errors import FailureClass
from vlactl.launchers import SWEEP_MARK, WARM_IMPORTS, Command, Outcome
from vlactl.launchers.processes import is_running, marked
from vlactl.launchers.shepherd import preload
from vlactl.launchers.worker import WORKER_MARK, Worker, make_order, outcome_of


def make_worker(folder: Path, imports: tuple[str, ...] = (), sweep: str = "s") -> Worker:
    show_repository()
    return Worker(imports=imports, sweep=sweep, log=folder / "workers.log")


def listen(worker: Worker, within_s: float = 120.0) -> None:
    """Until it is ready, or has finished its order."""
    until = time.monotonic() + within_s
    while worker.alive and worker.outcome is None and (worker.ready is None or worker.order_id):
        assert time.monotonic() < until
        select.select([worker], [], [], 1.0)
        worker.listen()


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = make_worker(tmp_path_factory.mktemp("warm"), WARM_IMPORTS)
    listen(worker)
    yield worker
    worker.close()


def obey(worker: Worker, folder: Path, target: str, ranks: int = 1, cpus: float = 1.0) -> Outcome:
    command = Command(label=target, digest="0" * 16, work_dir=folder, target=f"tests.faults.learning:{target}",
                      ranks=ranks, cpus_per_rank=cpus)
    worker.run(make_order(command, order_id=uuid.uuid4().hex))
    listen(worker)
    assert worker.outcome is not None
    return outcome_of(worker.outcome)


def test_what_it_preloads_starts_no_thread_and_brings_no_tracker(warm):
    assert warm.ready["threads"] == 1, "a forked rank would inherit locks that nobody holds"
    assert warm.ready["problems"] == {}
    assert warm.ready["loaded"] == list(WARM_IMPORTS)


@pytest.mark.parametrize(("target", "ranks", "cpus"), [("gradients", 1, 1.0), ("gradients", 1, 2.0), ("engine", 1, 1.0),
                                                      ("reduction", 2, 1.0), ("kernel", 1, 1.0), ("kernel", 1, 2.0)])
def test_a_forked_rank_can_learn(warm, tmp_path, target, ranks, cpus):
    outcome = obey(warm, tmp_path, target, ranks, cpus)
    assert outcome.ok, (tmp_path / "logs" / "rank-0.log").read_text()


def test_an_import_that_fails_is_reported_and_costs_nothing_else(tmp_path):
    (tmp_path / "broken_dependency.py").write_text("raise SystemExit('stop')")
    sys.path.insert(0, str(tmp_path))
    try:
        loaded, problems = preload(["json", "no_such_module", "broken_dependency"])
    finally:
        sys.path.remove(str(tmp_path))
    assert loaded == ["json"]
    assert problems["broken_dependency"] == "SystemExit: stop"
    assert "no_such_module" in problems["no_such_module"]
    assert "mlflow" not in sys.modules or sys.modules["mlflow"] is not None


def test_when_an_import_starts_a_thread_ranks_start_cold(tmp_path, monkeypatch):
    (tmp_path / "threaded_dependency.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()")
    monkeypatch.syspath_prepend(tmp_path)
    worker = make_worker(tmp_path, ("threaded_dependency",))
    listen(worker)
    assert worker.ready["threads"] == 2
    (tmp_path / "stage.json").write_text('{"label": "x", "inputs": {}, "execution": {"environment": 1}}')
    command = Command(label="x", digest="0" * 16, work_dir=tmp_path, target="tests.faults.bodies:main")
    worker.run(make_order(command, order_id="1"))
    listen(worker)
    assert worker.outcome["ok"], worker.outcome
    assert "threaded_dependency" not in (tmp_path / "out" / "environment-0.json").read_text().split('"_modules"')[1]
    worker.close()


OWNER = """
import sys, time
from pathlib import Path
from vlactl.launchers.worker import Worker
worker = Worker(imports=sys.argv[1].split(","), sweep=sys.argv[2], log=Path(sys.argv[3]))
print("started", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("imports", ["slow_dependency", "json"])
def test_it_dies_with_its_owner_even_while_it_imports(tmp_path, imports):
    (tmp_path / "slow_dependency.py").write_text("import ctypes\nctypes.CDLL(None).sleep(60)")  # in C, no bytecode runs
    sweep = uuid.uuid4().hex
    owner = subprocess.Popen([sys.executable, "-c", OWNER, imports, sweep, tmp_path / "log"], stdout=subprocess.PIPE,
                             env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert owner.stdout
    owner.stdout.readline()
    eventually(lambda: [pid for pid in marked(SWEEP_MARK, sweep)
                        if Path(f"/proc/{pid}/comm").read_text().strip() == "vlactl-shepherd"])
    time.sleep(0.5)
    owner.kill()
    owner.wait()
    eventually(lambda: not marked(SWEEP_MARK, sweep), within_s=5)


def test_its_own_death_is_noticed_and_what_is_left_is_reaped(tmp_path):
    worker = make_worker(tmp_path)
    listen(worker)
    deeds = {"children": 100, "stubborn": 100}
    (tmp_path / "stage.json").write_text(json.dumps({"label": "x", "inputs": {}, "execution": deeds}))
    command = Command(label="x", digest="0" * 16, work_dir=tmp_path, target="tests.faults.bodies:main")
    worker.run(make_order(command, order_id="1"))
    eventually(lambda: (tmp_path / "progress.json").exists())
    kin = marked(WORKER_MARK, worker.mark)
    assert len(kin) >= 4, "shepherd, rank, child, grandchild in its own session"
    os.kill(worker.ready["pid"], signal.SIGKILL)
    listen(worker)
    assert worker.outcome["failure"] == FailureClass.INFRASTRUCTURE
    assert not [pid for pid in kin if is_running(pid)]
    worker.close()
