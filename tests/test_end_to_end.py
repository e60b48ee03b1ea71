"""The smallest recipe from YAML to table, as a user runs it: Ray, DeepSpeed, simulation, MLflow, kill -9, resume."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes" / "smallest.yaml"
KINDS = {"data": 2, "pretrain": 1, "finetune": 2, "evaluate": 3}
"""Stages of the smallest recipe."""


def vlactl(home: Path, *words: str, expect: int = 0) -> str:
    """Run the command line and return its standard output; fails with everything it said on another exit code."""
    done = subprocess.run([sys.executable, "-m", "vlactl", *words], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "VLACTL_HOME": str(home)}, timeout=420)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def events(home: Path) -> list[dict]:
    """The journal of the only sweep in ``home``."""
    (journal,) = (home / "sweeps").glob("*/events.jsonl")
    return [json.loads(line) for line in journal.read_text().splitlines()]


def times_done(home: Path) -> Counter[str]:
    """How often each stage was computed."""
    return Counter(event["digest"] for event in events(home) if event["event"] == "done")


def scores(home: Path, recipe: Path = RECIPE) -> list[dict[str, str]]:
    """The table, without how long training took."""
    rows = csv.DictReader(io.StringIO(vlactl(home, "report", str(recipe), "--format", "csv")))
    return [{key: value for key, value in row.items() if key != "train_s"} for row in rows]


def processes_of(home: Path) -> list[str]:
    """Command lines of living processes that carry a sweep's mark and this store in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            if b"VLACTL_SWEEP=" in environment and str(home).encode() in environment:
                state = (entry / "stat").read_text().rsplit(") ", 1)[1][0]
                if state != "Z":
                    found.append(f"{entry.name} {(entry / 'cmdline').read_bytes()!r}")
        except (OSError, IndexError):
            continue
    return found


@pytest.fixture(scope="module")
def through_ray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the smallest recipe ran through Ray."""
    home = tmp_path_factory.mktemp("ray")
    vlactl(home, "sweep", str(RECIPE), "--yes", "--launcher", "ray")
    return home


def test_every_stage_is_computed_once_and_every_cell_is_in_the_table(through_ray: Path) -> None:
    kinds = Counter(event["kind"] for event in events(through_ray) if event["event"] == "done")
    assert kinds == KINDS
    assert {row["strategy"] for row in scores(through_ray) if row["row"] == "cell"} == {"in-domain", "post-train"}
    assert {row["state"] for row in scores(through_ray)} == {"done"}


def test_policies_were_trained_by_deepspeed_and_can_be_loaded(through_ray: Path) -> None:
    from vlactl.policy import Policy

    policies = sorted((through_ray / "store" / "finetune").iterdir())
    assert len(policies) == 2
    for artifact in policies:
        manifest = json.loads((artifact / "manifest.json").read_text())
        assert manifest["result"]["ranks"] == 1
        assert manifest["provenance"]["versions"]["deepspeed"]
        curve = [json.loads(line) for line in (artifact / "metrics.jsonl").read_text().splitlines()]
        assert curve[-1]["update"] == manifest["result"]["updates"]
        assert Policy.load(artifact / "policy").card.spaces.embodiment == "panda"


def test_every_trial_has_its_run_in_mlflow_with_a_film(through_ray: Path) -> None:
    rows = sqlite3.connect(through_ray / "mlflow.db").execute(
        "select r.status, (select value from tags t where t.run_uuid = r.run_uuid and t.key = 'mlflow.parentRunId') "
        "from runs r").fetchall()
    assert len(rows) == 3
    assert {status for status, _ in rows} == {"FINISHED"}
    assert sum(parent is None for _, parent in rows) == 1
    assert len(list((through_ray / "mlartifacts").rglob("*.mp4"))) == 2


def test_the_same_command_again_finds_nothing_to_do(through_ray: Path) -> None:
    before = times_done(through_ray)
    assert "nothing to do" in vlactl(through_ray, "sweep", str(RECIPE), "--yes")
    assert times_done(through_ray) == before


def test_one_more_value_runs_only_its_own_stages(through_ray: Path, tmp_path: Path) -> None:
    wider = tmp_path / "smallest.yaml"
    wider.write_text(RECIPE.read_text().replace("[in-domain, post-train]", "[in-domain, post-train, co-train]"))
    rows = [json.loads(line) for line in vlactl(through_ray, "plan", str(wider), "--json").splitlines()]
    fresh = sorted(row["kind"] for row in rows if row["type"] == "stage" and not row["cached"])
    assert fresh == ["evaluate", "finetune"]


@pytest.mark.parametrize("finished", [1, 4])
def test_a_killed_sweep_goes_on_where_it_stopped(through_ray: Path, tmp_path: Path, finished: int) -> None:
    driver = subprocess.Popen([sys.executable, "-m", "vlactl", "sweep", str(RECIPE), "--yes", "--launcher", "local"],
                              cwd=ROOT, env={**os.environ, "VLACTL_HOME": str(tmp_path)}, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    until = time.monotonic() + 240
    while time.monotonic() < until and (not list(tmp_path.glob("sweeps/*/events.jsonl"))
                                        or sum(times_done(tmp_path).values()) < finished):
        assert driver.poll() is None, "the sweep ended before it could be killed"
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = times_done(tmp_path)
    assert sum(before.values()) >= finished

    until = time.monotonic() + 20
    while processes_of(tmp_path) and time.monotonic() < until:
        time.sleep(0.2)
    assert processes_of(tmp_path) == []

    vlactl(tmp_path, "sweep", str(RECIPE), "--yes", "--launcher", "local")
    assert set(times_done(tmp_path).values()) == {1}
    assert len(times_done(tmp_path)) == sum(KINDS.values())
    assert scores(tmp_path) == scores(through_ray)
