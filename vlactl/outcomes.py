"""How each trial of a plan stands: the store says what is done, the sweep's journal why the rest is not.

Read by tracking and report.  Nothing is remembered here; every call looks at the store anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlactl.errors import StoreError

if TYPE_CHECKING:
    from vlactl.events import SweepState
    from vlactl.plan import Plan, TrialStages
    from vlactl.store import Artifact, Store

Standing = Literal["done", "failed", "upstream_failed", "running", "unfinished"]
SHARED = ("data", "pretrain")
"""Stages that several trials wait for: their failure is an upstream failure of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOutcome:
    """Where one trial is."""

    standing: Standing
    detail: str = ""
    """``finetune: oom`` with the message for a failure, the stage at hand otherwise."""
    failure: str = ""
    """Failure class."""
    stages: Mapping[str, str] = field(default_factory=dict)
    """``{"data": digest, "data.2": digest, "pretrain": ..., "finetune": ..., "evaluate": ...}``"""
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    """The finished stages, by the same names."""

    @property
    def evaluation(self) -> Artifact | None:
        return self.artifacts.get("evaluate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The rollouts of one evaluation."""

    solved: Mapping[str, int]
    """Episode key -> tasks solved in a row; episodes lost to infrastructure are left out."""
    per_task: Mapping[str, tuple[int, int]]
    """Task -> (successes, attempts)."""
    invalid: int
    """Rollouts that a NaN or illegal action ended; they count as failures."""
    infra: int
    """Rollouts lost to infrastructure; they are not scored."""


def trial_outcomes(plan: Plan, store: Store, state: SweepState | None = None) -> dict[str, TrialOutcome]:
    """Trial id -> where it is, for every trial of the plan."""
    known = Known(store)
    return {trial.id: outcome(stage_names(plan.trials[trial.id]), known, state) for trial in plan.recipe.trials}


def stage_names(stages: TrialStages) -> dict[str, str]:
    """A trial's stages in the order in which they run, each under its kind; a second data stage is ``data.2``."""
    named = {
        kind if index == 0 else f"{kind}.{index + 1}": digest
        for kind, digests in (("data", stages.data), ("pretrain", stages.pretrain))
        for index, digest in enumerate(digests)
    }
    return named | {"finetune": stages.finetune, "evaluate": stages.evaluate}


class Known:
    """Artifacts that were looked up once; stages are shared by many trials."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seen: dict[str, Artifact | None] = {}

    def __getitem__(self, digest: str) -> Artifact | None:
        if digest not in self._seen:
            self._seen[digest] = self.store.artifact(digest) if self.store.has(digest) else None
        return self._seen[digest]


def outcome(stages: Mapping[str, str], known: Known, state: SweepState | None) -> TrialOutcome:
    """Where the trial with these stages is; ``state`` is the fold of the sweep's journal, if there is one."""
    artifacts = {name: artifact for name, digest in stages.items() if (artifact := known[digest]) is not None}
    if "evaluate" in artifacts:
        return TrialOutcome(standing="done", stages=stages, artifacts=artifacts)
    waiting = "not started"
    for name, digest in stages.items():
        stage = state.stages.get(digest) if state is not None else None
        if name in artifacts or stage is None:
            continue
        if stage.status == "failed":
            kind = name.partition(".")[0]
            first_line = stage.message.strip().partition("\n")[0]
            return TrialOutcome(
                standing="upstream_failed" if kind in SHARED else "failed",
                failure=stage.failure or "",
                detail=f"{kind}: {stage.failure or 'failed'}" + (f": {first_line}" if first_line else ""),
                stages=stages,
                artifacts=artifacts,
            )
        if stage.status == "running":
            return TrialOutcome(standing="running", detail=f"{name} is running", stages=stages, artifacts=artifacts)
        if stage.status == "cancelled":
            waiting = f"{name} was cancelled"
    if artifacts and waiting == "not started":
        waiting = f"{next(name for name in stages if name not in artifacts)} has not run"
    return TrialOutcome(standing="unfinished", detail=waiting, stages=stages, artifacts=artifacts)


def read_scores(artifact: Artifact) -> Scores:
    """The scores in a finished evaluation's ``rollouts.jsonl``; :class:`StoreError` where it is missing or damaged."""
    solved: dict[str, int] = {}
    per_task: dict[str, list[int]] = {}
    invalid = infra = 0
    for rollout in read_lines(Path(artifact.path) / "rollouts.jsonl"):
        if rollout["status"] == "infra_error":
            infra += 1
            continue
        invalid += rollout["status"] == "invalid_action"
        solved[rollout["key"]] = sum(bool(verdict["success"]) for verdict in rollout["verdicts"])
        for verdict in rollout["verdicts"]:
            counts = per_task.setdefault(verdict["task"], [0, 0])
            counts[0] += bool(verdict["success"])
            counts[1] += 1
    return Scores(
        solved=solved,
        per_task={task: (won, tried) for task, (won, tried) in sorted(per_task.items())},
        invalid=invalid,
        infra=infra,
    )


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a finished JSON-lines file; raises :class:`StoreError` where it is missing or damaged."""
    try:
        with open(path, encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot be read: {error}",
            where=str(path),
            expected="a whole artifact",
            remedy="delete the artifact's folder and run the sweep again",
        ) from None
