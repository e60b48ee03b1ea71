"""What the runner decides: order, sharing, retries, what a failure takes with it, and how it stops."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults.plans import plan_of, stage
from tests.faults.scripted import ScriptedLauncher, failed, leave_result
from vlactl import runner
from vlactl.errors import ExitCode, FailureClass, StoreError
from vlactl.events import Journal, fold, read
from vlactl.launchers import Outcome
from vlactl.runner import RunResult, RunSettings, retries
from vlactl.runner.attempts import History, prepare
from vlactl.store import Store


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    monkeypatch.setattr(retries, "BACKOFF_S", {})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(home: Path, launcher: ScriptedLauncher, *stages, events: list[dict] | None = None, store: Store | None = None,
        **settings: Any) -> RunResult:
    note = (events if events is not None else []).append
    with Journal(home / "sweeps" / "s" / "events.jsonl") as journal:
        return runner.run(plan_of(*stages), store or Store(home, free_floor_bytes=0), launcher, journal,
                          RunSettings(sweep="s", project=home, **settings), note)


def state_of(home: Path):
    return fold(read(home / "sweeps" / "s" / "events.jsonl"))


def chain():
    data = stage("data")
    tune = stage("tune", data, kind="finetune")
    return data, tune, stage("eval", tune, kind="evaluate")


def test_stages_run_in_plan_order_as_soon_as_their_inputs_are_there(home):
    data = stage("data")
    tunes = [stage(f"tune-{index}", data, kind="finetune") for index in range(3)]
    evals = [stage(f"eval-{index}", tune, kind="evaluate") for index, tune in enumerate(tunes)]
    launcher = ScriptedLauncher()
    result = run(home, launcher, data, *tunes, *evals)
    assert launcher.started == ["data", "tune-0", "tune-1", "tune-2", "eval-0", "eval-1", "eval-2"]
    assert len(result.done) == 7
    assert result.exit_code == ExitCode.OK
    assert launcher.stages["eval-0"][0]["inputs"] == {"tune-0": str(Store(home).artifact(tunes[0].digest).path)}


def test_the_same_plan_again_has_nothing_to_do(home):
    stages = chain()
    run(home, ScriptedLauncher(), *stages)
    again = ScriptedLauncher()
    result = run(home, again, *stages)
    assert again.started == []
    assert len(result.cached) == 3
    assert result.exit_code == ExitCode.OK
    assert state_of(home).totals == {"cached": 3}
    assert state_of(home).runs == 2


def test_a_widened_plan_runs_only_what_is_new(home):
    data, tune, score = chain()
    run(home, ScriptedLauncher(), data, tune, score)
    launcher = ScriptedLauncher()
    other = stage("other", data, kind="finetune")
    result = run(home, launcher, data, tune, other, score)
    assert launcher.started == ["other"]
    assert set(state_of(home).stages) == {one.digest for one in (data, tune, other, score)}
    assert result.exit_code == ExitCode.OK


def test_an_absent_input_is_not_made_again_when_nothing_needs_it(home):
    data, tune, score = chain()
    run(home, ScriptedLauncher(), data, tune, score)
    for one in (data, tune):
        (Store(home).artifact(one.digest).path / "manifest.json").unlink()
    launcher = ScriptedLauncher()
    result = run(home, launcher, data, tune, score)
    assert (launcher.started, result.skipped, result.cached) == ([], (data.digest, tune.digest), (score.digest,))
    assert result.exit_code == ExitCode.OK
    (Store(home).artifact(score.digest).path / "manifest.json").unlink()
    assert run(home, launcher, data, tune, score).exit_code == ExitCode.OK
    assert launcher.started == ["data", "tune", "eval"]


def test_a_failure_takes_its_descendants_with_it_and_nothing_else(home):
    data, tune, score = chain()
    other = stage("other", data, kind="finetune")
    launcher = ScriptedLauncher({"tune": [failed("user_error", "no such field")]})
    result = run(home, launcher, data, tune, other, score)
    assert launcher.started == ["data", "tune", "other"]
    assert [(one.label, one.failure, one.message) for one in result.failed] == [
        ("tune", FailureClass.USER_ERROR, "no such field")]
    assert result.failed[0].log_path == home / "work" / f"finetune-{tune.digest}" / "logs" / "rank-0.log"
    assert result.upstream_failed == (score.digest,)
    assert result.exit_code == ExitCode.SOME_FAILED
    assert state_of(home).totals == {"done": 2, "failed": 1, "upstream_failed": 1}


def test_the_exit_code_says_when_no_goal_was_reached(home):
    data, tune, score = chain()
    result = run(home, ScriptedLauncher({"tune": [failed("user_error")]}), data, tune, score)
    assert result.exit_code == ExitCode.NOTHING_SUCCEEDED


@pytest.mark.parametrize(("failure", "attempts"), [("user_error", 1), ("oom", 4), ("nan", 1), ("infra", 3),
                                                   ("timeout", 1), ("hang", 2)])
def test_each_failure_class_has_its_own_budget(home, failure, attempts):
    launcher = ScriptedLauncher({"data": [failed(failure)]})
    result = run(home, launcher, stage("data"))
    assert len(launcher.started) == attempts
    assert result.failed[0].failure == failure
    assert state_of(home).stages[stage("data").digest].attempts == attempts


def test_preemption_is_retried_without_limit_and_uses_up_no_other_budget(home):
    launcher = ScriptedLauncher({"data": [failed("preempted")] * 9 + [failed("infra")] * 2 + [Outcome(ok=True)]})
    assert run(home, launcher, stage("data")).exit_code == ExitCode.OK
    assert len(launcher.started) == 12


def test_budgets_can_be_set(home):
    launcher = ScriptedLauncher({"data": [failed("infra")]})
    run(home, launcher, stage("data"), budgets={FailureClass.INFRASTRUCTURE: 0})
    assert len(launcher.started) == 1


def test_out_of_memory_divides_the_micro_batch_and_a_new_run_remembers(home):
    launcher = ScriptedLauncher({"data": [failed("oom"), failed("oom"), failed("user_error")]})
    run(home, launcher, stage("data"))
    assert [one["execution"]["micro_batch_divisor"] for one in launcher.stages["data"]] == [1, 2, 4]
    again = ScriptedLauncher()
    run(home, again, stage("data"))
    assert again.stages["data"][0]["execution"] == {"micro_batch_divisor": 4, "attempt": 4}
    assert Store(home).artifact(stage("data").digest).provenance["attempts"] == 4


def test_a_refused_stage_fails_with_what_would_fit_and_the_rest_runs(home):
    launcher = ScriptedLauncher()
    launcher.refusals["tune"] = "8 GPUs; this machine has 0"
    data, tune, score = chain()
    result = run(home, launcher, data, tune, stage("other", data), score)
    assert result.failed[0].message == "8 GPUs; this machine has 0"
    assert launcher.started == ["data", "other"]


def test_a_silent_stage_is_ended_as_a_hang_with_its_stacks(home):
    launcher = ScriptedLauncher({"data": [None]})
    result = run(home, launcher, stage("data"), hang_after_s=0.05)
    assert launcher.cancels == [("data", 30.0, True)] * 2
    assert result.failed[0].failure == FailureClass.HANG
    assert "no progress" in result.failed[0].message


def test_a_stage_that_takes_too_long_is_ended(home):
    launcher = ScriptedLauncher({"data": [None], "quick": [None]})
    quick = stage("quick", timeout_s=0.01)
    result = run(home, launcher, stage("data"), quick, timeout_s=0.2)
    assert {one.label: one.message for one in result.failed} == {"data": "took longer than 0.2 s",
                                                                 "quick": "took longer than 0.01 s"}


def test_waiting_for_resources_is_neither_a_hang_nor_time_taken(home):
    launcher = ScriptedLauncher({"data": [None]})
    launcher.queued.add("data")
    began = time.monotonic()

    def granted() -> None:
        if time.monotonic() - began > 0.5:
            launcher.queued.clear()
            for handle in launcher.busy:
                handle.outcome = Outcome(ok=True)

    launcher.on_wait = granted
    result = run(home, launcher, stage("data"), hang_after_s=0.1, timeout_s=0.2)
    assert result.exit_code == ExitCode.OK
    assert Store(home).artifact(stage("data").digest).provenance["seconds"] < 0.3


def test_after_enough_failures_nothing_more_is_started(home):
    launcher = ScriptedLauncher({name: [failed("user_error")] for name in "abc"})
    result = run(home, launcher, *(stage(name) for name in "abcd"), max_failures=2)
    assert launcher.started == ["a", "b"]
    assert result.waiting == (stage("c").digest, stage("d").digest)
    assert result.reason == "2 stages failed"


def test_the_stop_file_lets_running_stages_finish(home, tmp_path):
    launcher = ScriptedLauncher()
    launcher.on_wait = (tmp_path / "stop").touch
    result = run(home, launcher, stage("a"), stage("b"), stop_file=tmp_path / "stop")
    assert (len(result.done), len(result.waiting), result.reason) == (1, 1, "stopped")
    assert launcher.cancels == []


def test_at_the_deadline_running_stages_save_and_end(home):
    launcher = ScriptedLauncher({"a": [None]})
    result = run(home, launcher, stage("a"), stage("b"), deadline=time.time() + 0.1, grace_s=7.0)
    assert launcher.cancels == [("a", 7.0, False)]
    assert (result.cancelled, result.waiting) == ((stage("a").digest,), (stage("b").digest,))
    assert result.reason == "deadline"
    assert result.exit_code == ExitCode.NOTHING_SUCCEEDED


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED),
                                              (signal.SIGTERM, ExitCode.TERMINATED)])
def test_the_first_signal_saves_and_ends_resumably(home, number, code):
    launcher = ScriptedLauncher({"a": [None]})
    launcher.on_wait = lambda: os.kill(os.getpid(), number) if not launcher.cancels else None
    before = signal.getsignal(number)
    result = run(home, launcher, stage("a"), stage("b"), grace_s=7.0)
    assert signal.getsignal(number) is before
    assert launcher.cancels[0] == ("a", 7.0, False)
    assert result.cancelled == (stage("a").digest,)
    assert result.exit_code == code
    assert state_of(home).ended == f"signal {signal.Signals(number).name}"
    assert run(home, ScriptedLauncher(), stage("a"), stage("b")).exit_code == ExitCode.OK


def test_the_second_signal_kills(home):
    launcher = ScriptedLauncher({"a": [None]})
    launcher.on_wait = lambda: os.kill(os.getpid(), signal.SIGINT)

    def hold_on(handle: Any, grace_s: float, *, stacks: bool = False) -> None:
        launcher.cancels.append(("a", grace_s, stacks))
        handle.outcome = failed("cancelled") if not grace_s else None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.faults.scripted.ScriptedHandle.cancel", hold_on)
        run(home, launcher, stage("a"), grace_s=7.0)
    assert [grace for _, grace, _ in launcher.cancels] == [7.0, 0.0]


def test_an_error_in_the_loop_leaves_nothing_running_and_closes_the_journal(home):
    launcher = ScriptedLauncher({"a": [None]})

    def broken() -> None:
        raise RuntimeError("the view broke")

    launcher.on_wait = broken
    with pytest.raises(RuntimeError, match="the view broke"):
        run(home, launcher, stage("a"))
    assert launcher.cancels == [("a", 0.0, False)]
    assert state_of(home).ended == "error"
    Store(home).claim(stage("a").digest).release()


def test_a_stage_that_somebody_else_computes_is_waited_for_and_taken(home):
    store, one, events = Store(home, free_floor_bytes=0), stage("a"), []
    store.prepare()
    claim = store.claim(one.digest, "a")

    def finish() -> None:
        time.sleep(0.3)
        work_dir = store.work_dir(one)
        leave_result(work_dir, 1)
        store.commit(one, work_dir, {}, {})
        claim.release()

    launcher, thread = ScriptedLauncher(), threading.Thread(target=finish)
    thread.start()
    result = run(home, launcher, one, stage("b", one), events=events)
    thread.join()
    assert launcher.started == ["b"]
    assert result.cached == (one.digest,)
    assert Counter(event["event"] for event in events)["held"] == 1


def test_a_stage_whose_holder_died_is_computed(home, monkeypatch):
    monkeypatch.setattr("vlactl.runner.frontier.LOOK_AGAIN_S", 0.05)
    store = Store(home, free_floor_bytes=0)
    store.prepare()
    claim = store.claim(stage("a").digest)
    launcher = ScriptedLauncher()
    launcher.on_wait = claim.release
    assert run(home, launcher, stage("a")).exit_code == ExitCode.OK
    assert launcher.started == ["a"]


def test_what_had_finished_when_the_driver_died_is_committed_not_repeated(home):
    store, one, events = Store(home, free_floor_bytes=0), stage("a"), []
    store.prepare()
    command = prepare(store, one, target="m:f", env={})
    leave_result(command.work_dir, command.attempt)
    launcher = ScriptedLauncher()
    assert run(home, launcher, one, events=events).exit_code == ExitCode.OK
    assert launcher.started == []
    assert next(event for event in events if event["event"] == "done")["adopted"]
    assert store.artifact(one.digest).result == {"value": 1}


@pytest.mark.parametrize("spoil", ["rank missing", "older attempt", "rank failed"])
def test_what_had_not_wholly_finished_is_run_again(home, spoil):
    store, one = Store(home, free_floor_bytes=0), stage("a")
    store.prepare()
    command = prepare(store, one, target="m:f", env={})
    leave_result(command.work_dir, command.attempt)
    said = command.work_dir / "outcomes" / "rank-0.json"
    change = {"rank missing": ('"ranks": 1', '"ranks": 2'), "older attempt": ('"attempt": 1', '"attempt": 0'),
              "rank failed": ('"ok"', '"failed"')}[spoil]
    said.write_text(said.read_text().replace(*change))
    launcher = ScriptedLauncher()
    run(home, launcher, one)
    assert launcher.started == ["a"]
    assert launcher.stages["a"][0]["execution"]["attempt"] == 2


def test_a_commit_that_fails_is_tried_again_without_computing(home, monkeypatch):
    real, calls = Store.commit, []

    def flaky(self: Store, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise StoreError("cannot commit: No space left on device")
        return real(self, *arguments)

    monkeypatch.setattr(Store, "commit", flaky)
    launcher = ScriptedLauncher()
    assert run(home, launcher, stage("a")).exit_code == ExitCode.OK
    assert launcher.started == ["a"]
    assert len(calls) == 2


def test_a_disk_that_fills_up_stops_the_sweep_with_the_remedy(home, monkeypatch):
    looks = []

    def fills(self: Store) -> None:
        looks.append(1)
        if len(looks) > 2:
            raise StoreError("only 0.10 GiB free", remedy="vlactl gc")

    monkeypatch.setattr(Store, "check_space", fills)
    launcher = ScriptedLauncher()
    result = run(home, launcher, *(stage(name) for name in "abc"))
    assert launcher.started == ["a"]
    assert "vlactl gc" in result.failed[0].message
    assert (len(result.waiting), result.reason) == (1, "only 0.10 GiB free")


def test_large_artifacts_are_committed_beside_the_loop(home, monkeypatch):
    monkeypatch.setattr("vlactl.runner.loop.INLINE_COMMIT_BYTES", 0)
    data, tune, score = chain()
    assert len(run(home, ScriptedLauncher(), data, tune, score).done) == 3


def test_progress_is_told_but_not_journalled(home):
    launcher, events = ScriptedLauncher({"a": [None]}), []

    def beat() -> None:
        work_dir = home / "work" / f"data-{stage('a').digest}"
        (work_dir / "progress.json").write_text('{"done": 3, "total": 10, "unit": "updates", "loss": 0.5}')
        if any(event["event"] == "progress" for event in events):
            for handle in launcher.busy:
                handle.outcome = Outcome(ok=True)

    launcher.on_wait = beat
    run(home, launcher, stage("a"), events=events)
    progress = next(event for event in events if event["event"] == "progress")
    assert (progress["label"], progress["done"], progress["total"], progress["loss"]) == ("a", 3, 10, 0.5)
    assert "progress" not in {event["event"] for event in read(home / "sweeps" / "s" / "events.jsonl")}


NO_CLAIM = SimpleNamespace(release=lambda: None)


class MemoryStore(Store):
    """Without files for artifacts, so that only the loop is measured."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, free_floor_bytes=0)
        self.made: set[str] = set()

    def has(self, digest: str) -> bool:
        return digest in self.made

    def claim(self, digest: str, note: str = "") -> Any:
        return NO_CLAIM


class Immediate(ScriptedLauncher):
    """Everything has already been computed by somebody else by the time it would start."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(slots=8)
        self.store, self.asked = store, 0

    def can_start(self, command: Any) -> bool:
        self.asked += 1
        self.store.made.add(command.digest)
        return True


def test_the_loop_costs_the_same_per_stage_however_long_the_plan(home):
    cost = {}
    for count in (1_000, 10_000):
        stages = [stage(f"data-{index}") for index in range(count // 2)]
        stages += [stage(f"tune-{index}", one, kind="finetune") for index, one in enumerate(tuple(stages))]
        store = MemoryStore(home / str(count))
        launcher = Immediate(store)
        began = time.process_time()
        result = run(home / str(count), launcher, *stages, store=store)
        cost[count] = (time.process_time() - began) / count
        assert len(result.cached) == count
        assert launcher.asked == count
    assert cost[10_000] < 3 * cost[1_000]
    assert cost[10_000] < 1e-3


def test_history_survives_a_torn_file(tmp_path):
    (tmp_path / "attempts.json").write_text('{"attempts": 3, "seco')
    assert History.read(tmp_path) == History()
