"""Phases that a recipe writes out by hand, for what no named strategy does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vlactl.strategies.phase import Phase, Tuning
from vlactl.strategies.spec import IN_DOMAIN, VISION_LANGUAGE, Sources, StrategySpec


class WrittenPhase(BaseModel):
    """One phase, as a recipe writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["pretrain", "finetune"]
    """``pretrain`` is shared by every trial that starts from it; ``finetune`` is the last one, which is evaluated."""
    mixture: Mapping[str, float]
    """source -> weight; only their proportions count.  0 opens a source for its spaces and statistics only."""
    share: float = Field(gt=0, le=1)
    """Share of the trial's updates; the shares of all phases sum to 1."""
    tuning: Tuning | None = None
    """Which parts of the policy this phase trains; null takes training.tuning."""
    vl_share: float | None = Field(default=None, ge=0, lt=1)
    """Share of the frames that are pictures with words; null takes the strategy's vl_share."""
    portion: float | None = Field(default=None, gt=0, le=1)
    """Share of the demonstrations of every source of this phase; null takes the strategy's, for in-domain ones."""
    per_task: int | None = Field(default=None, ge=1)
    """Most demonstrations of a task, of every source of this phase; null takes the strategy's, for in-domain ones."""

    @field_validator("mixture")
    @classmethod
    def _weights_are_shares(cls, mixture: Mapping[str, float]) -> Mapping[str, float]:
        wrong = {name: weight for name, weight in mixture.items() if not (weight >= 0 and math.isfinite(weight))}
        if wrong or not any(mixture.values()):
            raise ValueError(f"weights are at least 0 and one of them is more, not {wrong or dict(mixture)}")
        return mixture


class Phases(StrategySpec):
    """Phases written out by hand: which sources in which proportions, for how long, training what."""

    kind: ClassVar[str] = "phases"

    sequence: tuple[WrittenPhase, ...]
    """The phases in order: any number of ``pretrain``, then one ``finetune``."""
    pretrain_seed: int = Field(default=0, ge=0)
    """Seed of the shared phases; the trial's own seed starts at the last one."""

    @model_validator(mode="after")
    def _one_ending(self) -> Self:
        kinds, total = [phase.kind for phase in self.sequence], sum(phase.share for phase in self.sequence)
        if kinds != ["pretrain"] * (len(kinds) - 1) + ["finetune"]:
            found = ", ".join(kinds) or "empty"
            raise ValueError(f"the sequence is {found}, not any number of pretrain, then one finetune")
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares of the sequence sum to {total:g}, not to 1")
        return self

    def needs(self) -> tuple[str, ...]:
        words = any(self.vl_share if phase.vl_share is None else phase.vl_share for phase in self.sequence)
        return (IN_DOMAIN, *([VISION_LANGUAGE] if words else []))

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        demonstrated = {role: names for role, names in sources.items() if role != VISION_LANGUAGE}
        for written in self.sequence:
            self.require_known(written.mixture, demonstrated)
        if not set(self.sequence[-1].mixture) & set(sources[IN_DOMAIN]):
            raise self.error("the last phase has no source of the evaluated embodiment, which says how to act in it",
                             expected=" | ".join(sources[IN_DOMAIN]),
                             remedy="give one to its mixture, with weight 0 where it is not to be trained on")
        return tuple(self._phase(written, sources) for written in self.sequence)

    def _phase(self, written: WrittenPhase, sources: Sources) -> Phase:
        phase = self.phase(written.kind, tuple(written.mixture.items()), written.share, sources, tuning=written.tuning,
                           vl_share=written.vl_share)
        cut = {name: value for name, value in (("portion", written.portion), ("per_task", written.per_task))
               if value is not None}
        return replace(phase, mixture=tuple(replace(item, **cut) for item in phase.mixture))
