"""MLflow agrees with the store: at the end, after a crash, after a server came back; and nothing is there twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.finished_sweep import STARTED, Sweep, metrics_text
from vlactl import tracking
from vlactl.errors import StoreConflict, UsageError
from vlactl.events import Journal, sweep_dir
from vlactl.report import artifacts, build
from vlactl.tracking.address import address_of, hold_writer
from vlactl.tracking.mirror import clean, create_database
from vlactl.tracking.picture import params_of, picture_of


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's schema; making one takes seconds, copying it nothing."""
    tracking.quiet_environment()
    folder = tmp_path_factory.mktemp("template")
    create_database(folder / "mlflow.db", folder / "lock")
    return folder / "mlflow.db"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def home(tmp_path: Path, template: Path) -> Path:
    shutil.copyfile(template, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def sweep(home: Path) -> Sweep:
    made = Sweep(home)
    made.finish(lambda trial: 0.8 if trial.cell[1][1] == "policy-head" else 0.4)
    return made


def client_of(home: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")


def runs_of(home: Path, name: str = "design") -> tuple[Any, dict[str, Any]]:
    """The parent run, and the children by the slug of their trial."""
    client = client_of(home)
    found = client.search_runs([client.get_experiment_by_name(f"vlactl/{name}").experiment_id])
    parents = [run for run in found if run.data.tags["vlactl.kind"] == "sweep"]
    assert len(parents) == 1
    children = [run for run in found if run.data.tags["vlactl.kind"] == "trial"]
    assert len({run.data.tags["vlactl.trial"] for run in children}) == len(children)
    return parents[0], {run.data.tags["vlactl.slug"]: run for run in children}


def steps_of(home: Path, run: Any, key: str) -> list[int]:
    return sorted(point.step for point in client_of(home).get_metric_history(run.info.run_id, key))


def tables(sweep: Sweep) -> tracking.Tables:
    return lambda store, state: artifacts(build(sweep.recipe, sweep.plan, store, state=state))


def mirror(sweep: Sweep, **more: Any) -> dict[str, int]:
    return tracking.sync(sweep.recipe, sweep.plan, sweep.store, **more)  # type: ignore[arg-type]


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


# ---- what is there ---------------------------------------------------------------------------------------------------


def test_a_finished_sweep_is_one_parent_and_a_child_per_trial(sweep: Sweep, home: Path) -> None:
    mirror(sweep)
    parent, children = runs_of(home)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["vlactl.axis.backbone"] == "llava, smolvlm"
    assert set(children) == {trial.slug for trial in sweep.recipe.trials}
    trial = sweep.recipe.trials[0]
    run = children[trial.slug]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == trial.slug
    assert (run.info.start_time, run.info.end_time) == (1000 * STARTED, 1000 * (STARTED + 60))
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.tags["vlactl.stage_digest.finetune"] == sweep.plan.trials[trial.id].finetune
    assert run.data.tags["vlactl.git"] == "0123456789abcdef"
    assert run.data.params == {"backbone": "llava", "formulation": "one-step", "backbone.kind": "llava",
                               "backbone.weights": "tiny", "formulation.kind": "one-step", "formulation.betas.0": "0.9",
                               "formulation.betas.1": "0.95", "training.updates": "1600", "training.lora_parts": "[]",
                               "seed": "0"}


def test_curves_scores_and_film(sweep: Sweep, home: Path) -> None:
    mirror(sweep)
    _, children = runs_of(home)
    trial = sweep.recipe.trials[1]
    run = children[trial.slug]
    for key in ("train/loss", "train/lr", "pretrain/loss"):
        assert steps_of(home, run, key) == [10, 20, 30, 40, 50]
    (row,) = (row for row in build(sweep.recipe, sweep.plan, sweep.store).rows if row.cell == trial.cell)
    assert row.estimate is not None
    metrics = run.data.metrics
    assert [metrics[f"eval/avg_len{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [row.estimate.mean, row.estimate.low, row.estimate.high])
    assert [metrics[f"eval/sr{k}"] for k in range(1, 6)] == pytest.approx([rate.mean for rate in row.rates])
    assert metrics["eval/task/open_drawer"] == metrics["eval/sr1"]
    assert steps_of(home, run, "eval/avg_len") == [50]
    film = client_of(home).download_artifacts(run.info.run_id, "rollouts/rollout.mp4")
    assert Path(film).read_bytes() == b"film of " + trial.id.encode()
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(home)


def test_the_parent_has_the_table_that_the_report_prints(sweep: Sweep, home: Path) -> None:
    mirror(sweep, tables=tables(sweep))
    parent, _ = runs_of(home)
    client = client_of(home)
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {
        "comparison.csv", "comparison.json", "report.html", "report.md"}
    table = json.loads(Path(client.download_artifacts(parent.info.run_id, "comparison.json")).read_text())
    assert len(table["data"]) == 6
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "comparison.json", "type": "table"}]
    assert "Best: " in parent.data.tags["mlflow.note.content"]


def test_a_table_that_cannot_be_made_does_not_hold_up_the_runs(sweep: Sweep, home: Path) -> None:
    def two_protocols(store: Any, state: Any) -> dict[str, str]:
        raise UsageError("these scores come from different protocols")

    assert mirror(sweep, tables=two_protocols)["runs"] == 5
    parent, children = runs_of(home)
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    assert parent.data.tags["mlflow.note.content"] == "No comparative table: these scores come from different protocols"


# ---- never twice -----------------------------------------------------------------------------------------------------


def test_a_second_sync_writes_nothing(sweep: Sweep, home: Path) -> None:
    first = mirror(sweep)
    assert first == {"runs": 5, "params": 40, "metrics": first["metrics"], "artifacts": 4}
    before = {slug: (run.data.to_dictionary(), run.info.end_time) for slug, run in runs_of(home)[1].items()}
    assert mirror(sweep) == {"runs": 0, "params": 0, "metrics": 0, "artifacts": 0}
    _, children = runs_of(home)
    assert {slug: (run.data.to_dictionary(), run.info.end_time) for slug, run in children.items()} == before
    for run in children.values():
        assert steps_of(home, run, "train/loss") == [10, 20, 30, 40, 50]


def test_points_written_just_before_a_crash_are_not_written_again(sweep: Sweep, home: Path) -> None:
    """Killed between the points and the tag that says so: MLflow's own history tells."""
    mirror(sweep)
    _, children = runs_of(home)
    run, client = next(iter(children.values())), client_of(home)
    client.delete_tag(run.info.run_id, "vlactl.logged")
    client.update_run(run.info.run_id, status="RUNNING")
    with sqlite3.connect(home / "mlflow.db") as connection:      # and their clock was another one
        connection.execute("UPDATE metrics SET timestamp = timestamp + 1")
    connection.close()
    mirror(sweep)
    assert steps_of(home, run, "train/loss") == [10, 20, 30, 40, 50]
    assert steps_of(home, run, "pretrain/loss") == [10, 20, 30, 40, 50]
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_one_more_value_on_an_axis_adds_runs_and_touches_no_other(sweep: Sweep, home: Path) -> None:
    mirror(sweep)
    wider = Sweep(home, backbones=("llava", "smolvlm", "paligemma"))
    for trial in wider.recipe.trials:
        if not wider.store.has(wider.plan.trials[trial.id].evaluate):
            wider.train(trial)
            wider.evaluate(wider.plan.trials[trial.id].evaluate, wider.chains(0.5, trial.id))
    assert mirror(wider)["runs"] == 2
    parent, children = runs_of(home)
    assert len(children) == 6
    assert parent.data.tags["vlactl.axis.backbone"] == "llava, smolvlm, paligemma"


# ---- while it runs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "TICK_S", 0.05)


def test_a_running_sweep_is_mirrored_as_it_grows(home: Path, quick: None) -> None:
    sweep = Sweep(home, backbones=("llava",))
    first, second = sweep.recipe.trials
    stages = sweep.plan.trials[first.id]
    tracker = tracking.Tracker(home, sweep.recipe, sweep.plan, tables=tables(sweep)).start()  # type: ignore[arg-type]
    growing = home / "work" / f"finetune-{stages.finetune}" / "out" / "metrics.jsonl"
    growing.parent.mkdir(parents=True)
    growing.write_text(metrics_text(2) + '{"update": 30, "lo')
    tracker.on_event({"event": "started", "digest": stages.finetune})

    def points() -> list[int]:
        client = client_of(home)
        experiment = client.get_experiment_by_name("vlactl/design")
        if experiment is None:
            return []
        found = client.search_runs([experiment.experiment_id], "tags.`vlactl.kind` = 'trial'")
        return steps_of(home, found[0], "train/loss") if found else []

    wait_for(lambda: points() == [10, 20], "the first points, without the torn line")
    parent, children = runs_of(home)
    assert (parent.info.status, children[first.slug].info.status) == ("RUNNING", "RUNNING")
    assert second.slug not in children
    growing.write_text(metrics_text(4))
    wait_for(lambda: points() == [10, 20, 30, 40], "the points that came later")
    shutil.rmtree(growing.parents[1])
    sweep.finish(lambda trial: 0.6)
    tracker.on_event({"event": "done", "digest": stages.evaluate})
    assert tracker.close(timeout=30)
    parent, children = runs_of(home)
    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in children.values()} == {"FINISHED"}
    assert steps_of(home, children[first.slug], "train/loss") == [10, 20, 30, 40, 50]
    assert client_of(home).list_artifacts(parent.info.run_id)


def test_statuses_tell_how_each_trial_ended(home: Path) -> None:
    sweep = Sweep(home, backbones=("a", "b", "c", "d", "e"), formulations=("x",))
    done, failed, below, stopped, never = sweep.recipe.trials
    for trial in (done, failed, stopped):
        sweep.train(trial)
    sweep.evaluate(sweep.plan.trials[done.id].evaluate, sweep.chains(0.7, done.id))
    with Journal(sweep_dir(home, "design", Path(sweep.recipe.path)) / "events.jsonl") as journal:
        stages = sweep.plan.trials
        journal.append({"event": "failed", "digest": stages[failed.id].evaluate, "failure": "nan", "message": "nan"},
                       {"event": "failed", "digest": stages[below.id].pretrain[0], "failure": "oom", "message": "oom"},
                       {"event": "started", "digest": stages[stopped.id].evaluate})
        mirror(sweep)
        parent, children = runs_of(home)
        assert parent.info.status == "RUNNING"
        assert children[stopped.slug].info.status == "RUNNING"
    mirror(sweep)                                              # the journal is closed: the driver is gone
    parent, children = runs_of(home)
    assert parent.info.status == "FAILED"
    assert {slug: run.info.status for slug, run in children.items()} == {
        done.slug: "FINISHED", failed.slug: "FAILED", below.slug: "FAILED", stopped.slug: "KILLED"}
    assert children[failed.slug].data.tags["vlactl.detail"] == "evaluate: nan: nan"
    assert never.slug not in children


def test_runs_that_a_dead_driver_left_open_are_closed_by_the_next(sweep: Sweep, home: Path) -> None:
    mirror(sweep)
    client = client_of(home)
    experiment = client.get_experiment_by_name("vlactl/design").experiment_id
    dead, alive, foreign = (client.create_run(experiment, tags={"vlactl.sweep": name} if name else {})
                            for name in ("dead-1", "alive-2", ""))
    held = hold_writer(home, "alive-2")
    mirror(sweep)
    statuses = [client.get_run(run.info.run_id).info.status for run in (dead, alive, foreign)]
    held.close()
    assert statuses == ["KILLED", "RUNNING", "RUNNING"]


# ---- when it cannot --------------------------------------------------------------------------------------------------


def test_an_unreachable_server_never_holds_the_sweep_and_sync_catches_up(home: Path, quick: None) -> None:
    sweep = Sweep(home)
    told: list[dict[str, Any]] = []
    began = time.monotonic()
    tracker = tracking.Tracker(home, sweep.recipe, sweep.plan, notice=told.append,  # type: ignore[arg-type]
                               uri="http://127.0.0.1:9").start()
    for _ in range(1000):
        tracker.on_event({"event": "notice", "message": "x"})
    assert time.monotonic() - began < 0.5
    sweep.finish(lambda trial: 0.5)
    wait_for(lambda: bool(told), "a notice", 60)
    assert not tracker.close(timeout=30)
    assert tracker.problem
    assert [notice["event"] for notice in told] == ["notice"]
    assert "vlactl mlflow sync" in told[0]["message"]
    assert mirror(sweep)["runs"] == 5


def test_closing_gives_up_after_its_timeout(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(home)
    monkeypatch.setattr(tracking._Work, "once", lambda self, over: time.sleep(3))
    tracker = tracking.Tracker(home, sweep.recipe, sweep.plan).start()  # type: ignore[arg-type]
    began = time.monotonic()
    assert not tracker.close(timeout=0.2)
    assert time.monotonic() - began < 1.5
    assert "within 0.2 s" in (tracker.problem or "")


def test_sync_of_an_unreachable_server_says_what_to_do(sweep: Sweep) -> None:
    with pytest.raises(UsageError, match="MLflow did not answer") as error:
        mirror(sweep, uri="http://127.0.0.1:9")
    assert "nothing is lost" in str(error.value)


def test_there_is_one_writer(sweep: Sweep, home: Path) -> None:
    held = hold_writer(home, sweep_dir(home, "design", Path(sweep.recipe.path)).name)
    with pytest.raises(StoreConflict, match="another process writes"):
        mirror(sweep)
    held.close()
    assert mirror(sweep)["runs"] == 5


def test_a_deleted_experiment_is_named_with_the_remedy(sweep: Sweep, home: Path) -> None:
    mirror(sweep)
    client = client_of(home)
    experiment = client.get_experiment_by_name("vlactl/design").experiment_id
    client.delete_experiment(experiment)
    with pytest.raises(UsageError, match=r"was deleted[\s\S]*mlflow experiments restore -x " + experiment):
        mirror(sweep)


# ---- where it is -----------------------------------------------------------------------------------------------------


def test_the_database_is_made_once_by_many_processes_at_once(tmp_path: Path) -> None:
    code = ("import sys; from pathlib import Path; from vlactl import tracking; tracking.quiet_environment()\n"
            "from vlactl.tracking.mirror import create_database\n"
            "create_database(Path(sys.argv[1]) / 'mlflow.db', Path(sys.argv[1]) / 'lock')")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True)
                 for _ in range(3)]
    messages = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], messages
    assert messages == ["", "", ""]
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("SELECT count(*) FROM experiments").fetchone()[0] >= 0
    connection.close()
    assert sorted(path.name for path in tmp_path.glob(".mlflow*")) == []


def test_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_of(tmp_path).uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///here.db")
    assert address_of(tmp_path / "x").database == tmp_path / "here.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@tracking.example/base")
    address = address_of(tmp_path)
    assert address.remote
    assert "secret" not in str(address)
    for folder in ("file:///tmp/mlruns", "mlruns"):
        with pytest.raises(UsageError, match="no longer keeps runs in folders"):
            address_of(tmp_path, folder)


def test_the_page_is_for_this_machine_only(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    command = tracking.ui_command(home, port=5050)
    assert command[1:4] == ["-m", "mlflow", "ui"]
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{home / 'mlflow.db'}"
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5050"
    with pytest.raises(UsageError, match="no sweep was mirrored here yet"):
        tracking.ui_command(tmp_path_factory.mktemp("empty"))
    with pytest.raises(UsageError, match=r"open https://tracking\.example"):
        tracking.ui_command(home, uri="https://tracking.example")


def test_names_that_mlflow_refuses_are_cleaned() -> None:
    assert clean("train/loss[arm]@2") == "train/loss_arm__2"
    assert len(clean("x" * 400)) == 250


def test_params_and_picture_need_no_mlflow(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    assert params_of(sweep.recipe.trials[0])["training.lora_parts"] == "[]"
    picture = picture_of(sweep.recipe, sweep.plan, sweep.store, None, over=True)  # type: ignore[arg-type]
    assert picture.status == "KILLED"
    assert {trial.status for trial in picture.trials} == {None}


def test_importing_tracking_imports_no_mlflow() -> None:
    code = "import sys, vlactl.tracking.picture, vlactl.tracking.mirror\nprint('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_forty_five_trials_are_mirrored_in_seconds(home: Path) -> None:
    sweep = Sweep(home, backbones=[f"b{i}" for i in range(3)], formulations=[f"f{i}" for i in range(15)])
    sweep.finish(lambda trial: 0.6, points=160)
    began = time.process_time()
    written = mirror(sweep)
    assert written["runs"] == 46
    assert written["metrics"] > 45 * 160 * 4
    assert time.process_time() - began < 12.0
