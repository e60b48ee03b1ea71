"""Recipe -> plan: the stages of every trial, merged by digest.

A trial is ``recordings -> [words] -> [features] -> pretraining ... -> finetuning -> evaluation``.  What is in brackets
is there when the trial asks for it: a shared pretraining of the bare backbone on pictures with words
(``backbone.vl_pretrain`` of a tiny backbone), and features of a frozen vision tower (``training.cache_vision``).  An
identity holds what its body consumes and nothing else; fields that change nothing at their default are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vlactl.identity import digest, identity_of
from vlactl.plan.graph import VERSIONS, Plan, Resources, Stage, TrialStages
from vlactl.recipe.model import Execution, Recipe, Trial, cell_slug
from vlactl.registry import Spec
from vlactl.strategies import VISION_LANGUAGE, Ingredient, Phase, evenly, split_updates

WORDS_SEED = 0
"""Seed of the pretraining on words: shared by every trial, whatever the trial's own seed."""


def make_plan(recipe: Recipe) -> Plan:
    """The stages of every trial, merged by digest."""
    return _Planner(recipe).plan()


@dataclass(slots=True)
class _Supplies:
    """What the training stages of one trial can take as inputs."""

    data: dict[str, str]
    """Source -> digest of its recording."""
    roles: dict[str, str]
    """Source -> the input role that it plays."""
    words: str | None = None
    """Digest of the backbone that was pretrained on words."""
    features: dict[str, str] = field(default_factory=dict)
    """Source -> digest of its features."""


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
        phases = trial.strategy.phases(names)
        have = _Supplies(data=data, roles=_roles(names, data))
        if trial.backbone.needs_vl_stage:
            have.words = self._words(trial, names[VISION_LANGUAGE], have)
        if trial.training.cache_vision:
            drawn = dict.fromkeys(item.source for phase in phases for item in phase.mixture if item.weight)
            have.features = {name: self._features(trial, name, have, seed_of(trial, phases[0])) for name in drawn}
        learned: list[str] = []
        for phase, updates in zip(phases, split_updates(phases, trial.training.updates), strict=True):
            learned.append(self._learn(trial, phase, updates, have, learned[-1] if learned else None))
        used = dict.fromkeys(data[name] for phase in phases for name in sources_of(phase))
        if have.words is not None:
            used |= dict.fromkeys(data[name] for name in names[VISION_LANGUAGE])
        return TrialStages(
            data=tuple(used | dict.fromkeys(have.features.values())),
            pretrain=(*([have.words] if have.words else ()), *learned[:-1]),
            finetune=learned[-1],
            evaluate=self._evaluate(trial, learned[-1]),
        )

    # ---- before training ----

    def _data(self, name: str, source: Spec) -> str:
        if id(source) not in self.recorded:
            consumed = {"source": self._identity(source)}
            self.recorded[id(source)] = self._stage("data", consumed, inputs={}, label=name, specs={"source": source})
        return self.recorded[id(source)]

    def _words(self, trial: Trial, names: Iterable[str], have: _Supplies) -> str:
        """The bare backbone, pretrained on captions and questions."""
        backbone = trial.backbone
        consumed = {
            "backbone": self._identity(backbone),
            "words": {have.roles[name]: weight for name, weight in evenly(tuple(names))},
            "updates": backbone.vl_updates,
            "seed": WORDS_SEED,
        }
        inputs = {have.roles[name]: have.data[name] for name in names}
        label = f"{_value(trial, 'backbone') or backbone.kind}/words"
        return self._stage("pretrain", consumed, inputs=inputs, label=label, specs={"backbone": backbone})

    def _features(self, trial: Trial, name: str, have: _Supplies, seed: int) -> str:
        """What the backbone's frozen vision tower makes of a source's pictures; ``seed`` draws its weights, if any."""
        inputs = {"episodes": have.data[name], **({"words": have.words} if have.words else {})}
        consumed: dict[str, Any] = {"backbone": self._identity(trial.backbone), "features": "vision"}
        if trial.backbone.draws_weights and not have.words:
            consumed["seed"] = seed
        label = f"{name} seen by {_value(trial, 'backbone') or trial.backbone.kind}"
        return self._stage("data", consumed, inputs=inputs, label=label, specs={"backbone": trial.backbone})

    # ---- training and evaluation ----

    def _learn(self, trial: Trial, phase: Phase, updates: int, have: _Supplies, before: str | None) -> str:
        """A pretrain or finetune stage; ``before`` is the pretraining that it goes on from."""
        training = {
            key: value for key, value in self._identity(trial.training).items() if key not in ("kind", "updates")
        }
        if phase.tuning is not None:
            training["tuning"] = phase.tuning
        roles = have.roles
        inputs = {roles[name]: have.data[name] for name in sources_of(phase)}
        inputs |= {f"features-of-{roles[name]}": have.features[name] for name in have.features if roles[name] in inputs}
        if before is not None:
            inputs["pretrain"] = before
        elif have.words is not None:
            inputs["words"] = have.words
        consumed = {
            "backbone": self._identity(trial.backbone),
            "formulation": self._identity(trial.formulation),
            "training": training,
            "updates": updates,
            "mixture": {roles[item.source]: round(item.weight, 12) for item in phase.mixture},
            **_beyond_weights(phase, roles),
            "seed": seed_of(trial, phase),
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

    # ---- one stage ----

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
            execution: dict[str, Any] = {
                section: kept for section, spec in specs.items() if (kept := spec.execution_settings())
            }
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
                missing=tuple(text for spec in specs.values() for text in spec.missing()),
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


def sources_of(phase: Phase) -> dict[str, None]:
    """The sources that a phase opens, for their windows, their statistics or their words."""
    return dict.fromkeys([*(item.source for item in phase.mixture), *(name for name, _ in phase.vl)])


def _beyond_weights(phase: Phase, roles: Mapping[str, str]) -> dict[str, Any]:
    """What else decides a phase's batches; empty for the whole of every source and no words."""
    said: dict[str, Any] = {}
    parts = {roles[item.source]: part for item in phase.mixture if (part := _part(item))}
    if parts:
        said["parts"] = parts
    if phase.temperature is not None:
        said["temperature"] = phase.temperature
    if phase.align != "statistics":
        said["align"] = phase.align
    if phase.vl_share:
        weights = {roles[name]: round(weight, 12) for name, weight in phase.vl}
        said["words"] = {"mixture": weights, "share": phase.vl_share, "weight": phase.vl_weight}
    return said


def _part(item: Ingredient) -> dict[str, Any]:
    """Which of a source's demonstrations are used; empty for all of them."""
    portion = {"portion": item.portion} if item.portion != 1 else {}
    return portion | ({"per_task": item.per_task} if item.per_task is not None else {})


def seed_of(trial: Trial, phase: Phase) -> int:
    """The trial's own seed, or the strategy's for a pretraining, which trials share."""
    return trial.seed if phase.kind == "finetune" else getattr(trial.strategy, "pretrain_seed", 0)


def _roles(names: Mapping[str, tuple[str, ...]], data: Mapping[str, str]) -> dict[str, str]:
    """Source -> input role: the role itself, or numbered by digest where several sources play it."""
    found: dict[str, str] = {}
    for role, sources in names.items():
        for number, name in enumerate(sorted(sources, key=lambda source: data[source])):
            found[name] = role if len(sources) == 1 else f"{role}-{number}"
    return found


def _value(trial: Trial, axis: str) -> str | None:
    """The trial's coordinate on an axis."""
    return dict(trial.cell).get(axis)


def _protocol_name(trial: Trial) -> str:
    """The coordinates that choose the trial's protocol."""
    return "/".join(value for axis, value in trial.cell if axis.split(".")[0] == "evaluation") or trial.evaluation.kind
