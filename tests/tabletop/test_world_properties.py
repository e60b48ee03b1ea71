"""What holds in every world under any actions whatever: the laws that benchmarks and recordings rest on."""
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable, Iterator

import mujoco
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlactl.errors import UsageError
from vlactl.tabletop import layouts
from vlactl.tabletop.embodiments import EMBODIMENTS
from vlactl.tabletop.layouts import LAYOUTS
from vlactl.tabletop.tasks import TASKS, start_states
from vlactl.tabletop.world import WORKSPACE_M, World
from vlactl.tabletop.worlds import Worlds

STARTS = start_states()
STEPS = 10_000
"""In one world; a twentieth in each of the others."""
KINETIC_J = 40.0
"""A stretched-out arm at full speed has less than 10; a simulation that blows up has thousands."""
REST_J = 0.01
SKIN_M = 0.002


def wild(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Legal actions without end: calm noise, full deflection held for a while, and full deflection that flips."""
    while True:
        kind, held = rng.integers(4), np.sign(rng.uniform(-1, 1, 7))
        for step in range(int(rng.integers(5, 60))):
            if kind == 0:
                yield rng.uniform(-1, 1, 7)
            elif kind == 1:
                yield held
            elif kind == 2:
                yield held * (1 if step % 2 else -1)
            else:  # down, and about: what breaks things
                yield np.array([*rng.uniform(-1, 1, 2), -1.0, *rng.uniform(-0.3, 0.3, 3), held[6]])


def kinetic_j(world: World) -> float:
    mujoco.mj_energyVel(world.model, world.data)
    return float(world.data.energy[1])


def inside(world: World, spots_SC: np.ndarray) -> np.ndarray:
    """Whether each spot (S, 3) is inside one of the boards of the desk."""
    found, model = np.zeros(len(spots_SC), bool), world.model
    boards = np.flatnonzero(model.geom_bodyid == model.body("desk").id)
    assert len(boards) > 3
    assert (model.geom_type[boards] == mujoco.mjtGeom.mjGEOM_BOX).all()
    for geom in boards:
        local = (spots_SC - world.data.geom_xpos[geom]) @ world.data.geom_xmat[geom].reshape(3, 3)
        found |= (np.abs(local) < model.geom_size[geom] - SKIN_M).all(axis=1)
    return found


def blocks_m(world: World) -> np.ndarray:
    return world.scene_state()[6:].reshape(3, 6)[:, :3]


@pytest.mark.parametrize("scene", LAYOUTS)
@pytest.mark.parametrize("machine", EMBODIMENTS)
def test_nothing_breaks_in_many_wild_steps_at_30_hz(machine: str, scene: str) -> None:
    """No NaN, no warning of MuJoCo, no explosion; blocks pass through neither floor nor boards; all comes to rest."""
    world, rng = World(machine, scene, action_repeat=1), np.random.default_rng(0)
    actions, astray, long = wild(rng), 0, (machine, scene) == ("panda", "D")
    for step in range(STEPS if long else STEPS // 20):
        if step % (STEPS // 2) == 0:
            world.reset(STARTS[int(rng.integers(len(STARTS)))], seed=step)
            before = blocks_m(world)
        world.step(next(actions))
        now = blocks_m(world)
        assert np.isfinite(world.data.qpos).all()
        assert np.isfinite(world.data.qvel).all()
        assert kinetic_j(world) < KINETIC_J
        assert now[:, 2].min() > 0.015, "a block left through the floor"
        way = np.concatenate([before + share * (now - before) for share in (0.25, 0.5, 0.75, 1.0)])
        assert not inside(world, way).any(), "a block is inside a board of the desk"
        strayed = np.abs(world.eef_m - np.clip(world.eef_m, *WORKSPACE_M)).max()
        assert strayed < 0.3, "the hand is far away"
        astray = astray + 1 if strayed > 0.1 else 0
        assert astray < 60, "the hand does not come back"
        before = now
    assert not world.data.warning.number.any()
    for _ in range(90):
        world.step(np.zeros(7))
    assert kinetic_j(world) < REST_J


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(st.lists(st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 1.0, -0.0, 5e-324])),
                                 min_size=7, max_size=7), min_size=1, max_size=25),
       start=st.sampled_from(STARTS), seed=st.integers(0, 2**32 - 1))
def test_legal_actions_never_lead_to_nan(played_in: World, actions: list, start: dict, seed: int) -> None:
    played_in.reset(start, seed)
    for action in actions:
        played_in.step(np.array(action))
    for values in (played_in.state(), played_in.robot_state(), played_in.scene_state(), played_in.data.qvel):
        assert np.isfinite(values).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(legal=st.lists(st.floats(-1, 1), min_size=7, max_size=7), at=st.integers(0, 6),
       bad=st.floats().filter(lambda value: not abs(value) <= 1.0001))
def test_one_illegal_number_is_refused_and_changes_nothing(played_in: World, legal: list, at: int, bad: float) -> None:
    before = everything(played_in)
    action = np.array(legal)
    action[at] = bad
    with pytest.raises(UsageError, match="not an action"):
        played_in.step(action)
    np.testing.assert_array_equal(everything(played_in), before)


@pytest.fixture(scope="module")
def played_in() -> World:
    world = World("panda")
    world.reset(STARTS[0], 0)
    return world


def everything(world: World) -> np.ndarray:
    data = world.data
    return np.concatenate([data.qpos, data.qvel, data.ctrl, data.qacc_warmstart, [data.time],
                           world.controls.control_NC[0], list(world.lamps.values())])


@pytest.mark.parametrize("scene", LAYOUTS)
def test_no_task_is_done_when_it_begins(scene: str) -> None:
    """At every start state, and again right after a step in which nothing was done."""
    world = World("panda", scene)
    for seed, start in enumerate(STARTS[::3]):
        world.reset(start, seed)
        before = world.snapshot()
        for _ in range(2):
            assert not [task for task in TASKS if world.succeeded(task, before)], start
            world.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))


@pytest.mark.parametrize("scene", LAYOUTS)
def test_a_start_state_is_built_where_it_says(scene: str) -> None:
    world = World("panda", scene)
    for seed, start in enumerate(STARTS[1::11]):
        world.reset(start, seed)
        seen = world.snapshot()
        assert seen.joints["drawer"] == pytest.approx(layouts.DRAWER_OPEN_M * (start["drawer"] == "open"), abs=3e-3)
        assert seen.joints["slider"] == pytest.approx(layouts.SLIDER_SIDE_M[start["slider"]], abs=3e-3)
        assert seen.lamps == {"led": start["led"], "lightbulb": start["lightbulb"]}
        assert np.abs(world.data.qvel).max() < 0.05, "something is still moving"


@pytest.mark.parametrize("before", ["nothing", "another play", "other worlds"])
@pytest.mark.parametrize(("count", "threads"), [(1, 1), (5, 1), (5, 3)])
def test_trajectories_depend_on_start_seed_and_actions_alone(before: str, count: int, threads: int) -> None:
    actions = np.stack([next(steps) for steps in [wild(np.random.default_rng(5))] for _ in range(40)])
    wanted = World("panda")
    wanted.reset(STARTS[7], 3)
    for action in actions:
        wanted.step(action)
    worlds = Worlds("panda", count=count, threads=threads)
    rng, reset = np.random.default_rng(1), worlds.reset
    for index in range(count):
        reset(index, STARTS[index], 100 + index)
    disturb: dict[str, Callable[[], None]] = {
        "nothing": lambda: None, "another play": lambda: worlds.step(rng.uniform(-1, 1, (count, 7))),
        "other worlds": lambda: World("panda").reset(STARTS[9], 1)}
    disturb[before]()
    reset(count - 1, STARTS[7], 3)
    for action in actions:
        played = rng.uniform(-1, 1, (count, 7))
        played[-1] = action
        worlds.step(played)
    np.testing.assert_array_equal(worlds[count - 1].scene_state(), wanted.scene_state())
    np.testing.assert_array_equal(worlds[count - 1].robot_state(), wanted.robot_state())
