"""``data convert`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.formats.synthetic import SPACES, InMemory, assert_equal, episode, pairs, silent
from vlactl.cli.convert import convert as command
from vlactl.errors import StoreError, UsageError
from vlactl.formats.exchange import convert, open_episodes
from vlactl.formats.recorded import RecordedEpisodes

EPISODES = [episode(3, 0, scene="D"), episode(2, 1, scene="A")]
app = typer.Typer()
app.command("convert")(command)
app.callback()(lambda: None)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    convert(InMemory(EPISODES, pairs=pairs(EPISODES)), tmp_path / "recorded", "vlactl", silent)
    return tmp_path / "recorded"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("kind", ["calvin", "lerobot"])
def test_there_and_back(recorded: Path, tmp_path: Path, kind: str):
    said = run(recorded, "--to", kind, "-o", tmp_path / "there")
    assert f"2 episodes, 5 frames in format {kind}" in said
    assert "kB a frame" in said
    run(tmp_path / "there", "--to", "vlactl", "-o", tmp_path / "back")
    assert_equal(RecordedEpisodes(tmp_path / "back"), RecordedEpisodes(recorded))


def test_json_ends_with_the_dataset(recorded: Path, tmp_path: Path):
    *_, last = run(recorded, "--to", "calvin", "--split", "A_D", "-o", tmp_path / "out", "--json").splitlines()
    document = json.loads(last)
    assert (document["type"], document["format"], document["episodes"], document["frames"]) == (
        "dataset", "calvin", 2, 5)
    assert document["halves"] == {"training": 1, "validation": 1}
    assert document["bytes"] > 0


def test_films_say_what_they_lost(recorded: Path, tmp_path: Path):
    said = run(recorded, "--to", "lerobot", "--video", "-o", tmp_path / "out")
    assert "films with loss" in said
    assert "PSNR static" in said


def test_declared_spaces_open_somebody_elses_dataset(recorded: Path, tmp_path: Path):
    run(recorded, "--to", "lerobot", "-o", tmp_path / "there")
    (tmp_path / "there/vlactl.json").unlink()
    with pytest.raises(UsageError, match="--spaces"):
        run(tmp_path / "there", "--to", "vlactl", "-o", tmp_path / "back")
    run(tmp_path / "there", "--to", "vlactl", "-o", tmp_path / "back", "--spaces", recorded / "spaces.json")
    assert open_episodes(tmp_path / "back").spaces == SPACES
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UsageError, match=r"bad\.json"):
        run(tmp_path / "there", "--to", "vlactl", "-o", tmp_path / "again", "--spaces", tmp_path / "bad.json")


def test_a_full_or_read_only_disk_is_not_a_crash(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "out/x.npz"))

    monkeypatch.setattr("vlactl.formats.calvin.writer.write_object", full)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        run(recorded, "--to", "calvin", "-o", tmp_path / "out")
    assert "free some space" in caught.value.remedy
    assert not (tmp_path / "out").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["recorded"]
