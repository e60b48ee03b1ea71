"""What every benchmark on the menu must keep, whoever wrote it."""

from __future__ import annotations

import ast
import inspect
import itertools
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

from vlactl.benchmarks import BENCHMARKS
from vlactl.errors import UsageError
from vlactl.identity import canonical, digest

HEAVY = ("torch", "transformers", "deepspeed", "mujoco", "numba", "ray", "mlflow")


ELSEWHERE = {"calvin", "simplerenv"}
"""Kinds that plan here and need a simulator that this installation has no adapter to."""


@pytest.fixture(params=list(BENCHMARKS), scope="module")
def spec(request: pytest.FixtureRequest) -> Any:
    return BENCHMARKS.get(request.param)()


@pytest.fixture(params=[kind for kind in BENCHMARKS if kind not in ELSEWHERE], scope="module")
def built(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    spec = BENCHMARKS.get(request.param)()
    return spec, spec.build()


def actions(benchmark: Any, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, benchmark.spaces.action.size))


def trace(benchmark: Any, simulation: Any, episode: Any, count: int = 6) -> list[np.ndarray]:
    """What is seen of an episode under fixed actions."""
    simulation.reset(episode)
    simulation.begin(0)
    seen = []
    for action in actions(benchmark, count):
        seen += [[simulation.step(action)], *_arrays(benchmark.look([simulation])[0])]
    return [np.asarray(array) for array in seen]


def _arrays(observation: Any) -> tuple[np.ndarray, np.ndarray]:
    return observation.images_KYXC, observation.state_S


def test_a_spec_survives_being_written_down(spec: Any) -> None:
    assert BENCHMARKS.parse(spec.identity()) == spec
    assert canonical(spec.protocol())
    assert spec.protocol() == BENCHMARKS.parse(spec.identity()).protocol()


def test_planning_a_benchmark_imports_nothing_heavy_and_hashes_the_same_in_a_fresh_process(spec: Any) -> None:
    code = (f"import sys, json\nfrom vlactl.benchmarks import BENCHMARKS\nfrom vlactl.identity import digest\n"
            f"spec = BENCHMARKS.parse(json.loads({canonical(spec.identity())!r}))\nspec.spaces()\n"
            f"print(digest(spec.protocol()), sorted(set({HEAVY!r}) & sys.modules.keys()))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"{digest(spec.protocol())} []\n"


def test_every_field_has_a_docstring(spec: Any) -> None:
    body = ast.parse(textwrap.dedent(inspect.getsource(type(spec)))).body[0].body  # type: ignore[attr-defined]
    for field, following in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and field.target.id in type(spec).model_fields:  # type: ignore[union-attr]
            assert isinstance(following, ast.Expr), ast.unparse(field)
            assert isinstance(following.value, ast.Constant), ast.unparse(field)


def test_what_cannot_be_built_says_what_is_missing_and_nothing_else_does(spec: Any) -> None:
    assert bool(spec.missing()) == (spec.kind in ELSEWHERE)
    if spec.kind in ELSEWHERE:
        with pytest.raises(UsageError, match="plans here") as caught:
            spec.build()
        assert spec.missing()[0] in caught.value.remedy


def test_episodes_are_frozen_and_complete(built: tuple) -> None:
    _, benchmark = built
    episodes = benchmark.episodes()
    assert episodes == benchmark.episodes()
    assert len({episode.key for episode in episodes}) == len(episodes) > 0
    for episode in episodes:
        assert len(episode.tasks) == len(episode.instructions) > 0
        assert all(episode.instructions)
        assert episode.max_steps > 0
        assert canonical(episode.start)


def test_observations_are_what_the_spaces_declare(built: tuple) -> None:
    spec, benchmark = built
    assert benchmark.spaces == spec.spaces()
    simulation = benchmark.simulation()
    simulation.reset(benchmark.episodes()[0])
    observation, declared = benchmark.look([simulation])[0], spec.spaces().observation
    assert observation.images_KYXC.dtype == np.uint8
    assert [image.shape for image in observation.images_KYXC] == [(y, x, 3) for _, y, x in declared.cameras]
    assert observation.state_S.shape == (len(declared.state),)
    assert observation.state_S.dtype == np.float32
    assert np.isfinite(observation.state_S).all()


def test_an_episode_is_a_function_of_its_spec_and_actions(built: tuple) -> None:
    _, benchmark = built
    first, second = benchmark.episodes()[:2]
    simulation = benchmark.simulation()
    expected = trace(benchmark, simulation, first)
    trace(benchmark, simulation, second, count=9)
    for again in (trace(benchmark, simulation, first), trace(benchmark, benchmark.simulation(), first)):
        for ours, theirs in zip(expected, again, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_pictures_do_not_depend_on_the_batch(built: tuple) -> None:
    _, benchmark = built
    simulations = [benchmark.simulation() for _ in range(3)]
    for simulation, episode in zip(simulations, benchmark.episodes(), strict=False):
        simulation.reset(episode)
    for together, simulation in zip(benchmark.look(simulations), simulations, strict=True):
        for ours, theirs in zip(_arrays(together), _arrays(benchmark.look([simulation])[0]), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_no_task_is_done_when_it_begins(built: tuple) -> None:
    _, benchmark = built
    simulation = benchmark.simulation()
    for episode in benchmark.episodes()[:5]:
        simulation.reset(episode)
        for index in range(len(episode.tasks)):
            assert simulation.begin(index) == episode.instructions[index]
            assert not simulation.step(np.zeros(benchmark.spaces.action.size))


def test_the_expert_acts_legally_and_solves_the_first_task(built: tuple) -> None:
    _, benchmark = built
    simulation = benchmark.simulation()
    solved = 0
    for episode in benchmark.episodes()[:3]:
        simulation.reset(episode)
        simulation.begin(0)
        act = benchmark.expert(simulation)
        for _ in range(episode.max_steps):
            action = act()
            assert action.shape == (benchmark.spaces.action.size,)
            assert np.abs(action).max() <= 1
            if simulation.step(action):
                solved += 1
                break
    assert solved >= 2
