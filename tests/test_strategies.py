from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_menus import recipe
from vlactl.errors import RecipeError, UsageError
from vlactl.identity import digest, identity_of
from vlactl.strategies import (
    CROSS,
    IN_DOMAIN,
    STRATEGIES,
    VISION_LANGUAGE,
    CoTrain,
    FewShot,
    InDomain,
    Ingredient,
    Phase,
    Phases,
    PostTrain,
    PretrainOnly,
    StrategySpec,
    split_frames,
    split_updates,
)
from vlactl.training import TrainingSettings

BOTH = {IN_DOMAIN: ("panda",), CROSS: ("stubby",)}
MANY = {IN_DOMAIN: ("panda", "desk"), CROSS: ("stubby", "tall"), VISION_LANGUAGE: ("words", "more-words")}


def whole(*weights: tuple[str, float]) -> tuple[Ingredient, ...]:
    return tuple(Ingredient(source=name, weight=weight) for name, weight in weights)


def weights(phase: Phase) -> dict[str, float]:
    return {item.source: item.weight for item in phase.mixture}


def test_in_domain_is_one_phase_on_the_evaluated_embodiment() -> None:
    assert InDomain().phases(BOTH) == (Phase(kind="finetune", mixture=whole(("panda", 1.0)), share=1.0),)
    assert weights(InDomain().phases({IN_DOMAIN: ("a", "b")})[0]) == {"a": 0.5, "b": 0.5}


def test_co_train_mixes_in_one_phase() -> None:
    sources = {IN_DOMAIN: ("panda",), CROSS: ("stubby", "tall")}
    (phase,) = CoTrain(cross_share=0.4).phases(sources)
    assert (phase.kind, phase.share) == ("finetune", 1.0)
    assert weights(phase) == pytest.approx({"panda": 0.6, "stubby": 0.2, "tall": 0.2})


def test_weights_split_the_share_of_a_role_or_everything() -> None:
    (phase,) = CoTrain(cross_share=0.4, weights={"tall": 3, "desk": 0.5}).phases(MANY)
    assert weights(phase) == pytest.approx({"panda": 0.4, "desk": 0.2, "stubby": 0.1, "tall": 0.3})
    (phase,) = CoTrain(cross_share=None, weights={"tall": 3, "desk": 0.5}).phases(MANY)
    assert weights(phase) == pytest.approx({"panda": 1 / 5.5, "desk": 0.5 / 5.5, "stubby": 1 / 5.5, "tall": 3 / 5.5})


def test_post_train_pretrains_on_the_others_and_ends_in_domain() -> None:
    first, last = PostTrain(pretrain_share=0.6).phases(BOTH)
    assert first == Phase(kind="pretrain", mixture=whole(("stubby", 1.0)), share=0.6)
    assert last == Phase(kind="finetune", mixture=whole(("panda", 1.0)), share=0.4)
    first, last = PostTrain(pretrain_on="both", cross_share=0.7).phases(BOTH)
    assert weights(first) == pytest.approx({"panda": 0.3, "stubby": 0.7})
    assert last.mixture == whole(("panda", 1.0))


def test_a_strategy_that_is_no_axis_of_the_pretraining_leaves_it_shared() -> None:
    """Two recipes that differ in the finetuning share nothing less: the first phase depends on its own fields only."""
    first = PostTrain().phases(BOTH)[0]
    assert PostTrain(cross_share=0.9).phases(BOTH)[0] == first
    assert PostTrain(portion=0.1, per_task=3, temperature=2.0, vl_weight=0.5).phases(BOTH)[0] == first
    assert FewShot(pretrain="cross").phases(BOTH)[0] == first


def test_pretrain_only_knows_the_evaluated_embodiment_by_its_statistics() -> None:
    (phase,) = PretrainOnly().phases(MANY)
    assert phase.kind == "finetune", "the trial's own seed"
    assert weights(phase) == {"panda": 0.0, "desk": 0.0, "stubby": 0.5, "tall": 0.5}
    assert [item.source for item in phase.mixture][:2] == ["panda", "desk"]
    assert PretrainOnly(pretrain_on="both").phases(MANY) == CoTrain().phases(MANY)


def test_few_shot_cuts_the_evaluated_embodiment_only() -> None:
    (alone,) = FewShot().phases(BOTH)
    assert alone.mixture == (Ingredient(source="panda", weight=1.0, per_task=10),)
    first, last = FewShot(pretrain="cross", per_task=5, pretrain_share=0.8).phases(BOTH)
    assert (first.share, first.mixture) == (0.8, whole(("stubby", 1.0)))
    assert last.mixture == (Ingredient(source="panda", weight=1.0, per_task=5),)


@pytest.mark.parametrize("strategy", [InDomain, CoTrain, PostTrain, PretrainOnly, FewShot])
def test_a_portion_is_of_the_demonstrations_of_the_evaluated_embodiment(strategy: type[StrategySpec]) -> None:
    for phase in strategy(portion=0.1, per_task=7).phases(MANY):
        for item in phase.mixture:
            home = item.source in MANY[IN_DOMAIN]
            assert (item.portion, item.per_task) == ((0.1, 7) if home else (1.0, None))


@pytest.mark.parametrize("strategy", [InDomain, CoTrain, PostTrain, PretrainOnly, FewShot])
def test_words_go_through_all_phases_and_cost_nothing_where_there_are_none(strategy: type[StrategySpec]) -> None:
    for phase in strategy(vl_share=0.25, vl_weight=0.1).phases(MANY):
        assert (phase.vl, phase.vl_share, phase.vl_weight) == ((("words", 0.5), ("more-words", 0.5)), 0.25, 0.1)
    assert strategy(vl_weight=0.1).phases(MANY) == strategy().phases(MANY), "unused, so no other stage"
    with pytest.raises(UsageError, match=f"no source has the role '{VISION_LANGUAGE}'"):
        strategy(vl_share=0.25).phases(BOTH)


def test_a_temperature_matters_where_there_is_something_to_weigh() -> None:
    assert InDomain(temperature=2.0).phases(BOTH) == InDomain().phases(BOTH)
    assert InDomain(temperature=2.0).phases(MANY)[0].temperature == 2.0
    assert [phase.temperature for phase in PostTrain(temperature=2.0).phases(
        {IN_DOMAIN: ("panda",), CROSS: ("stubby", "tall")})] == [2.0, None]


@pytest.mark.parametrize("strategy", [CoTrain(temperature=2.0), PretrainOnly(pretrain_on="both", temperature=2.0),
                                      PostTrain(pretrain_on="both", temperature=2.0)])
def test_a_temperature_and_a_fixed_share_contradict_each_other(strategy: StrategySpec) -> None:
    with pytest.raises(UsageError, match="set cross_share to null"):
        strategy.phases(BOTH)
    free = strategy.model_copy(update={"cross_share": None}).phases(BOTH)[0]
    assert (free.temperature, weights(free)) == (2.0, {"panda": 0.5, "stubby": 0.5})


def test_physical_actions_need_the_target_and_matter_where_there_are_others() -> None:
    assert InDomain(align="physical").phases(BOTH) == InDomain().phases(BOTH)
    first, last = PostTrain(align="physical", portion=0.5).phases(MANY)
    assert (first.align, last.align) == ("physical", "statistics")
    assert weights(first) == {"panda": 0.0, "desk": 0.0, "stubby": 0.5, "tall": 0.5}
    assert first.mixture[0].portion == 0.5, "statistics of the demonstrations that the trial may see"


# ---- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sources", "said"), [
    ({}, f"no source has the role '{IN_DOMAIN}'"),
    ({IN_DOMAIN: ()}, f"no source has the role '{IN_DOMAIN}'"),
    ({IN_DOMAIN: ("a",), "other": ("b",)}, "unknown role 'other'"),
    ({IN_DOMAIN: ("a", "a")}, "'a' is listed twice"),
    ({IN_DOMAIN: ("a",), CROSS: ("a",)}, "'a' is listed twice"),
    ({IN_DOMAIN: ("a",), VISION_LANGUAGE: ("a",)}, "'a' is listed twice"),
])
def test_wrong_sources_are_errors_at_plan_time(sources: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        InDomain().phases(sources)


@pytest.mark.parametrize("strategy", [CoTrain(), PostTrain(), PretrainOnly(), FewShot(pretrain="cross")])
def test_a_missing_role_is_named(strategy: StrategySpec) -> None:
    with pytest.raises(UsageError, match=f"no source has the role '{CROSS}'"):
        strategy.phases({IN_DOMAIN: ("panda",)})


def test_a_weight_for_nobody_is_an_error() -> None:
    with pytest.raises(UsageError, match="there is no source 'stuby'") as caught:
        CoTrain(weights={"stuby": 2.0}).phases(BOTH)
    assert "stubby" in caught.value.remedy
    with pytest.raises(ValueError, match="'stubby' is 0, not a number above 0"):
        CoTrain(weights={"stubby": 0.0})


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_shares_are_inside_zero_and_one(share: float) -> None:
    with pytest.raises(ValueError, match="pretrain_share"):
        PostTrain(pretrain_share=share)
    with pytest.raises(ValueError, match="cross_share"):
        CoTrain(cross_share=share)


# ---- phases written out by hand ----------------------------------------------------------------------------------

WRITTEN: list[dict[str, Any]] = [
    {"kind": "pretrain", "mixture": {"stubby": 1, "tall": 3}, "share": 0.5, "portion": 0.5, "tuning": "connector"},
    {"kind": "pretrain", "mixture": {"tall": 1, "panda": 1}, "share": 0.25, "vl_share": 0.5},
    {"kind": "finetune", "mixture": {"desk": 2, "panda": 0}, "share": 0.25, "per_task": 10}]


def test_written_phases_are_what_was_written() -> None:
    first, second, last = Phases(sequence=WRITTEN, portion=0.2).phases(MANY)  # type: ignore[arg-type]
    assert first == Phase(kind="pretrain", share=0.5, tuning="connector", mixture=(
        Ingredient(source="stubby", weight=0.25, portion=0.5), Ingredient(source="tall", weight=0.75, portion=0.5)))
    assert second.vl_share == 0.5
    assert second.mixture == (Ingredient(source="panda", weight=0.5, portion=0.2),
                              Ingredient(source="tall", weight=0.5))
    assert last == Phase(kind="finetune", share=0.25, mixture=(
        Ingredient(source="panda", weight=0.0, portion=0.2, per_task=10),
        Ingredient(source="desk", weight=1.0, portion=0.2, per_task=10)))


def test_a_named_strategy_can_be_written_by_hand_and_is_the_same_work() -> None:
    by_hand = Phases(sequence=({"kind": "pretrain", "mixture": {"stubby": 1}, "share": 0.6},  # type: ignore[arg-type]
                               {"kind": "finetune", "mixture": {"panda": 1}, "share": 0.4}))
    assert by_hand.phases(BOTH) == PostTrain(pretrain_share=0.6).phases(BOTH)


def test_written_words_need_their_role_in_the_phase_that_has_them_only() -> None:
    with pytest.raises(UsageError, match=f"no source has the role '{VISION_LANGUAGE}'"):
        Phases(sequence=WRITTEN).phases(BOTH)  # type: ignore[arg-type]
    silent = Phases(sequence=[{**WRITTEN[2], "share": 1.0, "vl_share": 0.0}], vl_share=0.5)  # type: ignore[arg-type]
    assert silent.phases({IN_DOMAIN: ("panda", "desk")})[0].vl == ()


def changed(position: int, **fields: Any) -> list[dict[str, Any]]:
    return [{**phase, **(fields if number == position else {})} for number, phase in enumerate(WRITTEN)]


@pytest.mark.parametrize(("sequence", "said"), [
    (changed(2, share=0.5), "the shares of the sequence sum to 1.25, not to 1"),
    (changed(2, kind="pretrain"), "the sequence is pretrain, pretrain, pretrain, not any number of pretrain, then one"),
    (changed(0, kind="finetune"), "the sequence is finetune, pretrain, finetune, not"),
    (changed(0, mixture={"tall": -1}), "weights are at least 0 and one of them is more"),
    (changed(0, mixture={"tall": 0}), "weights are at least 0 and one of them is more"),
    (changed(0, mixture={}), "weights are at least 0 and one of them is more"),
    (changed(0, tuning="half"), "full"),
    ([], "the sequence is empty, not"),
])
def test_a_sequence_that_makes_no_sense_is_refused(sequence: list, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Phases(sequence=sequence)


def test_written_names_are_checked_at_plan_time() -> None:
    with pytest.raises(UsageError, match="there is no source 'stumpy' to weigh"):
        Phases(sequence=changed(0, mixture={"stumpy": 1})).phases(MANY)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no source 'words' to weigh"):
        Phases(sequence=changed(0, mixture={"words": 1})).phases(MANY)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the last phase has no source of the evaluated embodiment"):
        Phases(sequence=changed(2, mixture={"stubby": 1})).phases(MANY)  # type: ignore[arg-type]


AXES = """\
backbone: alpha
formulation: one-step
strategy:
  kind: phases
  sequence:
    - {kind: pretrain, mixture: {other: 1}, shares: 0.5, share: 0.5}
    - kind: finetune
      mixture: {own: much}
      share: 2
      tuning: froze
"""


def test_mistakes_in_written_phases_are_told_at_their_place_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, axes=AXES)
    told = {problem.path: (problem.line, problem.what) for problem in caught.value.problems}
    assert told == {
        "strategy.sequence[0].shares": (8, "unknown key 'shares'"),
        "strategy.sequence[1].mixture.own": (10, "'much' is not allowed here"),
        "strategy.sequence[1].share": (11, "2 is not allowed here"),
        "strategy.sequence[1].tuning": (12, "'froze' is not allowed here")}


def test_an_unknown_source_in_a_written_phase_is_told_in_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no source 'tother' to weigh"):
        recipe(tmp_path, axes=AXES.replace(" shares: 0.5,", "").replace("other:", "tother:").replace("much", "1")
               .replace("share: 2", "share: 0.5").replace("froze", "frozen"))


def test_tunings_are_those_of_training() -> None:
    written = Phases.model_json_schema()["$defs"]["WrittenPhase"]["properties"]["tuning"]["anyOf"][0]["enum"]
    assert written == TrainingSettings.model_json_schema()["properties"]["tuning"]["enum"]


# ---- updates and frames ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("updates", [2, 7, 1600, 1601])
@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.5, 0.625])
def test_phases_split_the_updates_without_remainder(updates: int, share: float) -> None:
    phases = PostTrain(pretrain_share=share).phases(BOTH)
    if round(updates * share) == 0:
        with pytest.raises(UsageError, match="leave none for one of 2 phases"):
            split_updates(phases, updates)
        return
    split = split_updates(phases, updates)
    assert sum(split) == updates
    assert split[0] == pytest.approx(updates * share, abs=0.5)


@given(windows=st.integers(1, 20), history=st.integers(1, 16), ranks=st.integers(1, 4), pairs=st.integers(0, 20))
def test_frames_are_windows_and_pictures_with_words(windows: int, history: int, ranks: int, pairs: int) -> None:
    """Whatever can be divided is, exactly: the share of the words is what was asked for and the cost what it was."""
    frames = ranks * (windows * history + pairs)
    found = split_frames(ranks * pairs / frames, frames, history=history, ranks=ranks)
    assert found == (ranks * windows, ranks * pairs)


def test_every_rank_has_as_many_pictures() -> None:
    with pytest.raises(UsageError, match="on 2 ranks"):
        split_frames(1 / 3, 3, history=1, ranks=2)


@pytest.mark.parametrize(("share", "ranks"), [(0.3, 1), (0.2, 2), (0.99, 1)])
def test_a_share_that_does_not_divide_is_refused_with_those_that_do(share: float, ranks: int) -> None:
    with pytest.raises(UsageError, match=r"does not divide 128 frames") as caught:
        split_frames(share, 128, history=8, ranks=ranks)
    for possible in caught.value.expected.removeprefix("for example ").split(" | "):
        assert split_frames(float(possible), 128, history=8, ranks=ranks)


def test_the_menu() -> None:
    assert list(STRATEGIES) == ["in-domain", "co-train", "post-train", "pretrain-only", "few-shot", "phases"]


def test_a_plain_strategy_is_called_what_it_was_called_before_it_had_more_fields() -> None:
    assert digest(identity_of(InDomain())) == digest({"kind": "in-domain"})
