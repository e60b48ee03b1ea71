"""``gc``, ``doctor`` and driving in the background."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import time
from pathlib import Path

import pytest

from vlactl.cli import drive
from vlactl.cli.sweeps import SweepFolder
from vlactl.doctor import Check, Health, examine, machine, software
from vlactl.errors import ExitCode
from vlactl.store import Store

ROOT = Path(__file__).resolve().parents[2]


def removed(answer) -> list[str]:
    return [Path(line["path"]).name for line in answer.lines if line["type"] == "garbage"]


def old(path: Path, days: float = 30) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "checkpoint").write_text("x" * 2048)
    then = time.time() - days * 86400
    for each in (path / "checkpoint", path):
        os.utime(each, (then, then))
    return path


def test_gc_keeps_what_the_recipes_need_now(vlactl, recipe, home, launcher):
    vlactl("sweep", recipe)
    before = {artifact.digest for artifact in Store(home).manifests()}
    assert removed(vlactl("gc", "--artifacts", "--json")) == []
    vlactl("sweep", recipe, "--only", "strategy=in-domain")
    assert removed(vlactl("gc", "--artifacts", "--json")) == [], "a selection does not forget the rest"
    recipe.write_text(recipe.read_text().replace("[one-step-continuous, one-step-discrete]", "[one-step-continuous]"))
    assert removed(vlactl("gc", "--json")) == [], "artifacts go only when asked"
    gone = removed(vlactl("gc", "--artifacts", "--json"))
    assert len(gone) == 5
    assert all("one-step-discrete" in name for name in gone)
    after = {artifact.digest for artifact in Store(home).manifests()}
    assert (len(before), len(after), after < before) == (13, 8, True)
    assert "nothing to do" in vlactl("sweep", recipe).out


def test_gc_keeps_everything_of_a_recipe_that_cannot_be_read(vlactl, recipe, home, launcher):
    vlactl("sweep", recipe)
    vlactl("sweep", recipe, "--only", "strategy=in-domain", "--set", "training.updates=30")
    recipe.unlink()
    assert removed(vlactl("gc", "--artifacts", "--json")) == []


def test_gc_removes_leftovers_but_no_fresh_or_wanted_work(vlactl, recipe, home, launcher):
    vlactl("sweep", recipe)
    done = next(artifact.digest for artifact in Store(home).manifests("data"))
    work = home / "work"
    old(work / f"data-{done}", days=0)
    old(work / f"finetune-{'a' * 16}")
    old(work / f"finetune-{'b' * 16}", days=1)
    old(work / ".damaged-0123456789abcdef-1")
    dry = vlactl("gc", "--dry-run")
    assert "could be freed" in dry.out
    assert "2.0 KiB" in dry.out
    assert len(list(work.iterdir())) == 4
    names = removed(vlactl("gc", "--json"))
    assert sorted(names) == sorted([f"data-{done}", f"finetune-{'a' * 16}", ".damaged-0123456789abcdef-1"])
    assert [path.name for path in work.iterdir()] == [f"finetune-{'b' * 16}"]


def test_gc_leaves_a_stage_alone_that_somebody_has_claimed(vlactl, home):
    old(home / "work" / f"finetune-{'a' * 16}")
    with Store(home).claim("a" * 16):
        assert removed(vlactl("gc", "--json")) == []
    assert len(removed(vlactl("gc", "--json"))) == 1


# ---- doctor ----------------------------------------------------------------------------------------------------------


def test_the_doctor_checks_everything_in_order(vlactl):
    lines = vlactl("doctor", "--json").lines[:-1]
    names = [line["name"] for line in lines]
    assert names == [
        "python",
        "packages",
        "platform",
        "cores",
        "memory",
        "open files",
        "/dev/shm",
        "home",
        "gpu",
        "compiler",
        "renderer",
        "ray",
        "mlflow",
    ]
    assert all(line["found"] for line in lines)
    assert all(line["remedy"] for line in lines if line["health"] != "ok"), "what is wrong has a remedy"


def test_one_failed_check_decides_the_exit_code(vlactl, monkeypatch):
    bad = Check(name="gpu", health=Health.FAIL, found="on fire", remedy="put it out")
    monkeypatch.setattr(software, "gpu", lambda: bad)
    answer = vlactl("doctor")
    assert answer.code == ExitCode.SOME_FAILED
    assert "FAIL  gpu         on fire\n" in answer.out
    assert "-> put it out" in answer.out


def test_a_check_that_breaks_does_not_hide_the_rest(home, monkeypatch):
    def broken() -> Check:
        raise RuntimeError("driver mismatch")

    monkeypatch.setattr(software, "gpu", broken)
    found = {check.name: check for check in examine(home)}
    assert (found["gpu"].health, found["gpu"].found) == (Health.FAIL, "RuntimeError: driver mismatch")
    assert "mlflow" in found


def test_an_unreachable_server_is_a_warning_with_the_way_out(home, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
        check = software.mlflow(home)
        assert (check.health, "vlactl mlflow sync" in check.remedy) == (Health.WARN, True)
        assert "secret" not in check.found
        free.listen()
        assert software.mlflow(home).health is Health.OK


def test_a_relative_database_is_a_warning(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert software.mlflow(home).health is Health.WARN


def test_a_ray_address_that_does_not_answer_fails(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free.getsockname()[1]}")
        assert software.ray().health is Health.FAIL
        free.listen()
        assert software.ray().health is Health.OK


def test_a_full_or_unwritable_home_fails(home, monkeypatch):
    assert machine.state_folder(home).health in (Health.OK, Health.WARN)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2**20})())
    assert machine.state_folder(home).health is Health.FAIL
    monkeypatch.undo()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "VLACTL_HOME" in machine.state_folder(home).remedy


def test_a_gpu_that_torch_cannot_use_is_a_warning(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, H200, 143771, 143000, 570.1'\n")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(software, "torch_build", lambda: "2.13.0+cpu")
    check = software.gpu()
    assert (check.health, "0: H200, 140 of 140 GiB free" in check.found) == (Health.WARN, True)
    monkeypatch.setattr(software, "torch_build", lambda: "2.13.0+cu130")
    assert software.gpu().health is Health.OK
    tool.write_text("#!/bin/sh\necho 'driver/library version mismatch' >&2; exit 9\n")
    assert (software.gpu().health, software.gpu().found) == (Health.FAIL, "driver/library version mismatch")


@pytest.mark.parametrize(("text", "number"), [("max\n", None), ("4294967296\n", 2.0**32)])
def test_the_containers_memory_limit_is_read(tmp_path, monkeypatch, text, number):
    (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.cgroup_number("memory.max", "absent") == number


def test_the_containers_share_of_cores_is_read(tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.cgroup_number("cpu.max", "absent") == 1.5
    assert machine.cores().health is Health.WARN


# ---- the background --------------------------------------------------------------------------------------------------


def interpreter(tmp_path: Path, body: str) -> str:
    """An executable that runs ``body`` instead of ``-m vlactl``; its arguments are sys.argv[1:]."""
    path = tmp_path / "driver"
    path.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return str(path)


def test_a_driver_in_the_background_has_a_session_of_its_own(tmp_path, home, monkeypatch, capsys):
    folder = SweepFolder(home / "sweeps" / "small-01234567")
    body = f"""
import os, time
from pathlib import Path
from vlactl.events import Journal, run_started
folder = Path({str(folder.path)!r})
print("arguments", *sys.argv[1:], flush=True)
with Journal(folder / "events.jsonl") as journal:
    journal.append(run_started(folder.name, session=os.getsid(0)))
    time.sleep(30)
"""
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, body))
    assert drive.detach(folder, ["sweep", "r.yaml", "--yes"]) == ExitCode.OK
    pid = folder.driver()
    assert pid is not None
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert f"process {pid}" in capsys.readouterr().out
    assert "arguments -m vlactl sweep r.yaml --yes" in folder.log.read_text()
    assert json.loads(folder.journal.read_text())["session"] == pid


def test_a_driver_that_cannot_begin_hands_back_its_words_and_code(tmp_path, home, monkeypatch, capsys):
    folder = SweepFolder(home / "sweeps" / "small-01234567")
    body = "print('vlactl: no such recipe', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, body))
    assert drive.detach(folder, ["sweep", "r.yaml"]) == ExitCode.USAGE
    assert capsys.readouterr().err == "vlactl: no such recipe\n"


def test_the_background_command_selects_the_same_trials(vlactl, recipe, monkeypatch):
    seen = []
    monkeypatch.setattr(drive, "detach", lambda folder, arguments: seen.extend(arguments) or ExitCode.OK)
    code = vlactl(
        "sweep",
        recipe,
        "--detach",
        "--only",
        "strategy=in-domain",
        "--set",
        "training.updates=30",
        "--limit",
        2,
        "--jobs",
        3,
    ).code
    assert code == 0
    assert seen == [
        "sweep",
        str(recipe),
        "--yes",
        "--only",
        "strategy=in-domain",
        "--set",
        "training.updates=30",
        "--limit",
        "2",
        "--set",
        "execution.jobs=3",
    ]
