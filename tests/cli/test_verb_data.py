"""``data``: demonstrations are recorded, gone on with, shown and listed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vlactl.episodes import Episode
from vlactl.errors import ExitCode
from vlactl.formats import SOURCES
from vlactl.formats.recorded import EpisodeWriter

SMALL = ("--tasks", "furniture", "--image-px", 16, "--set", "shadows=false")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two short episodes of two tasks at two desks."""
    spaces = SOURCES.parse({"kind": "tabletop", "image_px": 16}).spaces()
    path = tmp_path / "demonstrations"
    cameras, states, actions = len(spaces.observation.cameras), len(spaces.observation.state), spaces.action.size
    with EpisodeWriter(path, spaces) as writer:
        for task, scene, length in (("open_drawer", "A", 3), ("close_drawer", "B", 5)):
            episode = Episode(
                task=task,
                instruction=f"please {task}",
                embodiment=spaces.embodiment,
                images_TKYXC=np.zeros((length, cameras, 16, 16, 3), np.uint8),
                states_TS=np.zeros((length, states), np.float32),
                actions_TA=np.full((length, actions), 0.5, np.float32),
                robot_TR=np.zeros((length, 15), np.float32),
                scene=scene,
            )
            writer.add(episode, [{"frame": 1, "kind": "question", "question": "is it open?", "answer": "no"}])
    return path


def test_a_folder_of_demonstrations_is_described(vlactl, dataset):
    answer = vlactl("data", "show", dataset)
    assert answer.code == 0
    assert "2 episodes, 8 frames" in answer.out
    assert "scenes A (1 episodes), B (1 episodes)" in answer.out
    assert "pictures raycast-" in answer.out
    assert "also holds the robot's state" in answer.out
    assert "2 questions" in answer.out
    assert "please close_drawer" in answer.out
    document = vlactl("data", "show", dataset, "--json").lines[0]
    assert document["tasks"]["close_drawer"]["mean_length"] == 5
    assert document["actions"]["gripper"] == [0.5, 0.5, 0.5]
    assert (document["scenes"], document["pairs"]) == ({"A": 1, "B": 1}, {"question": 2})


def test_datasets_of_the_store_are_listed_and_found_by_name(vlactl, recipe, launcher):
    assert "vlactl data record" in vlactl("data", "list").err
    vlactl("sweep", recipe)
    answer = vlactl("data", "list")
    assert answer.out.count("9     400      1") == 2
    answer = vlactl("data", "show", "panda")
    assert answer.code == ExitCode.USAGE, "the fake artifact holds no episodes"
    assert "panda-" in answer.err
    assert "no dataset is called 'puma'" in vlactl("data", "show", "puma").err


def test_recording_refuses_a_folder_of_others_and_wrong_fields(vlactl, dataset, tmp_path):
    assert "the folder is not empty" in vlactl("data", "record", "-o", dataset).err
    answer = vlactl("data", "record", "recorded", "--set", f"path={dataset}", "-o", dataset)
    assert (answer.code, "the folder is not empty" in answer.err) == (2, True)
    new = tmp_path / "new"
    answer = vlactl("data", "record", "-o", new, "--set", "epsodes=1")
    assert (answer.code, "did you mean 'episodes'?" in answer.err) == (2, True)
    answer = vlactl("data", "record", "-o", new, "--set", "noise=none", "--embodiment", "pandaa")
    assert (answer.code, "noise: 'none' is not allowed, expected a number" in answer.err) == (2, True)
    answer = vlactl("data", "record", "-o", new, "--embodiment", "pandaa", "--scenes", "DD")
    assert (answer.code, "different letters" in answer.err) == (2, True)
    answer = vlactl("data", "record", "recorded", "-o", new, "--set", f"path={dataset}", "--episodes", 3)
    assert (answer.code, "sets nothing of source 'recorded'" in answer.err) == (2, True)
    assert not new.exists()


def test_recording_writes_what_can_be_shown_and_says_when_it_is_complete(vlactl, tmp_path):
    folder = tmp_path / "own"
    command = ("data", "record", *SMALL, "--episodes", 9, "--pairs", 1, "--workers", 1, "-o", folder)
    answer = vlactl(*command, "--json")
    assert answer.code == 0
    recorded = answer.lines[-2]
    assert (recorded["episodes"], recorded["was_complete"]) == (9, False)
    shown = vlactl("data", "show", folder, "--json").lines[0]
    assert shown["digest"] == recorded["digest"]
    assert shown["spaces"]["observation"]["cameras"][0][1:] == [16, 16]
    assert sum(shown["pairs"].values()) == 9
    again = vlactl(*command)
    assert (again.code, "it was complete already" in again.out) == (0, True)
    other = vlactl(*command, "--seed", 5)
    assert (other.code, "another recording was begun in this folder (seed: 0 there, 5 now)" in other.err) == (2, True)


def test_an_interrupted_recording_goes_on_with_the_same_command(tmp_path):
    folder = tmp_path / "own"
    words = ["data", "record", *SMALL, "--episodes", 512, "--workers", 2, "-o", folder, "--json"]
    command = [sys.executable, "-m", "vlactl", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    def listen() -> None:  # a shell that put us in the background lets its children ignore interrupts
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, preexec_fn=listen) as first:
        until = time.monotonic() + 60
        while not list(folder.glob("units/?????")):
            assert first.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        first.send_signal(signal.SIGINT)
        first.communicate()
    assert first.returncode == ExitCode.INTERRUPTED
    kept = len(list(folder.glob("units/?????")))
    assert 0 < kept < 16
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    documents = [json.loads(line) for line in lines]
    assert documents[-2]["episodes"] == 512
    assert documents[-1] == {"type": "exit", "code": 0}
