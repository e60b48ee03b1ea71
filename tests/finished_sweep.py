"""A small finished sweep in a real store: what the tests of report and tracking read.

Recipes and plans are stand-ins with the fields that those rooms use; artifacts are committed by the real store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vlactl.events import SweepState, fold
from vlactl.store import Store

PROTOCOL = {
    "kind": "tabletop",
    "scene": "D",
    "tasks": "core",
    "chains": 40,
    "steps_per_task": 120,
    "renderer": "raycaster",
}
TASKS = ("open_drawer", "push_slider_left", "press_button", "lift_red", "lift_blue")
STARTED = 1_790_000_000.0


def digest_of(*what: Any) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


class Sweep:
    """Backbones x formulations x seeds; every stage is committed by :meth:`finish`."""

    def __init__(
        self,
        home: Path,
        backbones: Sequence[str] = ("llava", "smolvlm"),
        formulations: Sequence[str] = ("one-step", "policy-head"),
        seeds: Sequence[int] = (0,),
        episodes: int = 40,
    ) -> None:
        self.store, self.episodes = Store(home), episodes
        self.store.prepare()
        names = {"backbone": tuple(backbones), "formulation": tuple(formulations)}
        trials = [
            self._trial(tuple(zip(names, values, strict=True)), seed)
            for seed in seeds
            for values in product(*names.values())
        ]
        self.recipe = SimpleNamespace(
            name="design",
            description="which backbone and formulation",
            path=str(home / "design.yaml"),
            seeds=tuple(seeds),
            axes=tuple(SimpleNamespace(name=name, values=values) for name, values in names.items()),
            trials=tuple(trials),
            excluded=(),
            references=("expert", "random"),
            left_out=0,
            document={},
        )
        self.plan = SimpleNamespace(
            recipe=self.recipe,
            trials={trial.id: self._stages(trial) for trial in trials},
            references={name: digest_of("reference", name) for name in self.recipe.references},
        )

    @staticmethod
    def _trial(cell: tuple[tuple[str, str], ...], seed: int) -> SimpleNamespace:
        identity = {
            "backbone": {"kind": cell[0][1], "weights": "tiny"},
            "formulation": {"kind": cell[1][1], "betas": [0.9, 0.95]},
            "training": {"updates": 1600, "lora_parts": []},
            "seed": seed,
        }
        slug = "/".join([*(value for _, value in cell), f"seed-{seed}"])
        return SimpleNamespace(id=digest_of(identity), cell=cell, seed=seed, slug=slug, identity=lambda: identity)

    @staticmethod
    def _stages(trial: SimpleNamespace) -> SimpleNamespace:
        backbone = dict(trial.cell)["backbone"]
        return SimpleNamespace(
            data=(digest_of("data"),),
            pretrain=(digest_of("pretrain", backbone),),
            finetune=digest_of("finetune", trial.id),
            evaluate=digest_of("evaluate", trial.id),
        )

    def commit(self, kind: str, digest: str, result: Mapping[str, Any], files: Mapping[str, str | bytes]) -> None:
        stage = SimpleNamespace(kind=kind, digest=digest, label=kind, identity={"kind": kind}, inputs={})
        work = self.store.work_dir(stage)  # type: ignore[arg-type]
        for name, content in files.items():
            path = work / "out" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        (work / "out").mkdir(exist_ok=True)
        self.store.commit(
            stage,
            work,
            result,
            {
                "host": "bench-1",
                "python": "3.11.7",
                "git": {"commit": "0123456789abcdef"},  # type: ignore[arg-type]
                "versions": {"torch": "2.13.0"},
                "started": STARTED,
                "seconds": 60.0,
                "attempts": 1,
            },
        )

    def train(self, trial: SimpleNamespace, points: int = 5) -> None:
        """Commit data, pretrain and finetune of one trial."""
        stages, curve = self.plan.trials[trial.id], metrics_text(points)
        for kind, digest in (("data", stages.data[0]), ("pretrain", stages.pretrain[0]), ("finetune", stages.finetune)):
            if not self.store.has(digest):
                trained = kind != "data"
                self.commit(
                    kind,
                    digest,
                    {"loss": 0.1, "updates": 10 * points, "seconds": 60.0} if trained else {"episodes": 9},
                    {"metrics.jsonl": curve} if trained else {"episodes.json": "[]"},
                )

    def evaluate(
        self,
        digest: str,
        solved: Sequence[int],
        *,
        protocol: Mapping[str, Any] = PROTOCOL,
        video: bytes = b"",
        statuses: Mapping[int, str] | None = None,
    ) -> None:
        """Commit an evaluation whose chain i solved ``solved[i]`` tasks."""
        lines = [
            {
                "key": f"chain-{i:04d}",
                "status": (statuses or {}).get(i, "ok"),
                "replans": 9,
                "verdicts": verdicts(int(count)),
            }
            for i, count in enumerate(solved)
        ]
        files = {"rollouts.jsonl": "".join(json.dumps(line) + "\n" for line in lines)} | (
            {"rollout.mp4": video} if video else {}
        )
        result = {
            "avg_len": float(np.mean(solved)),
            "protocol": dict(protocol),
            "protocol_digest": digest_of(sorted(protocol.items())),
        }
        self.commit("evaluate", digest, result, files)

    def finish(self, skill: Callable[[SimpleNamespace], float], *, points: int = 5, references: bool = True) -> None:
        """Run everything: ``skill(trial)`` is the chance that a task succeeds."""
        for trial in self.recipe.trials:
            self.train(trial, points)
            self.evaluate(
                self.plan.trials[trial.id].evaluate,
                self.chains(skill(trial), trial.id),
                video=b"film of " + trial.id.encode(),
            )
        if references:
            for name, chance in (("expert", 0.99), ("random", 0.02)):
                self.evaluate(self.plan.references[name], self.chains(chance, name))

    def chains(self, chance: float, name: str) -> np.ndarray:
        """Chain lengths; episodes have their own difficulty, so that cells are correlated over them."""
        luck_N5 = np.random.default_rng(7).normal(size=(self.episodes, 5))
        noise_N5 = np.random.default_rng(list(name.encode())).normal(size=(self.episodes, 5))
        ok_N5 = 0.5 * luck_N5 + 0.87 * noise_N5 < float(np.sqrt(2)) * inverse_erf(2 * chance - 1)
        return np.cumprod(ok_N5, axis=1).sum(1)

    def state(self, *events: Mapping[str, Any]) -> SweepState:
        return fold(events)


def inverse_erf(x: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((x + 1) / 2) / 2**0.5


def verdicts(solved: int) -> list[dict[str, Any]]:
    done = [{"task": task, "success": True, "steps": 30} for task in TASKS[:solved]]
    return done + [{"task": task, "success": False, "steps": 120} for task in TASKS[solved : solved + 1]]


def metrics_text(points: int) -> str:
    return "".join(
        json.dumps({"update": 10 * (i + 1), "loss": round(1 / (i + 1), 4), "lr": 0.002}) + "\n" for i in range(points)
    )
