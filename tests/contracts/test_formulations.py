"""What every formulation on the menu keeps, in its default and in the variants that its fields make of it."""

from __future__ import annotations

import functools
import json

import pytest
import torch

from tests.toy_policies import STATES, TEXTS, backbone_of, batch, chunks, codec, pictures, policy, spaces, statistics
from tests.toy_policies import request as asked
from vlactl.backbones import BACKBONES, SmolVLM
from vlactl.errors import UsageError
from vlactl.formulations import FORMULATIONS
from vlactl.formulations.formulation import Frames
from vlactl.formulations.reading import layer_count
from vlactl.policy import Actor, Policy
from vlactl.windows import Batch

KINDS = list(FORMULATIONS)
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    **{kind: (kind, {}) for kind in KINDS},
    "parallel bins": ("one-step-discrete", {"decoding": "parallel"}),
    "all layers, frequencies": ("one-step-continuous", {"link": "layers", "state": "both", "dct_weight": 0.1}),
    "interleaved l1, state in the slot": ("interleaved-continuous", {"loss": "l1", "state": "token"}),
    "gpt head": ("policy-head-continuous", {"memory": "gpt", "memory_layers": 2, "memory_width": 64}),
    "mlp head": ("policy-head-discrete", {"memory": "mlp", "memory_width": 64, "state": "both", "link": "layers"}),
    "flow with a history": ("flow-matching", {"history": 3, "state": "both", "time_sampling": "uniform"}),
    "diffusion of samples": ("diffusion", {"history": 2, "predict": "sample", "state": "token"}),
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


def made(variant: str, **fields: object) -> Policy:
    kind, given = VARIANTS[variant]
    return policy(kind, **{**given, **fields})


def history_of(variant: str) -> int:
    kind, given = VARIANTS[variant]
    return FORMULATIONS.get(kind)(**given).history


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(count)]


def loss_of(model: Policy, window: Batch) -> torch.Tensor:
    return model.loss(window)[0]


def moved(model: Policy, window: Batch, reference: torch.Tensor) -> float:
    return abs((loss_of(model, window) - reference).item())


@pytest.mark.parametrize("kind", KINDS)
def test_spec_round_trips(kind: str) -> None:
    spec = FORMULATIONS.get(kind)()
    assert FORMULATIONS.parse(json.loads(json.dumps(spec.identity()))) == spec


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_its_help_text(kind: str) -> None:
    schema = FORMULATIONS.get(kind).model_json_schema()
    assert all(len(field.get("description", "")) > 20 for field in schema["properties"].values())


def test_the_loss_is_finite_logged_and_reaches_every_subtree(variant: str) -> None:
    model = made(variant).train()
    loss, numbers = model.loss(batch(history_of(variant)))
    assert loss.ndim == 0
    assert all(torch.isfinite(number) and not number.requires_grad for number in numbers.values())
    loss.backward()
    for name, part in model.backbone.subtrees().items():
        assert any(float(p.grad.abs().sum()) > 0 for p in part if p.grad is not None), name
    still = [name for name, p in model.formulation.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


def test_what_lies_beyond_the_mask_does_not_count(variant: str) -> None:
    model, history = made(variant).eval(), history_of(variant)
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
    if VARIANTS[variant][0] in ("flow-matching", "diffusion"):
        spoiled.actions_BHLA = window.actions_BHLA  # its steps see each other, so padding is part of the input
    torch.testing.assert_close(loss_of(model, spoiled), reference, rtol=1e-5, atol=1e-6)
    window.mask_BHL[:, :, 3] = False
    assert moved(model, window, reference) > 1e-5


def test_each_real_control_step_weighs_the_same(variant: str) -> None:
    """The loss of a batch is the mean of its rows' losses weighted by their real steps."""
    model, history = made(variant).eval(), history_of(variant)
    window = batch(history, rows=2)
    window.mask_BHL[0, :, 2:] = False
    rows = [loss_of(model, window.rows(i, i + 1)) for i in range(2)]
    weights = window.mask_BHL.flatten(1).sum(1).tolist()
    wanted = sum(row * weight for row, weight in zip(rows, weights, strict=True)) / sum(weights)
    torch.testing.assert_close(loss_of(model, window), wanted, rtol=1e-4, atol=1e-5)


def test_each_source_says_what_it_contributed(variant: str) -> None:
    """Sums per source make up the loss; one that did not occur says zero; ``scale`` is for the actions' loss only."""
    model, window = made(variant).eval(), batch(history_of(variant))
    assert not [name for name in model.loss(window)[1] if name.startswith("sum/")]
    window.sources, window.source_B = ("desk", "elsewhere", "unseen"), torch.tensor([0, 1, 0, 1])
    window.mask_BHL[0, :, 3:] = False
    loss, parts = model.loss(window)
    sums = {name: (float(parts[f"sum/loss/{name}"]), float(parts[f"sum/steps/{name}"])) for name in window.sources}
    assert sums["unseen"] == (0, 0)
    assert sum(steps for _, steps in sums.values()) == int(window.mask_BHL.sum())
    assert sum(total for total, _ in sums.values()) / int(window.mask_BHL.sum()) == pytest.approx(loss.item(), rel=1e-4)
    alone = window.rows(1, 2)
    assert sums["elsewhere"][0] != pytest.approx(loss_of(model, alone).item() * int(alone.mask_BHL.sum()), rel=1e-3)
    torch.testing.assert_close(model.loss(window, 0.25)[0], loss / 4)


def test_proprioception_enters_or_stays_out_as_the_spec_says(variant: str) -> None:
    ways = FORMULATIONS.get(VARIANTS[variant][0]).model_json_schema()["properties"]["state"]["enum"]
    assert {"none", "token"} <= set(ways)
    for state in ways:
        model, window = made(variant, state=state).eval(), batch(history_of(variant))
        reference = loss_of(model, window)
        window.states_BHS += 1
        assert (moved(model, window, reference) > 1e-5) == (state != "none")


def test_the_last_h_frames_decide_and_no_earlier_one(variant: str) -> None:
    history = history_of(variant)
    model = made(variant).eval()
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
        return model.formulation.predict(model.backbone, memories, texts, 6, generators(len(texts)))

    with torch.no_grad():
        reference = predicted(None)
        assert torch.equal(predicted(0), reference), "frame 0 lies before the window"
        for frame in range(1, history + 1):
            assert not torch.equal(predicted(frame), reference)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if FORMULATIONS.get(kind)().history == 1])
def test_one_frame_means_one(kind: str) -> None:
    if kind.startswith("one-step"):
        with pytest.raises(ValueError, match="sees one frame"):
            FORMULATIONS.get(kind)(history=2)
    with pytest.raises(ValueError, match="nothing to repeat"):
        FORMULATIONS.get(kind)(repeat_current=True)


TINY_HEAD = {"head_width": 32, "state_width": 8}
TINY_EXPERT = {"expert_width": 32, "expert_layers": 2, "denoise_steps": 3}
SMALL: dict[str, dict[str, object]] = {
    "one-step-continuous": {"horizon": 3, **TINY_HEAD},
    "one-step-discrete": {"horizon": 3, "execute": 2},
    "one-step-fast": {"horizon": 3, "execute": 2},
    "interleaved-continuous": {"horizon": 3, "history": 2, **TINY_HEAD},
    "interleaved-discrete": {"horizon": 3, "history": 2},
    "policy-head-continuous": {"horizon": 3, "history": 2, "memory_width": 32, **TINY_HEAD},
    "policy-head-discrete": {"horizon": 3, "history": 2, "memory_width": 32, **TINY_HEAD},
    "flow-matching": {"horizon": 3, **TINY_EXPERT},
    "diffusion": {"horizon": 3, **TINY_EXPERT},
}
"""Sizes at which a pair costs a fraction of a second; a kind that is not here is tried in its default."""


@functools.cache
def pairs() -> tuple[tuple[str, str], ...]:
    return tuple((backbone, kind) for backbone in BACKBONES for kind in KINDS)


@pytest.mark.parametrize(("backbone", "kind"), pairs())
def test_every_pair_trains_and_acts_or_says_why_not(backbone: str, kind: str) -> None:
    spec, small = BACKBONES.get(backbone)(), FORMULATIONS.get(kind)(**SMALL.get(kind, {}))
    reason = small.conflicts(spec)
    if reason:
        assert backbone in reason or "rows" in reason
        with pytest.raises(UsageError) as caught:
            Policy.create(spec, small, spaces(), codec(), statistics(), TEXTS, 0, chunks(small.horizon))
        assert reason in str(caught.value)
        return
    model = Policy.create(spec, small, spaces(), codec(), statistics(), TEXTS, 0, chunks(small.horizon)).train()
    window = batch(small.history, small.horizon, rows=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, foreach=True)
    losses = []
    for _ in range(5):
        loss = loss_of(model, window)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert torch.isfinite(torch.tensor(losses)).all()
    assert losses[-1] < losses[0], losses
    actor = Actor(model)
    actor.reset(0)
    (chunk,) = actor.act([asked(0, 0)])
    assert chunk.shape == (small.execute, 7)
    assert (abs(chunk) <= 1).all()


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_layers_are_counted_without_running_the_backbone(backbone: str) -> None:
    tiny = backbone_of(backbone)
    with torch.no_grad():
        tokens = tiny.embed(pictures(1, 1, 1), TEXTS[:1])
        layers = tiny(tokens, torch.zeros(1, 1, 1, tiny.width), layers=True).layers
    assert layers is not None
    assert layer_count(tiny) == len(layers)


def test_the_loss_of_one_batch_falls(variant: str) -> None:
    model, window = made(variant).train(), batch(history_of(variant))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = loss_of(model, window)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_weights_and_nothing_else_is_drawn(kind: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (policy(kind, seed=seed).formulation.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_training_draws_nothing_from_the_common_random_state(variant: str) -> None:
    model, window = made(variant).eval(), batch(history_of(variant))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = loss_of(model, window)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(loss_of(model, window), first, rtol=0, atol=0)


def test_backbones_shared_by_tests_stayed_as_they_were() -> None:
    fresh = SmolVLM().build(0).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in backbone_of("smolvlm").state_dict().items())
