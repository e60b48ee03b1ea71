"""The menus that a recipe chooses from, as one value, so that a test or another front end can offer its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vlactl.backbones import BACKBONES, BackboneSpec
from vlactl.benchmarks import BENCHMARKS, BenchmarkSpec
from vlactl.formats import SOURCES, SourceSpec
from vlactl.formulations import FORMULATIONS, FormulationSpec
from vlactl.registry import Registry, Spec
from vlactl.strategies import ROLES, STRATEGIES, StrategySpec
from vlactl.training import TrainingSettings

__all__ = ["ROLES", "SECTIONS", "Menus"]

SECTIONS = ("backbone", "formulation", "strategy", "training", "evaluation")
"""Parts of a trial that are one spec each; ``sources`` holds several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Menus:
    """One registry for each family, and the settings of training."""

    backbones: Registry[BackboneSpec] = BACKBONES
    formulations: Registry[FormulationSpec] = FORMULATIONS
    strategies: Registry[StrategySpec] = STRATEGIES
    benchmarks: Registry[BenchmarkSpec] = BENCHMARKS
    sources: Registry[SourceSpec] = SOURCES
    training: type[TrainingSettings] = TrainingSettings

    def registry(self, section: str) -> Registry | None:
        """The registry of a section's kinds; None for ``training``, which has no kinds."""
        return {
            "backbone": self.backbones,
            "formulation": self.formulations,
            "strategy": self.strategies,
            "evaluation": self.benchmarks,
            "sources": self.sources,
        }.get(section)

    def specs(self, section: str) -> Iterable[type[Spec]]:
        """Every spec class that a section may hold."""
        registry = self.registry(section)
        return [self.training] if registry is None else [registry.get(kind) for kind in registry]
