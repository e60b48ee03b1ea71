"""CALVIN's directory format: what it promises its own readers, and that nothing is lost on the way and back."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.formats.synthetic import (
    ACTION,
    SEEN,
    SPACES,
    InMemory,
    assert_equal,
    datasets,
    episode,
    like_calvins_own,
    pairs,
    silent,
)
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats.calvin import CalvinEpisodes, write
from vlactl.formats.calvin.writer import halves

FOUR = [episode(3, 0, scene="D", task="open_drawer", instruction="open it"),
        episode(1, 1, scene="A", task="turn_on_led", instruction="press the “button”"),
        episode(4, 2, scene="D", task="open_drawer", instruction="pull the handle"),
        episode(2, 3, scene="B", task="open_drawer", instruction="open it")]


@pytest.fixture
def dataset() -> InMemory:
    return InMemory(FOUR, pairs=pairs(FOUR))


@pytest.fixture
def export(dataset: InMemory, tmp_path: Path) -> Path:
    out = tmp_path / "export"
    out.mkdir()
    write(dataset, out, silent)
    return out


def annotated(half: Path) -> dict:
    return np.load(half / "lang_annotations/auto_lang_ann.npy", allow_pickle=True).item()


@settings(max_examples=20, deadline=None)
@given(datasets(simulated=st.just(True)))
def test_what_is_read_back_is_equal(dataset: InMemory):
    with tempfile.TemporaryDirectory() as folder:
        write(dataset, Path(folder), silent)
        assert_equal(CalvinEpisodes(Path(folder)), dataset)


def test_frames_are_what_calvins_loaders_expect(export: Path):
    """Ordered by scene: A (episode 1), B (3), D (0, 2)."""
    assert len(list((export / "training").glob("episode_*.npz"))) == 10
    with np.load(export / "training/episode_0001003.npz", allow_pickle=False) as frame:
        assert set(frame) == {"actions", "rel_actions", "robot_obs", "scene_obs", "rgb_static", "rgb_gripper",
                              "vlactl_state"}
        for key, width in (("actions", 7), ("rel_actions", 7), ("robot_obs", 15), ("scene_obs", 24)):
            assert (frame[key].shape, frame[key].dtype) == ((width,), np.float64)
        np.testing.assert_array_equal(frame["rgb_static"], FOUR[0].images_TKYXC[0, 0])
        np.testing.assert_array_equal(frame["rgb_gripper"], FOUR[0].images_TKYXC[0, 1])
        np.testing.assert_array_equal(frame["rel_actions"], FOUR[0].actions_TA[0])
        assert np.abs(frame["rel_actions"]).max() <= 1


def test_absolute_actions_are_the_pose_of_the_next_frame(export: Path):
    robot_TR, actions_TA = FOUR[0].robot_TR, FOUR[0].actions_TA
    assert robot_TR is not None
    found = [np.load(export / f"training/episode_{number:07d}.npz")["actions"] for number in (1003, 1004, 1005)]
    for t in (0, 1):
        np.testing.assert_array_equal(found[t], [*robot_TR[t + 1, :6], actions_TA[t, 6]])
    np.testing.assert_allclose(found[2][:3], robot_TR[2, :3] + 0.06 * actions_TA[2, :3], rtol=1e-6)
    turn = Rotation.from_euler("xyz", found[2][3:6]) * Rotation.from_euler("xyz", robot_TR[2, 3:6]).inv()
    np.testing.assert_allclose(turn.as_rotvec(), 0.15 * actions_TA[2, 3:6], atol=1e-6)
    assert found[2][6] == actions_TA[2, 6]


def test_annotations_point_at_whole_demonstrations(export: Path):
    found = annotated(export / "training")
    assert found["language"]["ann"] == ["press the “button”", "open it", "open it", "pull the handle"]
    assert found["language"]["task"] == ["turn_on_led", "open_drawer", "open_drawer", "open_drawer"]
    assert found["info"] == {"episodes": [], "indx": [(1000, 1000), (1001, 1002), (1003, 1005), (1006, 1009)]}
    assert found["language"]["emb"].shape == (4, 1, 384)
    assert np.isnan(found["language"]["emb"]).all()
    ranges = np.load(export / "training/ep_start_end_ids.npy")
    assert ranges.tolist() == [[1000, 1000], [1001, 1002], [1003, 1005], [1006, 1009]]
    assert np.load(export / "training/ep_lens.npy").tolist() == [1, 2, 3, 4]
    assert np.load(export / "training/scene_info.npy", allow_pickle=True).item() == {
        "tabletop_scene_A": [1000, 1000], "tabletop_scene_B": [1001, 1002], "tabletop_scene_D": [1003, 1009]}


def test_statistics_are_those_of_the_half(export: Path):
    found = yaml.safe_load((export / "training/statistics.yaml").read_text())
    robot_NR = np.concatenate([one.robot_TR for one in FOUR if one.robot_TR is not None]).astype(np.float64)
    (transform,) = found["robot_obs"]
    np.testing.assert_allclose(transform["mean"], robot_NR.mean(0), rtol=1e-9)
    np.testing.assert_allclose(transform["std"], robot_NR.std(0), rtol=1e-9)
    actions = np.stack([np.load(file)["actions"] for file in (export / "training").glob("episode_*.npz")])
    np.testing.assert_allclose(found["act_min_bound"], actions.min(0))
    np.testing.assert_allclose(found["act_max_bound"], actions.max(0))
    assert len(found["scene_obs"][0]["mean"]) == 24


def test_a_split_puts_scenes_into_training_and_validation(dataset: InMemory, tmp_path: Path):
    summary = write(dataset, tmp_path, silent, split="AB_D")
    assert summary["halves"] == {"training": 2, "validation": 2}
    assert annotated(tmp_path / "training")["info"]["indx"] == [(1000, 1000), (1001, 1002)]
    assert annotated(tmp_path / "validation")["info"]["indx"] == [(1003, 1005), (1006, 1009)]
    said = np.load(tmp_path / "validation/lang_annotations/embeddings.npy", allow_pickle=True).item()
    assert {task: entry["ann"] for task, entry in said.items()} == {"open_drawer": ["open it"]}
    assert_equal(CalvinEpisodes(tmp_path), dataset)


@pytest.mark.parametrize("split", ["ABC", "AB_BD", "_D", "AB_", "A_B_D", "AB_C", "A_D"])
def test_a_split_that_does_not_fit_is_refused(split: str):
    with pytest.raises(UsageError, match="--split"):
        halves(["A", "B", "D"], split)


def test_an_export_says_that_it_is_not_calvin(export: Path):
    readme = (export / "README.md").read_text()
    for words in ("not the CALVIN dataset", "6x8", "painted-1", "no depth", "10 Hz", "0.06 m and 0.15 rad", "NaN"):
        assert words in readme
    document = json.loads((export / "vlactl.json").read_text())
    assert document["spaces"]["action"]["position_scale_m"] == 0.06
    assert document["differs"]


@pytest.mark.parametrize(("changes", "why"), [
    ({"observation": replace(SEEN, cameras=(("front", 6, 8), ("wrist", 6, 8)))}, "cameras are front, wrist"),
    ({"action": replace(ACTION, frame="tool")}, "in tool axes"),
    ({"action": replace(ACTION, names=("x", "gripper"))}, "2-D"),
])
def test_what_the_format_cannot_mean_is_refused(tmp_path: Path, changes: dict, why: str):
    spaces = replace(SPACES, **changes)
    with pytest.raises(IncompatibleSpaces, match=why) as caught:
        write(InMemory([episode(2, spaces=spaces)], spaces), tmp_path, silent)
    assert "lerobot" in caught.value.remedy


def test_episodes_without_robot_and_scene_states_are_refused(tmp_path: Path):
    with pytest.raises(IncompatibleSpaces, match="no robot and scene states"):
        write(InMemory([episode(2, simulated=False)]), tmp_path, silent)


@pytest.mark.parametrize("damage", ["removed", "cut short", "no zip", "an array less", "another shape"])
def test_a_damaged_frame_is_named(export: Path, damage: str):
    file = export / "training/episode_0001004.npz"
    with np.load(file) as frame:
        arrays = dict(frame)
    if damage == "removed":
        file.unlink()
    elif damage == "cut short":
        file.write_bytes(file.read_bytes()[:-30])
    elif damage == "no zip":
        file.write_bytes(b"hello")
    elif damage == "an array less":
        np.savez(file, **{key: value for key, value in arrays.items() if key != "rel_actions"})
    else:
        np.savez(file, **{**arrays, "rgb_static": arrays["rgb_static"][1:]})
    with pytest.raises(UsageError, match=r"episode_0001004\.npz") as caught:
        CalvinEpisodes(export)[0]
    assert "rel_actions" in caught.value.expected or "(6, 8, 3)" in caught.value.expected
    assert caught.value.remedy
    assert len(CalvinEpisodes(export)[1]) == 1  # the others can still be read


@pytest.mark.parametrize("name", ["training/lang_annotations/auto_lang_ann.npy", "training/scene_info.npy",
                                  "vlactl.json", "pairs.json"])
def test_a_damaged_table_is_named(export: Path, name: str):
    (export / name).write_bytes((export / name).read_bytes()[:-9])
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        CalvinEpisodes(export).pairs()


def test_an_export_that_lost_annotations_is_refused(export: Path):
    document = json.loads((export / "vlactl.json").read_text())
    (export / "vlactl.json").write_text(json.dumps({**document, "episodes": 5}))
    with pytest.raises(UsageError, match="annotations cover 4 episodes"):
        CalvinEpisodes(export)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder like CALVIN's own: two sizes of images, overlapping windows, float32 and float64 mixed, no sidecar."""
    return like_calvins_own(tmp_path / "task_D_D", [("D", "open_drawer", 100, 104), ("D", "close_drawer", 103, 109)])


def test_calvins_own_dataset_is_read_when_its_cameras_are_made_one_size(foreign: Path):
    found = CalvinEpisodes(foreign, image_px=16)
    assert (found.tasks, found.scenes, [len(one) for one in (found[0], found[1])]) == (
        ["open_drawer", "close_drawer"], ["D", "D"], [5, 7])
    first = np.load(foreign / "training/episode_0000100.npz")
    assert found[0].images_TKYXC.shape == (5, 2, 16, 16, 3)
    np.testing.assert_array_equal(found[0].actions_TA[0], first["rel_actions"].astype(np.float32))
    np.testing.assert_array_equal(found[0].states_TS[0], first["robot_obs"].astype(np.float32))
    assert found.spaces.action.rate_hz == 30
    assert found.spaces.action.control == "relative-eef-pose-euler"  # CALVIN adds Euler angles; ours are no such thing
    assert "resized to 16 px" in found.spaces.observation.pictures
    with pytest.raises(IncompatibleSpaces, match="rgb_static 20x20, rgb_gripper 8x8") as caught:
        CalvinEpisodes(foreign)
    assert "--image-px" in caught.value.remedy


def test_one_half_of_calvins_own_dataset_is_read_by_itself(foreign: Path):
    assert len(CalvinEpisodes(foreign / "training", image_px=16)) == 2


def test_resizing_an_export_is_refused(export: Path):
    with pytest.raises(UsageError, match="--image-px"):
        CalvinEpisodes(export, image_px=16)
