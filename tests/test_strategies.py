from __future__ import annotations

import pytest

from vlactl.errors import UsageError
from vlactl.strategies import CROSS, IN_DOMAIN, STRATEGIES, CoTrain, InDomain, Phase, PostTrain, split_updates

BOTH = {IN_DOMAIN: ("panda",), CROSS: ("stubby",)}


def test_in_domain_is_one_phase_on_the_evaluated_embodiment() -> None:
    assert InDomain().phases(BOTH) == (Phase(kind="finetune", mixture=(("panda", 1.0),), share=1.0),)
    assert InDomain().phases({IN_DOMAIN: ("a", "b")})[0].mixture == (("a", 0.5), ("b", 0.5))


def test_co_train_mixes_in_one_phase() -> None:
    sources = {IN_DOMAIN: ("panda",), CROSS: ("stubby", "tall")}
    (phase,) = CoTrain(cross_share=0.4).phases(sources)
    assert (phase.kind, phase.share) == ("finetune", 1.0)
    assert dict(phase.mixture) == pytest.approx({"panda": 0.6, "stubby": 0.2, "tall": 0.2})


def test_post_train_pretrains_on_the_others_and_ends_in_domain() -> None:
    first, last = PostTrain(pretrain_share=0.6).phases(BOTH)
    assert first == Phase(kind="pretrain", mixture=(("stubby", 1.0),), share=0.6)
    assert last == Phase(kind="finetune", mixture=(("panda", 1.0),), share=0.4)
    first, last = PostTrain(pretrain_on="both", cross_share=0.7).phases(BOTH)
    assert dict(first.mixture) == pytest.approx({"panda": 0.3, "stubby": 0.7})
    assert last.mixture == (("panda", 1.0),)


def test_a_strategy_that_is_no_axis_of_the_pretraining_leaves_it_shared() -> None:
    """Two recipes that differ in the finetuning share nothing less: the first phase depends on its own fields only."""
    assert PostTrain(cross_share=0.1).phases(BOTH)[0] == PostTrain(cross_share=0.9).phases(BOTH)[0]


@pytest.mark.parametrize(("sources", "said"), [
    ({}, f"no source has the role '{IN_DOMAIN}'"),
    ({IN_DOMAIN: ()}, f"no source has the role '{IN_DOMAIN}'"),
    ({IN_DOMAIN: ("a",), "other": ("b",)}, "unknown role 'other'"),
    ({IN_DOMAIN: ("a", "a")}, "'a' is listed twice"),
    ({IN_DOMAIN: ("a",), CROSS: ("a",)}, "'a' is listed twice"),
])
def test_wrong_sources_are_errors_at_plan_time(sources: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        InDomain().phases(sources)


@pytest.mark.parametrize("strategy", [CoTrain(), PostTrain()])
def test_a_missing_role_is_named(strategy: CoTrain | PostTrain) -> None:
    with pytest.raises(UsageError, match=f"no source has the role '{CROSS}'"):
        strategy.phases({IN_DOMAIN: ("panda",)})


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_shares_are_inside_zero_and_one(share: float) -> None:
    with pytest.raises(ValueError, match="pretrain_share"):
        PostTrain(pretrain_share=share)
    with pytest.raises(ValueError, match="cross_share"):
        CoTrain(cross_share=share)


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


def test_the_menu() -> None:
    assert list(STRATEGIES) == ["in-domain", "co-train", "post-train"]
