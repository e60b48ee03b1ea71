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


def write(path: Path, episodes: list[Episode]) -> dict:
    with EpisodeWriter(path, SPACES) as writer:
        for one in episodes:
            writer.add(one)
        return writer.close()


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
])
def test_what_does_not_fit_the_spaces_is_refused(tmp_path: Path, changes: dict, why: str):
    with pytest.raises(IncompatibleSpaces, match=why):
        write(tmp_path / "data", [episode(2), episode(2, **changes)])
    with pytest.raises(UsageError, match="recording was not finished"):
        RecordedEpisodes(tmp_path / "data")


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
