"""``sweep`` and ``retry``: what runs, what is printed, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.fakes import ANSI, QuietTracker, plainly, same_as_golden
from vlactl.cli import drive, sweep
from vlactl.errors import ExitCode, FailureClass
from vlactl.events import Journal, run_started

STAGES = 13
"""2 sources, 2 pretrainings, 4 trainings, 4 evaluations, 1 reference."""


def only_folder(home: Path) -> Path:
    (folder,) = (home / "sweeps").iterdir()
    return folder


def test_a_sweep_runs_every_stage_once_and_prints_the_table(vlactl, recipe, home, launcher):
    answer = vlactl("sweep", recipe)
    assert answer.code == ExitCode.OK
    assert len(launcher.started) == len(set(launcher.started)) == STAGES
    assert launcher.closes == launcher.opens == 1
    assert "13 stages, 13 to run; sharing saves" in answer.out
    table = answer.out[answer.out.index("Two formulations, two strategies.") :]
    assert table.index("one-step-continuous") < table.index("one-step-discrete"), "best first"
    folder = only_folder(home)
    assert f"report   {folder / 'report.html'}" in answer.out
    assert "<html" in (folder / "report.html").read_text()
    assert json.loads((folder / "plan.json").read_text())["recipe"] == "small"
    assert (folder / "recipe.yaml").read_text() == recipe.read_text()


def test_off_a_terminal_there_is_one_plain_line_per_event(vlactl, recipe, launcher):
    out = vlactl("sweep", recipe).out
    assert not ANSI.search(out)
    assert "\r" not in out
    assert sum("  started   " in line for line in out.splitlines()) == STAGES
    assert sum("  done      " in line for line in out.splitlines()) == STAGES
    assert "[13/13]" in out


def test_the_second_time_there_is_nothing_to_do(vlactl, recipe, launcher):
    vlactl("sweep", recipe)
    answer = vlactl("sweep", recipe)
    assert answer.code == ExitCode.OK
    assert answer.out.rstrip().endswith("nothing to do")
    assert "one-step-discrete" in answer.out
    assert (launcher.opens, len(launcher.started), QuietTracker.synced) == (1, STAGES, 0)


def test_a_resumed_sweep_names_its_stages_although_the_plan_is_old(vlactl, recipe, launcher):
    launcher.fails = {"finetune smolvlm/one-step-discrete/in-domain": FailureClass.NAN}
    vlactl("sweep", recipe)
    launcher.fails.clear()
    out = vlactl("sweep", recipe).out
    assert "started   finetune smolvlm/one-step-discrete/in-domain/seed-0" in out
    assert "cached    11 stages" in out
    assert "[13/13]" in out


def test_nothing_to_do_catches_up_with_mlflow_once(vlactl, recipe, launcher, monkeypatch):
    monkeypatch.setattr(QuietTracker, "agrees", False)
    answer = vlactl("sweep", recipe)
    assert answer.code == ExitCode.OK
    assert "MLflow is behind (no route): vlactl mlflow sync" in answer.out
    for _ in range(2):
        assert vlactl("sweep", recipe).code == ExitCode.OK
    assert QuietTracker.synced == 1


def test_one_more_value_runs_only_the_new_cells(vlactl, recipe, launcher):
    vlactl("sweep", recipe)
    launcher.started.clear()
    recipe.write_text(recipe.read_text().replace("one-step-discrete]", "one-step-discrete, policy-head-continuous]"))
    assert vlactl("sweep", recipe).code == ExitCode.OK
    assert len(launcher.started) == 5
    assert all("policy-head-continuous" in name for name in launcher.started)


def test_selections_reach_the_plan(vlactl, recipe, launcher):
    answer = vlactl("sweep", recipe, "--only", "strategy=in-domain", "--skip", "formulation=one-step-discrete")
    assert answer.code == ExitCode.OK
    assert sorted(launcher.started) == [
        "data panda",
        "evaluate random",
        "evaluate smolvlm/one-step-continuous/in-domain/seed-0",
        "finetune smolvlm/one-step-continuous/in-domain/seed-0",
    ]


def test_a_dry_run_writes_and_starts_nothing(vlactl, recipe, home, launcher):
    answer = vlactl("sweep", recipe, "--dry-run")
    assert (answer.code, launcher.opens, home.exists()) == (0, 0, False)
    assert "13 to run" in answer.out


def test_a_sweep_that_lacks_something_refuses_at_its_start_and_says_what(vlactl, home, launcher, monkeypatch):
    """CALVIN's dataset and simulator: nobody should find out after a week of training."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(32))))
    monkeypatch.delenv("CALVIN_DATASETS", raising=False)
    answer = vlactl("sweep", Path(__file__).parents[2] / "recipes/paper/sota.yaml", "--yes")
    assert answer.code == ExitCode.USAGE
    assert "4 of 6 stages cannot run on this machine" in answer.err
    assert "CALVIN_DATASETS" in answer.err
    assert launcher.started == []
    assert not (home / "sweeps").exists()


@pytest.mark.parametrize(
    ("fails", "code"),
    [
        ("one-step-discrete/in-domain", ExitCode.SOME_FAILED),
        ("data panda", ExitCode.SOME_FAILED),
        ("", ExitCode.NOTHING_SUCCEEDED),
    ],
)
def test_failures_decide_the_exit_code(vlactl, recipe, launcher, fails, code):
    launcher.fails = {fails: FailureClass.NAN}
    assert vlactl("sweep", recipe).code == code


def test_a_failure_is_shown_with_its_log_and_its_cell_stays_in_the_table(vlactl, recipe, launcher, tmp_path):
    launcher.fails = {"finetune smolvlm/one-step-discrete/in-domain": FailureClass.NAN}
    answer = vlactl("sweep", recipe)
    assert "failed: finetune: nan: nan as told" in answer.out
    shown = answer.out[answer.out.index("FAILED smolvlm", answer.out.index("Two formulations")) :]
    same_as_golden("sweep_failed.txt", plainly(shown, tmp_path))


def test_fail_fast_starts_nothing_more(vlactl, recipe, launcher):
    launcher.fails = {"data stubby": FailureClass.USER_ERROR}
    answer = vlactl("sweep", recipe, "--fail-fast")
    assert answer.code == ExitCode.SOME_FAILED
    assert launcher.started == ["data panda", "evaluate random", "data stubby"], "all that was ready before the failure"
    assert "the same command goes on from here" in answer.out


def test_json_is_one_object_per_line_and_the_last_is_the_exit(vlactl, recipe, launcher):
    launcher.fails = {"finetune smolvlm/one-step-discrete/in-domain": FailureClass.NAN}
    answer = vlactl("sweep", recipe, "--json")
    kinds = [line["type"] for line in answer.lines]
    assert kinds[0] == "plan"
    assert kinds[-3:] == ["report", "sweep", "exit"]
    assert answer.lines[-1] == {"type": "exit", "code": 1}
    assert answer.lines[-2]["failed"][0]["failure"] == "nan"
    assert {line["event"] for line in answer.lines if line["type"] == "event"} >= {
        "run-started",
        "planned",
        "started",
        "done",
        "failed",
    }


def test_a_second_driver_is_told_who_holds_the_sweep(vlactl, recipe, home, launcher):
    vlactl("sweep", recipe, "--limit", 1)
    with Journal(only_folder(home) / "events.jsonl") as journal:
        journal.append(run_started("small"))
        answer = vlactl("sweep", recipe)
        as_json = vlactl("sweep", recipe, "--json")
    assert answer.code == ExitCode.LOCKED
    assert "already running" in answer.err
    assert "pid " in answer.err
    assert as_json.lines[-2]["error"] == "StoreConflict"
    assert as_json.lines[-1] == {"type": "exit", "code": 75}
    assert launcher.opens == 1


def test_a_long_sweep_asks_only_where_somebody_can_answer(vlactl, recipe, launcher, monkeypatch):
    recipe.write_text(recipe.read_text().replace("finetune: 30", "finetune: 9000"))
    asked = []
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: asked.append(args) or False)
    monkeypatch.setattr(sweep, "may_ask", lambda: True)
    answer = vlactl("sweep", recipe)
    assert (answer.code, len(asked), launcher.opens) == (0, 1, 0)
    assert "nothing was started" in answer.err
    monkeypatch.setattr(sweep, "may_ask", lambda: False)
    assert vlactl("sweep", recipe, "--limit", 1).code == 0
    monkeypatch.setattr(sweep, "may_ask", lambda: True)
    assert vlactl("sweep", recipe, "--yes").code == 0
    assert (len(asked), launcher.opens) == (1, 2)


def test_execution_options_go_before_the_recipe(vlactl, recipe, monkeypatch):
    seen = {}

    def look(loaded):
        seen["execution"] = loaded.recipe.execution
        raise KeyboardInterrupt

    monkeypatch.setattr(drive, "launcher_of", look)
    code = vlactl("sweep", recipe, "--launcher", "ray", "--address", "head:6379", "--jobs", 7, "--max-failures", 3).code
    execution = seen["execution"]
    assert (execution.launcher, execution.address, execution.jobs, execution.max_failures) == ("ray", "head:6379", 7, 3)
    assert code == ExitCode.INTERRUPTED


def test_retry_runs_only_what_failed_so(vlactl, recipe, launcher):
    launcher.fails = {
        "finetune smolvlm/one-step-discrete/in-domain": FailureClass.NAN,
        "finetune smolvlm/one-step-continuous/post-train": FailureClass.USER_ERROR,
    }
    vlactl("sweep", recipe)
    launcher.fails.clear()
    launcher.started.clear()
    assert "nothing failed with class oom" in vlactl("retry", "--class", "oom").out
    assert vlactl("retry", "small", "--class", "nan").code == ExitCode.OK
    assert launcher.started == [
        "finetune smolvlm/one-step-discrete/in-domain/seed-0",
        "evaluate smolvlm/one-step-discrete/in-domain/seed-0",
    ]
    answer = vlactl("retry", "--class", "nope")
    assert answer.code == ExitCode.USAGE
    assert "did you mean" not in answer.err
    assert "oom" in answer.err


def test_the_report_has_all_formats_and_writes_files(vlactl, recipe, launcher, tmp_path):
    vlactl("sweep", recipe)
    assert "one-step-discrete" in vlactl("report").out
    assert vlactl("report", "--format", "csv").out.count("\n") > 4
    assert json.loads(vlactl("report", recipe, "--format", "json").out)
    answer = vlactl("report", "small", "--metric", "sr1", "--format", "html", "-o", tmp_path / "r.html")
    assert (answer.code, answer.out) == (0, "")
    assert "<html" in (tmp_path / "r.html").read_text()
    answer = vlactl("report", "--metric", "sr9")
    assert (answer.code, "sr1" in answer.err) == (2, True)


def test_compare_pairs_two_cells_on_their_episodes(vlactl, recipe, launcher, tmp_path):
    vlactl("sweep", recipe)
    cells = [f"smolvlm/one-step-{kind}/in-domain" for kind in ("continuous", "discrete")]
    answer = vlactl("compare", *cells)
    assert answer.code == 0
    same_as_golden("compare.txt", answer.out)
    document = vlactl("compare", *cells, "--json").lines[0]
    assert document["rows"][0]["difference"]["mean"] == pytest.approx(1.0)
    assert document["further"] == {"a": 4, "b": 0}
    assert vlactl("compare", cells[0], "random", "--metric", "sr2").code == 0
    answer = vlactl("compare", cells[0], "smolvlm/one-step-discret/in-domain")
    assert (answer.code, f"did you mean '{cells[1]}'?" in answer.err) == (2, True)
