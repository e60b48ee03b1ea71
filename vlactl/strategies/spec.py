"""What every data strategy has: the fields that all of them share, and how they turn into phases."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import Field

from vlactl.errors import UsageError, did_you_mean
from vlactl.registry import Registry, Spec
from vlactl.strategies.phase import Align, Ingredient, Phase, Tuning, evenly

IN_DOMAIN = "in-domain"
"""The role of sources of the embodiment and world that the policy is evaluated in."""
CROSS = "cross-embodiment"
"""The role of sources of other embodiments."""
VISION_LANGUAGE = "vision-language"
"""The role of sources whose pictures have captions and questions."""
ROLES = (IN_DOMAIN, CROSS, VISION_LANGUAGE)

Sources = Mapping[str, Sequence[str]]
"""role -> names of the sources that play it."""
Weights = Sequence[tuple[str, float]]
"""``(source, weight)``."""


class StrategySpec(Spec, abc.ABC):
    """How the sources of a trial become phases of training."""

    portion: float = Field(default=1.0, gt=0, le=1, json_schema_extra={"added": 1.0})
    """Share of the in-domain demonstrations that are used, evenly over tasks; 0.1 is a part of 0.5."""
    per_task: int | None = Field(default=None, ge=1, json_schema_extra={"added": None})
    """Most in-domain demonstrations of one task that are used; null is no limit."""
    vl_share: float = Field(default=0.0, ge=0, lt=1, json_schema_extra={"added": 0.0})
    """Share of the supervised frames of every update that are pictures with words, from the role vision-language."""
    vl_weight: float = Field(default=1.0, gt=0, json_schema_extra={"added": 1.0})
    """What the loss of the words counts beside the loss of the actions; without a vl_share unused."""
    temperature: float | None = Field(default=None, gt=0, json_schema_extra={"added": None})
    """Weights are multiplied by (frames of the source) ** (1 / temperature): 1 draws every frame alike, null leaves the
    weights alone."""
    align: Align = Field(default="statistics", json_schema_extra={"added": "statistics"})
    """How actions of other embodiments become comparable: each scaled by its own ``statistics``, or converted to metres
    and radians of the evaluated one (``physical``), which needs the same rate, frame and control."""

    def needs(self) -> tuple[str, ...]:
        """Roles that must have at least one source; others may be there unused, so that one recipe compares strategies.
        """
        return (IN_DOMAIN, *([VISION_LANGUAGE] if self.vl_share else []))

    @abc.abstractmethod
    def plan(self, sources: Sources) -> tuple[Phase, ...]:
        """The phases, given that every needed role is there."""

    def phases(self, sources: Sources) -> tuple[Phase, ...]:
        """The phases in order; the last is always a finetune phase.

        Raises:
            UsageError: a needed role has no source, a role is unknown, one name plays two roles, a weight is given to
                a source that is not there, or two fields contradict each other.
        """
        unknown = sorted(set(sources) - set(ROLES))
        if unknown:
            raise self.error(f"unknown role '{unknown[0]}'", expected=" | ".join(ROLES),
                             remedy=did_you_mean(unknown[0], ROLES))
        missing = [role for role in self.needs() if not sources.get(role)]
        if missing:
            raise self.error(f"no source has the role '{missing[0]}'",
                             expected=f"at least one source of each of: {', '.join(self.needs())}",
                             remedy=f"add a source under '{missing[0]}' or leave this strategy out")
        names = [name for role in sources.values() for name in role]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise self.error(f"the source '{twice[0]}' is listed twice",
                             remedy="list a source once; to weigh it more, change the strategy's shares")
        return self.plan(sources)

    def phase(self, kind: Literal["pretrain", "finetune"], weights: Weights, share: float, sources: Sources, *,
              tuning: Tuning | None = None, vl_share: float | None = None) -> Phase:
        """A phase with this strategy's shared fields, each at its default where it cannot matter.

        ``weights`` are made to sum to 1.  Sources of the evaluated embodiment come first; where others are converted to
        their scale, they are all there.
        """
        total = sum(weight for _, weight in weights)
        given = {name: weight / total for name, weight in weights}
        home = sources[IN_DOMAIN]
        converted = self.align == "physical" and any(weight for name, weight in given.items() if name not in home)
        leading = [(name, given.get(name, 0.0)) for name in home if converted or name in given]
        mixture = self.ingredients([*leading, *((n, w) for n, w in given.items() if n not in home)], home)
        many = sum(item.weight > 0 for item in mixture) > 1
        words = self.vl_share if vl_share is None else vl_share
        return Phase(kind=kind, mixture=mixture, share=share, tuning=tuning, vl_share=words,
                     vl=evenly(sources[VISION_LANGUAGE]) if words else (), vl_weight=self.vl_weight if words else 1.0,
                     temperature=self.temperature if many else None, align="physical" if converted else "statistics")

    def ingredients(self, weights: Iterable[tuple[str, float]], home: Sequence[str]) -> tuple[Ingredient, ...]:
        """In-domain sources are cut to this strategy's portion, others are whole."""
        return tuple(Ingredient(source=name, weight=weight, portion=self.portion if name in home else 1.0,
                                per_task=self.per_task if name in home else None) for name, weight in weights)

    def blend(self, sources: Sources, cross_share: float | None, weights: Mapping[str, float] | None = None) -> Weights:
        """In-domain and cross sources: each role's share is split among its sources in proportion to ``weights`` (1
        where none is given); without a ``cross_share`` the weights alone decide."""
        if self.temperature is not None and cross_share is not None:
            raise self.error("temperature and cross_share both decide how much other embodiments are drawn",
                             expected="one of them", remedy="set cross_share to null, or leave temperature out")
        self.require_known(weights or {}, {role: sources[role] for role in (IN_DOMAIN, CROSS)})
        relative = {name: (weights or {}).get(name, 1.0) for role in (IN_DOMAIN, CROSS) for name in sources[role]}
        if cross_share is None:
            return tuple(relative.items())
        shares = {IN_DOMAIN: 1.0 - cross_share, CROSS: cross_share}
        return tuple((name, share * relative[name] / sum(relative[other] for other in sources[role]))
                     for role, share in shares.items() for name in sources[role])

    def require_known(self, names: Iterable[str], sources: Sources) -> None:
        """Raise :class:`UsageError` for the first name that no source in ``sources`` has."""
        known = [name for role in sources.values() for name in role]
        for name in names:
            if name not in known:
                raise self.error(f"there is no source '{name}' to weigh", expected=" | ".join(known),
                                 remedy=did_you_mean(name, known))

    def error(self, what: str, *, expected: str = "", remedy: str = "") -> UsageError:
        return UsageError(what, where=f"strategy '{self.kind}'", expected=expected, remedy=remedy)


STRATEGIES: Registry[StrategySpec] = Registry("strategies", "strategy")
