from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import SmallPolicy, learn, mixture
from torch import nn

from vlactl.backbones import BACKBONES
from vlactl.training import PARTS, TrainingSettings
from vlactl.training.tuning import adamw, counted, linear_layers, tuned


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def moved(policy: SmallPolicy) -> set[str]:
    """The parts of which every weight has changed; no part may have changed by half."""
    before, parts = SmallPolicy().state_dict(), {}
    for name, value in policy.state_dict().items():
        part = name.split(".")[1] if name.startswith("backbone") else "formulation"
        parts.setdefault(part, set()).add(not torch.equal(value, before[name]))
    assert all(len(seen) == 1 for seen in parts.values()), parts
    return {part for part, seen in parts.items() if True in seen}


@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.parametrize(("tuning", "expected"), [
    ("full", {*PARTS, "formulation"}), ("frozen-vision", {"connector", "language", "formulation"}),
    ("connector", {"connector", "formulation"}), ("frozen", {"formulation"})])
def test_what_is_tuned_learns_and_the_rest_stays(tmp_path: Path, sources: Path, stage: int, tuning: str,
                                                 expected: set[str]) -> None:
    policy, result, rows, _ = learn(tmp_path, mixture(sources), tuning=tuning, zero_stage=stage,
                                    checkpoint_every_s=1e-9, log_every=1)
    assert moved(policy) == expected
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert {part for part, count in result["trained"].items() if count} == expected
    assert result["trained_parameters"] == sum(result["trained"].values())
    assert result["tuning"] == tuning
    assert all(parameter.requires_grad for parameter in policy.parameters()), "as before"


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_adapters_learn_and_leave_a_plain_policy(tmp_path: Path, sources: Path, stage: int) -> None:
    policy, result, rows, _ = learn(tmp_path, mixture(sources), tuning="lora", lora_rank=2, lora_parts=("language",),
                                    zero_stage=stage, log_every=1, updates=12, checkpoint_every_s=1e-9)
    assert rows[-1]["loss"] < rows[0]["loss"]
    plain = SmallPolicy()
    change = policy.backbone.language.weight - plain.backbone.language.weight
    assert torch.linalg.matrix_rank(change.detach(), tol=1e-6) == 2
    assert torch.equal(policy.backbone.language.bias, plain.backbone.language.bias)
    assert torch.equal(policy.backbone.vision.weight, plain.backbone.vision.weight)
    assert not torch.equal(policy.head.weight, plain.head.weight), "heads are always trained"
    assert result["trained"]["language"] == 2 * (3 + 32)
    assert result["trained"]["vision"] == 0
    plain.load_state_dict(policy.state_dict(), strict=True)


def test_stages_merge_the_same_adapters(tmp_path: Path, sources: Path) -> None:
    one, *_ = learn(tmp_path / "0", mixture(sources), tuning="lora", lora_rank=2)
    other, *_ = learn(tmp_path / "3", mixture(sources), tuning="lora", lora_rank=2, zero_stage=3)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=2e-5, rtol=1e-4)


class Headed(nn.Module):
    """A real tiny backbone with one slot, as a policy has it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.backbone = BACKBONES.get(kind)().build(0)
        self.slot = nn.Parameter(torch.zeros(self.backbone.width))


@pytest.mark.parametrize("kind", ["smolvlm", "qwen3-vl", "paligemma"])
def test_adapters_of_a_real_backbone_lie_in_the_chosen_parts_only(kind: str) -> None:
    policy = Headed(kind)
    keys, parts = list(policy.state_dict()), policy.backbone.subtrees()
    every = {part: linear_layers(policy.backbone, (part,)) for part in PARTS}
    leaves = {name.rpartition(".")[2] for name in every["language"]}
    assert {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"} <= leaves
    assert len(every["vision"]) >= 2 * 3, "attention and feed-forward of two layers"
    with tuned(policy, TrainingSettings(tuning="lora", lora_rank=4, lora_parts=("vision",)), seed=0):
        trained = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
        assert trained - {"slot"} == {f"backbone.{name}.lora_{half}.default.weight" for name in every["vision"]
                                      for half in "AB"}
        assert counted(policy) == {"vision": sum(policy.get_parameter(name).numel() for name in trained - {"slot"}),
                                   "connector": 0, "language": 0, "formulation": policy.backbone.width}
        with torch.no_grad():
            for name in trained - {"slot"}:
                policy.get_parameter(name).normal_()
        layer = policy.get_submodule(f"backbone.{every['vision'][0]}")
        seen = torch.randn(3, layer.in_features)
        adapted = layer(seen)
    merged = policy.get_submodule(f"backbone.{every['vision'][0]}")
    assert type(merged) is nn.Linear
    torch.testing.assert_close(merged(seen), adapted, atol=1e-4, rtol=1e-4)
    assert list(policy.state_dict()) == keys, "the saved policy does not tell"
    assert {name: len(values) for name, values in policy.backbone.subtrees().items()} == {
        name: len(values) for name, values in parts.items()}


def test_adapters_are_drawn_from_the_seed_and_leave_random_numbers_alone() -> None:
    drawn = []
    for _ in range(2):
        policy = SmallPolicy()
        torch.manual_seed(5)
        with tuned(policy, TrainingSettings(tuning="lora", lora_rank=2), seed=1):
            drawn.append((policy.backbone.language.lora_A["default"].weight.detach().clone(), torch.rand(1)))
    assert torch.equal(drawn[0][0], drawn[1][0])
    torch.manual_seed(5)
    assert torch.equal(drawn[0][1], torch.rand(1))


def test_adapters_of_a_run_that_failed_are_taken_out_again() -> None:
    policy = SmallPolicy()
    with pytest.raises(RuntimeError, match="broken"), tuned(policy, TrainingSettings(tuning="lora"), seed=0):
        raise RuntimeError("broken")
    for name, value in SmallPolicy().state_dict().items():
        assert torch.equal(policy.state_dict()[name], value), name


def test_every_part_can_have_a_rate_of_its_own(tmp_path: Path, sources: Path) -> None:
    """AdamW's first update moves every weight by the learning rate, whatever the gradient."""
    policy, *_ = learn(tmp_path, mixture(sources), rates={"vision": 0.1, "language": 3.0}, updates=1, weight_decay=0,
                       warmup_updates=0, schedule="constant")
    before = dict(SmallPolicy().named_parameters())
    steps = {name: (value - before[name]).abs().median().item() for name, value in policy.named_parameters()}
    assert steps["backbone.vision.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert steps["backbone.connector.weight"] == pytest.approx(1e-2, rel=1e-2)
    assert steps["backbone.language.weight"] == pytest.approx(3e-2, rel=1e-2)
    assert steps["head.weight"] == pytest.approx(1e-2, rel=1e-2)


def test_vectors_do_not_decay_and_nothing_is_trained_twice() -> None:
    policy = SmallPolicy()
    groups = adamw(policy, TrainingSettings(rates={"vision": 0.5}, weight_decay=0.3)).param_groups
    assert sorted((group["multiplier"], group["weight_decay"]) for group in groups) == [
        (0.5, 0.0), (0.5, 0.3), (1.0, 0.0), (1.0, 0.3)]
    found = [parameter for group in groups for parameter in group["params"]]
    assert len(found) == len(set(found)) == len(list(policy.parameters()))


@pytest.mark.parametrize("kind", list(BACKBONES))
def test_every_adapter_of_every_family_is_used(kind: str) -> None:
    """Some library code reads a layer's weight instead of calling the layer; an adapter there would learn nothing."""
    policy = Headed(kind)
    backbone = policy.backbone
    parts = tuple(name for name, parameters in backbone.subtrees().items() if parameters)
    images = torch.zeros((1, 1, 1, backbone.look.image_px, backbone.look.image_px, 3), dtype=torch.uint8)
    called: set[str] = set()
    with tuned(policy, TrainingSettings(tuning="lora", lora_rank=2, lora_parts=parts), seed=0), torch.no_grad():
        adapters = {name for name, _ in policy.named_modules() if name.endswith("lora_B.default")}
        for name in adapters:
            policy.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name))
        backbone(backbone.embed(images, [""]), policy.slot.expand(1, 1, 1, -1))
    assert called == adapters
