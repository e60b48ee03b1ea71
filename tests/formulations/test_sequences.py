"""Formulations against each other: the same weights asked in two ways give the same answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.toy_policies import TEXTS, batch, chunks, policy
from vlactl.backbones import SmolVLM
from vlactl.formulations import (
    FlowMatching,
    InterleavedContinuous,
    InterleavedDiscrete,
    OneStepContinuous,
    OneStepDiscrete,
    OneStepFast,
)
from vlactl.policy import Policy


def twins(first: Policy, second: Policy) -> tuple[Policy, Policy]:
    second.load_state_dict(first.state_dict())
    return first.eval(), second.eval()


@pytest.mark.parametrize("way", ["continuous", "discrete"])
def test_interleaved_with_one_frame_is_one_step(way: str) -> None:
    fields = {"decoding": "parallel"} if way == "discrete" else {"state": "both"}
    shared = {} if way == "discrete" else {"state": "both"}
    one, many = twins(policy(f"one-step-{way}", **fields), policy(f"interleaved-{way}", history=1, seed=3, **shared))
    window = batch(1)
    torch.testing.assert_close(one.loss(window)[0], many.loss(window)[0], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["flow-matching", "diffusion"])
def test_an_expert_sees_earlier_frames_and_no_later_one(kind: str) -> None:
    model = policy(kind, history=3).eval()
    window = batch(3)

    def errors() -> torch.Tensor:
        with torch.no_grad():
            return model.formulation.errors(model.backbone, model._shown(window))[0]

    before = errors()
    window.images_BHKYXC[:, 1] = 255 - window.images_BHKYXC[:, 1]
    after = errors()
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert not torch.allclose(after[:, 1], before[:, 1])
    assert not torch.allclose(after[:, 2], before[:, 2])


def test_an_expert_attends_to_every_depth_of_the_backbone() -> None:
    """Each of its layers reads a layer of the backbone: changing what one of them said changes the answer."""
    model = policy("flow-matching", expert_layers=2).eval()
    expert = model.formulation.expert
    generator = torch.Generator().manual_seed(0)
    context = tuple(torch.randn(1, 5, model.backbone.width, generator=generator) for _ in range(4))
    real, states = torch.ones(1, 1, 5, dtype=torch.bool), torch.zeros(1, 1, 9)
    noisy, moments = torch.randn(1, 1, 6, 7, generator=generator), torch.full((1, 1), 0.3)

    def said(changed: int | None) -> torch.Tensor:
        seen = tuple(layer + 1.0 * torch.randn(layer.shape, generator=torch.Generator().manual_seed(1))
                     if index == changed else layer for index, layer in enumerate(context))
        with torch.no_grad():
            return expert(noisy, moments, expert.look(seen, real, states))

    reference = said(None)
    assert [not torch.allclose(said(layer), reference) for layer in range(4)] == [False, True, False, True]
    hidden = torch.tensor([[[True, True, True, True, False]]])
    with torch.no_grad():
        without = expert(noisy, moments, expert.look(context, hidden, states))
        changed = tuple(torch.cat([layer[:, :4], layer[:, 4:] + 9], 1) for layer in context)
        torch.testing.assert_close(expert(noisy, moments, expert.look(changed, hidden, states)), without)


def test_teacher_forcing_scores_what_decoding_chooses() -> None:
    """Fed its own choices as targets, the discrete formulation finds every one of them the most likely."""
    model = policy("one-step-discrete").eval()
    window = batch(1, rows=3)
    states = model.card.states.normalize(window.states_BHS)
    memories = [[(window.images_BHKYXC[i, 0], states[i, 0])] for i in range(3)]
    with torch.no_grad():
        chosen = model.formulation.predict(model.backbone, memories, TEXTS[:3], 6)
        window.actions_BHLA = chosen[:, None]
        numbers = model.loss(window)[1]
    assert float(numbers["accuracy"]) == 1
    assert float(numbers["arm_error"]) < 1e-6


def test_frequency_tokens_learned_by_heart_are_written_again() -> None:
    """Trained on one batch until every token is right, decoding ends by itself and gives the chunk up to rounding."""
    model = policy("one-step-fast").train()
    window = batch(1, rows=2)
    window.actions_BHLA = torch.from_numpy(chunks()[:2, None]).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(60):
        loss, numbers = model.loss(window)
        if float(numbers["accuracy"]) == 1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert float(model.loss(window)[1]["accuracy"]) == 1
    states = model.card.states.normalize(window.states_BHS)
    memories = [[(window.images_BHKYXC[i, 0], states[i, 0])] for i in range(2)]
    with torch.no_grad():
        written = model.formulation.predict(model.backbone, memories, TEXTS[:2], 6)
    np.testing.assert_allclose(written.numpy(), window.actions_BHLA[:, 0].numpy(), atol=np.sqrt(6) / 20 + 1e-5)


def test_discrete_scores_know_only_action_rows() -> None:
    model = policy("one-step-discrete", bins=32)
    assert len(model.formulation.rows) == 32
    assert float(model.eval().loss(batch(1))[0].detach()) < 3 * torch.tensor(32.0).log()


def test_a_mean_over_layers_begins_even_and_learns_which_to_read() -> None:
    model = policy("one-step-continuous", link="layers").train()
    mix = model.formulation.reader.mix
    assert mix is not None
    tokens = model.backbone.embed(batch(1).images_BHKYXC, TEXTS)
    slots = torch.zeros(4, 1, 1, model.backbone.width)
    layers = model.backbone(tokens, slots, layers=True).layers
    assert layers is not None
    assert len(mix.scores) == len(layers) > 1
    even = sum(torch.nn.functional.layer_norm(layer, layer.shape[-1:]) for layer in layers) / len(layers)
    torch.testing.assert_close(mix(layers), even)
    model.loss(batch(1))[0].backward()
    assert mix.scores.grad is not None
    assert mix.scores.grad.abs().max() > 0


def test_conflicts_are_found_without_building() -> None:
    class EncoderDecoder(SmolVLM):
        kind = "encoder-decoder"
        decoder_only = False

    apart = EncoderDecoder()
    assert "not decoder-only" in (InterleavedContinuous().conflicts(apart) or "")
    assert "not decoder-only" in (InterleavedDiscrete().conflicts(apart) or "")
    assert "not decoder-only" in (FlowMatching(history=2).conflicts(apart) or "")
    assert FlowMatching().conflicts(apart) is None
    assert OneStepContinuous().conflicts(apart) is None
    assert "bins: 300" in (OneStepDiscrete(bins=300).conflicts(SmolVLM()) or "")
    assert "vocabulary: 1024" in (OneStepFast(vocabulary=1024).conflicts(SmolVLM()) or "")
    with pytest.raises(ValueError, match="more than horizon"):
        OneStepContinuous(horizon=2, execute=3)
    with pytest.raises(ValueError, match="room for merges"):
        OneStepFast(vocabulary=50)
