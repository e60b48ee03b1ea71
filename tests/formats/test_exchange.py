"""Conversions as a whole: from any format into any other, whole or absent, and refused where they would destroy."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.formats.synthetic import SPACES, InMemory, assert_equal, episode, pairs, silent
from vlactl.errors import UnknownName, UsageError
from vlactl.formats import SOURCES, exchange
from vlactl.formats.exchange import convert, detect, open_episodes
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes

EPISODES = [episode(3, 0, scene="D"), episode(2, 1, scene="A", task="turn_on_led", instruction="press it"),
            episode(4, 2, scene="B")]


@pytest.fixture
def dataset() -> InMemory:
    return InMemory(EPISODES, pairs=pairs(EPISODES, every=2))


@pytest.fixture
def recorded(dataset: InMemory, tmp_path: Path) -> Path:
    """The same as an episode directory."""
    convert(dataset, tmp_path / "recorded", "vlactl", silent)
    return tmp_path / "recorded"


@pytest.mark.parametrize("kind", exchange.FORMATS)
def test_there_and_back_has_the_same_digest(recorded: Path, tmp_path: Path, kind: str):
    """The digest covers every byte: pictures, states, actions, texts, scenes, pairs, spaces and their order."""
    summary = convert(open_episodes(recorded), tmp_path / "there", kind, silent)
    assert (summary["episodes"], summary["frames"], summary["format"]) == (3, 9, kind)
    assert detect(tmp_path / "there") == kind
    back = convert(open_episodes(tmp_path / "there"), tmp_path / "back", "vlactl", silent)
    assert back["digest"] == RecordedEpisodes(recorded).digest()


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real recording of the embedded world: two desks, captions, robot and scene states."""
    source = SOURCES.parse({"kind": "tabletop", "scenes": "AD", "tasks": "furniture", "episodes": 12, "image_px": 16,
                            "pairs_per_episode": 2})
    out = tmp_path_factory.mktemp("demonstrations")
    source.record(out, silent)
    return out


@pytest.mark.parametrize(("kind", "options"), [("calvin", {}), ("calvin", {"split": "A_D"}), ("lerobot", {})])
def test_real_demonstrations_come_back_equal(demonstrations: Path, tmp_path: Path, kind: str, options: dict):
    recorded = RecordedEpisodes(demonstrations)
    convert(recorded, tmp_path / "there", kind, silent, **options)
    assert_equal(open_episodes(tmp_path / "there"), recorded)
    back = convert(open_episodes(tmp_path / "there"), tmp_path / "back", "vlactl", silent)
    assert back["digest"] == recorded.digest()
    assert recorded.pairs()
    assert set(recorded.scenes) == {"A", "D"}


def test_absolute_actions_of_real_demonstrations_are_where_the_hand_went(demonstrations: Path, tmp_path: Path):
    """The last one is predicted from rel_actions, as if there were no lag: it must lie near the hand, ahead of it."""
    recorded = RecordedEpisodes(demonstrations)
    convert(recorded, tmp_path / "there", "calvin", silent)
    for first, last in np.load(tmp_path / "there/training/ep_start_end_ids.npy"):
        frames = [np.load(tmp_path / f"there/training/episode_{number:07d}.npz") for number in range(first, last + 1)]
        for now, later in pairwise(frames):
            np.testing.assert_array_equal(now["actions"][:6], later["robot_obs"][:6])
        step_m = np.linalg.norm(frames[-1]["actions"][:3] - frames[-1]["robot_obs"][:3])
        assert step_m <= recorded.spaces.action.position_scale_m * np.sqrt(3) + 1e-6


def test_a_chain_of_formats_loses_nothing(dataset: InMemory, tmp_path: Path):
    at = tmp_path / "0"
    convert(dataset, at, "lerobot", silent)
    for step, kind in enumerate(("calvin", "vlactl", "calvin", "lerobot"), 1):
        convert(open_episodes(at), tmp_path / str(step), kind, silent)
        at = tmp_path / str(step)
    assert_equal(open_episodes(at), dataset)


def test_progress_says_how_long_it_will_take(dataset: InMemory, tmp_path: Path):
    seen: list[tuple] = []
    convert(dataset, tmp_path / "out", "lerobot", lambda done, total, **numbers: seen.append((done, total, numbers)))
    assert [(done, total) for done, total, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[0][2]["unit"] == "episodes"
    assert seen[0][2]["eta_s"] >= 0
    assert seen[-1][2]["eta_s"] == 0
    assert seen[-1][2]["frames_per_s"] > 0


@pytest.mark.parametrize("kind", exchange.FORMATS)
def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, kind: str):
    class Failing(InMemory):
        def __getitem__(self, position: int):
            if position == 2:
                raise UsageError("the third is damaged")
            return super().__getitem__(position)

    with pytest.raises(UsageError, match="third"):
        convert(Failing(EPISODES), tmp_path / "out", kind, silent)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.formats.test_exchange import EPISODES, InMemory
from vlactl.formats.exchange import convert
def progress(done, total, **numbers):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
convert(InMemory(EPISODES), Path(sys.argv[1]), sys.argv[2], progress)
"""


@pytest.mark.parametrize("kind", exchange.FORMATS)
def test_after_a_kill_there_is_nothing_to_read_and_the_same_command_completes(dataset: InMemory, tmp_path: Path,
                                                                              kind: str):
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out), kind], check=False)
    assert killed.returncode == -signal.SIGKILL
    (draft,) = tmp_path.iterdir()
    assert not out.exists()
    with pytest.raises(UsageError):
        open_episodes(draft)
    convert(dataset, out, kind, silent)
    assert_equal(open_episodes(out), dataset)
    assert list(tmp_path.iterdir()) == [out]


def test_nothing_is_written_over(dataset: InMemory, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="something already") as caught:
        convert(dataset, tmp_path / "out", "calvin", silent)
    assert caught.value.remedy
    assert (tmp_path / "out/thesis.tex").read_text() == "years of work"
    convert(dataset, tmp_path / "empty" / "deep", "calvin", silent)
    with pytest.raises(UsageError, match="something already"):
        convert(dataset, tmp_path / "empty" / "deep", "calvin", silent)


def test_an_empty_folder_is_filled(dataset: InMemory, tmp_path: Path):
    (tmp_path / "out").mkdir()
    convert(dataset, tmp_path / "out", "lerobot", silent)
    assert_equal(open_episodes(tmp_path / "out"), dataset)


@pytest.mark.parametrize("kind", ["calvin", "lerobot"])
def test_damage_anywhere_is_an_error_that_people_understand(dataset: InMemory, tmp_path: Path, kind: str):
    """Sixty random injuries: the export is refused, or can still be read; never a traceback."""
    convert(dataset, tmp_path / "out", kind, silent)
    files = sorted(file for file in (tmp_path / "out").rglob("*") if file.is_file() and file.name != "README.md")
    refused: list[UsageError] = []
    for seed in range(60):
        rng = random.Random(seed)
        file = rng.choice(files)
        whole = file.read_bytes()
        place = rng.randrange(len(whole))
        injured = {"flip": whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1:],
                   "cut": whole[:place], "insert": whole[:place] + rng.randbytes(5) + whole[place:],
                   "other": rng.choice(files).read_bytes()}
        file.write_bytes(injured[rng.choice(sorted(injured))])
        try:
            found = open_episodes(tmp_path / "out")
            _ = found.pairs(), [found[position] for position in range(len(found))]
        except UsageError as error:
            refused.append(error)
        file.write_bytes(whole)
    assert len(refused) > 20
    assert all(error.where and error.remedy for error in refused)


def test_two_conversions_into_one_folder_do_not_mix(dataset: InMemory, tmp_path: Path):
    draft = tmp_path / ".out.converting"
    draft.mkdir()
    other = os.open(draft, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    (draft / "half").write_text("done")
    with pytest.raises(UsageError, match="another conversion"):
        convert(dataset, tmp_path / "out", "lerobot", silent)
    assert (draft / "half").exists()
    os.close(other)
    convert(dataset, tmp_path / "out", "lerobot", silent)


def test_a_folder_in_no_format_is_refused(tmp_path: Path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="none of the known formats") as caught:
        open_episodes(tmp_path)
    for sign in ("index.json", "meta/info.json", "training"):
        assert sign in caught.value.expected


def test_a_recording_that_was_not_finished_is_refused(tmp_path: Path):
    EpisodeWriter(tmp_path, SPACES).add(EPISODES[0])
    with pytest.raises(UsageError):
        open_episodes(tmp_path)


def test_options_of_another_format_are_refused(dataset: InMemory, recorded: Path, tmp_path: Path):
    with pytest.raises(UnknownName, match="format 'rlds'"):
        convert(dataset, tmp_path / "out", "rlds", silent)
    with pytest.raises(UsageError, match="only calvin is written with --split"):
        convert(dataset, tmp_path / "out", "lerobot", silent, split="A_D")
    with pytest.raises(UsageError, match="only lerobot is written with --video"):
        convert(dataset, tmp_path / "out", "calvin", silent, video=True)
    with pytest.raises(UsageError, match="only a calvin folder is read with --image-px"):
        open_episodes(recorded, image_px=32)
    with pytest.raises(UsageError, match="only a lerobot folder is read with --spaces"):
        open_episodes(recorded, spaces=SPACES)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["calvin", "lerobot"])
def test_a_sidecar_of_the_other_format_is_refused(dataset: InMemory, tmp_path: Path, kind: str):
    convert(dataset, tmp_path / "out", kind, silent)
    document = json.loads((tmp_path / "out/vlactl.json").read_text())
    (tmp_path / "out/vlactl.json").write_text(json.dumps({**document, "kind": "rlds"}))
    with pytest.raises(UsageError, match="kind 'rlds'"):
        open_episodes(tmp_path / "out")
