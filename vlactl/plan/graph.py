"""The nouns of a plan: stages, what they occupy, which of them a trial needs.  ``planner`` makes them from a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vlactl.recipe.model import Recipe

VERSIONS = {"data": 1, "pretrain": 2, "finetune": 2, "evaluate": 2}
"""Of the stage bodies.  Bump one when its body would produce another result from the same identity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a stage occupies while it runs."""

    nodes: int = 1
    ranks: int = 1
    """Over all nodes."""
    cpus_per_rank: float = 1.0
    gpus_per_rank: float = 0.0

    @property
    def cpus(self) -> float:
        return self.ranks * self.cpus_per_rank

    @property
    def gpus(self) -> float:
        return self.ranks * self.gpus_per_rank


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One node of the graph."""

    kind: str
    """``data`` | ``pretrain`` | ``finetune`` | ``evaluate``"""
    digest: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, str]
    """Role -> digest of the stage whose artifact plays it; also part of the identity."""
    label: str
    """For people; never part of the identity."""
    resources: Resources
    execution: Mapping[str, Any]
    """Settings that change speed, never results: section -> its execution fields, and ``rollouts_in_parallel``."""
    missing: tuple[str, ...] = ()
    """What the planning machine lacks to run it, each with what to do; never part of the identity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialStages:
    """Digests of the stages that a trial needs."""

    data: tuple[str, ...]
    """Recordings, and features that a frozen vision tower makes of them."""
    pretrain: tuple[str, ...]
    """In the order in which they build on each other."""
    finetune: str
    evaluate: str

    def all(self) -> tuple[str, ...]:
        """Every stage once, the evaluation last."""
        return (*self.data, *self.pretrain, self.finetune, self.evaluate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All stages of a recipe, each once."""

    recipe: Recipe
    stages: Mapping[str, Stage]
    """Digest -> stage.  Inputs come before what needs them; seed 0 of every cell comes before seed 1 of any."""
    trials: Mapping[str, TrialStages]
    """Trial id -> its stages."""
    references: Mapping[str, str]
    """``expert`` -> digest; ``expert/<evaluation>`` where the recipe has several protocols."""
    stages_without_sharing: int
    """Stages if every trial computed its own."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, for ``plan.json`` and ``vlactl plan --json``."""
        return {
            "recipe": self.recipe.name,
            "stages": [asdict(stage) for stage in self.stages.values()],
            "trials": {
                trial.id: {
                    "slug": trial.slug,
                    "cell": dict(trial.cell),
                    "seed": trial.seed,
                    **asdict(self.trials[trial.id]),
                }
                for trial in self.recipe.trials
            },
            "references": dict(self.references),
            "stages_without_sharing": self.stages_without_sharing,
            "excluded": [
                {"cell": dict(item.cell), "because": item.because, "where": item.where} for item in self.recipe.excluded
            ],
        }
