"""Stage bodies start again after being killed at any line, and rebuild every spec from what the plan wrote down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlactl import stages
from vlactl.backbones import BACKBONES
from vlactl.benchmarks import Tabletop
from vlactl.errors import StageFailed
from vlactl.identity import identity_of, plain


def work_dir(path: Path, kind: str, identity: dict, inputs: dict | None = None, execution: dict | None = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "stage.json").write_text(json.dumps({
        "kind": kind, "digest": "0" * 16, "label": "a stage", "identity": identity, "inputs": inputs or {},
        "execution": execution or {}}))
    return path


def evaluation(chains: int, **changed) -> dict:
    spec = Tabletop(chains=chains, steps_per_task=4)
    return {"evaluation": identity_of(spec), "protocol": {**plain(spec.protocol()), **changed}, "policy": "random"}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_evaluation_goes_on_with_the_episodes_that_have_no_record(tmp_path):
    whole = work_dir(tmp_path / "whole", "evaluate", evaluation(4))
    stages.main(whole)
    torn = work_dir(tmp_path / "torn", "evaluate", evaluation(4))
    (torn / "out").mkdir()
    first, second, *_ = (whole / "out" / "rollouts.jsonl").read_text().splitlines()
    marked = json.dumps({**json.loads(first), "detail": "from before the kill"})
    (torn / "out" / "rollouts.jsonl").write_text(f"{marked}\n{second[:40]}")
    stages.main(torn)
    records = lines(torn / "out" / "rollouts.jsonl")
    assert [record["detail"] for record in records] == ["from before the kill", "", "", ""]
    wanted = {record["key"] for record in lines(whole / "out" / "rollouts.jsonl")}
    assert {record["key"] for record in records} == wanted
    scores = [json.loads((path / "result.json").read_text()) for path in (whole, torn)]
    assert scores[0]["per_task"] == scores[1]["per_task"]
    assert scores[0]["episodes"] == scores[1]["episodes"] == 4


def test_an_evaluation_under_another_protocol_than_planned_is_refused(tmp_path):
    path = work_dir(tmp_path / "work", "evaluate", evaluation(1, mujoco="0.1"))
    with pytest.raises(StageFailed, match=r"mujoco: 0.1 \(here"):
        stages.main(path)
    assert not (path / "result.json").exists()


def test_a_recording_that_was_killed_goes_on(tmp_path):
    from vlactl.formats import SOURCES
    from vlactl.formats.recorded import RecordedEpisodes
    from vlactl.formats.recording import Recording
    from vlactl.formats.tabletop import divided, record_unit

    source = SOURCES.get("tabletop")(tasks="furniture", episodes=40, image_px=16)
    path = work_dir(tmp_path / "work", "data", {"source": identity_of(source)})
    first = divided(source)[0]
    with Recording(path / "out", identity_of(source), source.spaces()).claimed():
        record_unit(source, path / "out", first, lambda *_: None)
    (path / "out" / "units" / "00001.partial").mkdir()
    heard = []
    stages.record(stages.Work.open(path), lambda done, total, unit="", **_: heard.append((done, total, unit)))
    assert (first.episodes, 40, "episodes") in heard
    assert (0, 40, "episodes") not in heard
    assert len(RecordedEpisodes(path / "out")) == 40
    assert not (path / "out" / "units").exists()


def test_a_copy_of_a_dataset_that_was_killed_starts_over(tmp_path):
    from vlactl.formats import SOURCES
    from vlactl.formats.recorded import RecordedEpisodes

    SOURCES.get("tabletop")(tasks="furniture", episodes=4, image_px=16).record(tmp_path / "mine", lambda *_, **__: None)
    source = SOURCES.get("recorded")(path=str(tmp_path / "mine"))
    path = work_dir(tmp_path / "work", "data", {"source": identity_of(source)},
                    execution={"source": source.execution_settings()})
    (path / "out").mkdir()
    (path / "out" / "left over").touch()
    stages.main(path)
    assert len(RecordedEpisodes(path / "out")) == 4
    assert not (path / "out" / "left over").exists()
    assert json.loads((path / "result.json").read_text())["episodes"] == 4


def test_the_curve_of_a_resumed_run_has_every_update_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    before = stages.Curve(path)
    for update in (20, 40, 60):
        before({"update": update, "loss": 1.0})
    with path.open("a") as file:
        file.write('{"update": 80, "lo')
    after = stages.Curve(path)
    for update in (60, 80):
        after({"update": update, "loss": 2.0})
    assert [(row["update"], row["loss"]) for row in lines(path)] == [(20, 1.0), (40, 1.0), (60, 2.0), (80, 2.0)]


def test_a_heartbeat_is_throttled_but_always_says_the_end(tmp_path):
    beat = stages.Heartbeat(tmp_path / "progress.json", writes=True)
    for done in range(1, 101):
        beat(done, 100, unit="updates", loss=1 / done)
    document = json.loads((tmp_path / "progress.json").read_text())
    assert document["done"] == document["total"] == 100
    assert list(tmp_path.iterdir()) == [tmp_path / "progress.json"]
    stages.Heartbeat(tmp_path / "other.json", writes=False)(1, 1)
    assert not (tmp_path / "other.json").exists()


def test_a_weight_folder_counts_by_content_and_is_found_by_its_path(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    here, there = (BACKBONES.get("smolvlm")(weights=str(tmp_path / name)) for name in ("here", "there"))
    assert identity_of(here) == identity_of(there)
    for spec in (here, there):
        work = stages.Work.open(work_dir(tmp_path / "work", "finetune", {"backbone": identity_of(spec)},
                                         execution={"backbone": spec.execution_settings()}))
        rebuilt = BACKBONES.parse(stages.spec_of(work, "backbone"))
        assert rebuilt.folder == spec.folder
        assert identity_of(rebuilt) == identity_of(spec)
