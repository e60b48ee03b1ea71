"""The embedded benchmark: nested episodes, a whole protocol, an expert that solves it and a chance that does not."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from vlactl.benchmarks import BENCHMARKS
from vlactl.errors import VlactlError
from vlactl.identity import digest
from vlactl.rollout import evaluate, summarise
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
    other = {"embodiment": "stubby", "chains": 5, "steps_per_task": 60, "image_px": 32, "shadows": False,
             "antialias": 2, "instructions": "training"}
    digests = {digest(protocol), *(digest(make(**{name: value}).protocol()) for name, value in other.items())}
    assert len(digests) == 1 + len(other)


@pytest.mark.parametrize("fields", [{"embodiment": "pandas"}, {"scene": "E"}, {"tasks": "cores"},
                                    {"tasks": "furniture"}, {"chains": 0}, {"chains": 1001}, {"hue": "red"}], ids=str)
def test_a_benchmark_that_cannot_be_is_refused_when_planned(fields: dict) -> None:
    with pytest.raises((VlactlError, ValidationError)):
        make(**fields)


@pytest.mark.parametrize("robot", ["panda", "stubby"])
def test_the_expert_solves_chains_and_chance_does_not(robot: str) -> None:
    benchmark = make(embodiment=robot, chains=6).build()
    expert = summarise(evaluate(benchmark, "expert", benchmark.episodes(), batch=2, progress=silent))
    assert expert["avg_len"] >= 4.5
    assert expert["infra_errors"] == expert["invalid_actions"] == 0
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
