"""A plan against a store: what is there, what will run and why, and what it is expected to cost; as text and JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from vlactl.identity import difference, flatten
from vlactl.plan.forecast import Estimate, Forecast, Manifest, Shelf, manifests, slots
from vlactl.plan.graph import Plan, Stage

SHOWN_CHANGES = 3
"""Differing fields written out; more are counted."""
MOST_CHANGES = 8
"""A stage that differs in more fields from everything in the store is new."""
CANDIDATES = 200
"""Stored stages of a kind that a new one is compared with, newest first."""
KINDS = ("data", "pretrain", "finetune", "evaluate")
BASES = {
    "past": "past runs on this machine",
    "hint": "the recipe's hint",
    "size": "the number of parameters",
    "unknown": "unknown",
}
"""Where an estimate comes from, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """One stage of the plan and what will become of it."""

    stage: Stage
    cached: bool
    reason: str
    """Why it will run: ``new``, what differs from the nearest stored stage, or which input will run."""
    estimate: Estimate
    trials: int
    """Trials that need it; 0 for a reference."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What ``vlactl plan`` says."""

    plan: Plan
    stages: tuple[Explained, ...]

    @cached_property
    def to_run(self) -> tuple[Explained, ...]:
        return tuple(item for item in self.stages if not item.cached)

    @cached_property
    def expected_s(self) -> dict[str, float]:
        """Digest -> expected seconds, for the stages that will run and have an estimate."""
        return {item.stage.digest: item.estimate.seconds for item in self.to_run if item.estimate.seconds is not None}

    @property
    def missing(self) -> dict[str, int]:
        """What this machine lacks, each with what to do -> how many of the stages that will run wait for it."""
        return dict(Counter(text for item in self.to_run for text in item.stage.missing))

    @property
    def saved_by_sharing(self) -> int:
        return self.plan.stages_without_sharing - len(self.plan.stages)

    @property
    def stage_seconds(self) -> float:
        """Expected seconds of all stages that will run, one after another."""
        return sum(self.expected_s.values())

    @property
    def wall_seconds(self) -> float:
        """Expected seconds with as many stages at once as the recipe allows: no less than the longest chain."""
        ends: dict[str, float] = {}
        for digest, stage in self.plan.stages.items():
            begin = max((ends[parent] for parent in stage.inputs.values()), default=0.0)
            ends[digest] = begin + self.expected_s.get(digest, 0.0)
        return max(self.stage_seconds / slots(self.plan), max(ends.values(), default=0.0))

    @property
    def gpu_hours(self) -> float:
        return (
            sum(self.expected_s.get(item.stage.digest, 0.0) * item.stage.resources.gpus for item in self.to_run) / 3600
        )

    @cached_property
    def gpu_bases(self) -> dict[str, int]:
        """Where the estimates of the stages come from that will occupy a GPU: basis -> stages."""
        return dict(Counter(item.estimate.basis for item in self.to_run if item.stage.resources.gpus))

    @property
    def disk_bytes(self) -> int | None:
        """Expected size of the new artifacts; None while the store has none that are alike."""
        sizes = [item.estimate.bytes for item in self.to_run if item.estimate.bytes is not None]
        return sum(sizes) if sizes or not self.to_run else None

    def to_json(self) -> dict[str, Any]:
        """The plan with each stage's fate."""
        document = self.plan.to_json()
        for entry, item in zip(document["stages"], self.stages, strict=True):
            entry.update(cached=item.cached, reason=item.reason, trials=item.trials, estimate=asdict(item.estimate))
        return {
            **document,
            "to_run": len(self.to_run),
            "cached": len(self.stages) - len(self.to_run),
            "expected": {
                "stage_s": self.stage_seconds,
                "wall_s": self.wall_seconds,
                "gpu_hours": self.gpu_hours,
                "gpu_hours_from": self.gpu_bases,
                "disk_bytes": self.disk_bytes,
            },
            "missing": self.missing,
        }

    def lines(self, *, reasons: int = 40, missing: Mapping[str, int] | None = None) -> list[str]:
        """Plain text; ``reasons`` limits how many lines say why stages run.

        ``missing`` is said in place of :attr:`missing`, by somebody who knows more of the machine.
        """
        return [
            *_heading(self.plan),
            "",
            *_table(self.stages),
            "",
            *_totals(self),
            *_reasons(self, reasons),
            *_excluded(self.plan),
            *missing_lines(self.missing if missing is None else missing),
        ]


def describe(plan: Plan, store: Shelf) -> Description:
    """Look every stage up in ``store``: there, or why not, and what it is expected to cost."""
    forecast = Forecast(plan, store)
    needed = Counter(digest for stages in plan.trials.values() for digest in stages.all())
    cached = {digest for digest in plan.stages if store.has(digest)}
    past: dict[str, list[_Past]] = {}
    explained = []
    for digest, stage in plan.stages.items():
        if stage.kind not in past and digest not in cached:
            past[stage.kind] = _newest(store, stage.kind)
        reason = "in the store" if digest in cached else _reason(stage, plan, cached, past[stage.kind])
        explained.append(
            Explained(
                stage=stage,
                cached=digest in cached,
                reason=reason,
                trials=needed[digest],
                estimate=forecast.estimate(stage),
            )
        )
    return Description(plan=plan, stages=tuple(explained))


# ---- why a stage will run ----


@dataclass(frozen=True, slots=True)
class _Past:
    manifest: Manifest
    leaves: frozenset[tuple[str, str]]


def _newest(store: Shelf, kind: str) -> list[_Past]:
    found = sorted(
        manifests(store, kind), key=lambda m: str((m.get("provenance") or {}).get("started", "")), reverse=True
    )
    return [_Past(manifest, _leaves(manifest.get("identity") or {})) for manifest in found[:CANDIDATES]]


def _leaves(identity: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((key, json.dumps(value)) for key, value in flatten(identity).items())


def _reason(stage: Stage, plan: Plan, cached: set[str], past: Sequence[_Past]) -> str:
    if not past:
        return "new"
    leaves = _leaves(stage.identity)
    nearest = min(past, key=lambda item: len(leaves ^ item.leaves)).manifest
    name = f"{nearest.get('label') or stage.kind} {nearest['digest']}"
    found = changes(nearest["identity"], stage.identity)
    own = [text for key, text in found if not key.startswith("inputs.")]
    if len(own) > MOST_CHANGES:
        return f"new ({len(own)} fields differ from the nearest, {name})"
    if own:
        more = f" and {len(own) - SHOWN_CHANGES} more" if len(own) > SHOWN_CHANGES else ""
        return f"{', '.join(own[:SHOWN_CHANGES])}{more} against {name}"
    waits = [f"input {role} {parent} will run" for role, parent in stage.inputs.items() if parent not in cached]
    if waits:
        return ", ".join(waits)
    return ", ".join(text for _, text in found) or f"the artifact {nearest['digest']} is not whole"


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    """``(path, "path old -> new")`` for what differs; what the protocol repeats of the evaluation is said once."""
    found = difference(old, new)
    said = {key for key, *_ in found}
    return [
        (key, f"{key} {_short(before)} -> {_short(after)}")
        for key, before, after in found
        if not (key.startswith("protocol.") and f"evaluation.{key.removeprefix('protocol.')}" in said)
    ]


def _short(value: Any) -> str:
    if value is ...:
        return "(none)"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


# ---- text ----


def _heading(plan: Plan) -> list[str]:
    recipe = plan.recipe
    cells = len(recipe.cells)
    left = f", {recipe.left_out} more left out by --only, --skip or --limit" if recipe.left_out else ""
    lines = [
        f"{recipe.name}: {_count(len(recipe.trials), 'trial')} = {_count(cells, 'cell')} x "
        f"{_count(len({trial.seed for trial in recipe.trials}), 'seed')}{left}"
    ]
    width = max((len(axis.name) for axis in recipe.axes), default=0)
    chosen = {
        axis.name: [value for value in axis.values if any((axis.name, value) in cell for cell in recipe.cells)]
        for axis in recipe.axes
    }
    return lines + [f"  {name:<{width}}  {', '.join(values)}" for name, values in chosen.items()]


def _table(stages: Sequence[Explained]) -> list[str]:
    lines = [f"{'stage':<10} {'cached':>7} {'to run':>7} {'expected':>10}  from"]
    for kind in KINDS:
        mine = [item for item in stages if item.stage.kind == kind]
        run = [item for item in mine if not item.cached]
        if mine:
            known = [item.estimate.seconds for item in run if item.estimate.seconds is not None]
            lines.append(
                f"{kind:<10} {len(mine) - len(run):>7} {len(run):>7} "
                f"{duration(sum(known)) if known else '-':>10}  {_basis(run)}".rstrip()
            )
    return lines


def _basis(run: Sequence[Explained]) -> str:
    """Where the expectation of some stages comes from."""
    return bases_text(Counter(item.estimate.basis for item in run))


def bases_text(kinds: Mapping[str, int]) -> str:
    """``the recipe's hint``; with counts where there are several."""
    if len(kinds) == 1:
        return BASES[next(iter(kinds))]
    return ", ".join(f"{BASES[basis]} ({count})" for basis, count in kinds.items())


def _totals(description: Description) -> list[str]:
    plan, run = description.plan, description.to_run
    shared = (
        f"sharing saves {description.saved_by_sharing} of {plan.stages_without_sharing} stages"
        if description.saved_by_sharing
        else "no stage is shared"
    )
    if not run:
        return [f"{_count(len(plan.stages), 'stage')}, all in the store: nothing to do ({shared})"]
    lines = [f"{_count(len(plan.stages), 'stage')}, {len(run)} to run; {shared}"]
    unknown = sum(item.estimate.seconds is None for item in run)
    if description.expected_s:
        more = f", and {_count(unknown, 'stage')} of unknown length" if unknown else ""
        lines.append(
            f"expected: {duration(description.wall_seconds)} with {slots(plan)} at once "
            f"({duration(description.stage_seconds)} of stages){more}"
        )
    disk = "unknown until such artifacts exist" if description.disk_bytes is None else size(description.disk_bytes)
    origin = f" (by {bases_text(description.gpu_bases)})" if description.gpu_bases else ""
    lines.append(f"GPU-hours: {description.gpu_hours:.1f}{origin}   disk: {disk}")
    lines += _occupied(run)
    lines.append("order: the first seed of every cell, then the next")
    return lines


def _occupied(run: Sequence[Explained]) -> list[str]:
    """What the largest stage of each kind takes at once, where it takes a GPU or several ranks."""
    lines = []
    for kind in KINDS:
        most = max((item.stage.resources for item in run if item.stage.kind == kind), default=None,
                   key=lambda resources: (resources.gpus, resources.ranks))
        if most is not None and (most.gpus or most.ranks > 1):
            size = f"{_count(most.nodes, 'node')}, {_count(most.ranks, 'rank')}, {most.cpus:g} cores, {most.gpus:g} GPU"
            lines.append(f"needs at once: {kind} {size}")
    return lines


def _reasons(description: Description, limit: int) -> list[str]:
    """Stages of a kind that run because of the same change share a line; a ``limit`` of 0 says nothing."""
    groups: dict[tuple[str, str], list[Explained]] = {}
    for item in description.to_run:
        change = item.reason.partition(" against ")[0]
        if change.startswith("input ") and change.endswith("will run"):
            change = "its input will run"
        groups.setdefault((item.stage.kind, change), []).append(item)
    if not groups or not limit:
        return []
    lines = ["", "why:"]
    for (kind, change), items in sorted(groups.items(), key=lambda group: KINDS.index(group[0][0]))[:limit]:
        alone = items[0] if len(items) == 1 else None
        why = f"{alone.stage.label} {alone.stage.digest}: {alone.reason}" if alone else f"{len(items)} stages: {change}"
        lines.append(f"  {kind:<9} {why}")
    if len(groups) > limit:
        lines.append(f"  and {len(groups) - limit} more (--json has all)")
    return lines


def _excluded(plan: Plan) -> list[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for item in plan.recipe.excluded:
        groups.setdefault((item.because, item.where), []).append("/".join(value for _, value in item.cell))
    if not groups:
        return []
    lines = ["", f"excluded: {_count(len(plan.recipe.excluded), 'cell')}"]
    for (because, where), cells in groups.items():
        names = ", ".join(cells[:3]) + (f" and {len(cells) - 3} more" if len(cells) > 3 else "")
        lines.append(f"  {names}: {because} ({where})")
    return lines


def missing_lines(missing: Mapping[str, int]) -> list[str]:
    """What a machine lacks, each with the number of stages that wait for it."""
    if not missing:
        return []
    return ["", "this machine lacks:", *(f"  {text} ({_count(count, 'stage')})" for text, count in missing.items())]


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes in decimal units."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
