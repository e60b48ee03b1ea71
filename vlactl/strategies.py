"""Which demonstrations a policy sees, and when: the menu of data strategies.

A strategy turns the sources of a trial into phases of weighted mixtures.  It is pure: it knows names, never tensors,
and its phases decide the shape of the graph of stages.  Every strategy spends the same number of updates per trial, so
the cells of a table compare at equal compute.  Definitions: RoboVLMs (arXiv 2412.14058), v3 and v4, which call them
finetune, co-train and post-train.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from vlactl.errors import UsageError
from vlactl.registry import Registry, Spec

IN_DOMAIN = "in-domain"
"""The role of sources of the embodiment and world that the policy is evaluated in."""
CROSS = "cross-embodiment"
"""The role of sources of other embodiments."""

Sources = Mapping[str, Sequence[str]]
"""role -> names of the sources that play it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One training stage of a trial."""

    kind: Literal["pretrain", "finetune"]
    """``pretrain`` is shared by every trial that starts from it; ``finetune`` ends in the policy that is evaluated."""
    mixture: tuple[tuple[str, float], ...]
    """``(source, weight)``; the weights sum to 1 and are shares of the windows."""
    share: float
    """Share of the trial's updates."""


class StrategySpec(Spec, abc.ABC):
    """How the sources of a trial become phases of training."""

    needs: ClassVar[tuple[str, ...]] = (IN_DOMAIN,)
    """Roles that must have at least one source; others may be there unused, so that one recipe compares strategies."""

    @abc.abstractmethod
    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        """The phases, given that every needed role is there."""

    def phases(self, sources: Sources) -> tuple[Phase, ...]:
        """The phases in order; the last is always a finetune phase.

        Raises:
            UsageError: a needed role has no source, a role is unknown, or one name plays two roles.
        """
        unknown = sorted(set(sources) - {IN_DOMAIN, CROSS})
        if unknown:
            raise UsageError(f"unknown role '{unknown[0]}'", where=f"strategy '{self.kind}'",
                             expected=f"{IN_DOMAIN} | {CROSS}")
        missing = [role for role in self.needs if not sources.get(role)]
        if missing:
            raise UsageError(f"no source has the role '{missing[0]}'", where=f"strategy '{self.kind}'",
                             expected=f"at least one source of each of: {', '.join(self.needs)}",
                             remedy=f"add a source under '{missing[0]}' or leave this strategy out")
        names = [name for role in sources.values() for name in role]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"the source '{twice[0]}' is listed twice", where=f"strategy '{self.kind}'",
                             remedy="list a source once; to weigh it more, change the strategy's shares")
        return self.plan(sources)


STRATEGIES: Registry[StrategySpec] = Registry("strategies", "strategy")


@STRATEGIES.add
class InDomain(StrategySpec):
    """Train on demonstrations of the evaluated embodiment only: the baseline of every table."""

    kind: ClassVar[str] = "in-domain"

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        return (Phase(kind="finetune", mixture=evenly(sources[IN_DOMAIN]), share=1.0),)


@STRATEGIES.add
class CoTrain(StrategySpec):
    """Train on the evaluated embodiment and on others at the same time, in one phase."""

    kind: ClassVar[str] = "co-train"
    needs: ClassVar[tuple[str, ...]] = (IN_DOMAIN, CROSS)

    cross_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the windows that come from other embodiments."""

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        return (Phase(kind="finetune", mixture=blend(sources, self.cross_share), share=1.0),)


@STRATEGIES.add
class PostTrain(StrategySpec):
    """Pretrain on other embodiments, then train on the evaluated one; seeds share the first part."""

    kind: ClassVar[str] = "post-train"
    needs: ClassVar[tuple[str, ...]] = (IN_DOMAIN, CROSS)

    pretrain_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the trial's updates that the pretraining takes; the finetuning takes the rest."""
    pretrain_on: Literal["cross", "both"] = "cross"
    """``cross``: other embodiments only.  ``both``: mixed with the evaluated one, as in pi0 and in RoboVLMs v4."""
    cross_share: float = Field(default=0.5, gt=0, lt=1)
    """With ``both``: share of the pretraining windows that come from other embodiments; otherwise unused."""
    pretrain_seed: int = Field(default=0, ge=0)
    """Seed of the shared pretraining; the trial's own seed starts at the finetuning."""

    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        first = evenly(sources[CROSS]) if self.pretrain_on == "cross" else blend(sources, self.cross_share)
        return (Phase(kind="pretrain", mixture=first, share=self.pretrain_share),
                Phase(kind="finetune", mixture=evenly(sources[IN_DOMAIN]), share=1.0 - self.pretrain_share))


def evenly(names: Sequence[str], total: float = 1.0) -> tuple[tuple[str, float], ...]:
    """Equal weights that sum to ``total``, in the order of ``names``."""
    return tuple((name, total / len(names)) for name in names)


def blend(sources: Sources, cross_share: float) -> tuple[tuple[str, float], ...]:
    """In-domain and cross sources; each role's share is split evenly among its sources."""
    return evenly(sources[IN_DOMAIN], 1.0 - cross_share) + evenly(sources[CROSS], cross_share)


def split_updates(phases: Sequence[Phase], updates: int) -> tuple[int, ...]:
    """Whole updates per phase; they sum to ``updates`` exactly, so that every strategy costs the same.

    Raises:
        UsageError: a phase would get no update at all.
    """
    ends = [round(updates * sum(phase.share for phase in phases[:count])) for count in range(1, len(phases))]
    bounds = [0, *ends, updates]
    split = tuple(after - before for before, after in itertools.pairwise(bounds))
    if min(split) < 1:
        raise UsageError(f"{updates} updates leave none for one of {len(phases)} phases", where="training.updates",
                         expected="at least one update in each phase", remedy="raise training.updates")
    return split
