"""GPU-hours where nothing is known but the number of parameters: a formula, labelled as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_menus import Shelf
from vlactl.backbones import BACKBONES
from vlactl.plan import describe, make_plan
from vlactl.plan.sizes import OPERATIONS_PER_S, UTILISATION, WORDS, frames, parameters_b, size_of, training_s
from vlactl.recipe import load

RECIPES = Path(__file__).parent.parent / "recipes"
KOSMOS = {"kind": "kosmos-2", "weights": "pretrained"}
TRAINING = {"training": {"global_batch": 128, "batch_counts": "windows"}, "updates": 1000}
IDENTITY = {"backbone": KOSMOS, "formulation": {"history": 16, "cameras": "static+wrist"}, **TRAINING}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("google/paligemma-3b-pt-224", 3.0),
        ("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", 0.5),
        ("google/siglip-so400m-patch14-224", 0.4),
        ("llava-hf/llava-onevision-qwen2-7b-ov-hf", 7.0),
        ("zai-org/GLM-4.1V-9B-Thinking", 9.0),
        ("Salesforce/blip2-opt-2.7b", 2.7),
        ("microsoft/kosmos-2-patch14-224", 1.66),
        ("someone/a-model", None),
    ],
)
def test_a_repositorys_name_says_its_size(name: str, size: float | None) -> None:
    assert size_of(name) == size


def test_every_pretrained_backbone_of_the_menu_has_a_size_and_tiny_ones_have_none() -> None:
    for kind in BACKBONES:
        found = parameters_b({"kind": kind, "weights": "pretrained"})
        assert found is not None, kind
        assert 0.1 < found < 20
        assert parameters_b({"kind": kind, "weights": "tiny"}) is None
    assert parameters_b({"kind": "paligemma", "weights": "google/paligemma-10b-mix"}) == 10.0
    assert parameters_b({"kind": "unheard-of", "weights": "pretrained"}) is None


def test_a_training_costs_six_operations_for_each_parameter_and_token() -> None:
    tokens = 2 * BACKBONES.get("kosmos-2").hub_tokens + WORDS
    by_hand = 6 * 1.66e9 * 1000 * 128 * 16 * tokens / (32 * OPERATIONS_PER_S * UTILISATION)
    assert training_s(IDENTITY, {}, 32) == pytest.approx(by_hand)
    recomputed = training_s(IDENTITY, {"backbone": {"gradient_checkpointing": True}}, 32)
    assert recomputed == pytest.approx(by_hand * 8 / 6)
    one_camera = training_s({**IDENTITY, "formulation": {"history": 16, "cameras": "static"}}, {}, 32)
    assert one_camera == pytest.approx(by_hand * (tokens - 64) / tokens)
    assert training_s(IDENTITY, {}, 0) is None
    assert training_s({**IDENTITY, "backbone": {"kind": "kosmos-2", "weights": "tiny"}}, {}, 32) is None


def test_frames_are_counted_as_the_batch_is() -> None:
    assert frames(IDENTITY) == 128 * 16
    assert frames({**IDENTITY, "training": {"global_batch": 128}}) == 128
    assert frames({"backbone": {"vl_batch": 32}, "words": {}, "updates": 8}) == 32


def test_a_plan_says_that_its_gpu_hours_are_only_computed() -> None:
    recipe = load(RECIPES / "paper" / "sota.yaml", ("execution.hint_s={evaluate: 3600}",))
    description = describe(make_plan(recipe), Shelf())
    assert description.gpu_bases == {"size": 2, "hint": 2}
    trained = [item for item in description.stages if item.stage.kind == "finetune"]
    by_hand = sum(item.estimate.seconds * 32 for item in trained if item.estimate.seconds) / 3600
    assert description.gpu_hours == pytest.approx(by_hand + 2)
    text = "\n".join(description.lines())
    assert "(by the number of parameters (2), the recipe's hint (2))" in text
    assert "needs at once: finetune 4 nodes, 32 ranks" in text
    assert description.to_json()["expected"]["gpu_hours_from"] == {"size": 2, "hint": 2}
