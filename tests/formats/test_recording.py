"""A recording is the same whoever makes it and however often it is interrupted; what is not its own is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlactl.errors import StageFailed, StoreConflict, StoreError, UsageError
from vlactl.formats import SOURCES
from vlactl.formats.crew import work_through
from vlactl.formats.quotas import UNIT_EPISODES, Unit
from vlactl.formats.recorded import RecordedEpisodes
from vlactl.formats.recording import Recording
from vlactl.formats.tabletop import divided, record_unit
from vlactl.identity import identity_of
from vlactl.launchers.processes import marked

FIELDS: dict[str, Any] = {"tasks": "furniture", "episodes": 3 * UNIT_EPISODES + 4, "image_px": 16, "shadows": False,
                          "pairs_per_episode": 2}
DRIVER = """
import json, sys
from pathlib import Path
from vlactl.formats import SOURCES
if __name__ == "__main__":
    SOURCES.parse(json.loads(sys.argv[1])).record(Path(sys.argv[2]), lambda *_, **__: None)
"""


def source(**changes: Any):
    return SOURCES.get("tabletop")(**{**FIELDS, **changes})


def recording(path: Path, **changes: Any) -> Recording:
    return Recording(path, identity_of(source(**changes)), source(**changes).spaces())


def quiet(*_: object, **__: object) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded in one go by one process."""
    path = tmp_path_factory.mktemp("alone") / "data"
    source().record(path, quiet)
    return path


def begun(path: Path, alone: Path, units: int) -> Path:
    """A folder as an interrupted recording leaves it, with ``units`` finished ones: made by recording them."""
    own = recording(path)
    with own.claimed():
        for unit in divided(source())[:units]:
            record_unit(source(), path, unit, lambda *_: None)
    return path


def files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*")}


def test_counts_are_exact_and_everything_is_there(alone: Path):
    read = RecordedEpisodes(alone)
    counts = Counter(read.tasks)
    assert len(read) == FIELDS["episodes"]
    assert max(counts.values()) - min(counts.values()) <= 1
    assert set(read.scenes) == {"D"}
    assert read.robot_NR is not None
    assert read.scene_ND is not None
    assert np.abs(np.asarray(read.scene_ND)).sum() > 0
    pairs = read.pairs()
    assert Counter(read.episode_of_N[[pair["frame"] for pair in pairs]]) == dict.fromkeys(range(len(read)), 2)
    assert files(alone) == {"recording.json", "index.json", "spaces.json", "episodes.json", "pairs.json", "images.npy",
                            "states.npy", "actions.npy", "robot.npy", "scene.npy"}


def test_scenes_share_the_episodes_and_look_different(tmp_path: Path):
    told: list[str] = []
    source(scenes="CA", episodes=11, pairs_per_episode=0).record(tmp_path, lambda *_, unit="", **__: told.append(unit))
    read = RecordedEpisodes(tmp_path)
    assert Counter(read.scenes) == {"A": 5, "C": 6}
    assert source(scenes="CA") == source(scenes="AC")
    assert max(Counter(read.tasks).values()) == 2
    means = {scene: np.mean([read[n].images_TKYXC.mean() for n in range(11) if read.scenes[n] == scene])
             for scene in "AC"}
    assert abs(means["A"] - means["C"]) > 1
    assert list(dict.fromkeys(told)) == ["kernels", "episodes", "MB"]
    assert read.pairs() == []


def test_several_workers_record_the_same_and_say_how_far_they_are(alone: Path, tmp_path: Path):
    told: list[tuple[Any, ...]] = []
    summary = source(workers=3).record(
        tmp_path / "data", lambda done, total, unit="", **numbers: told.append((unit, done, total, numbers)))
    assert summary["digest"] == RecordedEpisodes(alone).digest()
    done = [row[1] for row in told if row[0] == "episodes"]
    assert done == list(range(FIELDS["episodes"] + 1)), "every episode of every worker is counted once"
    last = [row for row in told if row[0] == "episodes"][-1]
    assert last[2:] == (FIELDS["episodes"], last[3])
    assert last[3]["eta_s"] == 0
    assert last[3]["frames_per_s"] > 0
    assert told[-1][1] == told[-1][2]


def test_killed_in_the_middle_it_loses_only_the_units_in_work(alone: Path, tmp_path: Path):
    path, mark = tmp_path / "data", f"{time.time_ns()}"
    document = {"kind": "tabletop", **FIELDS, "workers": 2}
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, json.dumps(document), str(path)],
                              env={**os.environ, "VLACTL_TEST": mark, "PYTHONPATH": os.pathsep.join(sys.path)})
    until = time.monotonic() + 60
    while not (done := [unit for unit in divided(source()) if recording(path).folder(unit).exists()]):
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    assert len(marked("VLACTL_TEST", mark)) >= 3, "the driver and two workers"
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    while marked("VLACTL_TEST", mark):
        assert time.monotonic() < until, "nothing survives its parent"
        time.sleep(0.02)
    with pytest.raises(UsageError, match="recording was not finished"):
        RecordedEpisodes(path)
    told = []
    summary = source().record(path, lambda done, total, unit="", **_: told.append((unit, done)))
    assert next(row for row in told if row[0] == "episodes")[1] >= done[0].episodes, "what is finished is kept"
    assert summary["digest"] == RecordedEpisodes(alone).digest()
    assert files(path) == files(alone)


def test_the_same_again_is_complete_and_another_is_refused(alone: Path):
    before = {file: file.stat().st_mtime_ns for file in alone.iterdir()}
    assert source(workers=2).record(alone, quiet)["digest"] == RecordedEpisodes(alone).digest()
    assert {file: file.stat().st_mtime_ns for file in alone.iterdir()} == before
    with pytest.raises(UsageError, match=r"another recording was begun in this folder \(noise: 0.35 there, 0.2 now; "
                                         r"seed: 0 there, 1 now\)"):
        source(seed=1, noise=0.2).record(alone, quiet)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="the folder is not empty"):
        source().record(tmp_path, quiet)
    assert files(tmp_path) == {"thesis.tex"}


def test_half_written_units_are_thrown_away(alone: Path, tmp_path: Path):
    path = begun(tmp_path / "data", alone, 1)
    half = path / "units" / "00001.partial"
    shutil.copytree(path / "units" / "00000", half)
    (path / "images.npy").write_bytes(b"half an assembly")
    assert source().record(path, quiet)["digest"] == RecordedEpisodes(alone).digest()
    assert files(path) == files(alone)


def go_on(own: Recording, units: Sequence[Unit]) -> None:
    with own.claimed():
        own.finished(units)
        own.assemble(units, quiet)


def damage(unit: Path, how: str) -> None:
    if how == "a bit":
        data = bytearray((unit / "images.npy").read_bytes())
        data[-1] ^= 1
        (unit / "images.npy").write_bytes(data)
    elif how == "cut short":
        (unit / "states.npy").write_bytes((unit / "states.npy").read_bytes()[:-8])
    elif how == "of another place":
        unit.rename(unit.with_name("00001"))
    else:
        stamp = json.loads((unit / "unit.json").read_text())
        (unit / "unit.json").write_text(json.dumps({**stamp, "recording": "0" * 16}))


@pytest.mark.parametrize(("how", "words"), [("a bit", "not what the index says"), ("cut short", "states.npy"),
                                            ("of another place", "belongs to another recording"),
                                            ("of another recording", "belongs to another recording")])
def test_corrupted_and_foreign_units_are_refused(alone: Path, tmp_path: Path, how: str, words: str):
    path = begun(tmp_path / "data", alone, 1)
    damage(path / "units" / "00000", how)
    units = divided(source())[:1] if how != "of another place" else divided(source())[1:2]
    with pytest.raises(UsageError, match=words):
        go_on(recording(path), units)
    assert not (path / "index.json").exists()


def test_a_folder_is_recorded_by_one_process_at_a_time(tmp_path: Path):
    with recording(tmp_path / "data").claimed(), pytest.raises(StoreConflict, match="another process"):
        source().record(tmp_path / "data", quiet)


def test_too_small_a_disk_is_refused_before_anything_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 0, 10**6))
    with pytest.raises(StoreError, match=r"recording 100 episodes may need .* GB, 0.0 are free"):
        source().record(tmp_path / "data", quiet)
    assert not list((tmp_path / "data" / "units").iterdir())


def fail_at(number: int, tell) -> None:
    tell(1, number)
    if number == 2:
        raise UsageError("this cannot be recorded", where="number 2", remedy="none")
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_worker_raises_is_raised_here(workers: int):
    with pytest.raises(UsageError) as caught:
        work_through(fail_at, [1, 2, 3], workers, lambda *_: None)
    assert (caught.value.where, caught.value.remedy) == ("number 2", "none")


def test_a_worker_that_is_killed_is_a_failure_of_the_machine():
    with pytest.raises(StageFailed, match="a recording process ended with code -9") as caught:
        work_through(fail_at, [1, 5], 2, lambda *_: None)
    assert caught.value.failure == "infra"
