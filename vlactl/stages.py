"""THE SEAM: what a stage process does.  The only place where orchestration calls the science.

A launcher starts ``main(work_dir)`` in every rank of a stage.  ``stage.json`` says what to do; the body writes the
artifact's files to ``out/``, its heartbeat to ``progress.json``, its curve to ``out/metrics.jsonl`` and, on rank 0, a
short ``result.json``.  Committing all this to the store is the runner's business.  A body must be able to start again
in a work directory where an earlier attempt was killed at any line: recordings keep their finished units, training
resumes from its newest whole checkpoint, evaluation runs only the episodes that it has no record of.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlactl.disk import replace_text
from vlactl.errors import FailureClass, StageFailed

if TYPE_CHECKING:
    from vlactl.actions import ActionNormalizer
    from vlactl.benchmarks import Benchmark
    from vlactl.formats.recorded import RecordedEpisodes
    from vlactl.policy import Actor, Policy
    from vlactl.training import TrainingSettings

HEARTBEAT_S = 0.5
"""At most two writes of progress.json a second; the runner calls a stage hung after minutes without one."""


@dataclass(frozen=True, slots=True)
class Work:
    """One stage's working directory and what it was asked to do."""

    path: Path
    kind: str
    digest: str
    label: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, Path]
    execution: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Work:
        stage = json.loads((path / "stage.json").read_text())
        return cls(path=path, kind=stage["kind"], digest=stage["digest"], label=stage.get("label", stage["digest"]),
                   identity=stage["identity"], inputs={role: Path(p) for role, p in stage["inputs"].items()},
                   execution=stage.get("execution", {}))

    @property
    def out(self) -> Path:
        return self.path / "out"

    def finish(self, result: Mapping[str, Any]) -> None:
        """Say that the body is done; only rank 0 does."""
        replace_text(self.path / "result.json", json.dumps(result, indent=1))


class Heartbeat:
    """Writes progress.json: ``{"done", "total", "unit", "time", numbers...}``, throttled, replaced atomically."""

    def __init__(self, path: Path, *, writes: bool) -> None:
        self.path, self.writes = path, writes
        self._started = time.monotonic()
        self._first: tuple[float, float, str] | None = None
        self._last = -HEARTBEAT_S

    def __call__(self, done: float, total: float | None, unit: str = "", **numbers: Any) -> None:
        now = time.monotonic()
        if not self.writes or (now - self._last < HEARTBEAT_S and done != total):
            return
        self._last = now
        if self._first is None or self._first[2] != unit:  # another unit is another piece of work
            self._first = (now, done, unit)
        document = {"done": done, "total": total, "unit": unit, "time": time.time(),
                    "elapsed_s": round(now - self._started, 3), **numbers}
        since, begun, _ = self._first
        if total and "eta_s" not in numbers and done > begun:
            document["eta_s"] = round((now - since) / (done - begun) * (total - done), 1)
        replace_text(self.path, json.dumps(document))


def main(work_dir: Path) -> None:
    """Run the stage whose ``stage.json`` lies in ``work_dir``; called once in every rank."""
    work = Work.open(Path(work_dir))
    rank = int(os.environ.get("RANK", "0"))
    beat = Heartbeat(work.path / "progress.json", writes=rank == 0)
    work.out.mkdir(exist_ok=True)
    BODIES[work.kind](work, beat)


# ---- data --------------------------------------------------------------------------------------------------------


def record(work: Work, beat: Heartbeat) -> None:
    """Write a source's episodes to ``out/``; what an attempt before this one recorded is used where the source can."""
    from vlactl.formats import SOURCES

    source = SOURCES.parse(spec_of(work, "source"))
    if not source.goes_on:
        shutil.rmtree(work.out)
        work.out.mkdir()
    started = time.monotonic()
    summary = source.record(work.out, beat)
    work.finish({**summary, "seconds": round(time.monotonic() - started, 3)})


# ---- training ----------------------------------------------------------------------------------------------------


def learn(work: Work, beat: Heartbeat) -> None:
    """Train a policy (a pretrain or a finetune stage) and write it to ``out/policy``."""
    from vlactl.formulations import FORMULATIONS
    from vlactl.training.loop import train
    from vlactl.windows import MixtureStream

    identity, rank, world = work.identity, place("RANK", 0), place("WORLD_SIZE", 1)
    settings = settings_of(work, world)
    formulation = FORMULATIONS.parse(identity["formulation"])
    beat(0, identity["updates"], unit="updates", step="building the policy")
    mixture = open_mixture(work)
    policy = begin_policy(work, mixture)
    stream = MixtureStream([(source.episodes, source.normalizer, source.weight) for source in mixture],
                           history=formulation.history, horizon=formulation.horizon, execute=formulation.execute,
                           batch_windows=settings.windows(formulation.history), seed=identity["seed"], rank=rank,
                           world=world)
    summary = train(policy, stream, settings, work.path, updates=identity["updates"], progress=beat,
                    log=Curve(work.out / "metrics.jsonl"))
    if rank == 0:
        shutil.rmtree(work.out / "policy", ignore_errors=True)
        policy.save(work.out / "policy")
        work.finish(summary)


def place(name: str, otherwise: int) -> int:
    """This process's rank or the number of ranks, as its launcher said in the environment."""
    return int(os.environ.get(name, str(otherwise)))


def settings_of(work: Work, world: int) -> TrainingSettings:
    """The identity's settings with the execution settings of this attempt, the micro-batch divided after each oom."""
    from vlactl.training import TrainingSettings

    settings = TrainingSettings(**spec_of(work, "training"), updates=work.identity["updates"])
    return settings.divided(work.execution.get("micro_batch_divisor", 1), world)


@dataclass(frozen=True, slots=True)
class MixedSource:
    """One source of a mixture, opened."""

    role: str
    episodes: RecordedEpisodes
    normalizer: ActionNormalizer
    weight: float


def open_mixture(work: Work) -> list[MixedSource]:
    """The sources of the stage's mixture, in-domain ones first: the first says what the policy will act in.

    Sources of equal spaces share one normaliser, because one policy has to decode for all of them.
    """
    import numpy as np

    from vlactl.actions import ActionNormalizer
    from vlactl.formats.recorded import RecordedEpisodes
    from vlactl.strategies import IN_DOMAIN

    weights: Mapping[str, float] = work.identity["mixture"]
    opened = {role: RecordedEpisodes(work.inputs[role])
              for role in sorted(weights, key=lambda role: (not role.startswith(IN_DOMAIN), role))}
    normalizers = {role: ActionNormalizer.fit(np.concatenate([other.actions_NA for other in opened.values()
                                                              if other.spaces == source.spaces]))
                   for role, source in opened.items()}
    return [MixedSource(role, source, normalizers[role], weights[role]) for role, source in opened.items()]


def begin_policy(work: Work, mixture: list[MixedSource]) -> Policy:
    """A new policy, or the pretrained one turned to the first source's embodiment."""
    import numpy as np

    from vlactl.actions import StateStatistics
    from vlactl.backbones import BACKBONES
    from vlactl.formulations import FORMULATIONS
    from vlactl.policy import Policy

    target = mixture[0]
    states = StateStatistics.fit(np.concatenate([source.episodes.states_NS for source in mixture
                                                 if source.episodes.spaces == target.episodes.spaces]))
    texts = sorted({text for source in mixture for text in source.episodes.instructions})
    if "pretrain" in work.inputs:
        policy = Policy.load(work.inputs["pretrain"] / "policy")
        policy.adapt(target.episodes.spaces, target.normalizer, states, texts)
        return policy
    return Policy.create(BACKBONES.parse(spec_of(work, "backbone")), FORMULATIONS.parse(spec_of(work, "formulation")),
                         target.episodes.spaces, target.normalizer, states, texts, work.identity["seed"])


def spec_of(work: Work, section: str) -> dict[str, Any]:
    """What a spec's ``parse`` wants: its identity, and the settings of this machine that its identity leaves out."""
    return {**work.identity[section], **work.execution.get(section, {})}


class Curve:
    """Appends rows to metrics.jsonl.  A resumed run repeats some updates; their old rows are dropped first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._trimmed = False

    def __call__(self, row: dict[str, Any]) -> None:
        if not self._trimmed:
            kept = [json.dumps(old) for old in read_rows(self.path) if old["update"] < row["update"]]
            replace_text(self.path, "".join(line + "\n" for line in kept))
            self._trimmed = True
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file that may not exist or may end in a torn line."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


# ---- evaluation --------------------------------------------------------------------------------------------------


def attempt(work: Work, beat: Heartbeat) -> None:
    """Attempt every episode of the protocol that has no record yet; scores go to ``result.json``."""
    from vlactl.benchmarks import BENCHMARKS
    from vlactl.identity import digest, plain
    from vlactl.rollout import evaluate, from_json, summarise, to_json

    started = time.monotonic()
    beat(0, None, unit="rollouts", step="opening the benchmark")
    spec = BENCHMARKS.parse(spec_of(work, "evaluation"))
    protocol = work.identity["protocol"]
    if plain(spec.protocol()) != protocol:
        raise StageFailed("this machine's benchmark is not the one that was planned", failure=FailureClass.USER_ERROR,
                          expected=changed_fields(protocol, spec.protocol()),
                          remedy="plan again on this machine, or install the versions that were planned with")
    benchmark = spec.build()
    actor = work.identity.get("policy") or open_actor(work, benchmark)
    episodes = benchmark.episodes()
    records, video = work.out / "rollouts.jsonl", work.out / "rollout.mp4"
    done = {row["key"]: from_json(row) for row in read_rows(records)}
    replace_text(records, "".join(json.dumps(to_json(rollout)) + "\n" for rollout in done.values()))
    with open(records, "a", buffering=1) as file:
        rollouts = evaluate(benchmark, actor, episodes, batch=work.execution.get("rollouts_in_parallel", 25),
                            progress=beat, on_rollout=lambda rollout: print(json.dumps(to_json(rollout)), file=file),
                            done=done, video=None if video.exists() else video)
    work.finish({**summarise(rollouts), "protocol": protocol, "protocol_digest": digest(protocol),
                 "seconds": round(time.monotonic() - started, 3)})


def open_actor(work: Work, benchmark: Benchmark) -> Actor:
    """The trained policy, ready to act in ``benchmark``; raises where their spaces differ."""
    import torch

    from vlactl.policy import Actor, Policy
    from vlactl.spaces import require_equal

    policy = Policy.load(work.inputs["policy"] / "policy")
    require_equal(policy.card.spaces, benchmark.spaces, where=work.label)
    return Actor(policy.to("cuda" if torch.cuda.is_available() else "cpu"))


def changed_fields(planned: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """``mujoco: 4.0.0 (here 3.3.0)`` for each field that differs."""
    from vlactl.identity import difference

    return "; ".join(f"{key}: {old} (here {new})" for key, old, new in difference(planned, here))


BODIES: dict[str, Callable[[Work, Heartbeat], None]] = {"data": record, "pretrain": learn, "finetune": learn,
                                                        "evaluate": attempt}
