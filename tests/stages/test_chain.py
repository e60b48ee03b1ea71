"""From a recipe to scores through the bodies of all stages: every option of strategies, tuning and words for real.

The policies train a dozen updates and learn nothing; what is held is that each option reaches the training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stages.chain import Chain
from vlactl.plan import Plan, make_plan
from vlactl.policy import Policy
from vlactl.recipe import load

RECIPE = """\
version: 1
name: chain
{axes}
training: {{updates: 8, global_batch: 8, warmup_updates: 0, log_every: 2{training}}}
evaluation: {{kind: tabletop, tasks: core, chains: 1, steps_per_task: 6{evaluation}}}
sources:
  in-domain: {{panda: {{kind: tabletop, tasks: core, episodes: 34, pairs_per_episode: 2}}}}
  cross-embodiment: {{stubby: {{kind: tabletop, tasks: core, embodiment: stubby, episodes: 17}}}}
  vision-language: {{desk: {{kind: tabletop, tasks: core, episodes: 17, pairs_per_episode: 2, seed: 1}}}}
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Recordings are shared by all tests of this file."""
    return Chain(tmp_path_factory.mktemp("chain"))


def planned(folder: Path, *, backbone: str = "smolvlm", formulation: str = "one-step-continuous",
            strategy: str = "in-domain", training: str = "", evaluation: str = "") -> Plan:
    axes = f"backbone: {backbone}\nformulation: {formulation}\nstrategy: {strategy}"
    path = folder / "chain.yaml"
    path.write_text(RECIPE.format(axes=axes, training=training and f", {training}",
                                  evaluation=evaluation and f", {evaluation}"))
    return make_plan(load(path))


def digests(plan: Plan, kind: str) -> list[str]:
    return [stage.digest for stage in plan.stages.values() if stage.kind == kind]


def trained(chain: Chain, plan: Plan) -> dict[str, Any]:
    """The summary of the plan's only finetuning, after all of its stages ran."""
    chain.run(plan)
    (finetune,) = digests(plan, "finetune")
    assert chain.result(digests(plan, "evaluate")[0])["episodes"] == 1
    return chain.result(finetune)


def test_a_backbone_reads_before_it_acts(chain: Chain, tmp_path: Path) -> None:
    backbone = "{kind: smolvlm, vl_pretrain: true, vl_updates: 40, vl_batch: 8}"
    plan = planned(tmp_path, backbone=backbone, training="tuning: frozen")
    trained(chain, plan)
    (words,), (finetune,) = digests(plan, "pretrain"), digests(plan, "finetune")
    curve = chain.curve(words)
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"], "answers are learned"
    policy = Policy.load(chain.artifact(finetune) / "policy")
    from vlactl.backbones.loading import load_backbone

    read = load_backbone(policy.card.backbone, chain.artifact(words) / "backbone")
    for name, weight in read.state_dict().items():
        np.testing.assert_array_equal(policy.backbone.state_dict()[name], weight, err_msg=name)


def test_words_beside_actions(chain: Chain, tmp_path: Path) -> None:
    plan = planned(tmp_path, strategy="{kind: in-domain, vl_share: 0.25}")
    trained(chain, plan)
    rows = chain.curve(digests(plan, "finetune")[0])
    assert all(row["parts"]["vl_loss"] > 0 for row in rows)


def test_cached_features_give_the_policy_that_pictures_give(chain: Chain, tmp_path: Path) -> None:
    """Training on what the frozen tower said of every picture ends in the same weights as asking it every time."""
    still = "tuning: frozen-vision, brightness: 0"
    weights = {}
    for name, more in (("pictures", ""), ("features", ", cache_vision: true")):
        plan = planned(tmp_path, training=still + more)
        trained(chain, plan)
        weights[name] = Policy.load(chain.artifact(digests(plan, "finetune")[0]) / "policy").state_dict()
    for name, weight in weights["pictures"].items():
        np.testing.assert_allclose(weights["features"][name], weight, rtol=2e-3, atol=2e-4, err_msg=name)


def test_low_rank_adapters_leave_a_plain_policy(chain: Chain, tmp_path: Path) -> None:
    plan = planned(tmp_path, training="tuning: lora, lora_rank: 4, lora_parts: [language]")
    summary = trained(chain, plan)
    assert summary["trained_parameters"] < 0.5 * summary["parameters"]
    Policy.load(chain.artifact(digests(plan, "finetune")[0]) / "policy")


def test_a_mixture_logs_what_it_drew_of_every_source(chain: Chain, tmp_path: Path) -> None:
    plan = planned(tmp_path, strategy="{kind: co-train, cross_share: 0.25}", training="ema: 0.9")
    summary = trained(chain, plan)
    rows = chain.curve(digests(plan, "finetune")[0])
    assert all(set(row["sources"]) == {"in-domain", "cross-embodiment"} for row in rows)
    assert sum(source["share"] for source in rows[-1]["sources"].values()) == pytest.approx(1)
    assert summary["sources"]["cross-embodiment"]["share"] == pytest.approx(0.25, abs=0.15), "64 windows were drawn"


def test_other_embodiments_at_the_physical_scale(chain: Chain, tmp_path: Path) -> None:
    plan = planned(tmp_path, strategy="{kind: co-train, align: physical}", formulation="flow-matching")
    trained(chain, plan)


def test_acting_without_training_in_domain(chain: Chain, tmp_path: Path) -> None:
    plan = planned(tmp_path, strategy="pretrain-only")
    summary = trained(chain, plan)
    policy = Policy.load(chain.artifact(digests(plan, "finetune")[0]) / "policy")
    assert policy.card.spaces.embodiment == "panda"
    assert len(summary["epochs"]) == 1, "only the other embodiment was drawn"


def test_few_demonstrations_after_a_pretraining(chain: Chain, tmp_path: Path) -> None:
    plan = planned(tmp_path, strategy="{kind: few-shot, per_task: 1, pretrain: cross}", formulation="one-step-fast")
    summary = trained(chain, plan)
    (pretrain,) = digests(plan, "pretrain")
    assert chain.result(pretrain)["updates"] == summary["updates"] == 4
    assert summary["epochs"][0] > 2 * chain.result(pretrain)["epochs"][0] * 17 / 34


def test_phases_by_hand_with_frozen_parts(chain: Chain, tmp_path: Path) -> None:
    sequence = ("[{kind: pretrain, mixture: {stubby: 1}, share: 0.5, tuning: connector}, "
                "{kind: finetune, mixture: {panda: 3, stubby: 1}, share: 0.5, portion: 0.5}]")
    plan = planned(tmp_path, strategy=f"{{kind: phases, sequence: {sequence}}}",
                   formulation="{kind: policy-head-continuous, memory: gpt, execute: 2, horizon: 4}",
                   evaluation="execution: ensemble")
    summary = trained(chain, plan)
    (pretrain,) = digests(plan, "pretrain")
    assert chain.result(pretrain)["trained_parameters"] < summary["trained_parameters"]
    (evaluate,) = digests(plan, "evaluate")
    assert chain.result(evaluate)["protocol"]["execution"] == "ensemble"
