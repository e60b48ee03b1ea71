"""Sources that other people recorded: planned by name, recorded from a folder, refused where it is another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.formats.synthetic import InMemory, episode, like_calvins_own, silent
from vlactl.benchmarks import BENCHMARKS
from vlactl.errors import UsageError
from vlactl.formats import SOURCES, calvin, foreign
from vlactl.formats.oxe import DATASETS
from vlactl.formats.recorded import RecordedEpisodes
from vlactl.identity import digest
from vlactl.spaces import differences

SEGMENTS = [("B", "open_drawer", 100, 104), ("A", "turn_on_led", 200, 203), ("B", "close_drawer", 103, 109),
            ("A", "open_drawer", 203, 203)]


def source(**fields):
    return SOURCES.parse({"kind": "calvin", **fields})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return like_calvins_own(tmp_path / "task_AB_D", SEGMENTS)


def recorded(folder: Path, out: Path, **fields) -> RecordedEpisodes:
    out.mkdir()
    source(split="custom", path=str(folder), image_px=16, **fields).record(out, silent)
    return RecordedEpisodes(out)


def test_every_annotated_segment_becomes_an_episode_scene_by_scene(folder: Path, tmp_path: Path):
    read = recorded(folder, tmp_path / "out")
    assert list(zip(read.scenes, read.tasks, read.instructions, strict=True)) == [
        ("A", "turn_on_led", "please turn_on_led"), ("A", "open_drawer", "please open_drawer"),
        ("B", "open_drawer", "please open_drawer"), ("B", "close_drawer", "please close_drawer")]
    assert (read.ends - read.starts).tolist() == [4, 1, 5, 7]
    with np.load(folder / "training/episode_0000103.npz") as frame:  # in two windows
        for position, t in ((2, 3), (3, 0)):
            found = read[position]
            np.testing.assert_array_equal(found.actions_TA[t], frame["rel_actions"].astype(np.float32))
            np.testing.assert_array_equal(found.states_TS[t], frame["robot_obs"].astype(np.float32))
            for camera, key in enumerate(("rgb_static", "rgb_gripper")):
                resized = Image.fromarray(frame[key]).resize((16, 16), Image.Resampling.BILINEAR)
                np.testing.assert_array_equal(found.images_TKYXC[t, camera], np.asarray(resized))


def test_several_workers_and_an_interruption_change_nothing(folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("vlactl.formats.calvin.recording.UNIT_EPISODES", 1)
    expected = recorded(folder, tmp_path / "once").digest()
    out, reads = tmp_path / "again", [0]

    def dies(self, position: int):
        reads[0] += 1
        if reads[0] == 3:
            raise KeyboardInterrupt
        return getitem(self, position)

    getitem = calvin.CalvinEpisodes.__getitem__
    monkeypatch.setattr(calvin.CalvinEpisodes, "__getitem__", dies)
    with pytest.raises(KeyboardInterrupt):
        recorded(folder, out)
    assert source(split="custom", path=str(folder), image_px=16).record(out, silent)["digest"] == expected
    assert reads[0] == 3 + 2  # what was finished is not read again
    assert source(split="custom", path=str(folder), image_px=16, workers=2).identity() == \
        source(split="custom", path=str(folder), image_px=16).identity()


def test_an_official_split_plans_without_the_dataset(monkeypatch):
    monkeypatch.delenv(foreign.CALVIN_ROOT, raising=False)
    planned = source(split="ABC")
    assert planned.identity()["split"] == "ABC"
    assert "path" not in planned.identity()
    (said,) = planned.missing()
    assert "download_data.sh ABC" in said
    assert foreign.CALVIN_ROOT in said
    with pytest.raises(UsageError, match="no dataset"):
        planned.record(Path("nowhere"), silent)


def test_the_same_split_elsewhere_is_the_same_source(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(foreign.CALVIN_ROOT, str(tmp_path))
    assert source(split="D").folder == tmp_path / "task_D_D"
    assert digest(source(split="D").identity()) == digest(source(split="D", path="/elsewhere").identity())
    assert digest(source(split="D").identity()) != digest(source(split="ABCD").identity())
    (tmp_path / "task_D_D").mkdir()
    assert source(split="D").missing() == ()


def test_a_folder_that_is_not_the_whole_split_is_not_recorded_under_its_name(folder: Path, tmp_path: Path, monkeypatch):
    planned = source(split="ABC", path=str(folder), image_px=16)
    with pytest.raises(UsageError, match="4 annotated segments") as caught:
        planned.record(tmp_path, silent)
    assert "17870" in caught.value.expected
    monkeypatch.setitem(foreign.CALVIN_SPLITS, "ABC", replace(foreign.CALVIN_SPLITS["ABC"], annotated=4))
    (tmp_path / "out").mkdir()
    assert planned.record(tmp_path / "out", silent)["episodes"] == 4


def test_a_custom_folder_counts_by_content(folder: Path, tmp_path: Path):
    first = source(split="custom", path=str(folder)).identity()
    moved = folder.rename(tmp_path / "moved")
    assert source(split="custom", path=str(moved)).identity() == first
    assert source(split="custom", path=str(moved / "training")).identity() == first
    other = like_calvins_own(tmp_path / "other", [*SEGMENTS[:3], ("A", "close_drawer", 203, 203)])
    with pytest.raises(UsageError, match="the dataset's content is"):
        source(split="custom", path=str(other), content=first["content"]).identity()
    (moved / "training/episode_0000104.npz").unlink()
    with pytest.raises(UsageError, match="annotated frame is missing"):
        source(split="custom", path=str(moved)).identity()


def test_what_a_split_cannot_be_is_refused(folder: Path):
    with pytest.raises(ValidationError, match="needs a folder"):
        source(split="custom")
    with pytest.raises(ValidationError, match="is official"):
        source(split="ABC", renderer="tiny")


def test_an_export_of_ours_is_not_taken_for_calvins(tmp_path: Path):
    (tmp_path / "export").mkdir()
    calvin.write(InMemory([episode(3)]), tmp_path / "export", silent)
    with pytest.raises(UsageError, match="export of vlactl's") as caught:
        source(split="custom", path=str(tmp_path / "export")).record(tmp_path, silent)
    assert "--to vlactl" in caught.value.remedy


def test_a_policy_trained_on_the_source_fits_the_benchmark():
    benchmark = BENCHMARKS.parse({"kind": "calvin"})
    assert source(split="ABC").spaces() == benchmark.spaces()
    assert source(split="ABC", image_px=64).spaces() != benchmark.spaces()
    for dataset, suite in (("fractal20220817_data", "google-robot"), ("bridge_orig", "widowx")):
        assert SOURCES.parse({"kind": "oxe", "dataset": dataset}).spaces() == \
            BENCHMARKS.parse({"kind": "simplerenv", "suite": suite}).spaces()


def test_all_datasets_of_the_mixture_speak_one_language():
    """They differ in what other embodiments may differ in: the robot and its rate."""
    bridge = SOURCES.parse({"kind": "oxe", "dataset": "bridge_orig"}).spaces()
    for dataset in DATASETS:
        spaces = SOURCES.parse({"kind": "oxe", "dataset": dataset}).spaces()
        assert not differences(bridge, spaces, ignore=("embodiment", "action.rate_hz"))


def test_a_dataset_is_planned_by_its_name_and_version():
    planned = SOURCES.parse({"kind": "oxe", "dataset": "language_table"})
    assert planned.identity()["version"] == "0.0.1"
    assert digest(planned.identity()) == digest(SOURCES.parse(planned.identity()).identity())
    other = SOURCES.parse({"kind": "oxe", "dataset": "language_table", "version": "0.1.0"})
    assert planned.identity() != other.identity()
    with pytest.raises(ValidationError, match="did you mean 'taco_play'"):
        SOURCES.parse({"kind": "oxe", "dataset": "tacoplay"})


def test_the_magic_soup_is_the_published_one():
    """openvla's mixtures.py: 23 datasets; a few of its weights."""
    assert len(DATASETS) == 23
    assert {name: DATASETS[name].weight for name in ("kuka", "language_table", "taco_play", "cmu_stretch")} == {
        "kuka": 0.8341046294, "language_table": 0.1, "taco_play": 2.0, "cmu_stretch": 1.0}
