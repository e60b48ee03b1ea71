"""What the loader delivers alone, and what the trainer needs: frames a second of windows, augmentation and a step.

    OMP_NUM_THREADS=1 python tests/bench/bench_loader.py [--size tiny] [--formulation policy-head-continuous]

Times are CPU time of the process.  The recording lies in the page cache, as it does after a trainer's first epoch.
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

import torch
from bench_training import SIZES, make, ours, record

from vlactl.training import TrainingSettings
from vlactl.training.augment import augmented
from vlactl.training.loop import begin, join


def seconds(call: Callable[[int], object], times: int) -> float:
    """Median CPU seconds of a call, which gets its number; the first three do not count."""
    taken = []
    for number in range(times):
        began = time.process_time()
        call(number)
        taken.append(time.process_time() - began)
    return statistics.median(taken[3:])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--updates", type=int, default=30)
    arguments.add_argument("--size", choices=list(SIZES), default="tiny")
    arguments.add_argument("--formulations", nargs="*", default=["one-step-continuous", "policy-head-continuous"])
    chosen = arguments.parse_args()
    print(f"{torch.get_num_threads()} thread(s), load {os.getloadavg()[0]:.1f}")
    settings = TrainingSettings(updates=chosen.updates)
    with tempfile.TemporaryDirectory() as name:
        source = record(Path(name) / "episodes")
        for formulation in chosen.formulations:
            policy, stream = make(source, formulation, chosen.size)
            frames = stream.batch_windows * stream.history
            batch = stream.at(0)
            drawing = seconds(stream.at, 300)
            changing = seconds(lambda update, batch=batch: augmented(batch, settings, seed=0, update=update, rank=0,
                                                                     world=1), 300)
            run = begin(policy, stream, settings, Path(name) / formulation, join(), chosen.updates, threading.Event())
            update = ours(run)
            need = frames / seconds(lambda _, update=update: update(), chosen.updates)
            alone = frames / (drawing + changing)
            print(f"{formulation:24} history {stream.history}: windows {1e3 * drawing:.2f} ms + augmentation "
                  f"{1e3 * changing:.2f} ms a batch = {alone:,.0f} frames/s alone; the trainer takes {need:,.0f}: "
                  f"{alone / need:.0f} times enough", flush=True)
            run.engine.destroy()


if __name__ == "__main__":
    main()
