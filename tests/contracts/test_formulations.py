"""What every formulation on the menu keeps."""

from __future__ import annotations

import json

import pytest
import torch

from tests.toy_policies import STATES, TEXTS, backbone_of, batch, pictures, policy
from vlactl.backbones import BACKBONES, SmolVLM
from vlactl.formulations import FORMULATIONS, InterleavedContinuous, OneStepContinuous, OneStepDiscrete
from vlactl.formulations.formulation import Frames
from vlactl.policy import Policy
from vlactl.windows import Batch

KINDS = list(FORMULATIONS)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def history_of(kind: str) -> int:
    return FORMULATIONS.get(kind)().history


def loss_of(model: Policy, window: Batch) -> torch.Tensor:
    return model.loss(window)[0]


def moved(model: Policy, window: Batch, reference: torch.Tensor) -> float:
    return abs((loss_of(model, window) - reference).item())


def test_spec_round_trips(kind: str) -> None:
    spec = FORMULATIONS.get(kind)()
    assert FORMULATIONS.parse(json.loads(json.dumps(spec.identity()))) == spec


def test_every_field_has_its_help_text(kind: str) -> None:
    schema = FORMULATIONS.get(kind).model_json_schema()
    assert all(len(field.get("description", "")) > 20 for field in schema["properties"].values())


def test_the_loss_is_finite_logged_and_reaches_every_subtree(kind: str) -> None:
    model = policy(kind).train()
    loss, numbers = model.loss(batch(history_of(kind)))
    assert loss.ndim == 0
    assert all(torch.isfinite(number) and not number.requires_grad for number in numbers.values())
    loss.backward()
    for name, part in model.backbone.subtrees().items():
        assert any(float(p.grad.abs().sum()) > 0 for p in part if p.grad is not None), name
    still = [name for name, p in model.formulation.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


def test_what_lies_beyond_the_mask_does_not_count(kind: str) -> None:
    model, history = policy(kind).eval(), history_of(kind)
    window = batch(history)
    window.mask_BHL[:, :, 4:] = False
    if history > 1:
        window.mask_BHL[0, 1:] = False
    reference = loss_of(model, window)
    spoiled = batch(history)
    spoiled.mask_BHL = window.mask_BHL
    spoiled.actions_BHLA[~window.mask_BHL] *= -1
    if history > 1:  # padded frames, too
        spoiled.images_BHKYXC[0, 1:] = 255 - spoiled.images_BHKYXC[0, 1:]
        spoiled.states_BHS[0, 1:] += 3
    torch.testing.assert_close(loss_of(model, spoiled), reference, rtol=1e-5, atol=1e-6)
    window.mask_BHL[:, :, 3] = False
    assert moved(model, window, reference) > 1e-5


def test_each_real_control_step_weighs_the_same(kind: str) -> None:
    """The loss of a batch is the mean of its rows' losses weighted by their real steps."""
    model, history = policy(kind).eval(), history_of(kind)
    window = batch(history, rows=2)
    window.mask_BHL[0, :, 2:] = False
    rows = [loss_of(model, window.rows(i, i + 1)) for i in range(2)]
    weights = window.mask_BHL.flatten(1).sum(1).tolist()
    wanted = sum(row * weight for row, weight in zip(rows, weights, strict=True)) / sum(weights)
    torch.testing.assert_close(loss_of(model, window), wanted, rtol=1e-4, atol=1e-5)


def test_proprioception_enters_or_stays_out_as_the_spec_says(kind: str) -> None:
    for state, changes in ((FORMULATIONS.get(kind)().state, True), ("none", False)):  # pyright: ignore[reportAttributeAccessIssue]
        model, window = policy(kind, state=state).eval(), batch(history_of(kind))
        reference = loss_of(model, window)
        window.states_BHS += 1
        assert (moved(model, window, reference) > 1e-5) == changes


def test_the_last_h_frames_decide_and_no_earlier_one(kind: str) -> None:
    history = history_of(kind)
    if history == 1:
        with pytest.raises(ValueError, match="sees one frame"):
            FORMULATIONS.get(kind)(history=2)
    model = policy(kind).eval()
    images, states = pictures(history + 1, 2), torch.randn(history + 1, STATES)
    texts = list(TEXTS)

    def predicted(changed: int | None) -> torch.Tensor:
        seen = images.clone()
        if changed is not None:
            seen[changed] = 255 - seen[changed]
        memories = []
        for text in texts:  # several, because bins hide small differences
            frames = Frames(images_BKYXC=seen, states_BS=states, texts=[text] * len(seen))
            memories.append(model.formulation.remember(model.backbone, frames))
        return model.formulation.predict(model.backbone, memories, texts, 6)

    with torch.no_grad():
        reference = predicted(None)
        assert torch.equal(predicted(0), reference), "frame 0 lies before the window"
        for frame in range(1, history + 1):
            assert not torch.equal(predicted(frame), reference)


def test_the_whole_menu_trains_with_every_backbone(kind: str) -> None:
    history = history_of(kind)
    for backbone in BACKBONES:
        if FORMULATIONS.get(kind)().conflicts(BACKBONES.get(backbone)()):
            continue
        model = policy(kind, backbone).train()
        loss_of(model, batch(history, rows=2)).backward()
        assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0


def test_the_loss_of_one_batch_falls(kind: str) -> None:
    model, window = policy(kind).train(), batch(history_of(kind))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        loss = loss_of(model, window)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_the_seed_decides_the_weights_and_nothing_else_is_drawn(kind: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (policy(kind, seed=seed).formulation.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_conflicts_are_found_without_building() -> None:
    class EncoderDecoder(SmolVLM):
        kind = "encoder-decoder"
        decoder_only = False

    assert "not decoder-only" in (InterleavedContinuous().conflicts(EncoderDecoder()) or "")
    assert OneStepContinuous().conflicts(EncoderDecoder()) is None
    assert "bins: 300" in (OneStepDiscrete(bins=300).conflicts(SmolVLM()) or "")
    with pytest.raises(ValueError, match="more than horizon"):
        OneStepContinuous(horizon=2, execute=3)


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


def test_discrete_scores_know_only_action_rows() -> None:
    model = policy("one-step-discrete", bins=32)
    assert len(model.formulation.rows) == 32
    assert float(model.eval().loss(batch(1))[0].detach()) < 3 * torch.tensor(32.0).log()


def test_huber_and_mse_are_what_they_say() -> None:
    window = batch(1)
    by_name = {}
    for loss in ("huber", "mse"):
        model = policy("one-step-continuous", loss=loss, huber_beta=0.5, gripper_weight=0.0).eval()
        with torch.no_grad():
            states = model.card.states.normalize(window.states_BHS)
            tokens = model.backbone.embed(window.images_BHKYXC, window.texts)
            hidden = model.backbone(tokens, model.formulation.slots(4, 1))[:, :, 0]
            error = model.formulation.head(model.formulation.joined(hidden, states)) - window.actions_BHLA
        by_name[loss] = (model, error[..., :-1].abs())
    error = by_name["mse"][1]
    torch.testing.assert_close(loss_of(by_name["mse"][0], window), error.pow(2).mean(), rtol=1e-4, atol=1e-6)
    huber = torch.where(error < 0.5, error.pow(2) / (2 * 0.5), error - 0.25).mean()
    torch.testing.assert_close(loss_of(by_name["huber"][0], window), huber, rtol=1e-4, atol=1e-6)


def test_backbones_shared_by_tests_stayed_as_they_were() -> None:
    fresh = SmolVLM().build(0).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in backbone_of("smolvlm").state_dict().items())
