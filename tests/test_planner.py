"""What a trial's stages are where it asks for words, features, parts of sources or phases written by hand."""

from __future__ import annotations

from pathlib import Path

from tests.fake_menus import recipe
from vlactl.plan import Plan, make_plan

ONE = "backbone: alpha\nformulation: policy-head\nstrategy: {}"


def planned(folder: Path, text: str = "", **options) -> Plan:
    return make_plan(recipe(folder, text, **options))


def one(folder: Path, strategy: str) -> Plan:
    return planned(folder, axes=ONE.format(strategy))


def of_kind(plan: Plan, kind: str) -> list:
    return [stage for stage in plan.stages.values() if stage.kind == kind]

WORDS = "  vision-language:\n    desk: {kind: drawn, pairs: 4}\n"
READS = "axes: {backbone: [alpha, {reads: {kind: alpha, vl_pretrain: true}}], formulation: [one-step, policy-head]}\n"


def test_a_bare_backbone_is_pretrained_on_words_once_for_all_formulations_and_seeds(tmp_path: Path) -> None:
    plan = planned(tmp_path, WORDS + "seeds: [0, 1]\n", axes=READS + "strategy: in-domain")
    (words,) = of_kind(plan, "pretrain")
    assert words.identity["words"] == {"vision-language": 1.0}
    assert "formulation" not in words.identity
    assert words.label == "reads/words"
    assert words.identity["updates"] == 40
    finetunes = of_kind(plan, "finetune")
    assert [stage.inputs.get("words") for stage in finetunes].count(words.digest) == 4
    with_words = [trial for trial in plan.trials.values() if trial.pretrain]
    assert len(with_words) == 4
    assert all(len(trial.data) == 2 and trial.pretrain == (words.digest,) for trial in with_words)


def test_a_pretraining_goes_on_from_the_words_and_the_finetuning_from_it(tmp_path: Path) -> None:
    axes = "backbone: {kind: alpha, vl_pretrain: true}\nformulation: one-step\nstrategy: post-train"
    plan = planned(tmp_path, WORDS, axes=axes)
    words, pretrain = of_kind(plan, "pretrain")
    (finetune,) = of_kind(plan, "finetune")
    assert pretrain.inputs["words"] == words.digest
    assert finetune.inputs["pretrain"] == pretrain.digest
    assert "words" not in finetune.inputs
    assert next(iter(plan.trials.values())).pretrain == (words.digest, pretrain.digest)


def test_words_beside_actions_are_part_of_the_finetuning(tmp_path: Path) -> None:
    plan = planned(tmp_path, WORDS, axes=ONE.format("{kind: in-domain, vl_share: 0.25, vl_weight: 0.5}"))
    (finetune,) = of_kind(plan, "finetune")
    assert finetune.identity["words"] == {"mixture": {"vision-language": 1.0}, "share": 0.25, "weight": 0.5}
    assert set(finetune.inputs) == {"in-domain", "vision-language"}


CACHED = "training: {tuning: frozen-vision, cache_vision: true}\n"


def test_features_of_a_frozen_tower_are_shared_by_formulations_but_not_by_weights(tmp_path: Path) -> None:
    axes = "axes: {formulation: [one-step, policy-head]}\nbackbone: alpha\nstrategy: co-train"
    plan = planned(tmp_path, CACHED + "seeds: [0, 1]\n", axes=axes)
    features = [stage for stage in of_kind(plan, "data") if "features" in stage.identity]
    assert len(features) == 4, "two sources, and the seed draws a tiny backbone's weights"
    for stage in of_kind(plan, "finetune"):
        seen = {role: key for role, key in stage.inputs.items() if role.startswith("features-of-")}
        assert set(seen) == {"features-of-in-domain", "features-of-cross-embodiment"}
        for role, key in seen.items():
            made = plan.stages[key]
            assert made.inputs["episodes"] == stage.inputs[role.removeprefix("features-of-")]
            assert made.identity["seed"] == stage.identity["seed"]
    trained = planned(tmp_path, CACHED + "seeds: [0, 1]\n", axes=axes, overrides=("backbone.weights=big",))
    assert len([stage for stage in of_kind(trained, "data") if "features" in stage.identity]) == 2


def test_features_are_those_of_the_policy_that_training_begins_with(tmp_path: Path) -> None:
    """A shared pretraining draws its backbone by the strategy's seed, and the finetuning goes on from that one."""
    plan = planned(tmp_path, CACHED + "seeds: [5]\n", axes=ONE.format("{kind: post-train, pretrain_seed: 3}"))
    assert {stage.identity["seed"] for stage in of_kind(plan, "data") if "features" in stage.identity} == {3}


def test_a_part_of_the_demonstrations_shares_their_recording(tmp_path: Path) -> None:
    axes = "axes: {strategy.portion: [0.1, 1], strategy.per_task: [10, null]}\n" + ONE.format("in-domain")
    plan = planned(tmp_path, axes=axes)
    (data,) = of_kind(plan, "data")
    finetunes = of_kind(plan, "finetune")
    assert [stage.identity.get("parts") for stage in finetunes] == [
        {"in-domain": {"portion": 0.1, "per_task": 10}},
        {"in-domain": {"portion": 0.1}},
        {"in-domain": {"per_task": 10}},
        None,
    ]
    assert {stage.inputs["in-domain"] for stage in finetunes} == {data.digest}


def test_a_source_of_weight_zero_is_opened_for_its_statistics(tmp_path: Path) -> None:
    plan = one(tmp_path, "pretrain-only")
    (finetune,) = of_kind(plan, "finetune")
    assert finetune.identity["mixture"] == {"in-domain": 0, "cross-embodiment": 1}
    assert set(finetune.inputs) == {"in-domain", "cross-embodiment"}


def test_phases_by_hand_build_on_each_other(tmp_path: Path) -> None:
    sequence = (
        "[{kind: pretrain, mixture: {other: 1}, share: 0.25}, {kind: pretrain, mixture: {other: 1, own: 3}, "
        "share: 0.25, tuning: frozen-vision}, {kind: finetune, mixture: {own: 1}, share: 0.5}]"
    )
    plan = one(tmp_path, f"{{kind: phases, sequence: {sequence}}}")
    first, second = of_kind(plan, "pretrain")
    (last,) = of_kind(plan, "finetune")
    assert "pretrain" not in first.inputs
    assert second.inputs["pretrain"] == first.digest
    assert last.inputs["pretrain"] == second.digest
    assert second.identity["mixture"] == {"cross-embodiment": 0.25, "in-domain": 0.75}
    tunings = [stage.identity["training"].get("tuning") for stage in (first, second, last)]
    assert tunings == [None, "frozen-vision", None]
    assert [stage.identity["updates"] for stage in (first, second, last)] == [25, 25, 50]


def test_the_order_of_alignment_and_temperature_is_part_of_the_identity(tmp_path: Path) -> None:
    plan = one(tmp_path, "{kind: co-train, cross_share: null, temperature: 2, align: physical}")
    (finetune,) = of_kind(plan, "finetune")
    assert (finetune.identity["temperature"], finetune.identity["align"]) == (2, "physical")
