"""``data``, ``sim`` and ``eval``: demonstrations, pictures, one policy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vlactl.cli import evaluate
from vlactl.cli.lookup import KnownStage, find_stage
from vlactl.episodes import Episode
from vlactl.errors import ExitCode, UsageError
from vlactl.formats import SOURCES
from vlactl.formats.recorded import EpisodeWriter


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two short episodes of two tasks."""
    spaces = SOURCES.parse({"kind": "tabletop", "image_px": 16}).spaces()
    path = tmp_path / "demonstrations"
    cameras, states, actions = len(spaces.observation.cameras), len(spaces.observation.state), spaces.action.size
    with EpisodeWriter(path, spaces) as writer:
        for task, length in (("open_drawer", 3), ("close_drawer", 5)):
            writer.add(
                Episode(
                    task=task,
                    instruction=f"please {task}",
                    embodiment=spaces.embodiment,
                    images_TKYXC=np.zeros((length, cameras, 16, 16, 3), np.uint8),
                    states_TS=np.zeros((length, states), np.float32),
                    actions_TA=np.full((length, actions), 0.5, np.float32),
                )
            )
    return path


def test_a_folder_of_demonstrations_is_described(vlactl, dataset):
    answer = vlactl("data", "show", dataset)
    assert answer.code == 0
    assert "2 episodes, 8 frames" in answer.out
    assert "please close_drawer" in answer.out
    document = vlactl("data", "show", dataset, "--json").lines[0]
    assert document["tasks"]["close_drawer"]["mean_length"] == 5
    assert document["actions"]["gripper"] == [0.5, 0.5, 0.5]


def test_datasets_of_the_store_are_listed_and_found_by_name(vlactl, recipe, launcher):
    assert "vlactl data record" in vlactl("data", "list").err
    vlactl("sweep", recipe)
    answer = vlactl("data", "list")
    assert answer.out.count("9     400      1") == 2
    answer = vlactl("data", "show", "panda")
    assert answer.code == ExitCode.USAGE, "the fake artifact holds no episodes"
    assert "panda-" in answer.err
    assert "no dataset is called 'puma'" in vlactl("data", "show", "puma").err


def test_recording_refuses_a_folder_that_is_not_empty_and_wrong_fields(vlactl, dataset, tmp_path):
    assert "the folder is not empty" in vlactl("data", "record", "-o", dataset).err
    answer = vlactl("data", "record", "-o", tmp_path / "new", "--set", "episodes_per_tsk=1")
    assert (answer.code, "did you mean 'episodes_per_task'?" in answer.err) == (2, True)
    answer = vlactl(
        "data", "record", "-o", tmp_path / "new", "--set", "episodes_per_task=none", "--set", "embodiment=pandaa"
    )
    assert (answer.code, "episodes_per_task: 'none' is not allowed, expected a whole number" in answer.err) == (2, True)
    assert not (tmp_path / "new").exists()


def test_recording_writes_what_can_be_shown(vlactl, tmp_path):
    folder = tmp_path / "own"
    fields = ["episodes_per_task=1", "image_px=16", "shadows=false"]
    answer = vlactl("data", "record", "-o", folder, "--json", *(word for field in fields for word in ("--set", field)))
    assert answer.code == 0
    shown = vlactl("data", "show", folder, "--json").lines[0]
    assert shown["digest"] == answer.lines[-2]["digest"]
    assert shown["spaces"]["observation"]["cameras"][0][1:] == [16, 16]


def test_a_picture_and_a_film_of_the_world(vlactl, tmp_path):
    import imageio.v3 as iio

    assert vlactl("sim", "look", "--image-px", 32, "--set", "shadows=false", "-o", tmp_path / "a.png").code == 0
    image_YXC = iio.imread(tmp_path / "a.png")
    assert image_YXC.shape == (32, 64, 3)
    assert image_YXC.std() > 10, "something is to be seen"
    answer = vlactl("sim", "view", "--image-px", 32, "--set", "shadows=false", "-o", tmp_path / "a.mp4", "--json")
    assert answer.lines[0]["tasks"][0]["success"] is True
    assert (tmp_path / "a.mp4").stat().st_size > 1000
    answer = vlactl("sim", "view", "--policy", "nobody")
    assert (answer.code, "expert | random | zero" in answer.err) == (2, True)


def test_eval_of_a_reference_gives_scores_with_their_protocol(vlactl, tmp_path):
    short = ["--n", 2, "--set", "steps_per_task=3"]
    answer = vlactl("eval", "random", *short, "-o", tmp_path / "rollouts.jsonl", "--json")
    document = answer.lines[-2]
    assert (answer.code, document["episodes"]) == (0, 2)
    assert document["scores"]["sr1"]["high"] <= 1
    assert document["protocol"]["steps_per_task"] == 3
    assert len((tmp_path / "rollouts.jsonl").read_text().splitlines()) == 2
    other = vlactl("eval", "zero", *short, "--set", "image_px=32", "--json").lines[-2]
    assert other["protocol_digest"] != document["protocol_digest"]
    assert "protocol: tabletop (" in vlactl("eval", "zero", *short).out


def test_eval_finds_the_policy_of_a_trial(vlactl, recipe, launcher, home):
    vlactl("sweep", recipe)
    found = evaluate.policy_folder("smolvlm/one-step-discrete/in-domain/seed-0")
    manifest = json.loads((found.parent / "manifest.json").read_text())
    assert (manifest["kind"], manifest["label"]) == ("finetune", "smolvlm/one-step-discrete/in-domain/seed-0")
    assert evaluate.policy_folder(manifest["digest"][:8]) == found


def test_eval_refuses_a_folder_without_a_policy(vlactl, tmp_path):
    answer = vlactl("eval", tmp_path)
    assert (answer.code, "there is no policy in this folder" in answer.err) == (2, True)


STAGES = [
    KnownStage(digest="abc" + "0" * 13, kind="finetune", label="m/f/seed-0", status="done"),
    KnownStage(digest="abd" + "0" * 13, kind="evaluate", label="m/f/seed-0", status="running"),
    KnownStage(digest="fed" + "0" * 13, kind="finetune", label="m/g/seed-0", status="failed"),
]


@pytest.mark.parametrize(
    ("wanted", "index"), [("abd0", 1), ("m/f/seed-0", 1), ("finetune:m/f", 0), ("m/g", 2), ("finetune:m/g/seed-0", 2)]
)
def test_a_stage_is_found_by_digest_label_and_kind(wanted, index):
    assert find_stage(STAGES, wanted) == STAGES[index]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("m/", "matches 2 labels"), ("nothing", "no trial and no stage"), ("m/h/seed-0", "did you mean")],
)
def test_a_stage_that_cannot_be_meant_is_an_error(wanted, words):
    with pytest.raises(UsageError, match=words):
        find_stage(STAGES, wanted)
