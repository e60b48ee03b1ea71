"""The embedded benchmark: nested episodes, a whole protocol, an expert that solves it and a chance that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from vlactl.benchmarks import BENCHMARKS
from vlactl.errors import RecipeError, VlactlError
from vlactl.identity import digest
from vlactl.recipe import load
from vlactl.rollout import evaluate, summarise
from vlactl.tabletop.embodiments import EMBODIMENTS
from vlactl.tabletop.tasks import TASKS


def make(**fields):
    return BENCHMARKS.parse({"kind": "tabletop", "chains": 4, **fields})


def silent(*_: object, **__: object) -> None:
    pass


def test_a_longer_list_contains_the_shorter_one() -> None:
    assert make(chains=30).build().episodes()[:4] == make().build().episodes()


def test_a_key_is_the_content_of_an_episode() -> None:
    episodes = make(chains=200).build().episodes()
    assert len({episode.key for episode in episodes}) == len({episode.seed for episode in episodes}) == 200
    again = make(chains=200, image_px=32, embodiment="stubby").build().episodes()
    assert [episode.key for episode in again] == [episode.key for episode in episodes], "robots are compared in pairs"


def test_instructions_are_held_out_unless_asked_otherwise() -> None:
    held_out, seen = make(chains=20).build().episodes(), make(chains=20, instructions="training").build().episodes()
    for episode, other in zip(held_out, seen, strict=True):
        assert episode.instructions == tuple(TASKS[task].validation for task in episode.tasks)
        assert all(text in TASKS[task].train for task, text in zip(other.tasks, other.instructions, strict=True))
        assert episode.key == other.key
    assert len({text for episode in seen for text in episode.instructions}) > 30


def test_every_field_and_the_chain_list_are_part_of_the_protocol() -> None:
    protocol = make().protocol()
    assert len(protocol["chain_list"]) == 64
    assert {"action_repeat", "world_version", "renderer_version", "mujoco"} <= protocol.keys()
    other = {"embodiment": "stubby", "scene": "A", "chains": 5, "steps_per_task": 60, "image_px": 32, "renderer": "gl",
             "shadows": False, "antialias": 2, "instructions": "training", "shift": "light"}
    digests = {digest(protocol), *(digest(make(**{name: value}).protocol()) for name, value in other.items()),
               digest(make(shift="light", shift_variant=1).protocol())}
    assert len(digests) == 2 + len(other)


def test_a_shift_is_written_one_way() -> None:
    assert make(shift="camera+light").shift == "light+camera"
    assert make(shift="camera+light") == make(shift="light+camera")
    assert make(shift="light+description").protocol()["instructions"] == "paraphrased"
    assert make(shift="light").protocol()["instructions"] == "validation"


@pytest.mark.parametrize(("fields", "said"), [
    ({"shift": "lihgt"}, "did you mean 'light'"), ({"shift": "light#3"}, "under shift_variant"),
    ({"shift": "light+light"}, "different shifts"), ({"shift_variant": 1}, "no variants of 'none'"),
    ({"shift": "description", "instructions": "training"}, "paraphrases"), ({"renderer": "opengl"}, "raycast"),
    ({"shift": "light", "shift_variant": 10}, "shift_variant")], ids=str)
def test_a_shift_that_cannot_be_is_refused_when_planned(fields: dict, said: str) -> None:
    with pytest.raises((VlactlError, ValidationError), match=said):
        make(**fields)


def test_scores_with_and_without_a_shift_are_paired() -> None:
    plain = make(chains=20).build().episodes()
    for shift in ("distractors", "background", "light", "camera", "target", "description"):
        shifted = make(chains=20, shift=shift, shift_variant=4).build().episodes()
        for ours, theirs in zip(shifted, plain, strict=True):
            assert replace(ours, instructions=()) == replace(theirs, instructions=())
        assert (shifted == plain) == (shift not in ("target", "description"))


def test_descriptions_are_paraphrased_and_targets_called_by_their_colour() -> None:
    described = make(chains=30, shift="description").build().episodes()
    for episode in described:
        for task, text in zip(episode.tasks, episode.instructions, strict=True):
            assert text in TASKS[task].paraphrases
    assert described == make(chains=30, instructions="paraphrased").build().episodes()
    assert described != make(chains=30, shift="description", shift_variant=1).build().episodes()
    plain = make(chains=30).build().episodes()
    recoloured = make(chains=30, shift="target").build().episodes()
    words = {"red": "purple", "blue": "green", "pink": "yellow"}
    for before, now in zip(plain, recoloured, strict=True):
        for task, old, new in zip(before.tasks, before.instructions, now.instructions, strict=True):
            colour = next((colour for colour in words if f"_{colour}_" in task), None)
            assert new == (old if colour is None else old.replace(colour, words[colour]))


def test_shifts_are_seen_and_states_stay() -> None:
    episode = make().build().episodes()[1]

    def seen(**fields):
        benchmark = make(**fields).build()
        simulation = benchmark.simulation()
        simulation.reset(episode)
        return benchmark.look([simulation])[0]

    plain = seen()
    for shift in ("distractors", "background", "light", "camera", "target"):
        shifted = seen(shift=shift, shift_variant=2)
        assert np.abs(shifted.images_KYXC.astype(int) - plain.images_KYXC).max() > 40, shift
        np.testing.assert_array_equal(shifted.state_S, plain.state_S)
    np.testing.assert_array_equal(seen(shift="description").images_KYXC, plain.images_KYXC)


def test_a_recipe_whose_data_are_drawn_otherwise_is_refused_when_planned(tmp_path: Path) -> None:
    smallest = (Path(__file__).parents[2] / "recipes" / "smallest.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(smallest)
    load(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text(smallest.replace("kind: tabletop, tasks: core, chains",
                                                           "kind: tabletop, shadows: false, tasks: core, chains"))
    with pytest.raises(RecipeError, match=r"observation\.pictures: 'raycast-\d+, no shadows, 1x1' != "
                                          r"'raycast-\d+, soft shadows, 1x1'(?s:.*)renderer"):
        load(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("fields", [{"embodiment": "pandas"}, {"scene": "E"}, {"tasks": "cores"},
                                    {"tasks": "furniture"}, {"chains": 0}, {"chains": 1001}, {"hue": "red"}], ids=str)
def test_a_benchmark_that_cannot_be_is_refused_when_planned(fields: dict) -> None:
    with pytest.raises((VlactlError, ValidationError)):
        make(**fields)


@pytest.mark.parametrize("robot", EMBODIMENTS)
def test_the_expert_solves_chains_and_chance_does_not(robot: str) -> None:
    benchmark = make(embodiment=robot, chains=6).build()
    expert = summarise(evaluate(benchmark, "expert", benchmark.episodes(), batch=2, progress=silent))
    assert expert["avg_len"] >= 4.5
    assert expert["infra_errors"] == expert["invalid_actions"] == 0
    again = summarise(evaluate(benchmark, "scripted-expert", benchmark.episodes(), batch=3, progress=silent))
    assert again == expert, "two names of one policy"
    chance = summarise(evaluate(make(embodiment=robot, chains=6, steps_per_task=40).build(), "random",
                                benchmark.episodes(), batch=2, progress=silent))
    assert chance["avg_len"] < 1.5


def test_doing_nothing_achieves_nothing() -> None:
    benchmark = make(steps_per_task=10).build()
    assert summarise(evaluate(benchmark, "zero", benchmark.episodes(), batch=2, progress=silent))["avg_len"] == 0


def test_lamps_are_seen_by_the_camera() -> None:
    benchmark = make(chains=60, image_px=64).build()
    simulation, means = benchmark.simulation(), {0: [], 1: []}
    for episode in benchmark.episodes()[:20]:
        simulation.reset(episode)
        image_YXC = benchmark.look([simulation])[0].images_KYXC[0].astype(float)
        yellow = (image_YXC[..., :2].min(axis=-1) - image_YXC[..., 2]).clip(0)
        means[episode.start["lightbulb"]].append(np.sort(yellow.ravel())[-12:].mean())
    assert min(means[1]) > max(means[0]) + 20, "a lit bulb is the yellowest thing in the picture"


def test_the_time_for_a_task_is_calvins_whatever_the_rate():
    for repeat, steps in ((1, 360), (3, 120), (12, 30)):
        assert make(action_repeat=repeat).steps_per_task == steps
        assert make(action_repeat=repeat).spaces().action.rate_hz == 30 / repeat
    assert make().steps_per_task == 120
    assert make(action_repeat=1, steps_per_task=5).steps_per_task == 5
    simulation = make(action_repeat=1).build().simulation()
    assert simulation.world.action_repeat == 1
