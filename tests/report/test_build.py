"""What a report says: every cell, its interval, its protocol, and which differences are real."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.finished_sweep import PROTOCOL, Sweep
from vlactl import statistics
from vlactl.errors import StoreError, UnknownName, UsageError
from vlactl.report import Report, Row, build


def row_of(report: Report, *values: str) -> Row:
    return next(row for row in report.rows if tuple(value for _, value in row.cell) == values)


def planned(sweep: Sweep) -> dict:
    """The journal's event that names every stage."""
    stages = [(digest, kind, kind) for trial in sweep.plan.trials.values()
              for kind, digest in (("data", trial.data[0]), ("pretrain", trial.pretrain[0]),
                                   ("finetune", trial.finetune),
                                   ("evaluate", trial.evaluate))]
    return {"event": "planned", "plan": "p", "stages": list(dict.fromkeys(stages))}


def failed(digest: str, failure: str, message: str) -> dict:
    return {"event": "failed", "digest": digest, "failure": failure, "message": message, "seconds": 1.0}


def test_rows_are_best_first_with_the_scores_of_their_rollouts(sweep: Sweep) -> None:
    report = build(sweep.recipe, sweep.plan, sweep.store)
    means = [row.estimate.mean for row in report.rows]
    assert means == sorted(means, reverse=True)
    assert {dict(row.cell)["formulation"] for row in report.rows[:2]} == {"policy-head"}
    trial = next(trial for trial in sweep.recipe.trials if trial.cell == report.rows[0].cell)
    chance = 0.85 if dict(trial.cell)["backbone"] == "smolvlm" else 0.8
    solved_N = sweep.chains(chance, trial.id)
    row = report.rows[0]
    assert row.estimate == statistics.bootstrap_mean(solved_N, bounds=(0, 5))
    assert [rate.mean for rate in row.rates] == [np.mean(solved_N >= k) for k in range(1, 6)]
    assert (row.n, row.seeds, row.updates, row.train_s) == (40, 1, 50, 60.0)


def test_differences_are_paired_and_adjusted(sweep: Sweep) -> None:
    report = build(sweep.recipe, sweep.plan, sweep.store)
    assert report.rows[0].behind is None
    worst = report.rows[-1]
    assert worst.behind.difference == pytest.approx(report.rows[0].estimate.mean - worst.estimate.mean)
    assert worst.p_adjusted >= worst.behind.p
    assert not set(worst.letters) & set(report.rows[0].letters)
    assert "One training seed each: this compares checkpoints, not designs." in report.answer
    assert sum(row.best for row in report.rows) == pytest.approx(1.0)


def test_the_metric_can_be_a_success_rate(sweep: Sweep) -> None:
    report = build(sweep.recipe, sweep.plan, sweep.store, metric="sr1")
    assert all(row.estimate == row.rates[0] for row in report.rows)
    assert "SR@1 %" in report.answer


def test_references_stand_beside_the_cells_and_never_among_them(sweep: Sweep) -> None:
    report = build(sweep.recipe, sweep.plan, sweep.store)
    assert [(row.reference, row.letters) for row in report.references] == [("expert", ""), ("random", "")]
    assert all(not row.reference for row in report.rows)
    assert "Its interval lies clear of the random policy's" in report.answer


def test_every_cell_is_shown_whatever_became_of_it(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, backbones=("a", "b", "c", "d", "e"), formulations=("one-step",))
    done, broken, below, waiting, dead = sweep.recipe.trials
    for trial in (done, broken, waiting):
        sweep.train(trial)
    sweep.evaluate(sweep.plan.trials[done.id].evaluate, sweep.chains(0.7, done.id))
    sweep.recipe.excluded = (SimpleNamespace(cell=(("backbone", "f"), ("formulation", "one-step")),
                                             because="f has no language head", where="r.yaml:9:3"),)
    events = [planned(sweep), failed(sweep.plan.trials[broken.id].evaluate, "nan", "loss is nan\nat update 3"),
              failed(sweep.plan.trials[below.id].pretrain[0], "oom", "out of memory"),
              {"event": "started", "digest": sweep.plan.trials[dead.id].finetune}]
    report = build(sweep.recipe, sweep.plan, sweep.store, state=sweep.state(*events))
    told = {row.cell[0][1]: (row.state, row.detail) for row in report.rows}
    assert told == {"a": ("done", ""), "b": ("failed", "evaluate: nan: loss is nan"),
                    "c": ("upstream_failed", "pretrain: oom: out of memory"),
                    "d": ("unfinished", "evaluate has not run"), "e": ("unfinished", "finetune is running"),
                    "f": ("excluded", "f has no language head")}
    assert report.notes[0] == "6 cells: 1 done, 1 failed, 1 upstream failed, 2 unfinished, 1 excluded."


def test_a_cell_with_a_seed_missing_says_so(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, backbones=("a",), formulations=("x", "y"), seeds=(0, 1))
    sweep.finish(lambda trial: 0.6 if trial.seed == 0 or dict(trial.cell)["formulation"] == "x" else 0.7)
    lost = next(trial for trial in sweep.recipe.trials if trial.seed == 1 and trial.cell[1][1] == "y")
    sweep.plan.trials[lost.id].evaluate = "0" * 16
    row = row_of(build(sweep.recipe, sweep.plan, sweep.store), "a", "y")
    assert (row.state, row.seeds, row.seeds_wanted) == ("partial", 1, 2)
    assert row.detail == "seed 1 missing (evaluate has not run)"


def test_seeds_make_it_a_comparison_of_designs(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, seeds=(0, 1, 2))
    sweep.finish(lambda trial: 0.85 if dict(trial.cell)["formulation"] == "policy-head" else 0.4)
    report = build(sweep.recipe, sweep.plan, sweep.store)
    assert report.designs
    assert len(report.rows) == 4
    assert report.rows[0].seeds == 3
    assert len(report.rows[0].per_seed) == 3
    assert report.rows[-1].behind.designs
    assert report.rows[-1].behind.low > 0
    assert "compares designs over 3 seeds" in report.answer


def test_episodes_lost_to_infrastructure_are_not_scored_but_counted(sweep: Sweep) -> None:
    trial = sweep.recipe.trials[0]
    sweep.plan.trials[trial.id].evaluate = "1" * 16
    sweep.evaluate("1" * 16, [5] * 38 + [0, 0], statuses={38: "infra_error", 39: "invalid_action"})
    report = build(sweep.recipe, sweep.plan, sweep.store)
    row = next(row for row in report.rows if row.cell == trial.cell)
    assert (row.n, row.infra, row.invalid) == (39, 1, 1)
    assert row.estimate.mean == pytest.approx(38 * 5 / 39)
    assert report.shared == 39
    assert any("do not trust: llava / one-step (1)" in note for note in report.notes)


def test_marginal_means_are_over_what_is_balanced(tmp_path: Path) -> None:
    """Without balance 'y' would look better: it was only tried on the strong backbone."""
    sweep = Sweep(tmp_path, backbones=("weak", "strong"), formulations=("x", "y"))
    sweep.finish(lambda trial: 0.4 if dict(trial.cell)["backbone"] == "weak" else 0.8)
    hole = next(trial for trial in sweep.recipe.trials if trial.cell == (("backbone", "weak"), ("formulation", "y")))
    sweep.plan.trials[hole.id].evaluate = "2" * 16
    report = build(sweep.recipe, sweep.plan, sweep.store, by="formulation")
    (margin,) = report.margins
    strong = {value: row_of(report, "strong", value).estimate.mean for value in ("x", "y")}
    assert (margin.axis, margin.blocks) == ("formulation", 1)
    assert {level.value: level.estimate.mean for level in margin.levels} == pytest.approx(strong)
    assert margin.note == "1 of 2 combinations are complete"
    assert {level.value: level.cells for level in margin.levels} == {"x": 2, "y": 1}


def test_effects_of_an_axis_sum_to_nothing_and_find_the_better_value(sweep: Sweep) -> None:
    report = build(sweep.recipe, sweep.plan, sweep.store)
    margin = next(margin for margin in report.margins if margin.axis == "formulation")
    assert [level.value for level in margin.levels] == ["policy-head", "one-step"]
    assert sum(level.effect.difference for level in margin.levels) == pytest.approx(0.0, abs=1e-12)
    means = {value: np.mean([row.estimate.mean for row in report.rows if dict(row.cell)["formulation"] == value])
             for value in ("policy-head", "one-step")}
    assert {level.value: level.estimate.mean for level in margin.levels} == pytest.approx(means)


def test_two_protocols_are_refused_with_the_fields_in_which_they_differ(sweep: Sweep) -> None:
    trial = sweep.recipe.trials[0]
    sweep.plan.trials[trial.id].evaluate = "3" * 16
    sweep.evaluate("3" * 16, [1] * 40, protocol={**PROTOCOL, "steps_per_task": 60})
    with pytest.raises(UsageError, match=r"steps_per_task: 60 .* against 120") as error:
        build(sweep.recipe, sweep.plan, sweep.store)
    assert "renderer" not in str(error.value)
    for allowed in ("steps_per_task", "*"):
        report = build(sweep.recipe, sweep.plan, sweep.store, ignore=(allowed,))
        assert report.notes[0].startswith("Rows differ in their protocol: steps_per_task (ignored as asked)")
        assert report.protocol_digest == ""
    with pytest.raises(UsageError, match="steps_per_task"):
        build(sweep.recipe, sweep.plan, sweep.store, ignore=("steps", "renderer"))


def test_the_protocol_line_names_what_a_score_depends_on(sweep: Sweep) -> None:
    report = build(sweep.recipe, sweep.plan, sweep.store)
    assert report.protocol == (f"tabletop ({report.protocol_digest}), scene D, tasks core, chains 40, "
                               "steps_per_task 120, renderer raycaster")


def test_nothing_done_is_a_report_too(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    report = build(sweep.recipe, sweep.plan, sweep.store)
    assert report.answer == "No cell has a score yet."
    assert [row.state for row in report.rows] == ["unfinished"] * 4
    assert [row.state for row in report.references] == ["unfinished"] * 2


def test_unknown_metric_and_axis_are_named_with_what_there_is(sweep: Sweep) -> None:
    with pytest.raises(UnknownName, match="unknown metric 'avg_length'") as error:
        build(sweep.recipe, sweep.plan, sweep.store, metric="avg_length")
    assert "did you mean 'avg_len'?" in str(error.value)
    with pytest.raises(UnknownName, match="unknown axis 'seed'"):
        build(sweep.recipe, sweep.plan, sweep.store, by="seed")


def test_a_damaged_artifact_is_an_error_and_not_a_lower_score(sweep: Sweep) -> None:
    artifact = sweep.store.artifact(sweep.plan.trials[sweep.recipe.trials[0].id].evaluate)
    rollouts = artifact.path / "rollouts.jsonl"
    rollouts.write_bytes(rollouts.read_bytes()[:-2] + b"x\n")
    with pytest.raises(StoreError, match=r"rollouts\.jsonl"):
        build(sweep.recipe, sweep.plan, sweep.store)


def test_a_hundred_cells_take_less_than_a_second(tmp_path: Path) -> None:
    names = [f"value-{i}" for i in range(10)]
    sweep = Sweep(tmp_path, backbones=names, formulations=names, episodes=50)
    for index, trial in enumerate(sweep.recipe.trials):
        sweep.evaluate(sweep.plan.trials[trial.id].evaluate, sweep.chains(0.2 + 0.007 * index, trial.id))
    build(sweep.recipe, sweep.plan, sweep.store)            # imports, caches of the store
    began = time.process_time()
    report = build(sweep.recipe, sweep.plan, sweep.store)
    assert time.process_time() - began < 1.0
    assert len(report.rows) == 100


def test_report_imports_nothing_heavy() -> None:
    code = ("import sys, vlactl.report, vlactl.report.assembly, vlactl.report.terminal, vlactl.report.html\n"
            "print([name for name in ('torch', 'ray', 'mlflow', 'pandas', 'scipy.stats') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
