"""What skills are made of: a hand that knows what it holds, turns the short way and lets go before it does else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vlactl.tabletop.expert import Expert
from vlactl.tabletop.skills import SKILLS, skill
from vlactl.tabletop.skills.blocks import grasp
from vlactl.tabletop.skills.hand import CLOSED, OPEN, YAW_REACH_RAD, Hand
from vlactl.tabletop.tasks import TASKS
from vlactl.tabletop.world import World

START = {"led": 0, "lightbulb": 0, "slider": "right", "drawer": "open", "red_block": "table", "blue_block": "table",
         "pink_block": "slider_left", "grasped": 0}


@pytest.fixture
def world() -> World:
    made = World("panda")
    made.reset(START, 1)
    return made


def do(world: World, task: str, steps: int = 60) -> None:
    before, expert = world.snapshot(), Expert(world, task)
    for _ in range(steps):
        world.step(expert.act())
        if world.succeeded(task, before):
            return
    raise AssertionError(f"{task} is not done")


def step(world: World, action: list[float]) -> None:
    world.step(np.clip(action, -1, 1))


def test_every_goal_has_a_skill_and_every_skill_a_goal() -> None:
    assert {skill(task.goal) for task in TASKS.values()} == set(SKILLS.values())


def test_a_hand_knows_what_is_between_its_fingers(world: World) -> None:
    hand = Hand(world)
    assert hand.between() is None
    do(world, "lift_red_block_table")
    assert hand.between() == hand.held() == "red_block"
    step(world, hand.stay(OPEN))
    step(world, hand.rise(OPEN))
    assert hand.held() is None


def test_letting_go_leaves_the_block_where_it_is(world: World) -> None:
    do(world, "rotate_red_block_left")
    hand = Hand(world)
    assert hand.held() == "red_block"
    before = world.snapshot().blocks_m["red_block"]
    steps = 0
    while (action := hand.let_go()) is not None:
        assert action[:2] == [0.0, 0.0]
        step(world, action)
        steps += 1
    assert 1 < steps < 6
    assert np.abs(world.snapshot().blocks_m["red_block"] - before).max() < 5e-3
    assert hand.at_m[2] > before[2] + 0.03


@pytest.mark.parametrize("other", ["turn_on_led", "close_drawer", "move_slider_left", "lift_pink_block_slider"])
def test_a_task_begins_by_letting_go_of_what_the_last_one_held(world: World, other: str) -> None:
    do(world, "rotate_red_block_right")
    before = world.snapshot()
    do(world, other)
    assert np.abs(world.snapshot().blocks_m["red_block"] - before.blocks_m["red_block"])[:2].max() < 0.02


def test_a_turn_is_short_and_within_the_wrists_reach(world: World) -> None:
    hand = Hand(world)
    ready = world.embodiment.ready_yaw_rad
    assert abs(hand.wound_rad) < 0.05
    for wanted in np.linspace(-3, 3, 25):
        turn = hand.turn_to(ready + wanted)
        assert abs(turn) <= math.pi / 2 + 0.1
        assert math.isclose(math.sin(hand.wound_rad + turn - wanted), 0, abs_tol=1e-9), "or from the other side"
    for _ in range(11):
        world.step(np.array([0, 0, 0, 0, 0, 1.0, 1.0]))
    assert hand.wound_rad > 1.5
    assert all(abs(hand.wound_rad + hand.turn_to(ready + wanted)) <= YAW_REACH_RAD for wanted in np.linspace(-3, 3, 25))
    assert hand.wound_rad + hand.turn_to(ready + 0.4, near_rad=-1.0) == pytest.approx(0.4, abs=1e-9)
    assert hand.wound_rad + hand.turn_to(ready + 0.4, near_rad=2.5) > 0.3


def test_a_low_hand_beside_a_block_rises_before_it_opens_or_comes_nearer(world: World) -> None:
    do(world, "push_red_block_left")
    hand = Hand(world)
    action = grasp(hand, "red_block")
    assert action is not None
    assert action[:2] == [0.0, 0.0]
    assert action[2] > 0
    assert action[6] == CLOSED


def test_an_action_brings_the_target_where_it_was_asked_to_as_fast_as_is_legal(world: World) -> None:
    hand = Hand(world)
    spot = world.target_m + np.array([0.03, -0.02, 0.01])
    step(world, hand.towards(spot.tolist(), 0.0, OPEN))
    np.testing.assert_allclose(world.target_m, spot, atol=1e-9)
    far = np.array(hand.towards((world.target_m + np.array([0.3, -0.15, 0.0])).tolist(), 0.0, OPEN))
    np.testing.assert_allclose(far[:3], [1.0, -0.5, 0.0], atol=1e-9)


def test_a_tilted_hand_comes_upright(world: World) -> None:
    for _ in range(3):
        world.step(np.array([0, 0, 0, 0.8, -0.5, 0, 1.0]))
    hand = Hand(world)
    assert world.target_rotation[2, 2] > -0.98
    for _ in range(5):
        step(world, hand.stay(OPEN))
    assert world.target_rotation[2, 2] < -0.9999


def test_a_block_that_slipped_away_is_picked_up_again(world: World) -> None:
    do(world, "lift_red_block_table")
    before, expert = world.snapshot(), Expert(world, "place_in_drawer")
    for _ in range(2):
        world.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    for _ in range(60):
        world.step(expert.act())
        if world.succeeded("place_in_drawer", before):
            return
    raise AssertionError("the block was not put into the drawer")
