"""What DeepSpeed's engine costs over a plain torch loop, and what cached features of a frozen vision tower save.

    OMP_NUM_THREADS=1 python tests/bench/bench_training.py [--size 20m] [--updates 60] [--zero-stages 0 1 2 3]

Both loops train the same policy on the same windows with the same augmentation and optimiser; they take turns update by
update, because other work on the machine comes and goes.  Times are CPU time of the process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from transformers import PretrainedConfig

from vlactl.actions import ActionCodec, StateStatistics
from vlactl.backbones import BACKBONES
from vlactl.backbones.families import tiny_text, tiny_vision
from vlactl.backbones.idefics import SmolVLMFamily
from vlactl.backbones.prompt import IMAGE, PAD
from vlactl.episodes import Episode
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes
from vlactl.formulations import FORMULATIONS
from vlactl.policy import Policy
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.training import TrainingSettings
from vlactl.training.augment import augmented
from vlactl.training.loop import Run, begin, join
from vlactl.training.tuning import adamw, tuned
from vlactl.windows import MixtureStream

SPACES = Spaces(embodiment="panda", observation=ObservationSpace(
    cameras=(("static", 64, 64), ("wrist", 64, 64)), state=tuple(f"s{index}" for index in range(9))),
    action=ActionSpace(names=("x", "y", "z", "a", "b", "c", "gripper"), control="relative-eef-pose", frame="world",
                       position_scale_m=0.02, rotation_scale_rad=0.05, rate_hz=10.0))
MOST = 1.10
"""What our loop may cost over a plain one at ZeRO 0, from 20 million parameters on.  Above ZeRO 0 a single rank copies
every gradient and weight for ranks that are not there; the ratio then says what the copies cost."""
TEXTS = ("open the drawer", "push the handle to the left", "turn on the light")


class LargerFamily(SmolVLMFamily):
    """SmolVLM of 22 million parameters, half of the way from tiny to the smallest real one in depth."""

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return self.config_class(
            image_token_id=IMAGE, pad_token_id=PAD, scale_factor=2, tie_word_embeddings=True,
            text_config=tiny_text("llama", layers=8, hidden_size=384, intermediate_size=1024, num_attention_heads=6,
                                  num_key_value_heads=6, head_dim=64),
            vision_config=tiny_vision(image_px=image_px, hidden_size=384, intermediate_size=1024, num_hidden_layers=5,
                                      num_attention_heads=6))


class Larger(BACKBONES.get("smolvlm")):
    """The backbone of ``--size 20m``."""

    kind: ClassVar[str] = "smolvlm-20m"
    family_at: ClassVar[str] = f"{__name__}:LargerFamily"


SIZES = {"tiny": BACKBONES.get("smolvlm"), "20m": Larger}


def record(path: Path) -> RecordedEpisodes:
    draw = np.random.default_rng(0)
    with EpisodeWriter(path, SPACES) as writer:
        for number in range(100):
            writer.add(Episode(task="t", instruction=TEXTS[number % 3], embodiment="panda",
                               images_TKYXC=draw.integers(0, 256, (15, 2, 64, 64, 3), dtype=np.uint8),
                               states_TS=draw.normal(size=(15, 9)).astype(np.float32),
                               actions_TA=draw.uniform(-1, 1, (15, 7)).astype(np.float32)))
    return RecordedEpisodes(path)


def make(source: RecordedEpisodes, formulation: str, size: str,
         features_NKPD: np.ndarray | None = None) -> tuple[Policy, MixtureStream]:
    spec = FORMULATIONS.get(formulation)()
    codec = ActionCodec.fit(spec, SPACES, [source])
    policy = Policy.create(SIZES[size](), spec, SPACES, codec, StateStatistics.fit(source.states_NS), TEXTS, 0)
    return policy, MixtureStream([(source, codec, 1.0)], history=spec.history, horizon=spec.horizon,
                                 execute=spec.execute, batch_windows=16 // spec.history, seed=0,
                                 features=None if features_NKPD is None else [features_NKPD])


class Plain:
    """The loop that one would write without DeepSpeed."""

    def __init__(self, policy: Policy, stream: MixtureStream, settings: TrainingSettings) -> None:
        self.policy, self.stream, self.settings, self.done = policy.train(), stream, settings, 0
        self.optimizer = adamw(policy, settings)

    def one_update(self) -> float:
        batch = augmented(self.stream.at(self.done), self.settings, seed=0, update=self.done, rank=0, world=1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.done, self.settings.updates)
        loss, _ = self.policy.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        return loss.item()


def ours(run: Run) -> Callable[[], float]:
    """One update of our loop."""

    def one_update() -> float:
        loss, *_ = run.one_update(False)
        run.done += 1
        return loss

    return one_update


def in_turns(loops: dict[str, Callable[[], float]], updates: int) -> dict[str, float]:
    """Median CPU seconds per update of loops that take turns; the first three updates do not count."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(updates):
        for name, loop in loops.items():
            began = time.process_time()
            loop()
            times[name].append(time.process_time() - began)
    return {name: statistics.median(taken[3:]) for name, taken in times.items()}


def compare(source: RecordedEpisodes, chosen: argparse.Namespace, stage: int, folder: Path) -> float:
    """Our loop's time over the plain one's."""
    settings = TrainingSettings(zero_stage=stage, updates=chosen.updates)
    plain = Plain(*make(source, chosen.formulation, chosen.size), settings)
    policy, stream = make(source, chosen.formulation, chosen.size)
    run = begin(policy, stream, settings, folder, join(), chosen.updates, threading.Event())
    taken = in_turns({"plain": plain.one_update, "ours": ours(run)}, chosen.updates)
    print(f"ZeRO {stage}: plain {1e3 * taken['plain']:8.2f} ms, ours {1e3 * taken['ours']:8.2f} ms per update, "
          f"ratio {taken['ours'] / taken['plain']:.3f}", flush=True)
    run.engine.destroy()
    return taken["ours"] / taken["plain"]


def cached(source: RecordedEpisodes, chosen: argparse.Namespace, folder: Path) -> None:
    """A frozen vision tower that looks at every window again, against features that were kept."""
    settings = TrainingSettings(tuning="frozen-vision", brightness=0, updates=chosen.updates)
    looking, stream = make(source, chosen.formulation, chosen.size)
    with torch.no_grad():
        images = torch.from_numpy(np.array(source.images_NKYXC))
        features = torch.cat([looking.backbone.picture_features(part) for part in images.split(100)]).numpy()
    path = folder / "features.npy"
    np.save(path, features)
    keeping, kept = make(source, chosen.formulation, chosen.size, np.load(path, mmap_mode="r"))
    loops: dict[str, Callable[[], float]] = {}
    with tuned(looking, settings, seed=0), tuned(keeping, settings, seed=0):
        for name, policy, batches in (("looks", looking, stream), ("kept", keeping, kept)):
            run = begin(policy, batches, settings, folder / name, join(), chosen.updates, threading.Event())
            loops[name] = ours(run)
        taken = in_turns(loops, chosen.updates)
    print(f"frozen vision: {1 / taken['looks']:.2f} updates a CPU second; with cached features "
          f"{1 / taken['kept']:.2f}, {taken['looks'] / taken['kept']:.2f} times as many "
          f"({features[0].nbytes:,} bytes a frame, its pictures have {images[0].numel():,})", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--updates", type=int, default=60)
    arguments.add_argument("--zero-stages", type=int, nargs="*", default=[0])
    arguments.add_argument("--size", choices=list(SIZES), default="tiny")
    arguments.add_argument("--formulation", default="one-step-continuous")
    arguments.add_argument("--no-features", action="store_true")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = record(Path(name) / "episodes")
        policy, _ = make(source, chosen.formulation, chosen.size)
        print(f"{sum(p.numel() for p in policy.parameters()):,} parameters, {torch.get_num_threads()} thread(s), "
              f"load {os.getloadavg()[0]:.1f}")
        ratios = {stage: compare(source, chosen, stage, Path(name) / f"zero-{stage}") for stage in chosen.zero_stages}
        if not chosen.no_features:
            cached(source, chosen, Path(name))
    if chosen.size != "tiny" and ratios.get(0, 1.0) > MOST:
        raise SystemExit(f"ZeRO 0 costs {ratios[0]:.3f} times the plain loop; the most that is wanted is {MOST}")


if __name__ == "__main__":
    main()
