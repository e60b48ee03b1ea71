"""The episode directory: what goes in comes out, and what is not whole is refused with a remedy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlactl.episodes import Episode
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes, copy_verified
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces

SPACES = Spaces(observation=ObservationSpace(cameras=(("static", 4, 5), ("wrist", 4, 5)), state=("x_m", "y_m", "z_m")),
                action=ActionSpace(names=("x", "gripper"), control="relative-eef-pose", frame="world",
                                   position_scale_m=0.02, rotation_scale_rad=0.05, rate_hz=10.0), embodiment="panda")


def episode(frames: int, seed: int = 0, **changes) -> Episode:
    rng = np.random.default_rng(seed)
    return replace(Episode(task=f"task-{seed % 2}", instruction=f"do {seed}", embodiment="panda",
                           images_TKYXC=rng.integers(0, 256, (frames, 2, 4, 5, 3), np.uint8),
                           states_TS=rng.normal(size=(frames, 3)).astype(np.float32),
                           actions_TA=rng.uniform(-1, 1, (frames, 2)).astype(np.float32)), **changes)


def simulated(frames: int, seed: int = 0, **changes) -> Episode:
    """One from a simulator that knows CALVIN's states and its desk."""
    rng = np.random.default_rng([seed, 1])
    return episode(frames, seed, **{"robot_TR": rng.normal(size=(frames, 15)).astype(np.float32), "scene": "B",
                                    "scene_TD": rng.normal(size=(frames, 24)).astype(np.float32), **changes})


def write(path: Path, episodes: list[Episode], pairs: list[list] | None = None) -> dict:
    with EpisodeWriter(path, SPACES) as writer:
        for one, said in zip(episodes, pairs or [[]] * len(episodes), strict=True):
            writer.add(one, said)
        return writer.close()


def said(frame: int, answer: str = "red", kind: str = "question") -> dict:
    return {"frame": frame, "kind": kind, "question": "which block is it?" if kind == "question" else "",
            "answer": answer}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write(tmp_path / "data", [episode(3, 0), episode(1, 1), episode(7, 2)])
    return tmp_path / "data"


def test_episodes_come_back_as_they_were_written(dataset: Path):
    read = RecordedEpisodes(dataset)
    assert len(read) == 3
    assert read.spaces == SPACES
    for position, frames in enumerate((3, 1, 7)):
        wanted, found = episode(frames, position), read[position]
        assert (found.task, found.instruction, found.embodiment) == (wanted.task, wanted.instruction, "panda")
        for name in ("images_TKYXC", "states_TS", "actions_TA"):
            array = getattr(found, name)
            assert np.array_equal(array, getattr(wanted, name))
            assert array.dtype == getattr(wanted, name).dtype


def test_flat_arrays_hold_all_frames_one_after_another(dataset: Path):
    read = RecordedEpisodes(dataset)
    assert read.starts.tolist() == [0, 3, 4]
    assert read.ends.tolist() == [3, 4, 11]
    assert read.episode_of_N.tolist() == [0] * 3 + [1] + [2] * 7
    assert read.images_NKYXC.shape == (11, 2, 4, 5, 3)
    assert np.array_equal(read.states_NS[4:], read[2].states_TS)
    assert isinstance(read.images_NKYXC, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        read.images_NKYXC[0] = 0


def test_the_digest_is_of_the_content_only(dataset: Path, tmp_path: Path):
    same = write(tmp_path / "elsewhere", [episode(3, 0), episode(1, 1), episode(7, 2)])
    assert RecordedEpisodes(dataset).digest() == same["digest"]
    others = [[episode(3, 0), episode(7, 2), episode(1, 1)], [episode(3, 0), episode(1, 1)],
              [episode(3, 0), episode(1, 1), episode(7, 2, instruction="other")]]
    found = {write(tmp_path / str(n), episodes)["digest"] for n, episodes in enumerate(others)}
    assert len(found | {same["digest"]}) == 4


def test_states_of_a_simulator_its_desk_and_words_about_frames_come_back(tmp_path: Path):
    episodes = [simulated(3, 0), simulated(4, 1, scene="D")]
    write(tmp_path / "data", episodes, [[said(2)], [said(0, "blue", "caption"), said(3)]])
    read = RecordedEpisodes(tmp_path / "data")
    assert read.scenes == ["B", "D"]
    assert read.robot_NR is not None
    assert read.robot_NR.shape == (7, 15)
    for position, wanted in enumerate(episodes):
        assert np.array_equal(read[position].robot_TR, wanted.robot_TR)
        assert np.array_equal(read[position].scene_TD, wanted.scene_TD)
        assert read[position].scene == wanted.scene
    assert read.pairs() == [said(2), said(3, "blue", "caption"), said(6)], "frames of the directory"


def test_what_is_optional_is_absent_in_other_peoples_data(dataset: Path):
    read = RecordedEpisodes(dataset)
    assert (read.robot_NR, read.scene_ND, read.pairs()) == (None, None, [])
    assert (read[0].robot_TR, read[0].scene_TD, read[0].scene) == (None, None, "")
    assert {file.stem for file in dataset.iterdir()} == {"images", "states", "actions", "episodes", "spaces", "index"}


def test_all_that_is_optional_counts_in_the_digest(tmp_path: Path):
    other = simulated(3, 0)
    variants = [([simulated(3, 0)], None), ([simulated(3, 0, robot_TR=None)], None),
                ([simulated(3, 0, scene_TD=None)], None), ([simulated(3, 0, scene="C")], None),
                ([simulated(3, 0, robot_TR=other.robot_TR + 1)], None), ([simulated(3, 0)], [[said(1)]]),
                ([simulated(3, 0)], [[said(2)]])]
    found = [write(tmp_path / str(n), *variant)["digest"] for n, variant in enumerate(variants)]
    assert len(set(found)) == len(found)


def test_directories_are_appended_whole_and_checked(dataset: Path, tmp_path: Path):
    write(tmp_path / "a", [simulated(3, 0)], [[said(2)]])
    write(tmp_path / "b", [simulated(1, 1), simulated(5, 2)], [[], [said(4)]])
    together = write(tmp_path / "ab", [simulated(3, 0), simulated(1, 1), simulated(5, 2)], [[said(2)], [], [said(4)]])
    with EpisodeWriter(tmp_path / "joined", SPACES) as writer:
        done = writer.append(tmp_path / "a")
        assert writer.append(tmp_path / "b", done=done) > done
        assert writer.close() == together
    with EpisodeWriter(tmp_path / "mixed", SPACES) as writer:
        writer.append(tmp_path / "a")
        with pytest.raises(IncompatibleSpaces, match="it has the arrays"):
            writer.append(dataset)


@pytest.mark.parametrize("name", ["episodes.json", "pairs.json"])
def test_words_that_were_changed_are_not_appended(tmp_path: Path, name: str):
    write(tmp_path / "a", [simulated(3, 0)], [[said(2)]])
    file = tmp_path / "a" / name
    file.write_text(file.read_text().replace("do 0", "do 1").replace("red", "blue"))
    with EpisodeWriter(tmp_path / "b", SPACES) as writer, pytest.raises(UsageError, match=f"{name}: the content"):
        writer.append(tmp_path / "a")


def test_the_summary_counts(dataset: Path, tmp_path: Path):
    summary = write(tmp_path / "more", [episode(2, 0), episode(3, 2), episode(4, 1)])
    assert {key: summary[key] for key in ("episodes", "frames", "tasks")} == {
        "episodes": 3, "frames": 9, "tasks": {"task-0": 2, "task-1": 1}}


@pytest.mark.parametrize(("changes", "why"), [
    ({"embodiment": "stubby"}, "of embodiment 'stubby'"),
    ({"images_TKYXC": np.zeros((2, 2, 4, 4, 3), np.uint8)}, "images are uint8"),
    ({"images_TKYXC": np.zeros((2, 2, 4, 5, 3), np.float32)}, "images are float32"),
    ({"states_TS": np.zeros((2, 2), np.float32)}, "states are"),
    ({"states_TS": np.full((2, 3), np.nan, np.float32)}, "not finite"),
    ({"actions_TA": np.full((2, 2), 1.5, np.float32)}, "outside"),
    ({"actions_TA": np.full((2, 2), np.nan, np.float32)}, "not finite"),
    ({"actions_TA": np.zeros((1, 2), np.float32)}, "images are"),
    ({"robot_TR": np.zeros((2, 15), np.float32)}, r"it has the arrays \['actions', 'images', 'robot', 'states'\]"),
])
def test_what_does_not_fit_the_spaces_is_refused(tmp_path: Path, changes: dict, why: str):
    with pytest.raises(IncompatibleSpaces, match=why):
        write(tmp_path / "data", [episode(2), episode(2, **changes)])
    with pytest.raises(UsageError, match="recording was not finished"):
        RecordedEpisodes(tmp_path / "data")


@pytest.mark.parametrize(("changes", "why"), [
    ({"robot_TR": np.zeros((2, 14), np.float32)}, "robot are"), ({"robot_TR": None}, "it has the arrays"),
    ({"scene_TD": np.zeros((2, 24))}, "scene are float64"),
    ({"scene_TD": np.full((2, 24), np.inf, np.float32)}, "not finite"),
])
def test_states_of_a_simulator_are_calvins_and_in_all_episodes(tmp_path: Path, changes: dict, why: str):
    with pytest.raises(IncompatibleSpaces, match=why):
        write(tmp_path / "data", [simulated(2), simulated(2, **changes)])


@pytest.mark.parametrize("pair", [said(2), said(-1), said(0, ""), said(0, kind="riddle")])
def test_words_about_no_frame_or_of_no_kind_are_refused(tmp_path: Path, pair: dict):
    with pytest.raises(IncompatibleSpaces, match="no pair of picture and words"):
        write(tmp_path / "data", [episode(2)], [[pair]])


def test_the_format_before_this_one_is_refused_by_name(dataset: Path):
    index = json.loads((dataset / "index.json").read_text())
    (dataset / "index.json").write_text(json.dumps({**index, "format": 1}))
    with pytest.raises(UsageError, match="the dataset is of format 1") as caught:
        RecordedEpisodes(dataset)
    assert "format 2" in caught.value.expected
    assert "record it again" in caught.value.remedy


def test_cameras_of_different_sizes_are_refused(tmp_path: Path):
    seen = replace(SPACES.observation, cameras=(("static", 4, 5), ("wrist", 8, 5)))
    with pytest.raises(IncompatibleSpaces, match="different sizes"):
        EpisodeWriter(tmp_path, replace(SPACES, observation=seen))


def test_a_recording_that_was_not_finished_is_no_dataset(tmp_path: Path):
    writer = EpisodeWriter(tmp_path, SPACES)
    writer.add(episode(3))
    with pytest.raises(UsageError, match="recording was not finished"):
        RecordedEpisodes(tmp_path)
    with pytest.raises(UsageError, match="no such dataset"):
        RecordedEpisodes(tmp_path / "absent")


def test_a_dataset_is_never_written_over(dataset: Path):
    with pytest.raises(UsageError, match="there already"):
        EpisodeWriter(dataset, SPACES)


@pytest.mark.parametrize("name", ["images.npy", "states.npy", "actions.npy", "episodes.json", "spaces.json"])
@pytest.mark.parametrize("damage", ["removed", "cut short"])
def test_a_missing_or_truncated_file_is_named(dataset: Path, name: str, damage: str):
    file = dataset / name
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UsageError, match=name) as caught:
        RecordedEpisodes(dataset)
    assert caught.value.remedy


@pytest.mark.parametrize("change", [{"frames": 12}, {"format": 9}, {"sha256": {}}, {"shapes": {"images": [1]}}])
def test_an_index_that_was_tampered_with_is_refused(dataset: Path, change: dict):
    index = json.loads((dataset / "index.json").read_text())
    (dataset / "index.json").write_text(json.dumps({**index, **change}))
    with pytest.raises(UsageError):
        RecordedEpisodes(dataset)


@pytest.mark.parametrize(("position", "key", "value"),
                         [(1, "end", 5), (1, "start", 2), (2, "end", 10), (0, "start", 1)])
def test_episodes_that_overlap_or_leave_frames_out_are_refused(dataset: Path, position: int, key: str, value: int):
    rows = json.loads((dataset / "episodes.json").read_text())
    rows[position][key] = value
    (dataset / "episodes.json").write_text(json.dumps(rows))
    with pytest.raises(UsageError, match="do not cover the frames"):
        RecordedEpisodes(dataset)


def test_a_copy_is_checked_byte_by_byte(dataset: Path, tmp_path: Path):
    seen = []
    summary = copy_verified(dataset, tmp_path / "copy", lambda done, total, unit: seen.append((done, total, unit)))
    assert summary["digest"] == RecordedEpisodes(tmp_path / "copy").digest() == RecordedEpisodes(dataset).digest()
    assert seen[-1][0] == seen[-1][1]
    data = bytearray((dataset / "images.npy").read_bytes())
    data[-1] ^= 1
    (dataset / "images.npy").write_bytes(data)
    with pytest.raises(UsageError, match="not what the index says"):
        copy_verified(dataset, tmp_path / "second", lambda *_, **__: None)
    with pytest.raises(UsageError, match="recording was not finished"):
        RecordedEpisodes(tmp_path / "second")
