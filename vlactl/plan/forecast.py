"""How long a stage will take: from what such stages took on this machine, else from the recipe's hint, else from the
number of parameters, else unknown."""

from __future__ import annotations

import os
import socket
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vlactl.plan.graph import Plan, Stage
from vlactl.plan.sizes import frames, training_s

Manifest = Mapping[str, Any]


class Shelf(Protocol):
    """The part of a :class:`vlactl.store.Store` that a plan looks at."""

    def has(self, digest: str) -> bool: ...

    def manifests(self, kind: str | None = None) -> Iterable[Any]:
        """Manifests, or artifacts that hold one."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What one stage is expected to cost."""

    seconds: float | None
    basis: Literal["past", "hint", "size", "unknown"]
    """Where it comes from: past stages, the recipe's hint, the number of parameters."""
    samples: int = 0
    """Past stages that the estimate comes from."""
    bytes: int | None = None
    """Size of the artifact, where such an artifact is in the store."""


class Forecast:
    """Seconds per unit of work of past stages, from the most alike to all of a kind, on this machine."""

    def __init__(self, plan: Plan, store: Shelf) -> None:
        self.plan = plan
        self._hints: Mapping[Any, float] = plan.recipe.execution.hint_s
        self._policies: dict[str, Manifest] = {}
        self._seconds: dict[tuple, list[float]] = {}
        self._bytes: dict[tuple, list[float]] = {}
        for kind in ("data", "pretrain", "finetune", "evaluate"):
            for manifest in manifests(store, kind):
                self._learn(manifest)

    def estimate(self, stage: Stage) -> Estimate:
        """The most alike past stages decide; the median, so that one interrupted night does not count."""
        policy = self.plan.stages.get(stage.inputs.get("policy", ""))
        size = None
        for key in _likeness(stage.kind, stage.identity, policy.identity if policy else None):
            if size is None and key in self._bytes:
                size = int(statistics.median(self._bytes[key]))
            if key in self._seconds:
                pace = self._seconds[key]
                return Estimate(
                    seconds=statistics.median(pace) * _work(stage.identity), basis="past", samples=len(pace), bytes=size
                )
        if stage.kind in self._hints:
            return Estimate(seconds=self._hints[stage.kind], basis="hint", bytes=size)
        if stage.kind in ("pretrain", "finetune"):
            seconds = training_s(stage.identity, stage.execution, stage.resources.gpus)
            return Estimate(seconds=seconds, basis="unknown" if seconds is None else "size", bytes=size)
        return Estimate(seconds=None, basis="unknown", bytes=size)

    def _learn(self, manifest: Manifest) -> None:
        identity, provenance = manifest.get("identity") or {}, manifest.get("provenance") or {}
        kind, seconds = manifest["kind"], provenance.get("seconds")
        if kind in ("pretrain", "finetune"):
            self._policies[manifest["digest"]] = identity
        policy = self._policies.get((identity.get("inputs") or {}).get("policy", ""))
        here = (provenance.get("hardware") or provenance.get("host")) in (None, socket.gethostname())
        for key in _likeness(kind, identity, policy):
            if here and isinstance(seconds, (int, float)) and seconds > 0:
                self._seconds.setdefault(key, []).append(seconds / _work(identity))
            self._bytes.setdefault(key, []).append(
                sum(file["bytes"] for file in (manifest.get("files") or {}).values())
            )


def manifests(store: Shelf, kind: str) -> Iterator[Manifest]:
    """The manifests of one kind, whether the store gives them bare or inside artifacts."""
    for item in store.manifests(kind):
        manifest = getattr(item, "manifest", item)
        if isinstance(manifest, Mapping) and manifest.get("kind") == kind:
            yield manifest


def slots(plan: Plan) -> int:
    """Stages that can run at once on this machine, as far as the recipe says."""
    execution = plan.recipe.execution
    return execution.jobs or max(1, int((os.cpu_count() or 1) / execution.cpus_per_stage))


def _likeness(kind: str, identity: Mapping[str, Any], policy: Mapping[str, Any] | None) -> list[tuple]:
    """Keys of alike stages, the most alike first.  Pretraining and finetuning are one kind of work."""
    backbone = identity.get("backbone") or {}
    if "features" in identity or ("words" in identity and "formulation" not in identity):
        return [("features" if "features" in identity else "words", backbone.get("kind"), backbone.get("weights"))]
    if kind == "data":
        return [("data", (identity.get("source") or {}).get("kind"))]
    if kind == "evaluate":
        test = (identity.get("evaluation") or {}).get("kind")
        who = (
            ((policy.get("backbone") or {}).get("kind"), (policy.get("formulation") or {}).get("kind"))
            if policy
            else (identity.get("policy"),)
        )
        return [("evaluate", test, *who), *([("evaluate", test, who[0], "any")] if policy else [])]
    model = ("learn", backbone.get("kind"), backbone.get("weights"))
    return [(*model, (identity.get("formulation") or {}).get("kind")), model]


def _work(identity: Mapping[str, Any]) -> float:
    """The amount that a stage's time is proportional to."""
    if "updates" in identity:
        return identity["updates"] * frames(identity)
    if "protocol" in identity:
        return (identity["protocol"] or {}).get("chains", 1)
    return (identity.get("source") or {}).get("episodes", 1)
