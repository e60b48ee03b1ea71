"""The LeRobot v3.0 format: what LeRobot reads, and that nothing is lost on the way and back."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.synthetic import ACTION, SEEN, SPACES, InMemory, assert_equal, datasets, episode, pairs, silent
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats.lerobot import LeRobotEpisodes, layout, write
from vlactl.spaces import Spaces

FOUR = [episode(3, 0, scene="D", task="open_drawer", instruction="open it"),
        episode(1, 1, scene="A", task="turn_on_led", instruction="press the “button”"),
        episode(4, 2, scene="D", task="open_drawer", instruction="pull the handle"),
        episode(2, 3, scene="B", task="open_drawer_again", instruction="open it")]
DATA, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture
def dataset() -> InMemory:
    return InMemory(FOUR, pairs=pairs(FOUR))


@pytest.fixture
def export(dataset: InMemory, tmp_path: Path) -> Path:
    out = tmp_path / "export"
    out.mkdir()
    write(dataset, out, silent)
    return out


def smooth(frames: int, seed: int, spaces: Spaces) -> np.ndarray:
    """Pictures that a codec can keep: slow gradients."""
    (_, height, width), *_ = cameras = spaces.observation.cameras
    t, k, y, x, c = np.ogrid[:frames, :len(cameras), :height, :width, :3]
    return (40 + seed * 10 + 3 * t + 30 * k + 2 * y + x + 20 * c).astype(np.uint8)


@pytest.fixture
def films(tmp_path: Path) -> tuple[InMemory, Path, dict]:
    """A dataset of 32 px, and its export with films."""
    spaces = replace(SPACES, observation=replace(SEEN, cameras=(("static", 32, 32), ("wrist", 32, 32))))
    dataset = InMemory([replace(episode(frames, seed, spaces=spaces), images_TKYXC=smooth(frames, seed, spaces))
                        for seed, frames in enumerate((3, 1, 6))], spaces)
    out = tmp_path / "films"
    out.mkdir()
    return dataset, out, write(dataset, out, silent, video=True)


@settings(max_examples=20, deadline=None)
@given(datasets(simulated=st.booleans()))
def test_what_is_read_back_is_equal(dataset: InMemory):
    with tempfile.TemporaryDirectory() as folder:
        write(dataset, Path(folder), silent)
        assert_equal(LeRobotEpisodes(Path(folder)), dataset)


def test_many_files_and_row_groups_read_back_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layout, "DATA_FILE_MB", 0)  # an episode a file, beyond the first of each
    monkeypatch.setattr(layout, "FILES_PER_CHUNK", 2)
    dataset = InMemory(FOUR)
    write(dataset, tmp_path, silent)
    assert sorted(str(file.relative_to(tmp_path)) for file in (tmp_path / "data").rglob("*.parquet")) == [
        f"data/chunk-00{chunk}/file-00{file}.parquet" for chunk in (0, 1) for file in (0, 1)]
    found = LeRobotEpisodes(tmp_path)
    assert_equal(found, dataset)
    assert found[3].instruction == found[0].instruction == "open it"  # out of order as well


def test_small_row_groups_read_back_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: InMemory):
    monkeypatch.setattr("vlactl.formats.lerobot.writer.ROWS", 3)
    write(dataset, tmp_path, silent)
    assert pq.ParquetFile(tmp_path / DATA).metadata.num_row_groups == 3
    assert pq.ParquetFile(tmp_path / EPISODES).metadata.num_row_groups == 2
    assert_equal(LeRobotEpisodes(tmp_path), dataset)


def test_info_describes_every_column(export: Path):
    info = json.loads((export / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"], info["total_tasks"],
            info["splits"]) == ("v3.0", 10, 4, 10, 3, {"train": "0:4"})
    assert info["features"]["observation.images.wrist"] == {
        "dtype": "image", "shape": [6, 8, 3], "names": ["height", "width", "channels"]}
    assert info["features"]["action"] == {"dtype": "float32", "shape": [7], "names": list(ACTION.names)}
    table = pq.read_table(export / DATA)
    assert set(table.column_names) == set(info["features"])
    assert table["frame_index"].to_pylist() == [0, 1, 2, 0, 0, 1, 2, 3, 0, 1]
    assert table["index"].to_pylist() == list(range(10))
    assert table["task_index"].to_pylist() == [0, 0, 0, 1, 2, 2, 2, 2, 0, 0]
    np.testing.assert_allclose(table["timestamp"].to_pylist()[:3], [0.0, 0.1, 0.2], atol=1e-7)


def test_pandas_finds_the_instructions_in_the_index(export: Path):
    pandas = pytest.importorskip("pandas")
    tasks = pandas.read_parquet(export / "meta/tasks.parquet")
    assert list(tasks.index) == ["open it", "press the “button”", "pull the handle"]
    assert tasks["task_index"].tolist() == [0, 1, 2]


def test_stats_are_those_of_the_whole_dataset(export: Path):
    stats = json.loads((export / "meta/stats.json").read_text())
    actions_NA = np.concatenate([one.actions_TA for one in FOUR]).astype(np.float64)
    np.testing.assert_allclose(stats["action"]["mean"], actions_NA.mean(0), rtol=1e-9)
    np.testing.assert_allclose(stats["action"]["std"], actions_NA.std(0), rtol=1e-9)
    assert stats["action"]["min"] == actions_NA.min(0).tolist()
    assert stats["action"]["count"] == [10]
    pixels = np.concatenate([one.images_TKYXC[:, 0].reshape(-1, 3) for one in FOUR]) / 255
    assert np.shape(stats["observation.images.static"]["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(stats["observation.images.static"]["std"]), pixels.std(0), rtol=1e-9)
    assert stats.keys() == json.loads((export / "meta/info.json").read_text())["features"].keys()


def test_films_come_back_nearly_equal_and_say_so(films: tuple[InMemory, Path, dict]):
    dataset, out, summary = films
    found = LeRobotEpisodes(out)
    assert_equal(found, dataset, arrays=("states_TS", "actions_TA", "robot_TR", "scene_TD"))
    for position in (2, 0, 1):
        difference = np.abs(found[position].images_TKYXC.astype(int) - dataset[position].images_TKYXC)
        assert difference.mean() < 3
        assert found[position].images_TKYXC.dtype == np.uint8
    assert min(summary["psnr_db"].values()) > 35
    assert summary["codec"] in (out / "README.md").read_text()
    assert "with loss" in (out / "README.md").read_text()
    info = json.loads((out / "meta/info.json").read_text())
    assert info["features"]["observation.images.static"]["dtype"] == "video"
    assert info["video_path"]
    assert "observation.images.static" not in pq.read_table(out / DATA).column_names


def test_films_of_any_size(tmp_path: Path):
    spaces = replace(SPACES, observation=replace(SEEN, cameras=(("static", 17, 21), ("wrist", 17, 21))))
    dataset = InMemory([replace(episode(4, spaces=spaces), images_TKYXC=smooth(4, 0, spaces))], spaces)
    write(dataset, tmp_path, silent, video=True)
    assert np.abs(LeRobotEpisodes(tmp_path)[0].images_TKYXC.astype(int) - dataset[0].images_TKYXC).mean() < 3


def test_long_films_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: InMemory):
    monkeypatch.setattr(layout, "VIDEO_FILE_MB", 0)
    write(dataset, tmp_path, silent, video=True)
    assert len(list((tmp_path / "videos").rglob("*.mp4"))) > 2
    found = LeRobotEpisodes(tmp_path)
    assert [len(found[position].images_TKYXC) for position in range(4)] == [3, 1, 4, 2]


def test_a_film_that_is_cut_short_is_named(films: tuple[InMemory, Path, dict]):
    _, out, _ = films
    file = out / "videos/observation.images.wrist/chunk-000/file-000.mp4"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UsageError, match=r"observation\.images\.wrist/chunk-000/file-000\.mp4"):
        LeRobotEpisodes(out)[0]


@pytest.mark.parametrize("name", ["../static", "a/b", "", "."])
def test_a_cameras_name_never_leads_out_of_the_folder(tmp_path: Path, name: str):
    spaces = replace(SPACES, observation=replace(SEEN, cameras=((name, 6, 8),)))
    with pytest.raises(IncompatibleSpaces, match="a camera is called"):
        write(InMemory([episode(2, spaces=spaces)], spaces), tmp_path, silent, video=True)
    assert list(tmp_path.iterdir()) == []


def test_episodes_must_be_alike(tmp_path: Path):
    with pytest.raises(IncompatibleSpaces, match="some have none"):
        write(InMemory([episode(2), episode(2, simulated=False)]), tmp_path, silent)


@pytest.mark.parametrize("name", [DATA, EPISODES, "meta/tasks.parquet", "meta/info.json", "vlactl.json", "pairs.json"])
@pytest.mark.parametrize("damage", ["removed", "cut short"])
def test_a_damaged_file_is_named(export: Path, name: str, damage: str):
    file = export / name
    if damage == "removed" and name == "pairs.json":
        pytest.skip("a dataset may have no pairs")
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9])

    def read() -> None:
        found = LeRobotEpisodes(export)
        found.pairs()
        found[0]

    with pytest.raises(UsageError) as caught:
        read()
    said = str(caught.value)
    assert name in said or str(file.parent.parent) in said
    assert caught.value.remedy


def test_frames_of_another_dataset_are_refused(export: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    write(InMemory(FOUR[::-1]), other, silent)
    shutil.copyfile(other / DATA, export / DATA)
    with pytest.raises(UsageError, match="not those of episode 0"):
        LeRobotEpisodes(export)[0]


@pytest.mark.parametrize(("changes", "why"), [
    ({"codebase_version": "v2.1"}, "version v2.1"), ({"total_frames": 11}, "do not cover"), ({"fps": 30}, "30 frames"),
    ({"data_path": "../../{chunk_index}{file_index}"}, "files are called"), ({"features": {}}, "missing"),
])
def test_an_info_that_does_not_fit_is_refused(export: Path, changes: dict, why: str):
    info = json.loads((export / "meta/info.json").read_text())
    (export / "meta/info.json").write_text(json.dumps({**info, **changes}))
    with pytest.raises(UsageError, match=why):
        LeRobotEpisodes(export)


def test_somebody_elses_dataset_is_read_when_its_spaces_are_declared(export: Path, dataset: InMemory):
    for name in ("vlactl.json", "pairs.json"):
        (export / name).unlink()
    with pytest.raises(UsageError, match="does not say what its actions") as caught:
        LeRobotEpisodes(export)
    assert "--spaces" in caught.value.remedy
    found = LeRobotEpisodes(export, spaces=SPACES)
    assert_equal(found, InMemory(FOUR), arrays=("images_TKYXC", "states_TS", "actions_TA"))
    assert found[0].robot_TR is None  # a stranger's environment_state is not CALVIN's scene_obs
    with pytest.raises(IncompatibleSpaces, match="action is"):
        LeRobotEpisodes(export, spaces=replace(SPACES, action=replace(ACTION, names=("x", "gripper"))))


def test_lerobot_itself_opens_an_export(dataset: InMemory, export: Path, films: tuple[InMemory, Path, dict],
                                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lerobot = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="LeRobot is not installed")
    for source, out, is_film in ((dataset, export, False), (films[0], films[1], True)):
        found = lerobot.LeRobotDataset("vlactl/test", root=out, video_backend="pyav")
        assert (found.num_frames, found.num_episodes) == (sum(map(len, source.episodes)), len(source))
        index = 0
        for number, one in enumerate(source.episodes):
            for t in range(len(one)):
                row = found[index]
                assert (row["task"], int(row["episode_index"]), int(row["frame_index"])) == (one.instruction, number, t)
                np.testing.assert_array_equal(row["action"].numpy(), one.actions_TA[t])
                np.testing.assert_array_equal(row["observation.state"].numpy(), one.states_TS[t])
                assert one.scene_TD is not None
                np.testing.assert_array_equal(row["observation.environment_state"].numpy(), one.scene_TD[t])
                for k, camera in enumerate(("static", "wrist")):
                    image_YXC = row[f"observation.images.{camera}"].numpy().transpose(1, 2, 0) * 255
                    np.testing.assert_allclose(image_YXC, one.images_TKYXC[t, k], atol=12 if is_film else 1e-4)
                index += 1
        assert found.meta.stats["action"]["mean"].shape == (7,)
