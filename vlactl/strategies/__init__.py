"""Which demonstrations a policy sees, and when: the menu of data strategies.

A strategy turns the sources of a trial into phases of weighted mixtures.  It is pure: it knows names, never tensors,
and its phases decide the shape of the graph of stages.  Every strategy spends the same number of updates per trial, so
the cells of a table compare at equal compute.  Definitions: RoboVLMs (arXiv 2412.14058), v3 and v4, which call them
finetune, pre-train or co-train, post-train and few-shot.

``phase`` holds the values that come out, ``spec`` what all strategies have, ``written`` the one that is spelled out in
the recipe.  Nothing here imports anything heavy.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from vlactl.spaces import align_conflict
from vlactl.strategies.phase import Ingredient, Phase, evenly, split_frames, split_updates
from vlactl.strategies.spec import CROSS, IN_DOMAIN, ROLES, STRATEGIES, VISION_LANGUAGE, Sources, StrategySpec
from vlactl.strategies.written import Phases, WrittenPhase

__all__ = ["CROSS", "IN_DOMAIN", "ROLES", "STRATEGIES", "VISION_LANGUAGE", "CoTrain", "FewShot", "InDomain",
           "Ingredient", "Phase", "Phases", "PostTrain", "PretrainOnly", "Sources", "StrategySpec", "WrittenPhase",
           "align_conflict", "evenly", "split_frames", "split_updates"]


@STRATEGIES.add
class InDomain(StrategySpec):
    """Train on demonstrations of the evaluated embodiment only: the baseline of every table."""

    kind: ClassVar[str] = "in-domain"

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        return (self.phase("finetune", evenly(sources[IN_DOMAIN]), 1.0, sources),)


@STRATEGIES.add
class CoTrain(StrategySpec):
    """Train on the evaluated embodiment and on others at the same time, in one phase."""

    kind: ClassVar[str] = "co-train"

    cross_share: float | None = Field(default=0.5, gt=0, lt=1)
    """Share of the windows that come from other embodiments; null lets the weights alone decide."""
    weights: dict[str, float] = Field(default={}, json_schema_extra={"added": {}})
    """source -> how much it is drawn: beside the others of its role, or beside all where cross_share is null; 1 for a
    source that is not named."""

    @field_validator("weights")
    @classmethod
    def _positive(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of '{name}' is {weight:g}, not a number above 0")
        return weights

    def needs(self) -> tuple[str, ...]:
        return (*super().needs(), CROSS)

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        return (self.phase("finetune", self.blend(sources, self.cross_share, self.weights), 1.0, sources),)


@STRATEGIES.add
class PostTrain(StrategySpec):
    """Pretrain on other embodiments, then train on the evaluated one; seeds share the first part."""

    kind: ClassVar[str] = "post-train"

    pretrain_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the trial's updates that the pretraining takes; the finetuning takes the rest."""
    pretrain_on: Literal["cross", "both"] = "cross"
    """``cross``: other embodiments only.  ``both``: mixed with the evaluated one, as in pi0 and in RoboVLMs v4."""
    cross_share: float | None = Field(default=0.5, gt=0, lt=1)
    """With ``both``: share of the pretraining windows that come from other embodiments, null for none fixed; otherwise
    unused."""
    pretrain_seed: int = Field(default=0, ge=0)
    """Seed of the shared pretraining; the trial's own seed starts at the finetuning."""

    def needs(self) -> tuple[str, ...]:
        return (*super().needs(), CROSS)

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        first = evenly(sources[CROSS]) if self.pretrain_on == "cross" else self.blend(sources, self.cross_share)
        return (self.phase("pretrain", first, self.pretrain_share, sources),
                self.phase("finetune", evenly(sources[IN_DOMAIN]), 1.0 - self.pretrain_share, sources))


@STRATEGIES.add
class PretrainOnly(StrategySpec):
    """Train on other embodiments and act in the evaluated one without ever training on it alone."""

    kind: ClassVar[str] = "pretrain-only"

    pretrain_on: Literal["cross", "both"] = "cross"
    """``cross``: other embodiments only; of the evaluated one only spaces and statistics are known.  ``both``: mixed
    with the evaluated one, like the pretraining of RoboVLMs v3."""
    cross_share: float | None = Field(default=0.5, gt=0, lt=1)
    """With ``both``: share of the windows that come from other embodiments, null for none fixed; otherwise unused."""

    def needs(self) -> tuple[str, ...]:
        return (*super().needs(), CROSS)

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        weights = (self.blend(sources, self.cross_share) if self.pretrain_on == "both" else
                   (*((name, 0.0) for name in sources[IN_DOMAIN]), *evenly(sources[CROSS])))
        return (self.phase("finetune", weights, 1.0, sources),)


@STRATEGIES.add
class FewShot(StrategySpec):
    """Train on a handful of demonstrations of each task of the evaluated embodiment, after a pretraining or without."""

    kind: ClassVar[str] = "few-shot"

    per_task: int | None = Field(default=10, ge=1)
    """Demonstrations of each task, where there are as many; 10 in RoboVLMs, Fig. 11.  Null leaves it to portion."""
    pretrain: Literal["none", "cross"] = "none"
    """``cross``: pretrained on other embodiments before."""
    pretrain_share: float = Field(default=0.5, gt=0, lt=1)
    """With ``cross``: share of the trial's updates that the pretraining takes; otherwise unused."""
    pretrain_seed: int = Field(default=0, ge=0)
    """Seed of the shared pretraining; the trial's own seed starts at the finetuning."""

    def needs(self) -> tuple[str, ...]:
        return (*super().needs(), *([CROSS] if self.pretrain == "cross" else []))

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        home = evenly(sources[IN_DOMAIN])
        if self.pretrain == "none":
            return (self.phase("finetune", home, 1.0, sources),)
        return (self.phase("pretrain", evenly(sources[CROSS]), self.pretrain_share, sources),
                self.phase("finetune", home, 1.0 - self.pretrain_share, sources))


STRATEGIES.add(Phases)
