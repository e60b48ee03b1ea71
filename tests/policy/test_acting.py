"""What is done with plans: chunks, first actions and ensembles, and histories that keep their distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.toy_policies import STATES, TEXTS, batch, pictures, policy, request, spaces, statistics
from vlactl.actions import ActionCodec, ActionNormalizer
from vlactl.backbones import SmolVLM
from vlactl.episodes import Observation
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formulations import OneStepContinuous
from vlactl.policy import Actor, Policy, Request


def acted(actor: Actor, steps: int, key: int = 0) -> list[np.ndarray]:
    actor.reset(key, noise_seed=key)
    return [actor.act([request(key, step)])[0] for step in range(steps)]


@pytest.mark.parametrize("kind", ["one-step-continuous", "flow-matching", "policy-head-continuous"])
def test_first_carries_out_the_first_action_of_every_plan(kind: str) -> None:
    model = policy(kind)
    first = acted(Actor(model, execution="first"), 5)
    assert {chunk.shape for chunk in first} == {(1, 7)}
    if kind == "one-step-continuous":
        plans = acted(Actor(model), 5)
        np.testing.assert_array_equal(np.concatenate(first), np.stack([plan[0] for plan in plans]))


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.7])
def test_an_ensemble_is_acts_weighted_mean(decay: float) -> None:
    """Against a plain loop over all earlier plans: w = exp(-m i), i = 0 the oldest."""
    model = policy("one-step-continuous")
    steps, horizon = 10, 6
    plans = acted(Actor(model, execute=horizon), steps)  # one plan for each observation
    ours = np.concatenate(acted(Actor(model, execution="ensemble", ensemble_decay=decay), steps))
    for step in range(steps):
        total, weights = np.zeros(7), 0.0
        for place, made in enumerate(range(max(0, step - horizon + 1), step + 1)):
            weight = np.exp(-decay * place)
            total += weight * plans[made][step - made].astype(np.float64)
            weights += weight
        mean = total / weights
        mean[-1] = 1.0 if mean[-1] > 0 else -1.0
        np.testing.assert_allclose(ours[step], mean, atol=1e-6)


def test_an_ensemble_forgets_at_a_reset_and_passes_nan_on() -> None:
    model = policy("one-step-continuous")
    actor = Actor(model, execution="ensemble")
    first = acted(actor, 3)
    again = acted(actor, 3)
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    with torch.no_grad():
        model.formulation.head.layers[-1].bias.fill_(float("nan"))
    assert np.isnan(acted(actor, 1)[0]).all()


@pytest.mark.parametrize("kind", ["policy-head-continuous", "interleaved-continuous", "flow-matching"])
@pytest.mark.parametrize("execution", ["first", "ensemble"])
def test_frames_of_a_history_keep_their_distance(kind: str, execution: str) -> None:
    """Planning at every step, the frames that a plan sees are those that planning every third step saw."""
    model = policy(kind, history=3)
    seen: list[list[int]] = []
    inner = model.formulation.predict

    def watch(backbone, memories, *rest):  # type: ignore[no-untyped-def]
        seen.append([marks[id(memory)] for memory in memories[0]])
        return inner(backbone, memories, *rest)

    marks: dict[int, int] = {}
    keep = []
    remember = model.formulation.remember

    def mark(backbone, frames):  # type: ignore[no-untyped-def]
        left = remember(backbone, frames)
        keep.extend(left)
        marks[id(left[0])] = len(marks)
        return left

    model.formulation.predict, model.formulation.remember = watch, mark
    acted(Actor(model, execution=execution), 9)
    assert seen == [[0], [1], [2], [0, 3], [1, 4], [2, 5], [0, 3, 6], [1, 4, 7], [2, 5, 8]]
    seen.clear()
    marks.clear()
    acted(Actor(model), 4)
    assert seen == [[0], [0, 1], [0, 1, 2], [1, 2, 3]]


def test_planning_twice_as_often_is_the_same_policy_seen_at_the_same_frames() -> None:
    """A policy head that plans at every step says, at every third, what it says when it plans only there."""
    model = policy("policy-head-continuous", history=3)
    every = Actor(model, execution="first")
    every.reset(0)
    often = [every.act([request(0, step)])[0][0] for step in range(7)]
    third = Actor(model)
    third.reset(0)
    seldom = [third.act([request(0, step)])[0][0] for step in (0, 3, 6)]
    np.testing.assert_allclose(np.stack(often)[[0, 3, 6]], np.stack(seldom), atol=2e-5)


@pytest.mark.parametrize("kind", ["policy-head-continuous", "interleaved-continuous", "flow-matching"])
def test_repeating_the_present_shows_it_everywhere(kind: str) -> None:
    """As many frames go in; the past decides nothing; the first plan sees a full window already."""
    model = policy(kind, history=3, repeat_current=True)
    lengths: list[int] = []
    inner = model.formulation.predict

    def watch(backbone, memories, *rest):  # type: ignore[no-untyped-def]
        lengths.extend(len(memory) for memory in memories)
        return inner(backbone, memories, *rest)

    model.formulation.predict = watch
    actor = Actor(model)
    actor.reset(0)
    actor.act([request(0, 0)])
    actor._tracks[0].noise.manual_seed(3)
    (later,) = actor.act([request(0, 1)])
    actor.reset(0, noise_seed=3)
    (fresh,) = actor.act([request(0, 1)])
    np.testing.assert_array_equal(later, fresh)
    assert lengths == [3, 3, 3]


def test_the_static_camera_alone_decides_where_only_it_is_shown() -> None:
    model = policy("one-step-continuous", cameras="static").eval()
    views: list[int] = []
    model.backbone.register_forward_pre_hook(lambda _module, args: views.append(args[0].pixels_BHKCYX.shape[2]))
    actor = Actor(model)
    actor.reset(0)
    actor.act([request(0, 0)])
    model.loss(batch(1))
    assert views == [1, 1]
    alone = spaces(cameras=1)
    assert "cameras: static" in (OneStepContinuous().space_conflict(alone) or "")
    assert OneStepContinuous(cameras="static").space_conflict(alone) is None
    with pytest.raises(IncompatibleSpaces, match="needs two cameras"):
        Policy.create(SmolVLM(), OneStepContinuous(), alone, model.card.codec, statistics(), TEXTS, 0)


@pytest.mark.parametrize("execution", ["chunk", "ensemble"])
@pytest.mark.parametrize("kind", ["flow-matching", "diffusion"])
def test_noise_belongs_to_the_episode(kind: str, execution: str) -> None:
    """Another seed plans otherwise; other episodes in the batch change nothing."""
    actor = Actor(policy(kind), execution=execution)
    actor.reset(0, noise_seed=1)
    alone = [actor.act([request(0, step)])[0] for step in range(3)]
    for key in (0, 1, 2):
        actor.reset(key, noise_seed=1 if key == 0 else 7)
    together = [actor.act([request(key, step) for key in (2, 0, 1)])[1] for step in range(3)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    actor.reset(0, noise_seed=2)
    assert np.abs(actor.act([request(0, 0)])[0] - alone[0]).max() > 1e-3


def test_chunk_deltas_and_absolute_targets_come_out_as_commands() -> None:
    """A head that says the same number for every step moves once, and then holds still."""
    moving = ActionCodec(actions="chunk-delta", normalizer=ActionNormalizer(low=(-1.0,) * 6, high=(1.0,) * 6))
    spec = OneStepContinuous(actions="chunk-delta")
    model = Policy.create(SmolVLM(), spec, spaces(), moving, statistics(), TEXTS, 0)
    with torch.no_grad():
        model.formulation.head.layers[-1].weight.zero_()
        model.formulation.head.layers[-1].bias.fill_(0.3)
    chunk = acted(Actor(model), 1)[0]
    np.testing.assert_allclose(chunk[:, 0], [0.3, 0, 0], atol=1e-6)
    with pytest.raises(UsageError, match="codec is for chunk-delta"):
        Policy.create(SmolVLM(), OneStepContinuous(), spaces(), moving, statistics(), TEXTS, 0)


def test_executions_that_cannot_be() -> None:
    model = policy("policy-head-continuous")
    with pytest.raises(UsageError, match="unknown execution 'all'"):
        Actor(model, execution="all")
    with pytest.raises(UsageError, match="takes no execute"):
        Actor(model, execution="first", execute=2)
    seen = Observation(images_KYXC=pictures(2).numpy(), state_S=np.zeros(STATES, np.float32))
    actor = Actor(model, execution="ensemble")
    with pytest.raises(KeyError):
        actor.act([Request(key=0, observation=seen, instruction="push")])
