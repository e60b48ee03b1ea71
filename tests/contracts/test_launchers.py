"""What every launcher promises.  A new one on the menu is tested here without writing a test."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.plans import BODY, eventually, show_repository
from vlactl.errors import FailureClass
from vlactl.launchers import LAUNCHERS, SWEEP_MARK, Command, Launcher, LauncherSpec, Outcome
from vlactl.launchers.processes import marked


class Bench:
    """A launcher under test."""

    def __init__(self, launcher: Launcher, sweep: str) -> None:
        self.launcher, self.sweep = launcher, sweep

    def command(self, folder: Path, *, label: str = "one", attempt: int = 1, work_dir: Path | None = None,
                deeds: dict[str, Any] | None = None, **fields: Any) -> Command:
        work_dir = work_dir or folder / uuid.uuid4().hex
        work_dir.mkdir(exist_ok=True)
        (work_dir / "stage.json").write_text(json.dumps({"label": label, "inputs": {}, "execution": deeds or {}}))
        return Command(label=label, digest="0" * 16, work_dir=work_dir, target=fields.pop("target", BODY),
                       attempt=attempt, **fields)

    def wait_for(self, handle: Any, within_s: float = 60.0) -> Outcome:
        until = time.monotonic() + within_s
        while (outcome := handle.poll()) is None:
            assert time.monotonic() < until, "no outcome"
            self.launcher.wait(0.5)
        return outcome

    def run(self, command: Command) -> Outcome:
        eventually(lambda: self.launcher.can_start(command))
        return self.wait_for(self.launcher.submit(command))


@pytest.fixture(scope="module", params=list(LAUNCHERS))
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    show_repository()
    sweep = f"contract-{uuid.uuid4().hex}"
    spec: LauncherSpec = LAUNCHERS.get(request.param)(jobs=2, cpus=2, gpus=0, warm_imports=())
    launcher = spec.build(tmp_path_factory.mktemp("home"), sweep)
    yield Bench(launcher, sweep)
    launcher.close()
    launcher.close()
    assert marked(SWEEP_MARK, sweep) == [], "close() left processes behind"


def environments(command: Command) -> list[dict[str, Any]]:
    return [json.loads((command.work_dir / "out" / f"environment-{rank}.json").read_text())
            for rank in range(command.ranks)]


def test_each_rank_finds_what_deepspeed_expects_and_neither_ray_nor_torch(bench, tmp_path):
    command = bench.command(tmp_path, deeds={"environment": 1}, ranks=2, env={"EXTRA": "x"})
    assert bench.run(command) == Outcome(ok=True)
    first, second = environments(command)
    assert (first["RANK"], second["RANK"]) == ("0", "1")
    assert (first["LOCAL_RANK"], second["LOCAL_RANK"]) == ("0", "1")
    for one in (first, second):
        assert (one["WORLD_SIZE"], one["OMP_NUM_THREADS"], one["CUDA_VISIBLE_DEVICES"]) == ("2", "1", "")
        assert (one["MASTER_ADDR"], one["DS_ACCELERATOR"], one["EXTRA"]) == ("127.0.0.1", "cpu", "x")
        assert one[SWEEP_MARK] == bench.sweep
        assert not {"ray", "torch"} & set(one["_modules"])
        assert "RAY_AUTH_TOKEN" not in one
    assert first["MASTER_PORT"] == second["MASTER_PORT"]
    assert first["_pid"] != second["_pid"]
    assert first["_group"] == second["_group"]
    again = bench.command(tmp_path, deeds={"environment": 1}, ranks=2, cpus_per_rank=2.0)
    assert bench.run(again).ok
    assert environments(again)[0]["OMP_NUM_THREADS"] == "2"
    assert environments(again)[0]["_group"] != first["_group"], "a fresh process group per command"


@pytest.mark.parametrize(("deed", "failure", "message"), [
    ({"fail": "bug"}, FailureClass.USER_ERROR, "a bug"),
    ({"fail": "usage"}, FailureClass.USER_ERROR, "do this:  another"),
    ({"fail": "nan"}, FailureClass.NAN, "as told"),
    ({"fail": "infra"}, FailureClass.INFRASTRUCTURE, "as told"),
    ({"fail": "memory"}, FailureClass.OUT_OF_MEMORY, "no room"),
    ({"fail": "disk"}, FailureClass.INFRASTRUCTURE, "No space left"),
    ({"fail": "exit75"}, FailureClass.PREEMPTED, ""),
    ({"fail": "exit3"}, FailureClass.USER_ERROR, "3"),
    ({"die": int(signal.SIGKILL)}, FailureClass.INFRASTRUCTURE, "SIGKILL"),
    ({"die": int(signal.SIGSEGV)}, FailureClass.INFRASTRUCTURE, "SIGSEGV"),
])
def test_failures_are_classified(bench, tmp_path, deed, failure, message):
    command = bench.command(tmp_path, deeds=deed)
    outcome = bench.run(command)
    assert (outcome.ok, outcome.failure, outcome.rank) == (False, failure, 0)
    assert message in outcome.message
    if deed == {"fail": "bug"}:
        assert "KeyError: 'a bug'" in (command.work_dir / "logs" / "rank-0.log").read_text()


def test_a_target_that_does_not_exist_is_the_users_error(bench, tmp_path):
    outcome = bench.run(bench.command(tmp_path, target="tests.faults.bodies:nobody"))
    assert outcome.failure == FailureClass.USER_ERROR
    assert "nobody" in outcome.message


def test_the_first_failing_rank_is_named_and_ends_the_others(bench, tmp_path):
    began = time.monotonic()
    outcome = bench.run(bench.command(tmp_path, deeds={"rank_dies": 1}, ranks=2))
    assert (outcome.failure, outcome.rank) == (FailureClass.INFRASTRUCTURE, 1)
    assert time.monotonic() - began < 30


def test_logs_are_appended_to_with_a_header_for_each_attempt(bench, tmp_path):
    first = bench.command(tmp_path, deeds={"say": "hello"})
    bench.run(first)
    second = bench.command(tmp_path, work_dir=first.work_dir, attempt=2, deeds={"say": "again"})
    handle = bench.launcher.submit(second)
    bench.wait_for(handle)
    lines = handle.log_path.read_text().splitlines()
    assert [line.split(" · ")[1] for line in lines if line.startswith("====")] == ["attempt 1", "attempt 2"]
    assert [line for line in lines if not line.startswith("====")] == [
        "hello 0", "hello from a child", "again 0", "again from a child"]


def test_a_rank_that_is_asked_to_end_may_save_first(bench, tmp_path):
    command = bench.command(tmp_path, deeds={"polite": 100})
    handle = bench.launcher.submit(command)
    begin(bench, command, handle)
    handle.cancel(30.0)
    assert bench.wait_for(handle).failure == FailureClass.PREEMPTED
    assert (command.work_dir / "saved").exists()


def test_a_rank_that_does_not_end_is_killed_when_the_grace_is_over(bench, tmp_path):
    command = bench.command(tmp_path, deeds={"stubborn": 100})
    handle = bench.launcher.submit(command)
    begin(bench, command, handle)
    began = time.monotonic()
    handle.cancel(1.0, stacks=True)
    assert bench.wait_for(handle).failure == FailureClass.CANCELLED
    assert 0.8 < time.monotonic() - began < 20
    assert "in nap" in handle.log_path.read_text(), "the stacks are in the log"


def begin(bench: Bench, command: Command, handle: Any) -> None:
    def started() -> bool:
        assert handle.poll() is None
        bench.launcher.wait(0.05)
        return (command.work_dir / "progress.json").exists()

    eventually(started, within_s=60)


@pytest.mark.parametrize("how", [{}, {"fail": "bug"}, {"die": int(signal.SIGKILL)}])
def test_nothing_that_a_rank_started_outlives_the_command(bench, tmp_path, how):
    mark = uuid.uuid4().hex
    command = bench.command(tmp_path, deeds={"children": 100, **how}, env={"TEST_MARK": mark})
    assert bench.run(command).ok == (not how)
    assert marked("TEST_MARK", mark) == []


def test_a_worker_that_dies_takes_its_ranks_along_and_is_replaced(bench, tmp_path):
    command = bench.command(tmp_path, deeds={"children": 100, "stubborn": 100}, env={"TEST_MARK": uuid.uuid4().hex})
    handle = bench.launcher.submit(command)
    begin(bench, command, handle)
    kin = marked("TEST_MARK", command.env["TEST_MARK"])
    assert kin
    for pid in marked(SWEEP_MARK, bench.sweep):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "vlactl-shepherd":
            os.kill(pid, signal.SIGKILL)
    assert bench.wait_for(handle).failure == FailureClass.INFRASTRUCTURE
    eventually(lambda: not marked("TEST_MARK", command.env["TEST_MARK"]))
    assert bench.run(bench.command(tmp_path)).ok


def test_what_can_never_fit_is_refused_with_what_would(bench, tmp_path):
    assert bench.launcher.refuses(bench.command(tmp_path, ranks=2)) is None
    for fields, words in (({"cpus_per_rank": 64.0}, "64 CPU"), ({"gpus_per_rank": 1.0}, "1 GPU"),
                          ({"nodes": 3, "ranks": 3}, "node"), ({"nodes": 2, "ranks": 3}, "evenly"),
                          ({"ranks": 0}, "at least 1")):
        assert words in (bench.launcher.refuses(bench.command(tmp_path, **fields)) or "")


def test_no_more_start_than_there_are_jobs(bench, tmp_path):
    handles = [bench.launcher.submit(bench.command(tmp_path, deeds={"nap": 100})) for _ in range(2)]
    assert not bench.launcher.can_start(bench.command(tmp_path))
    for handle in handles:
        handle.cancel(0.5)
    for handle in handles:
        bench.wait_for(handle)
    assert bench.launcher.can_start(bench.command(tmp_path))


def test_two_attempts_never_work_in_one_folder(bench, tmp_path):
    first = bench.command(tmp_path, deeds={"nap": 2})
    one = bench.launcher.submit(first)
    begin(bench, first, one)
    second = bench.command(tmp_path, work_dir=first.work_dir, attempt=2, deeds={"say": "second"})
    two = bench.launcher.submit(second)
    assert bench.wait_for(one).ok
    assert bench.wait_for(two).ok
    lines = two.log_path.read_text().splitlines()
    assert lines.index("second 0") > 1


def test_cold_ranks_are_fresh_interpreters(bench, tmp_path):
    command = bench.command(tmp_path, deeds={"environment": 1}, warm=False)
    assert bench.run(command).ok
    assert "vlactl.launchers.shepherd" not in environments(command)[0]["_modules"]


def test_waiting_ends_with_the_news_not_with_the_timeout(bench, tmp_path):
    bench.run(bench.command(tmp_path))
    began = time.monotonic()
    assert bench.run(bench.command(tmp_path)).ok
    assert time.monotonic() - began < 2.0
