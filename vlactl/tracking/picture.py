"""What MLflow should show, as plain data: computed from the store and the journal, without MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlactl.identity import flatten
from vlactl.outcomes import Scores, TrialOutcome, trial_outcomes

if TYPE_CHECKING:
    from vlactl.events import SweepState
    from vlactl.plan import Plan
    from vlactl.recipe import Recipe, Trial
    from vlactl.store import Artifact, Store

Status = Literal["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"]
PREFIXES = {"pretrain": "pretrain", "finetune": "train"}
"""Stage -> what stands before the names of its metrics."""
CHAIN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The metrics of one training stage over its updates."""

    prefix: str
    digest: str
    path: Path
    """``metrics.jsonl``; it may not exist yet, and grow while it is read."""
    started_s: float | None
    """When the stage started, for lines that do not say when they were written."""
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPicture:
    """One child run."""

    trial: str
    name: str
    status: Status | None
    """None: nothing of it has begun, and it needs no run."""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    curves: tuple[Curve, ...]
    evaluation: str
    """Digest of the evaluate stage."""
    evaluated: Artifact | None
    """That stage's artifact, once it is done."""
    updates: int
    """At which the scores are entered."""
    video: Path | None
    started_s: float | None
    ended_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A sweep: the parent run and its children."""

    name: str
    status: Status
    tags: Mapping[str, str]
    trials: tuple[TrialPicture, ...]


def picture_of(recipe: Recipe, plan: Plan, store: Store, state: SweepState | None, *, over: bool) -> Picture:
    """``over``: no driver runs the sweep, so that nothing is running whatever its journal says last."""
    outcomes = trial_outcomes(plan, store, state)
    trials = tuple(trial_picture(trial, outcomes[trial.id], store, state, over=over) for trial in recipe.trials)
    standings = [outcomes[trial.id].standing for trial in recipe.trials]
    counts = {f"vlactl.trials.{name}": str(standings.count(name)) for name in dict.fromkeys(standings)}
    failed = any(standing in ("failed", "upstream_failed") for standing in standings)
    done = all(standing == "done" for standing in standings)
    status: Status = "RUNNING" if not over else "FINISHED" if done else "FAILED" if failed else "KILLED"
    axes = {f"vlactl.axis.{axis.name}": ", ".join(axis.values) for axis in recipe.axes}
    return Picture(
        name=recipe.name,
        status=status,
        trials=trials,
        tags={
            **axes,
            **counts,
            "vlactl.seeds": ", ".join(map(str, recipe.seeds)),
            "vlactl.description": recipe.description,
            "vlactl.recipe": str(recipe.path),
        },
    )


def trial_picture(
    trial: Trial, outcome: TrialOutcome, store: Store, state: SweepState | None, *, over: bool
) -> TrialPicture:
    evaluation = outcome.evaluation
    video = Path(evaluation.path) / "rollout.mp4" if evaluation is not None else None
    trained = outcome.artifacts.get("finetune")
    own = [outcome.artifacts[name] for name in ("finetune", "evaluate") if name in outcome.artifacts]
    started = [at for artifact in own if (at := seconds_of(artifact, "started")) is not None]
    ended = [
        at + (seconds_of(artifact, "seconds") or 0.0)
        for artifact in own
        if (at := seconds_of(artifact, "started")) is not None
    ]
    return TrialPicture(
        trial=trial.id,
        name=trial.slug,
        status=status_of(outcome, state, over=over),
        params=params_of(trial),
        tags=tags_of(trial, outcome),
        curves=tuple(curves_of(outcome, store)),
        evaluation=outcome.stages["evaluate"],
        evaluated=evaluation,
        updates=int(trained.manifest["result"].get("updates") or 0) if trained is not None else 0,
        video=video if video is not None and video.is_file() else None,
        started_s=min(started, default=None),
        ended_s=max(ended, default=None),
    )


def seconds_of(artifact: Artifact, name: str) -> float | None:
    value = (artifact.manifest.get("provenance") or {}).get(name)
    return float(value) if isinstance(value, (int, float)) else None


def status_of(outcome: TrialOutcome, state: SweepState | None, *, over: bool) -> Status | None:
    if outcome.standing == "done":
        return "FINISHED"
    if outcome.standing in ("failed", "upstream_failed"):
        return "FAILED"
    known = state.stages if state is not None else {}
    own = [known[outcome.stages[name]] for name in ("finetune", "evaluate") if outcome.stages[name] in known]
    if "finetune" not in outcome.artifacts and not any(stage.attempts for stage in own):
        return None
    return "KILLED" if over else "RUNNING" if outcome.standing == "running" else "SCHEDULED"


def params_of(trial: Trial) -> dict[str, str]:
    """The trial's identity, flattened, and the names that the recipe gives to its values."""
    params = {key.replace("[", ".").replace("]", ""): text(value) for key, value in flatten(trial.identity()).items()}
    return {**dict(trial.cell), **params}


def text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def tags_of(trial: Trial, outcome: TrialOutcome) -> dict[str, str]:
    commits = {
        str(git["commit"])
        for artifact in outcome.artifacts.values()
        if isinstance(git := (artifact.manifest.get("provenance") or {}).get("git"), Mapping) and git.get("commit")
    }
    digests = {f"vlactl.stage_digest.{name}": digest for name, digest in outcome.stages.items()}
    attempts = {
        f"vlactl.runner.attempts.{name}": str(count)
        for name, artifact in outcome.artifacts.items()
        if (count := (artifact.manifest.get("provenance") or {}).get("attempts"))
    }
    protocol = outcome.evaluation.manifest["result"].get("protocol_digest") if outcome.evaluation is not None else None
    return {
        "vlactl.trial": trial.id,
        "vlactl.slug": trial.slug,
        "vlactl.seed": str(trial.seed),
        "vlactl.standing": outcome.standing,
        "vlactl.detail": outcome.detail,
        **digests,
        **attempts,
        **({"vlactl.protocol_digest": protocol} if protocol else {}),
        **({"vlactl.git": ", ".join(sorted(commits))} if commits else {}),
    }


def curves_of(outcome: TrialOutcome, store: Store) -> list[Curve]:
    """Finished curves from the store, growing ones from the work folder."""
    curves = []
    for stage, digest in outcome.stages.items():
        kind, dot, number = stage.partition(".")
        if kind not in PREFIXES:
            continue
        artifact, prefix = outcome.artifacts.get(stage), f"{PREFIXES[kind]}{dot}{number}"
        work = Path(store.root) / "work" / f"{kind}-{digest}"
        where = (
            Path(artifact.path) if artifact is not None else work if (work / "metrics.jsonl").exists() else work / "out"
        )
        curves.append(
            Curve(
                prefix=prefix,
                digest=digest,
                path=where / "metrics.jsonl",
                started_s=seconds_of(artifact, "started") if artifact is not None else None,
                seconds=seconds_of(artifact, "seconds") if artifact is not None else None,
            )
        )
    return curves


def score_metrics(scores: Scores) -> dict[str, float]:
    """``eval/avg_len`` and ``eval/sr1..5`` with ``_low`` and ``_high``, counts, and the success rate of each task."""
    import numpy as np

    from vlactl import statistics

    solved_N = np.array(list(scores.solved.values()), dtype=float)
    out = {"eval/n": float(len(solved_N)), "eval/invalid": float(scores.invalid), "eval/infra": float(scores.infra)}
    if not len(solved_N):
        return out
    estimates = {"avg_len": statistics.bootstrap_mean(solved_N, bounds=(0.0, float(CHAIN)))}
    estimates |= {f"sr{k}": statistics.wilson(int((solved_N >= k).sum()), len(solved_N)) for k in range(1, CHAIN + 1)}
    for name, estimate in estimates.items():
        out |= {f"eval/{name}": estimate.mean, f"eval/{name}_low": estimate.low, f"eval/{name}_high": estimate.high}
    return out | {f"eval/task/{task}": won / tried for task, (won, tried) in scores.per_task.items() if tried}


def numbers_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one line of metrics.jsonl: numbers, except the update and the time."""
    return {
        key: float(value)
        for key, value in line.items()
        if key not in ("update", "time")
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
        and not math.isinf(value)
    }
