"""What DeepSpeed's engine costs over a plain torch loop, at the size that runs on a laptop.

    OMP_NUM_THREADS=1 python tests/bench/bench_training.py [--updates 60] [--zero-stage 0]

Both loops train the same tiny SmolVLM policy on the same windows with the same augmentation and optimiser; they take
turns in short pieces, because other work on the machine comes and goes.  Times are CPU time of the process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vlactl.actions import ActionNormalizer, StateStatistics
from vlactl.backbones import BACKBONES
from vlactl.episodes import Episode
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes
from vlactl.formulations import FORMULATIONS
from vlactl.policy import Policy
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.training import TrainingSettings
from vlactl.training.augment import augment
from vlactl.training.engine import adamw
from vlactl.training.loop import begin, join
from vlactl.windows import MixtureStream

SPACES = Spaces(embodiment="panda", observation=ObservationSpace(
    cameras=(("static", 64, 64), ("wrist", 64, 64)), state=tuple(f"s{index}" for index in range(9))),
    action=ActionSpace(names=("x", "y", "z", "a", "b", "c", "gripper"), control="relative-eef-pose", frame="world",
                       position_scale_m=0.02, rotation_scale_rad=0.05, rate_hz=10.0))
TEXTS = ("open the drawer", "push the handle to the left", "turn on the light")


def record(path: Path) -> RecordedEpisodes:
    draw = np.random.default_rng(0)
    with EpisodeWriter(path, SPACES) as writer:
        for number in range(100):
            writer.add(Episode(task="t", instruction=TEXTS[number % 3], embodiment="panda",
                               images_TKYXC=draw.integers(0, 256, (15, 2, 64, 64, 3), dtype=np.uint8),
                               states_TS=draw.normal(size=(15, 9)).astype(np.float32),
                               actions_TA=draw.uniform(-1, 1, (15, 7)).astype(np.float32)))
    return RecordedEpisodes(path)


def make(source: RecordedEpisodes, formulation: str) -> tuple[Policy, MixtureStream]:
    spec = FORMULATIONS.get(formulation)()
    normalizer = ActionNormalizer.fit(source.actions_NA)
    policy = Policy.create(BACKBONES.get("smolvlm")(), spec, SPACES, normalizer, StateStatistics.fit(source.states_NS),
                           TEXTS, 0)
    return policy, MixtureStream([(source, normalizer, 1.0)], history=spec.history, horizon=spec.horizon,
                                 execute=spec.execute, batch_windows=16 // spec.history, seed=0)


class Plain:
    """The loop that one would write without DeepSpeed."""

    def __init__(self, policy: Policy, stream: MixtureStream, settings: TrainingSettings) -> None:
        self.policy, self.stream, self.settings, self.done = policy.train(), stream, settings, 0
        self.optimizer = adamw(policy, settings)

    def one_update(self) -> float:
        batch = self.stream.at(self.done)
        batch.images_BHKYXC = augment(batch.images_BHKYXC, self.settings, seed=0, update=self.done, first=0,
                                      windows=self.stream.batch_windows)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.done, self.settings.updates)
        loss, _ = self.policy.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        return loss.item()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--updates", type=int, default=100)
    arguments.add_argument("--zero-stage", type=int, default=0)
    arguments.add_argument("--formulation", default="one-step-continuous")
    chosen = arguments.parse_args()
    settings = TrainingSettings(zero_stage=chosen.zero_stage, updates=chosen.updates)
    with tempfile.TemporaryDirectory() as folder:
        source = record(Path(folder) / "episodes")
        gang = join()
        plain = Plain(*make(source, chosen.formulation), settings)
        policy, stream = make(source, chosen.formulation)
        run = begin(policy, stream, settings, Path(folder), gang, chosen.updates, threading.Event())
        print(f"{sum(p.numel() for p in policy.parameters()):,} parameters, {torch.get_num_threads()} thread(s)")
        times: dict[str, list[float]] = {"plain": [], "engine": []}
        losses: dict[str, float] = {}
        for _ in range(chosen.updates):
            for name in times:
                began = time.process_time()
                losses[name] = plain.one_update() if name == "plain" else run.one_update(False)[0]
                times[name].append(time.process_time() - began)
            run.done += 1
        for name, taken in times.items():
            print(f"{name:7} {1e3 * statistics.median(taken):7.2f} ms per update (median), loss {losses[name]:.6f}")
        print(f"ratio   {statistics.median(times['engine']) / statistics.median(times['plain']):7.3f}")
        images = stream.at(0).images_BHKYXC
        print(f"windows {per_call_ms(lambda: stream.at(0)):7.3f} ms, augmentation "
              f"{per_call_ms(lambda: augment(images, settings, seed=0, update=0, first=0, windows=16)):.3f} ms, "
              f"checkpoint {per_call_ms(lambda: run.checkpoints.save(1, run.engine, policy, {}), 5):.1f} ms")


def per_call_ms(call: Callable[[], object], times: int = 50) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return 1e3 * (time.perf_counter() - began) / times


if __name__ == "__main__":
    main()
