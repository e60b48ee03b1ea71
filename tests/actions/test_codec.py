"""Parameterisations are exact inverses; statistics are those of what is predicted."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vlactl.actions import ActionCodec, ActionNormalizer, Pose
from vlactl.errors import UsageError
from vlactl.formulations import OneStepContinuous
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.tabletop.interface import STATE_NAMES

KINDS = ("step-delta", "chunk-delta", "absolute")
SPACES = Spaces(observation=ObservationSpace(cameras=(("static", 64, 64), ("wrist", 64, 64)), state=STATE_NAMES),
                action=ActionSpace(names=("x", "y", "z", "rx", "ry", "rz", "gripper"), control="relative-eef-pose",
                                   frame="world", position_scale_m=0.06, rotation_scale_rad=0.15, rate_hz=10.0),
                embodiment="panda")
WIDE = ActionNormalizer(low=(-100.0,) * 6, high=(100.0,) * 6)
chunks = hnp.arrays(np.float64, (3, 5, 6), elements=st.floats(-1, 1, width=32))
headings = st.floats(-3.14, 3.14)


@dataclass
class Source:
    """Two episodes of recorded actions and states."""

    actions_NA: np.ndarray
    states_NS: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def source(seed: int = 0, lengths: tuple[int, ...] = (20, 30)) -> Source:
    random, count = np.random.default_rng(seed), sum(lengths)
    arm = random.uniform(-0.5, 0.5, (count, 6))
    ends = np.cumsum(lengths)
    return Source(actions_NA=np.concatenate([arm, random.choice([-1.0, 1.0], (count, 1))], 1),
                  states_NS=states(random.uniform(-0.3, 0.3, (count, 3)), random.uniform(-1, 1, count)),
                  starts=ends - np.array(lengths), ends=ends)


def states(position: np.ndarray, heading: np.ndarray) -> np.ndarray:
    zeros = np.zeros((*heading.shape, 4))
    return np.concatenate([position, np.cos(heading)[..., None], np.sin(heading)[..., None], zeros], -1)


def codec(kind: str, normalizer: ActionNormalizer = WIDE) -> ActionCodec:
    return ActionCodec(actions=kind, normalizer=normalizer, pose=Pose.of(SPACES) if kind == "absolute" else None)


@pytest.mark.parametrize("kind", KINDS)
@given(arm=chunks, heading=headings, open_=st.booleans())
@settings(max_examples=40)
def test_decoding_undoes_encoding(kind: str, arm: np.ndarray, heading: float, open_: bool) -> None:
    actions = np.concatenate([arm, np.full((3, 5, 1), 1.0 if open_ else -1.0)], -1)
    here = states(np.array([[0.1, -0.2, 0.5]] * 3), np.full(3, heading))
    encoded = codec(kind).encode(actions, here)
    assert encoded.dtype == np.float32
    decoded = codec(kind).decode(encoded, here)
    assert decoded.dtype == np.float32
    # metres and radians divided by the scale of an action: float32 of 1/100 leaves 1e-6 m
    np.testing.assert_allclose(decoded, actions, atol=2e-3 if kind == "absolute" else 2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_actions_of_a_chunk_do_not_depend_on_the_rest(kind: str) -> None:
    chunk = np.random.default_rng(0).uniform(-0.005, 0.005, (5, 7))
    here = states(np.array([0.1, -0.2, 0.5]), np.array(0.3))
    np.testing.assert_allclose(codec(kind).decode(chunk[:2], here), codec(kind).decode(chunk, here)[:2], atol=1e-6)


def test_a_chunk_delta_is_the_way_gone_since_the_chunk_began() -> None:
    ones = ActionNormalizer(low=(-1.0,) * 6, high=(1.0,) * 6)
    actions = np.full((4, 7), 0.25)
    encoded = codec("chunk-delta", ones).encode(actions, np.zeros(9))
    np.testing.assert_allclose(encoded[:, 0], [0.25, 0.5, 0.75, 1.0])


def test_absolute_actions_are_metres_and_radians_of_the_world() -> None:
    here = states(np.array([0.1, -0.2, 0.5]), np.array(0.5))
    actions = np.zeros((2, 7))
    actions[:, 0], actions[:, 5], actions[:, 3] = 0.5, -1.0, 0.2
    targets = WIDE.decode(codec("absolute").encode(actions, here))
    np.testing.assert_allclose(targets[:, 0], [0.13, 0.16], atol=1e-5)
    np.testing.assert_allclose(targets[:, 5], [0.35, 0.20], atol=1e-5)
    np.testing.assert_allclose(targets[:, 3], [0.2, 0.4], atol=1e-5)  # what the state does not hold counts from here


def test_a_target_across_half_a_turn_is_reached_the_short_way() -> None:
    here = states(np.array([0.0, 0.0, 0.5]), np.array(np.pi - 0.05))
    actions = np.zeros((2, 7))
    actions[:, 5] = 1.0
    encoded = codec("absolute").encode(actions, here)
    other_side = states(np.array([0.0, 0.0, 0.5]), np.array(-np.pi + 0.05))
    commands = codec("absolute").decode(encoded, other_side)
    np.testing.assert_allclose(commands[:, 5] * 0.15, [0.15 - 0.1, 0.15], atol=1e-4)


def test_statistics_are_those_of_what_is_predicted() -> None:
    """Chunk by chunk, by hand: no action beyond an episode's end takes part."""
    both, horizon = source(), 4
    fitted = ActionCodec.fit(OneStepContinuous(horizon=horizon, actions="chunk-delta"), SPACES, [both])
    sums = [both.actions_NA[t : min(t + horizon, end), :6].cumsum(0)
            for start, end in zip(both.starts, both.ends, strict=True) for t in range(start, end)]
    low, high = np.quantile(np.concatenate(sums), [0.01, 0.99], axis=0)
    np.testing.assert_allclose(fitted.normalizer.low, low)
    np.testing.assert_allclose(fitted.normalizer.high, high)
    assert fitted.pose is None
    steps = ActionCodec.fit(OneStepContinuous(), SPACES, [both, source(1)])
    np.testing.assert_allclose(
        steps.normalizer.low, np.quantile(np.concatenate([both.actions_NA, source(1).actions_NA])[:, :6], 0.01, axis=0))


def test_an_absolute_codec_covers_the_workspace() -> None:
    fitted = ActionCodec.fit(OneStepContinuous(actions="absolute"), SPACES, [source()])
    encoded = fitted.encode(source().actions_NA[None, :6], source().states_NS[:1])
    assert np.abs(encoded).max() <= 1
    assert -0.5 < fitted.normalizer.low[0] < -0.2 < 0.2 < fitted.normalizer.high[0] < 0.5


def test_a_fixed_range_comes_from_the_recipe() -> None:
    fitted = ActionCodec.fit(OneStepContinuous(normalization="fixed", fixed_range=0.5), SPACES, [])
    assert fitted.normalizer == ActionNormalizer.fixed(0.5, 7)
    with pytest.raises(ValueError, match="fixed is a range of single steps"):
        OneStepContinuous(normalization="fixed", actions="absolute")


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trips(kind: str) -> None:
    assert ActionCodec.from_json(json.loads(json.dumps(codec(kind).to_json()))) == codec(kind)


def test_absolute_actions_are_refused_where_nobody_says_where_the_hand_is() -> None:
    spec = OneStepContinuous(actions="absolute")
    assert spec.space_conflict(SPACES) is None
    blind = replace(SPACES, observation=replace(SPACES.observation, state=("joint_1_rad", "eef_x_m")))
    reason = spec.space_conflict(blind) or ""
    assert "eef_y_m, eef_z_m, eef_yaw_cos, eef_yaw_sin" in reason
    with pytest.raises(UsageError, match="no eef_y_m"):
        ActionCodec.fit(spec, blind, [source()])
    tool = replace(SPACES, action=replace(SPACES.action, frame="tool"))
    assert "tool frame" in (spec.space_conflict(tool) or "")
    with pytest.raises(UsageError, match="only to them"):
        ActionCodec(actions="absolute", normalizer=WIDE)


def test_targets_of_different_moments_average_to_a_target() -> None:
    """Two plans that agree about where to be are followed exactly, wherever the hand is by now."""
    absolute = codec("absolute")
    actions = np.zeros((3, 7))
    actions[:, 0], actions[:, 6] = [0.5, 0.5, 0.5], 1.0
    first = states(np.array([0.10, 0.0, 0.5]), np.array(0.0))
    second = states(np.array([0.12, 0.0, 0.5]), np.array(0.0))  # got there slower than planned
    old = absolute.comparable(absolute.encode(actions, first), first)
    new = absolute.comparable(absolute.encode(actions, second), second)
    np.testing.assert_allclose([old[1, 0], new[0, 0]], [0.16, 0.15], atol=1e-5)
    command = absolute.command((old[1] + new[0]) / 2, second)
    assert command[0] * 0.06 == pytest.approx(0.155 - 0.12, abs=1e-5)
    deltas = codec("chunk-delta")
    np.testing.assert_allclose(deltas.comparable(deltas.encode(actions, first), first), actions, atol=1e-4)
