"""``sim`` and ``eval``: pictures, one policy."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from vlactl.benchmarks import BENCHMARKS, BenchmarkSpec
from vlactl.cli import evaluate
from vlactl.cli.lookup import KnownStage, find_stage
from vlactl.episodes import EpisodeSpec, Observation
from vlactl.errors import ExitCode, UsageError
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces

FAST = ("--image-px", 32, "--set", "shadows=false", "--set", "antialias=1")


class DotsSpec(BenchmarkSpec):
    """A benchmark of somebody else's: no scenes, one camera, a list of two episodes."""

    kind: ClassVar[str] = "dots"

    def spaces(self):
        return Spaces(
            observation=ObservationSpace(cameras=(("front", 24, 24),), state=("x_m",)),
            action=ActionSpace(
                names=("x",),
                control="joint-position",
                frame="world",
                position_scale_m=0.1,
                rotation_scale_rad=0.1,
                rate_hz=10.0,
            ),
            embodiment="dot",
        )

    def protocol(self):
        return {}

    def build(self):
        return Dots(self.spaces())


class Dots:
    def __init__(self, spaces):
        self.spaces = spaces

    def episodes(self):
        return tuple(
            EpisodeSpec(
                key=f"e{n}", scene="line", start={}, tasks=("go",), instructions=("go on",), max_steps=3, seed=n
            )
            for n in range(2)
        )

    def warm_up(self, *, pictures):
        pass

    def simulation(self):
        return SimpleNamespace(reset=lambda spec: None, begin=lambda index: "go on", step=lambda action_A: True)

    def look(self, simulations):
        image_KYXC = np.full((1, 24, 24, 3), 99, np.uint8)
        return [Observation(images_KYXC=image_KYXC, state_S=np.zeros(1)) for _ in simulations]

    def expert(self, simulation):
        return lambda: np.zeros(1)


@pytest.fixture
def dots(monkeypatch):
    monkeypatch.setitem(BENCHMARKS._specs, "dots", DotsSpec)
    return ("--benchmark", "dots")


def test_any_benchmark_can_be_looked_at_and_filmed(vlactl, dots, tmp_path):
    assert vlactl("sim", "look", *dots, "-o", tmp_path / "a.png").code == 0
    assert vlactl("sim", "view", *dots, "-o", tmp_path / "a.mp4", "--episode", 1).code == 0
    assert len(list(tmp_path.glob("a.*"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("look", "--scene", "A"), "the benchmark 'dots' has no scene to choose"),
        (("view", "--embodiment", "panda"), "the benchmark 'dots' has no embodiment to choose"),
        (("view", "--shift", "light"), "the benchmark 'dots' has no shift to choose"),
        (("look", "--episode", "2"), "expected: 0 .. 1"),
        (("view", "--task", "go"), "only the episodes of its list"),
        (("view", "--policy", "keyboard"), "the keyboard cannot command"),
    ],
)
def test_what_a_benchmark_lacks_is_named(vlactl, dots, words, message):
    answer = vlactl("sim", *words, *dots)
    assert answer.code == ExitCode.USAGE
    assert message in answer.err


def test_a_picture_of_a_scene(vlactl, tmp_path):
    import imageio.v3 as iio

    answer = vlactl("sim", "look", *FAST, "-o", tmp_path / "a.png", "--json")
    assert (answer.code, answer.lines[0]["type"]) == (0, "picture")
    image_YXC = iio.imread(tmp_path / "a.png")
    assert image_YXC.shape == (answer.lines[0]["height_px"], answer.lines[0]["width_px"], 3)
    assert image_YXC[:320, :320].std() > 10, "something is to be seen"
    for other in (("--scene", "A"), ("--embodiment", "stubby"), ("--shift", "light#2"), ("--episode", 3)):
        assert vlactl("sim", "look", *FAST, *other, "-o", tmp_path / "b.png").code == 0
        assert (iio.imread(tmp_path / "b.png")[:320, :320] != image_YXC[:320, :320]).any(), other


def test_several_scenes_make_a_page(vlactl, tmp_path):
    import imageio.v3 as iio

    answer = vlactl("sim", "look", *FAST, "--scene", "ABCD", "-o", tmp_path / "page.png", "--small", "--json")
    assert answer.lines[0]["scenes"] == 4
    page_YXC = iio.imread(tmp_path / "page.png", mode="RGB")
    assert page_YXC.shape[0] > 2 * 320
    assert page_YXC.shape[1] > 2 * 480
    assert (page_YXC[20:300, 20:300] != page_YXC[20:300, 20 + 492 : 300 + 492]).any(axis=2).mean() > 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scene", "Z"), "unknown scene 'Z'"),
        (("--embodiment", "pandaa"), "heron | panda | stubby"),
        (("--shift", "nightfall"), "nightfall"),
        (("--set", "colour=red"), "sets nothing of benchmark 'tabletop'"),
        (("--episode", 5000), "expected at most 1000"),
        (("-o", "a.jpg"), "ends in .png"),
        (("--benchmark", "tabletpo"), "did you mean 'tabletop'"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused(vlactl, words, message):
    answer = vlactl("sim", "look", *FAST, *words)
    assert answer.code == ExitCode.USAGE
    assert message in answer.err


def test_a_film_of_the_expert_of_chance_and_of_one_task(vlactl, tmp_path):
    answer = vlactl("sim", "view", *FAST, "-o", tmp_path / "a.mp4", "--json")
    assert answer.lines[0]["tasks"][0]["success"] is True
    assert (tmp_path / "a.mp4").stat().st_size > 1000
    short = ("--set", "steps_per_task=3")
    answer = vlactl("sim", "view", *FAST, *short, "--policy", "random", "-o", tmp_path / "a.gif")
    assert answer.code == 0
    assert "failed" in answer.out
    assert (tmp_path / "a.gif").read_bytes()[:4] == b"GIF8"
    answer = vlactl("sim", "view", *FAST, "--task", "stack_block", "-o", tmp_path / "b.mp4", "--json")
    assert [each["task"] for each in answer.lines[0]["tasks"]] == ["stack_block"]
    assert len(answer.lines[0]["before"]) == 1, "a block is lifted first"


def test_a_film_begins_when_the_task_does(vlactl, tmp_path):
    import av

    answer = vlactl("sim", "view", *FAST, "--task", "place_in_drawer", "-o", tmp_path / "a.mp4", "--json")
    (verdict,) = answer.lines[0]["tasks"]
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 1 + verdict["steps"] + 8


def test_a_policy_sees_its_own_pictures_and_people_see_theirs(vlactl, tmp_path, monkeypatch):
    import av

    class Idle:
        seen: ClassVar[set] = set()

        def reset(self, key, noise_seed):
            pass

        def act(self, requests):
            self.seen.update(request.observation.images_KYXC.shape for request in requests)
            return [np.zeros((2, 7), np.float32) for _ in requests]

    monkeypatch.setattr(evaluate, "open_policy", lambda wanted, spec, device: Idle())
    short = ("--set", "steps_per_task=4", "--set", "shadows=false")
    answer = vlactl("sim", "view", "--policy", "mine", "--image-px", 128, *short, "-o", tmp_path / "a.mp4", "--json")
    assert answer.lines[0]["tasks"][0]["steps"] == 4
    assert Idle.seen == {(2, 64, 64, 3)}
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert film.streams.video[0].width == 3 * 128 + 3 * 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--policy", "nobody"), "no trial and no stage is called 'nobody'"),
        (("--task", "open_drawr"), "did you mean 'open_drawer'"),
        (("-o", "a.avi"), ".mp4 or .gif"),
        (("--window",), "no window can be opened"),
        (("--policy", "keyboard"), "no window can be opened"),
    ],
)
def test_a_film_that_cannot_be_made_is_refused(vlactl, monkeypatch, words, message):
    monkeypatch.delenv("DISPLAY", raising=False)
    answer = vlactl("sim", "view", *FAST, *words)
    assert answer.code == ExitCode.USAGE
    assert message in answer.err
    assert not list(Path.cwd().glob("*.mp4*")), "nothing is left behind"


def test_contact_sheets_of_tasks_and_worlds(vlactl, tmp_path):
    words = ("--tasks", "open_drawer,turn_on_led", "--image-px", 64, "-o", tmp_path / "sheets")
    answer = vlactl("sim", "sheets", *words, "--json")
    document = answer.lines[-2]
    assert (answer.code, document["type"]) == (0, "sheets")
    assert [each["task"] for each in document["tasks"]] == ["open_drawer", "turn_on_led"]
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == [
        "shifts-D-panda.png",
        "tasks-D-panda-1.png",
        "worlds.png",
    ]
    assert "unknown suite or task 'opendrawer'" in vlactl("sim", "sheets", "--tasks", "opendrawer").err


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
