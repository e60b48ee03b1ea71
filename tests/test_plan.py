"""Stages, their digests, what trials share, why a stage will run, and what a plan says."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_menus import Shelf, menus, recipe
from vlactl.backbones import BACKBONES
from vlactl.benchmarks import BENCHMARKS
from vlactl.formulations import FORMULATIONS
from vlactl.identity import digest
from vlactl.plan import Plan, describe, make_plan
from vlactl.recipe import load
from vlactl.training import TrainingSettings

GOLDEN = Path(__file__).parent / "golden" / "plan"
RECIPES = Path(__file__).parent.parent / "recipes"
ONE = "backbone: alpha\nformulation: policy-head\nstrategy: {}"
HINTS = "execution: {jobs: 2, hint_s: {data: 40, pretrain: 30, finetune: 60, evaluate: 10}}\n"


def planned(folder: Path, text: str = "", **options) -> Plan:
    return make_plan(recipe(folder, text, **options))


def one(folder: Path, strategy: str = "in-domain", *overrides: str, text: str = "") -> Plan:
    return planned(folder, text, axes=ONE.format(strategy), overrides=overrides)


def of_kind(plan: Plan, kind: str) -> list:
    return [stage for stage in plan.stages.values() if stage.kind == kind]


# ---- the graph ----


def test_inputs_come_first_and_the_first_seed_of_every_cell_before_the_next(tmp_path: Path) -> None:
    plan = planned(tmp_path, "seeds: [0, 1]\nreferences: [expert, random]\n")
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert set(stage.inputs.values()) <= seen
        seen.add(key)
    seeds = [stage.identity["seed"] for stage in of_kind(plan, "finetune")]
    assert seeds == sorted(seeds)


def test_a_digest_covers_the_identity_and_the_identity_its_inputs(tmp_path: Path) -> None:
    for key, stage in planned(tmp_path, "references: [expert]\n").stages.items():
        assert key == stage.digest == digest(stage.identity)
        assert stage.identity["inputs"] == stage.inputs
        assert stage.identity["kind"] == stage.kind


def test_the_in_domain_trial_is_data_finetune_evaluate(tmp_path: Path) -> None:
    plan = one(tmp_path)
    (trial,) = plan.trials.values()
    data, finetune, evaluate = plan.stages.values()
    assert [stage.kind for stage in plan.stages.values()] == ["data", "finetune", "evaluate"]
    assert trial.all() == (data.digest, finetune.digest, evaluate.digest)
    assert finetune.inputs == {"in-domain": data.digest}
    assert finetune.identity["mixture"] == {"in-domain": 1.0}
    assert finetune.identity["updates"] == 100
    assert evaluate.inputs == {"policy": finetune.digest}
    assert evaluate.identity["protocol"]["renderer"] == 3
    assert finetune.label == evaluate.label == "alpha/policy-head/in-domain/seed-0"


def test_post_training_splits_the_updates_and_starts_from_the_pretrained_policy(tmp_path: Path) -> None:
    plan = one(tmp_path, "{kind: post-train, pretrain_share: 0.3}")
    (pretrain,), (finetune,) = of_kind(plan, "pretrain"), of_kind(plan, "finetune")
    assert (pretrain.identity["updates"], finetune.identity["updates"]) == (30, 70)
    assert set(pretrain.inputs) == {"cross-embodiment"}
    assert finetune.inputs["pretrain"] == pretrain.digest
    assert len(next(iter(plan.trials.values())).data) == 2


def test_trials_of_a_backbone_and_formulation_share_the_pretraining_over_seeds(tmp_path: Path) -> None:
    plan = planned(tmp_path, "seeds: [0, 1, 2]\n")
    assert len(plan.trials) == 24
    assert len(of_kind(plan, "data")) == 2
    assert len(of_kind(plan, "pretrain")) == 4
    assert len(of_kind(plan, "finetune")) == len(of_kind(plan, "evaluate")) == 24
    assert plan.stages_without_sharing == 12 * 3 + 12 * 5


def test_co_training_mixes_by_the_strategys_share(tmp_path: Path) -> None:
    (finetune,) = of_kind(one(tmp_path, "{kind: co-train, cross_share: 0.25}"), "finetune")
    assert finetune.identity["mixture"] == {"cross-embodiment": 0.25, "in-domain": 0.75}


def test_names_of_sources_and_their_order_do_not_count(tmp_path: Path) -> None:
    two = "sources.in-domain={{{}: {{kind: drawn, episodes: 5}}, {}: {{kind: drawn, episodes: 6}}}}"
    swapped = "sources.in-domain={y: {kind: drawn, episodes: 6}, x: {kind: drawn, episodes: 5}}"
    plans = [one(tmp_path, "in-domain", option) for option in (two.format("a", "b"), two.format("c", "d"), swapped)]
    assert plans[0].stages.keys() == plans[1].stages.keys() == plans[2].stages.keys()
    (finetune,) = of_kind(plans[0], "finetune")
    assert finetune.identity["mixture"] == {"in-domain-0": 0.5, "in-domain-1": 0.5}


@pytest.mark.parametrize(
    "override",
    [
        "training.micro_batch=2",
        "backbone.checkpointing=true",
        "execution.jobs=7",
        "execution.rollouts_in_parallel=3",
        "execution.ranks=2",
        "name=other",
        "execution.hint_s={finetune: 5}",
        "report.metric=sr1",
    ],
)
def test_execution_never_changes_a_digest(tmp_path: Path, override: str) -> None:
    assert one(tmp_path, "in-domain", override).stages.keys() == one(tmp_path).stages.keys()


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("training.learning_rate=1e-4", {"data"}),
        ("training.updates=50", {"data"}),
        ("backbone.width=128", {"data"}),
        ("seeds=[1]", {"data"}),
        ("evaluation.chains=9", {"data", "finetune"}),
        ("sources.in-domain.own.episodes=9", set()),
        ("evaluation.image_px=64", {"data", "finetune", "evaluate"}),
    ],
)
def test_a_change_reaches_the_stages_that_consume_it_and_no_other(
    tmp_path: Path, override: str, kept: set[str]
) -> None:
    before, after = one(tmp_path), one(tmp_path, "in-domain", override)
    assert {stage.kind for key, stage in after.stages.items() if key in before.stages} == kept


def test_one_more_value_adds_only_its_own_stages(tmp_path: Path) -> None:
    axes = "axes: {{backbone: {}, strategy: [in-domain, post-train]}}\nformulation: one-step"
    small, large = (planned(tmp_path, axes=axes.format(values)) for values in ("[alpha]", "[alpha, beta]"))
    assert small.stages.keys() <= large.stages.keys()
    added = [stage for key, stage in large.stages.items() if key not in small.stages]
    assert {stage.identity["backbone"]["kind"] for stage in added if "backbone" in stage.identity} == {"beta"}
    assert len(added) == 5


def test_references_are_evaluated_once_per_protocol(tmp_path: Path) -> None:
    plan = planned(tmp_path, "references: [expert, random]\nseeds: [0, 1]\n")
    assert set(plan.references) == {"expert", "random"}
    expert = plan.stages[plan.references["expert"]]
    assert (expert.kind, expert.inputs, expert.identity["policy"]) == ("evaluate", {}, "expert")
    axes = "axes: {evaluation.chains: [5, 10]}\nbackbone: alpha\nformulation: one-step\nstrategy: in-domain"
    several = planned(tmp_path, "references: [expert]\n", axes=axes)
    assert set(several.references) == {"expert/5", "expert/10"}


def test_execution_and_resources_reach_the_stages_that_need_them(tmp_path: Path) -> None:
    text = (
        "execution: {ranks: 4, nodes: 2, cpus_per_stage: 8, gpus_per_stage: 4, gpus_per_evaluation: 0.5, "
        "rollouts_in_parallel: 3}\n"
    )
    data, finetune, evaluate = one(tmp_path, "in-domain", "training.micro_batch=2", text=text).stages.values()
    assert (finetune.resources.nodes, finetune.resources.ranks) == (2, 4)
    assert (finetune.resources.cpus_per_rank, finetune.resources.gpus_per_rank) == (2.0, 1.0)
    assert (data.resources.ranks, data.resources.gpus) == (1, 0.0)
    assert evaluate.resources.gpus == 0.5
    assert finetune.execution == {"backbone": {"checkpointing": False}, "training": {"micro_batch": 2}}
    assert evaluate.execution == {"rollouts_in_parallel": 3}


def test_the_stages_of_a_known_recipe_keep_their_digests(tmp_path: Path) -> None:
    """A change here orphans every store: declare a new field ``added``, or change the digests on purpose."""
    found = {f"{stage.kind} {stage.label}": stage.digest for stage in one(tmp_path, "post-train").stages.values()}
    golden = GOLDEN / "digests.json"
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(golden.read_text())


def test_a_stage_process_can_rebuild_every_spec_from_its_stage() -> None:
    """What the seam reads: identity and execution of a section together are the spec that the recipe resolved."""
    loaded = load(RECIPES / "design_space.yaml")
    plan = make_plan(loaded)
    for trial in loaded.trials:
        train, test = plan.stages[plan.trials[trial.id].finetune], plan.stages[plan.trials[trial.id].evaluate]
        for section, registry in (("backbone", BACKBONES), ("formulation", FORMULATIONS)):
            fields = {**train.identity[section], **train.execution.get(section, {})}
            assert registry.parse(fields) == getattr(trial, section)
        settings = {**train.identity["training"], **train.execution["training"], "updates": trial.training.updates}
        assert TrainingSettings(**settings) == trial.training
        assert BENCHMARKS.parse(test.identity["evaluation"]) == trial.evaluation
        assert test.identity["protocol"] == trial.evaluation.protocol()


def test_the_quickstart_is_planned_in_half_a_second() -> None:
    started = time.process_time()
    make_plan(load(RECIPES / "quickstart.yaml"))
    assert time.process_time() - started < 0.5


# ---- against a store ----


def test_everything_is_new_to_an_empty_store(tmp_path: Path) -> None:
    description = describe(one(tmp_path), Shelf())
    assert [item.reason for item in description.stages] == ["new"] * 3
    assert description.disk_bytes is None
    assert {item.estimate.basis for item in description.stages} == {"unknown"}


def test_a_full_store_leaves_nothing_to_do(tmp_path: Path) -> None:
    plan, shelf = one(tmp_path), Shelf()
    shelf.keep(*plan.stages.values())
    description = describe(plan, shelf)
    assert description.to_run == ()
    assert "3 stages, all in the store: nothing to do (no stage is shared)" in description.lines()


def test_a_changed_field_is_named_against_the_nearest_stage_and_what_follows_waits(tmp_path: Path) -> None:
    shelf = Shelf()
    before = one(tmp_path)
    shelf.keep(*before.stages.values(), *one(tmp_path, "in-domain", "backbone.width=512", "seeds=[5]").stages.values())
    data, finetune, evaluate = describe(one(tmp_path, "in-domain", "training.learning_rate=1e-4"), shelf).stages
    assert data.cached
    old = of_kind(before, "finetune")[0]
    assert finetune.reason == f"training.learning_rate 0.002 -> 0.0001 against {old.label} {old.digest}"
    assert evaluate.reason == f"input policy {finetune.stage.digest} will run"


def test_a_changed_protocol_is_said_once(tmp_path: Path) -> None:
    plan, shelf = one(tmp_path), Shelf()
    shelf.keep(*plan.stages.values())
    *_, evaluate = describe(one(tmp_path, "in-domain", "evaluation.chains=9"), shelf).stages
    assert evaluate.reason.startswith("evaluation.chains 50 -> 9 against alpha/policy-head/in-domain/seed-0 ")


def test_an_input_that_is_there_but_new_is_named(tmp_path: Path) -> None:
    shelf, before = Shelf(), one(tmp_path)
    after = one(tmp_path, "in-domain", "training.updates=7")
    shelf.keep(*before.stages.values(), *of_kind(after, "finetune"))
    *_, evaluate = describe(after, shelf).stages
    assert evaluate.reason == (
        f"inputs.policy {of_kind(before, 'finetune')[0].digest} -> {of_kind(after, 'finetune')[0].digest}"
    )


def test_a_stage_unlike_everything_is_new_and_says_so(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.keep(*one(tmp_path).stages.values())
    other = one(
        tmp_path,
        "{kind: co-train}",
        "backbone={kind: beta, width: 8, weights: big}",
        "seeds=[3]",
        "training={updates: 1, global_batch: 4, learning_rate: 1, schedule: constant, betas: [0.1, 0.2]}",
    )
    finetune = next(item for item in describe(other, shelf).stages if item.stage.kind == "finetune")
    assert finetune.reason.startswith("new (")


def test_an_artifact_with_a_manifest_that_is_not_whole_is_said(tmp_path: Path) -> None:
    class Broken(Shelf):
        def has(self, digest: str) -> bool:
            return False

    plan, shelf = one(tmp_path), Broken()
    shelf.keep(*plan.stages.values())
    assert describe(plan, shelf).stages[0].reason.endswith("is not whole")


# ---- the forecast ----


def test_the_past_counts_before_the_hint_and_is_scaled_by_work(tmp_path: Path) -> None:
    shelf, here = Shelf(), socket.gethostname()
    shelf.keep(*one(tmp_path).stages.values(), seconds=50.0, host=here, size=2000)
    plan = one(tmp_path, "in-domain", "training.updates=200", text=HINTS)
    _, finetune, evaluate = describe(plan, shelf).stages
    assert (finetune.estimate.seconds, finetune.estimate.basis, finetune.estimate.bytes) == (100.0, "past", 2000)
    assert evaluate.estimate.seconds == 50.0


def test_another_machine_or_backbone_does_not_count(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.keep(*one(tmp_path).stages.values(), seconds=50.0, host="elsewhere")
    changed = one(tmp_path, "in-domain", "training.updates=200", text=HINTS)
    assert {item.estimate.basis for item in describe(changed, shelf).stages} == {"hint"}
    shelf = Shelf()
    shelf.keep(*one(tmp_path).stages.values(), seconds=50.0, host=socket.gethostname())
    other = one(tmp_path, "in-domain", "backbone=beta", text=HINTS)
    assert [item.estimate.basis for item in describe(other, shelf).stages] == ["past", "hint", "hint"]


def test_the_wall_clock_is_no_shorter_than_the_longest_chain(tmp_path: Path) -> None:
    chain = describe(one(tmp_path, "post-train", text=HINTS), Shelf())
    assert chain.stage_seconds == 40 + 40 + 30 + 60 + 10
    assert chain.wall_seconds == 40 + 30 + 60 + 10
    grid = describe(planned(tmp_path, HINTS), Shelf())
    assert grid.wall_seconds == grid.stage_seconds / 2


def test_gpu_hours_count_the_gpus_of_each_stage(tmp_path: Path) -> None:
    hints = "{finetune: 3600, evaluate: 3600, data: 3600}"
    text = f"execution: {{gpus_per_stage: 2, gpus_per_evaluation: 0.5, hint_s: {hints}}}\n"
    assert describe(one(tmp_path, text=text), Shelf()).gpu_hours == 2.5


# ---- what it says ----


@pytest.mark.parametrize("case", ["empty", "partly", "done"])
def test_golden_text_of_a_plan(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    shelf = Shelf()
    if case != "empty":
        shelf.keep(*make_plan(load("sweep.yaml", menus=menus())).stages.values(), seconds=12.0, host="here")
    overrides = ("training.learning_rate=1e-4",) if case == "partly" else ()
    text = "\n".join(describe(make_plan(load("sweep.yaml", overrides, menus=menus())), shelf).lines()) + "\n"
    golden = Path(f"{case}.txt")
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


def test_the_plan_as_json_is_plain_and_complete(tmp_path: Path) -> None:
    plan = planned(
        tmp_path, "references: [random]\nexclude: [{backbone: beta, formulation: one-step, because: slow}]\n"
    )
    document = json.loads(json.dumps(describe(plan, Shelf()).to_json()))
    assert [stage["digest"] for stage in document["stages"]] == list(plan.stages)
    assert document["to_run"] == len(plan.stages)
    trial = document["trials"][plan.recipe.trials[0].id]
    assert trial["slug"] == "alpha/one-step/in-domain/seed-0"
    assert trial["evaluate"] in plan.stages
    assert document["excluded"][0]["because"] == "slow"


def test_a_text_names_what_was_left_out(tmp_path: Path) -> None:
    text = "\n".join(describe(planned(tmp_path, only=["backbone=alpha"]), Shelf()).lines())
    assert "test: 4 trials = 4 cells x 1 seed, 4 more left out by --only, --skip or --limit" in text
    assert "  backbone     alpha\n" in text


def test_a_large_plan_against_a_full_store_takes_seconds(tmp_path: Path) -> None:
    rates = ", ".join(f"{n}e-5" for n in range(1, 251))
    axes = f"axes: {{backbone: [alpha, beta], training.learning_rate: [{rates}]}}\n"
    axes += "formulation: one-step\nstrategy: in-domain"
    shelf = Shelf()
    shelf.keep(*planned(tmp_path, axes=axes).stages.values())
    started = time.process_time()
    description = describe(planned(tmp_path, axes=axes, overrides=("training.updates=7",)), shelf)
    assert len(description.to_run) == 1000
    assert time.process_time() - started < 10


def test_stages_are_immutable(tmp_path: Path) -> None:
    stage = next(iter(one(tmp_path).stages.values()))
    with pytest.raises(AttributeError):
        stage.label = "x"  # type: ignore[misc]
    assert replace(stage, label="x").digest == stage.digest
