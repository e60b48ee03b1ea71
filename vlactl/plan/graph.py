"""Stages and how trials share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vlactl.identity import digest, identity_of
from vlactl.recipe.model import Execution, Recipe, Trial, cell_slug
from vlactl.registry import Spec
from vlactl.strategies import Phase, split_updates

VERSIONS = {"data": 1, "pretrain": 1, "finetune": 1, "evaluate": 1}
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


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialStages:
    """Digests of the stages that a trial needs."""

    data: tuple[str, ...]
    pretrain: str | None
    finetune: str
    evaluate: str

    def all(self) -> tuple[str, ...]:
        """In the order in which they can run."""
        return (*self.data, *([self.pretrain] if self.pretrain else []), self.finetune, self.evaluate)


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


def make_plan(recipe: Recipe) -> Plan:
    """The stages of every trial, merged by digest."""
    return _Planner(recipe).plan()


@dataclass(slots=True)
class _Planner:
    recipe: Recipe
    stages: dict[str, Stage] = field(default_factory=dict)
    identities: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By ``id`` of a spec: trials share spec objects."""
    protocols: dict[int, dict[str, Any]] = field(default_factory=dict)
    recorded: dict[int, str] = field(default_factory=dict)
    """``id`` of a source -> digest of its data stage."""

    def plan(self) -> Plan:
        trials: dict[str, TrialStages] = {}
        references: dict[str, str] = {}
        many = len({id(trial.evaluation) for trial in self.recipe.trials}) > 1
        wanted = 0
        for trial in self.recipe.trials:
            trials[trial.id] = self._trial(trial)
            wanted += len(trials[trial.id].all())
            for name in self.recipe.references:
                key = f"{name}/{_protocol_name(trial)}" if many else name
                if key not in references:
                    references[key] = self._reference(name, key, trial)
        return Plan(
            recipe=self.recipe,
            stages=self.stages,
            trials=trials,
            references=references,
            stages_without_sharing=wanted + len(references),
        )

    def _trial(self, trial: Trial) -> TrialStages:
        names = {role: tuple(named) for role, named in trial.sources.items()}
        data = {name: self._data(name, source) for named in trial.sources.values() for name, source in named.items()}
        roles = _roles(names, data)
        phases = trial.strategy.phases(names)
        pretrain: str | None = None
        learned = ""
        for phase, updates in zip(phases, split_updates(phases, trial.training.updates), strict=True):
            learned = self._learn(trial, phase, updates, data, roles, pretrain)
            if phase.kind == "pretrain":
                pretrain = learned
        used = tuple(dict.fromkeys(data[name] for phase in phases for name, _ in phase.mixture))
        return TrialStages(data=used, pretrain=pretrain, finetune=learned, evaluate=self._evaluate(trial, learned))

    def _data(self, name: str, source: Spec) -> str:
        if id(source) in self.recorded:
            return self.recorded[id(source)]
        consumed = {"source": self._identity(source)}
        self.recorded[id(source)] = self._stage("data", consumed, inputs={}, label=name, specs={"source": source})
        return self.recorded[id(source)]

    def _learn(
        self,
        trial: Trial,
        phase: Phase,
        updates: int,
        data: Mapping[str, str],
        roles: Mapping[str, str],
        pretrain: str | None,
    ) -> str:
        """A pretrain or finetune stage; ``roles`` says which input role each source plays."""
        training = {
            key: value for key, value in self._identity(trial.training).items() if key not in ("kind", "updates")
        }
        seed = trial.seed if phase.kind == "finetune" else getattr(trial.strategy, "pretrain_seed", 0)
        inputs = {roles[name]: data[name] for name, _ in phase.mixture}
        mixture = {roles[name]: round(weight, 12) for name, weight in phase.mixture}
        if pretrain is not None:
            inputs["pretrain"] = pretrain
        consumed = {
            "backbone": self._identity(trial.backbone),
            "formulation": self._identity(trial.formulation),
            "training": training,
            "updates": updates,
            "mixture": mixture,
            "seed": seed,
        }
        return self._stage(
            phase.kind,
            consumed,
            inputs=inputs,
            label=trial.slug if phase.kind == "finetune" else cell_slug(trial),
            specs={"backbone": trial.backbone, "formulation": trial.formulation, "training": trial.training},
        )

    def _evaluate(self, trial: Trial, policy: str) -> str:
        return self._stage(
            "evaluate",
            self._test(trial),
            inputs={"policy": policy},
            label=trial.slug,
            specs={"evaluation": trial.evaluation},
        )

    def _reference(self, name: str, label: str, trial: Trial) -> str:
        return self._stage(
            "evaluate",
            {**self._test(trial), "policy": name},
            inputs={},
            label=label,
            specs={"evaluation": trial.evaluation},
        )

    def _test(self, trial: Trial) -> dict[str, Any]:
        key = id(trial.evaluation)
        if key not in self.protocols:
            self.protocols[key] = trial.evaluation.protocol()
        return {"evaluation": self._identity(trial.evaluation), "protocol": self.protocols[key]}

    def _stage(
        self,
        kind: str,
        consumed: Mapping[str, Any],
        *,
        inputs: Mapping[str, str],
        label: str,
        specs: Mapping[str, Spec],
    ) -> str:
        """Add the stage unless it is there; its digest."""
        identity = {"kind": kind, "version": VERSIONS[kind], **consumed, "inputs": dict(sorted(inputs.items()))}
        key = digest(identity)
        if key not in self.stages:
            execution: dict[str, Any] = {section: kept for section, spec in specs.items() if (kept := spec.execution())}
            if kind == "evaluate":
                execution["rollouts_in_parallel"] = self.recipe.execution.rollouts_in_parallel
            self.stages[key] = Stage(
                kind=kind,
                digest=key,
                identity=identity,
                inputs=identity["inputs"],
                label=label,
                resources=resources(kind, self.recipe.execution, execution),
                execution=execution,
            )
        return key

    def _identity(self, spec: Spec) -> dict[str, Any]:
        if id(spec) not in self.identities:
            self.identities[id(spec)] = identity_of(spec)
        return self.identities[id(spec)]


def resources(kind: str, execution: Execution, sections: Mapping[str, Any]) -> Resources:
    """What a stage of ``kind`` occupies: only training takes several ranks, only a recording several workers.

    ``sections``: how the stage's parts are executed, as in :class:`Stage`.
    """
    if kind in ("pretrain", "finetune"):
        return Resources(
            nodes=execution.nodes,
            ranks=execution.ranks,
            cpus_per_rank=execution.cpus_per_stage / execution.ranks,
            gpus_per_rank=execution.gpus_per_stage / execution.ranks,
        )
    gpus = execution.gpus_per_evaluation if kind == "evaluate" else 0.0
    workers = sections.get("source", {}).get("workers", 1)
    return Resources(cpus_per_rank=max(execution.cpus_per_stage, workers), gpus_per_rank=gpus)


def _roles(names: Mapping[str, tuple[str, ...]], data: Mapping[str, str]) -> dict[str, str]:
    """Source -> input role: the role itself, or numbered by digest where several sources play it."""
    found: dict[str, str] = {}
    for role, sources in names.items():
        for number, name in enumerate(sorted(sources, key=lambda source: data[source])):
            found[name] = role if len(sources) == 1 else f"{role}-{number}"
    return found


def _protocol_name(trial: Trial) -> str:
    """The coordinates that choose the trial's protocol."""
    return "/".join(value for axis, value in trial.cell if axis.split(".")[0] == "evaluation") or trial.evaluation.kind
