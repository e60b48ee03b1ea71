from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.toy_policies import STATES, TEXTS, batch, codec, pictures, policy, request, spaces, statistics
from vlactl.backbones import SmolVLM
from vlactl.episodes import Observation
from vlactl.errors import CheckpointMismatch, IncompatibleSpaces, UsageError
from vlactl.formulations import FORMULATIONS, OneStepContinuous, OneStepDiscrete
from vlactl.policy import Actor, Policy, PolicyCard, Request

KINDS = list(FORMULATIONS)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def require_alike(kind: str, ours: dict[int, list[np.ndarray]], theirs: dict[int, list[np.ndarray]]) -> None:
    """Equal up to rounding; where two tokens tie, rounding may choose the other one, in one plan of many."""
    pairs = [(mine, other) for key in ours for mine, other in zip(ours[key], theirs[key], strict=True)]
    equal = [np.allclose(mine, other, atol=2e-5) for mine, other in pairs]
    assert sum(equal) >= (len(equal) - 1 if kind.endswith(("discrete", "fast")) else len(equal))


def rollout(actor: Actor, keys: list[int], replans: int, *, together: bool = True, late: dict[int, int] | None = None):
    """Chunks per key; ``late`` says at which replanning an episode joins."""
    late = late or {}
    chunks: dict[int, list[np.ndarray]] = {key: [] for key in keys}
    for key in keys:
        actor.reset(key, noise_seed=key)
    for replan in range(replans):
        running = [key for key in keys if replan >= late.get(key, 0)]
        groups = [running] if together else [[key] for key in reversed(running)]
        for group in groups:
            for key, chunk in zip(group, actor.act([request(key, replan) for key in group]), strict=True):
                chunks[key].append(chunk)
    return chunks


# ---- acting ---------------------------------------------------------------------------------------


def test_actions_have_the_environments_units(kind: str) -> None:
    actor = Actor(policy(kind))
    for chunks in rollout(actor, [0, 1, 2], 2).values():
        for chunk in chunks:
            assert chunk.shape == (3, 7)
            assert chunk.dtype == np.float32
            assert np.abs(chunk).max() <= 1
            assert set(np.unique(chunk[:, -1])) <= {-1.0, 1.0}


def test_an_episode_does_not_depend_on_its_batch(kind: str) -> None:
    """Mixed lengths of text and of history, in another order, or alone: the same actions."""
    actor, late = Actor(policy(kind)), {1: 1, 3: 2}
    together = rollout(actor, [0, 1, 2, 3], 6, late=late)
    alone = rollout(actor, [0, 1, 2, 3], 6, together=False, late=late)
    require_alike(kind, together, alone)
    assert np.abs(together[0][0] - together[2][0]).max() > 1e-4, "different episodes act differently"


def test_a_reset_forgets_everything(kind: str) -> None:
    actor = Actor(policy(kind))
    first = rollout(actor, [0], 3)[0]
    rollout(actor, [5], 2)
    again = rollout(actor, [0], 3)[0]
    require_alike(kind, {0: again}, {0: first})


def test_history_is_used_where_the_formulation_has_one(kind: str) -> None:
    actor = Actor(policy(kind))
    rollout(actor, [0], 1)
    actor._tracks[0].noise.manual_seed(1)
    (remembering,) = actor.act([request(0, 1)])
    actor.reset(0, noise_seed=1)
    (fresh,) = actor.act([request(0, 1)])
    assert (np.abs(remembering - fresh).max() > 1e-6) == (FORMULATIONS.get(kind)().history > 1)


def test_memory_keeps_one_feature_per_frame_where_it_can() -> None:
    """A policy head asks the backbone once per replanning, whatever the history."""
    model = policy("policy-head-continuous")
    rows: list[int] = []
    model.backbone.register_forward_pre_hook(lambda _module, args: rows.append(args[0].pixels_BHKCYX[:, :, 0].numel()))
    actor = Actor(model)
    rollout(actor, [0], 6)
    assert len(rows) == 6
    assert len(set(rows)) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("one-step-discrete", "one-step-fast",
                                                                        "flow-matching", "diffusion")])
def test_training_and_acting_see_the_same_history(kind: str) -> None:
    """At position h of a window the loss is about what the actor plans at its h-th replanning: here it finds no error.

    What is written token by token conditions on its own gripper bins, and what comes out of noise has no error to find;
    their counterparts are in tests/formulations.
    """
    model = policy(kind).eval()
    history = model.card.formulation.history
    chunks = rollout(Actor(model), [0], history)[0]
    seen = [request(0, frame).observation for frame in range(history)]
    window = batch(history, rows=1)
    window.images_BHKYXC = torch.from_numpy(np.stack([o.images_KYXC for o in seen]))[None]
    window.states_BHS = torch.from_numpy(np.stack([o.state_S for o in seen]))[None]
    window.texts = [TEXTS[0]]
    encoded = model.card.codec.encode(np.stack(chunks), window.states_BHS.numpy())
    window.actions_BHLA[0, :, :3] = torch.from_numpy(encoded)
    window.mask_BHL[:, :, 3:] = False
    numbers = model.loss(window)[1]
    error = numbers["arm_loss"] if "arm_loss" in numbers else numbers["arm_error"]
    assert error.item() < 1e-6


def test_execute_is_bounded_and_keeps_the_stride_of_a_history() -> None:
    assert Actor(policy("one-step-continuous"), execute=6).execute == 6
    for execute in (0, 7):
        with pytest.raises(UsageError, match="predicts 6"):
            Actor(policy("one-step-continuous"), execute=execute)
    with pytest.raises(UsageError, match="3 control steps apart"):
        Actor(policy("policy-head-continuous"), execute=2)


def test_discrete_decoding_stops_at_what_is_executed() -> None:
    model = policy("one-step-discrete")
    short, long = (rollout(Actor(model, execute=n), [0], 1)[0][0] for n in (2, 6))
    np.testing.assert_array_equal(short, long[:2])


def test_requests_that_cannot_be_answered_raise() -> None:
    actor = Actor(policy("one-step-continuous"))
    assert actor.act([]) == []
    with pytest.raises(KeyError):
        actor.act([request("never reset", 0)])
    actor.reset(0)
    with pytest.raises(ValueError, match="asked twice"):
        actor.act([request(0, 0), request(0, 1)])
    one_camera = Observation(images_KYXC=pictures(1).numpy(), state_S=np.zeros(STATES, np.float32))
    with pytest.raises(IncompatibleSpaces, match="1 pictures"):
        actor.act([Request(key=0, observation=one_camera, instruction="push")])


def test_nan_is_passed_on_for_the_benchmark_to_judge() -> None:
    model = policy("one-step-continuous")
    with torch.no_grad():
        model.formulation.head.layers[-1].bias.fill_(float("nan"))
    assert np.isnan(rollout(Actor(model), [0], 1)[0][0]).all()


def test_words_never_seen_in_training_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    actor = Actor(policy("one-step-continuous"))
    actor.reset(0)
    (known,) = actor.act([request(0, 0, "push the button")])
    (unknown,) = actor.act([request(0, 0, "Push the purple, button!")])
    np.testing.assert_array_equal(known, unknown)
    assert "purple" in caplog.text


# ---- files ----------------------------------------------------------------------------------------


def test_a_saved_policy_acts_alike_in_a_fresh_object(kind: str, tmp_path: Path) -> None:
    model = policy(kind, "internvl")
    model.save(tmp_path / "policy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy"], "no draft is left"
    loaded = Policy.load(tmp_path / "policy")
    assert loaded.card == model.card
    stored, read = model.state_dict(), loaded.state_dict()
    assert stored.keys() == read.keys()
    assert all(torch.equal(value, read[name]) for name, value in stored.items())
    require_alike(kind, rollout(Actor(model), [0, 1], 3), rollout(Actor(loaded), [0, 1], 3))
    window = batch(model.card.formulation.history)
    torch.testing.assert_close(model.loss(window)[0], loaded.loss(window)[0])


def test_a_saved_policy_can_be_trained_on(tmp_path: Path) -> None:
    policy("one-step-continuous").save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy").train()
    loaded.loss(batch(1))[0].backward()
    assert all(p.grad is not None for name, p in loaded.formulation.named_parameters())


def test_weights_are_stored_in_the_specs_number_type(tmp_path: Path) -> None:
    spec = SmolVLM(dtype="bfloat16")
    model = Policy.create(spec, OneStepContinuous(), spaces(), codec(), statistics(), TEXTS, 0).float()
    model.save(tmp_path / "policy")
    stored = load_file(tmp_path / "policy" / "weights.safetensors")
    assert {value.dtype for name, value in stored.items() if name.startswith("backbone.")} == {torch.bfloat16}
    assert {value.dtype for name, value in stored.items() if name.startswith("formulation.")} == {torch.float32}
    chunk = rollout(Actor(Policy.load(tmp_path / "policy")), [0], 1)[0][0]
    np.testing.assert_allclose(chunk, rollout(Actor(model), [0], 1)[0][0], atol=0.1)


def test_weights_that_do_not_fit_name_their_keys(tmp_path: Path) -> None:
    model = policy("one-step-continuous")
    model.save(tmp_path / "policy")
    file = tmp_path / "policy" / "weights.safetensors"
    stored = load_file(file)
    names = sorted(name for name in stored if name.startswith("backbone."))
    for name in names[:12]:
        del stored[name]
    stored["formulation.surprise"] = torch.zeros(1)
    stored["formulation.reader.slots.table.weight"] = torch.zeros(2, 128)
    save_file(stored, file)
    with pytest.raises(CheckpointMismatch) as caught:
        Policy.load(tmp_path / "policy")
    message = str(caught.value)
    assert f"missing: {', '.join(names[:10])} and 2 more" in message
    assert "unexpected: formulation.surprise" in message
    assert "formulation.reader.slots.table.weight (2, 128) instead of (1, 128)" in message


def test_a_folder_without_a_policy_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"weights\.safetensors is missing"):
        Policy.load(tmp_path)
    policy("one-step-continuous").save(tmp_path / "policy")
    card = json.loads((tmp_path / "policy" / "card.json").read_text())
    (tmp_path / "policy" / "card.json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(UsageError, match="format 99"):
        Policy.load(tmp_path / "policy")


def test_saving_never_mixes_two_policies(tmp_path: Path) -> None:
    policy("one-step-continuous").save(tmp_path / "policy")
    with pytest.raises(OSError, match="policy"):
        policy("one-step-continuous", seed=1).save(tmp_path / "policy")
    assert Policy.load(tmp_path / "policy").card.formulation.kind == "one-step-continuous"


# ---- cards ----------------------------------------------------------------------------------------


def test_the_card_round_trips_through_json(kind: str) -> None:
    card = policy(kind).card
    document = json.loads(json.dumps(card.to_json()))
    assert PolicyCard.from_json(document) == card
    origin = document["provenance"]
    assert origin["versions"].keys() == {"torch", "transformers", "vlactl"}
    assert origin["backbone_revision"] == "tiny"
    assert (document["tokens"] is not None) == (kind == "one-step-fast")


def test_a_card_keeps_where_the_policy_comes_from(tmp_path: Path) -> None:
    model = policy("one-step-continuous")
    old = replace(model.card, recipe="0123abcd", versions={"torch": "1.0", "transformers": "4.0", "vlactl": "0.0"})
    model.card = old
    model.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    assert (loaded.card.recipe, loaded.card.versions) == ("0123abcd", old.versions)
    loaded.adapt(spaces(), codec(), statistics(), [], recipe="4567")
    assert loaded.card.recipe == "4567"


def test_pairs_that_conflict_are_refused() -> None:
    with pytest.raises(UsageError, match="bins: 300"):
        Policy.create(SmolVLM(), OneStepDiscrete(bins=300), spaces(), codec(), statistics(), TEXTS, 0)
    with pytest.raises(IncompatibleSpaces, match="state statistics have 4 dimensions, the spaces 9"):
        Policy.create(SmolVLM(), OneStepContinuous(), spaces(), codec(), statistics(4), TEXTS, 0)


def test_adapting_takes_the_new_card_and_words_and_keeps_the_weights(tmp_path: Path) -> None:
    model = policy("one-step-continuous")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    word = model.backbone.tokenizer.encode("button")
    model.adapt(spaces("stubby"), codec(0.5), statistics(), ["stack the purple cube"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.card.spaces.embodiment == "stubby"
    assert model.card.codec == codec(0.5)
    assert model.backbone.tokenizer.encode("button") == word
    assert len(model.backbone.tokenizer.encode("purple")) == 1
    model.save(tmp_path / "policy")
    loaded = Policy.load(tmp_path / "policy")
    assert loaded.backbone.tokenizer.encode("purple cube") == model.backbone.tokenizer.encode("purple cube")
    with pytest.raises(IncompatibleSpaces, match="4 state dimensions, the policy was made for 9"):
        model.adapt(spaces("other", states=4), codec(), statistics(4), [])


def test_the_normaliser_decides_the_units_of_actions() -> None:
    model = policy("one-step-continuous")
    wide = rollout(Actor(model), [0], 1)[0][0]
    model.adapt(model.card.spaces, codec(0.5), statistics(), [])
    narrow = rollout(Actor(model), [0], 1)[0][0]
    inside = np.abs(wide[:, :-1]) < 0.99
    np.testing.assert_allclose(narrow[:, :-1][inside], wide[:, :-1][inside] / 2, atol=1e-6)


def test_too_many_words_for_a_tiny_vocabulary_raise() -> None:
    texts = [f"word{i}" for i in range(800)]
    with pytest.raises(UsageError, match="800 words"):
        Policy.create(SmolVLM(), OneStepContinuous(), spaces(), codec(), statistics(), texts, 0)
