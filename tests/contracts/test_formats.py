"""What every source on the menu keeps to; a new source is tested by adding it to RECIPES."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.formats.synthetic import like_calvins_own
from vlactl.errors import UsageError
from vlactl.formats import SOURCES
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes
from vlactl.identity import digest

SMALL = {"embodiment": "panda", "tasks": "furniture", "episodes": 8, "image_px": 16, "noise": 0.0}


@pytest.fixture(scope="session")
def recorded(tmp_path_factory) -> Path:
    """A small dataset of the embedded world, recorded once."""
    out = tmp_path_factory.mktemp("recorded")
    SOURCES.get("tabletop")(**SMALL).record(out, lambda *_, **__: None)
    return out


@pytest.fixture(scope="session")
def calvins(tmp_path_factory) -> Path:
    """A small folder like CALVIN's own."""
    segments = [("A", "open_drawer", 5, 9), ("B", "turn_on_led", 8, 12)]
    return like_calvins_own(tmp_path_factory.mktemp("calvin"), segments)


@pytest.fixture
def fields(recorded: Path, calvins: Path) -> dict[str, dict]:
    """Kind -> fields of a small source of that kind."""
    return {"tabletop": SMALL, "recorded": {"path": str(recorded)}, "oxe": {"dataset": "bridge_orig"},
            "calvin": {"split": "custom", "path": str(calvins), "image_px": 16}}


RECORDED_HERE = [kind for kind in SOURCES if kind != "oxe"]
"""Kinds that this installation can record; the others plan."""


@pytest.mark.parametrize("kind", list(SOURCES))
def test_what_cannot_be_recorded_says_what_is_missing_and_nothing_else_does(kind: str, fields: dict, tmp_path: Path):
    source = SOURCES.get(kind)(**fields[kind])
    assert bool(source.missing()) == (kind not in RECORDED_HERE)
    if kind not in RECORDED_HERE:
        with pytest.raises(UsageError) as caught:
            source.record(tmp_path, lambda *_, **__: None)
        assert source.missing()[0] in caught.value.remedy


@pytest.mark.parametrize("kind", RECORDED_HERE)
def test_a_source_records_what_its_spaces_declare(kind: str, fields: dict, tmp_path: Path):
    source, seen = SOURCES.get(kind)(**fields[kind]), []
    summary = source.record(tmp_path, lambda done, total, unit="", **_: seen.append((done, total, unit)))
    read = RecordedEpisodes(tmp_path)
    assert read.spaces == source.spaces()
    assert (summary["episodes"], summary["digest"]) == (len(read), read.digest())
    assert seen[-1][0] == seen[-1][1] > 0
    for episode in (read[position] for position in range(len(read))):
        assert len(episode) > 0
        assert episode.instruction
        assert np.abs(episode.actions_TA).max() <= 1


@pytest.mark.parametrize("words", [0, 2])
def test_a_source_knows_whether_its_frames_have_words(words: int, tmp_path: Path):
    source = SOURCES.get("tabletop")(**SMALL, pairs_per_episode=words)
    source.record(tmp_path, lambda *_, **__: None)
    assert source.has_words == bool(words) == SOURCES.get("recorded")(path=str(tmp_path)).has_words


@pytest.mark.parametrize("kind", RECORDED_HERE)
def test_the_same_source_records_the_same_content(kind: str, fields: dict, recorded: Path, tmp_path: Path):
    def digest_of(out: str) -> str:
        (tmp_path / out).mkdir()
        return SOURCES.get(kind)(**fields[kind]).record(tmp_path / out, lambda *_, **__: None)["digest"]

    again = digest_of("again") if kind == "calvin" else RecordedEpisodes(recorded).digest()
    assert digest_of("once") == again


@pytest.mark.parametrize("kind", list(SOURCES))
def test_identity_is_plain_stable_and_can_be_read_back(kind: str, fields: dict):
    source = SOURCES.get(kind)(**fields[kind])
    hidden = {name: value for name, value in fields[kind].items() if name not in source.identity()}
    again = SOURCES.parse({**source.identity(), **hidden})
    assert digest(again.identity()) == digest(source.identity())
    program = ("import sys, json; from vlactl.formats import SOURCES; from vlactl.identity import digest\n"
               "print(digest(SOURCES.parse(json.loads(sys.argv[1])).identity()))\n"
               "heavy = {'torch', 'mujoco', 'numba', 'transformers'} & set(sys.modules); assert not heavy, heavy\n"
               "assert SOURCES.parse(json.loads(sys.argv[1])).spaces()\n"
               "heavy = {'torch', 'mujoco', 'numba', 'transformers'} & set(sys.modules); assert not heavy, heavy\n")
    import json
    run = subprocess.run([sys.executable, "-c", program, json.dumps({"kind": kind, **fields[kind]})],
                         capture_output=True, text=True, check=False)
    assert run.stdout.strip() == digest(source.identity()), run.stderr


@pytest.mark.parametrize("kind", list(SOURCES))
def test_every_field_has_help(kind: str):
    spec = SOURCES.get(kind)
    text = Path(sys.modules[spec.__module__].__file__ or "").read_text()
    for name in spec.model_fields:
        following = text[text.index(f"    {name}:"):].split("\n")[1]
        assert following.lstrip().startswith('"""'), name


@pytest.mark.parametrize("kind", list(SOURCES))
def test_a_plan_of_another_version_is_refused(kind: str, fields: dict):
    identity = SOURCES.get(kind)(**fields[kind]).identity()
    with pytest.raises(ValidationError, match="was planned with versions"):
        SOURCES.parse({**fields[kind], **identity, "versions": {"recording": 0}})


def test_names_of_the_tabletop_are_checked_when_planning():
    for field, value, known in (("embodiment", "pandora", "panda"), ("tasks", "cores", "core")):
        with pytest.raises(ValidationError, match=f"did you mean '{known}'"):
            SOURCES.get("tabletop")(**{field: value})
    with pytest.raises(ValidationError, match="unknown scene"):
        SOURCES.get("tabletop")(scenes="DZ")
    with pytest.raises(ValidationError, match="did you mean 'raycast'"):
        SOURCES.get("tabletop")(renderer="raycaster")
    with pytest.raises(ValidationError, match="different letters"):
        SOURCES.get("tabletop")(scenes="DD")


def test_how_the_pictures_are_made_is_part_of_the_spaces_and_workers_are_not_of_the_identity():
    plain, other = (SOURCES.get("tabletop")(**{**SMALL, **changes}) for changes in ({}, {"shadows": False}))
    assert plain.spaces() != other.spaces()
    assert "soft shadows" in plain.spaces().observation.pictures
    many = SOURCES.get("tabletop")(**SMALL, workers=8)
    assert (many.identity(), many.execution_settings()) == (plain.identity(), {"workers": 8})


def test_a_dataset_that_is_missing_or_another_is_a_problem_of_the_plan(recorded: Path, tmp_path: Path):
    source = SOURCES.get("recorded")
    with pytest.raises(UsageError, match="no such dataset") as caught:
        source(path=str(tmp_path / "absent")).identity()
    assert "EpisodeWriter" in caught.value.remedy
    with pytest.raises(UsageError, match="the dataset's content is"):
        source(path=str(recorded), content="0" * 16).identity()
    moved = source(path=str(recorded.rename(recorded.with_name("moved")))).identity()
    recorded.with_name("moved").rename(recorded)
    assert moved == source(path=str(recorded)).identity()


def test_a_relative_path_means_the_folder_of_the_planner(recorded: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(recorded.parent)
    source = SOURCES.get("recorded")(path=recorded.name)
    monkeypatch.chdir(tmp_path)
    assert source.record(tmp_path / "out", lambda *_, **__: None)["digest"] == RecordedEpisodes(recorded).digest()


def test_the_wrong_dataset_is_not_recorded_in_place_of_the_planned_one(recorded: Path, tmp_path: Path):
    planned = SOURCES.get("recorded")(path=str(recorded)).identity()
    other = RecordedEpisodes(recorded)
    with EpisodeWriter(tmp_path / "other", other.spaces) as writer:
        writer.add(other[0])
    with pytest.raises(UsageError, match="the dataset's content is"):
        SOURCES.parse({**planned, "path": str(tmp_path / "other")}).record(tmp_path / "out", lambda *_, **__: None)
