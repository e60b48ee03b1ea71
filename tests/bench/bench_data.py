"""How fast demonstrations are recorded and read back: ``python -m tests.bench.bench_data [--episodes 128]``.

Recording: frames a second of processor time of one process, with what each part costs (the best of three), and how much
faster two workers are by the clock once they run, and what a frame costs in them.  Reading: frames a second of the
trainer's batches from the page cache, beside a plain copy of the same images.  Ratios are within one run; on a busy
machine only they, and processor time, mean something.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlactl.formats import SOURCES
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes
from vlactl.formats.tabletop import divided
from vlactl.tabletop.demonstrations import Demonstrations
from vlactl.tabletop.rendering import Poses, open_renderer
from vlactl.tabletop.world import World

REPEATS = 3
WINDOWS = ((1, 16), (1, 256), (8, 16), (8, 64))
"""(history, windows of a batch)."""


def quiet(*_: Any, **__: Any) -> None:
    """Nobody watches."""


def blind(poses: Poses) -> np.ndarray:
    return np.zeros((len(poses.geom_xpos), 2, 1, 1, 3), np.uint8)


def cost_s(work: Callable[[], int]) -> float:
    """Seconds of processor time a frame."""
    started = time.process_time()
    frames = work()
    return (time.process_time() - started) / frames


def recorded(folder: Path, **fields: Any) -> int:
    return SOURCES.get("tabletop")(**fields).record(folder, quiet)["frames"]


def parts(folder: Path, **fields: Any) -> Iterator[tuple[str, float]]:
    """(what, seconds of processor time a frame) of recording in one process."""
    source = SOURCES.get("tabletop")(**fields)
    world = World(source.embodiment, source.scenes)
    renderer = open_renderer("raycast", world.model, image_px=source.image_px)
    recorded(folder / "warm", **{**fields, "episodes": 8})

    def make(draw: Callable[[Poses], np.ndarray], keep: Callable[[Any], None]) -> int:
        frames = 0
        for unit in divided(source):
            for made in Demonstrations(world, unit.quota, seed=(source.seed, unit.number), noise=source.noise,
                                       draw=draw):
                frames += len(made.episode)
                keep(made.episode)
        return frames

    def drawn(poses: Poses) -> np.ndarray:
        return np.stack(renderer.draw(poses), 1)

    def written(number: int) -> int:
        with EpisodeWriter(folder / f"written-{number}", source.spaces()) as writer:
            return make(drawn, writer.add)

    costs = [(cost_s(lambda: make(blind, quiet)), cost_s(lambda: make(drawn, quiet)),
              cost_s(lambda number=number: written(number)),
              cost_s(lambda number=number: recorded(folder / f"whole-{number}", **fields)))
             for number in range(REPEATS)]
    unseen_s, seen_s, written_s, whole_s = (min(column) for column in zip(*costs, strict=True))
    yield "expert and physics", unseen_s
    yield "drawing", seen_s - unseen_s
    yield "encoding and hashing", written_s - seen_s
    yield "units and assembly", whole_s - written_s
    yield "all", whole_s


def by_the_clock(folder: Path, workers: int, **fields: Any) -> tuple[float, float]:
    """(episodes a second between the first and the last, without the start of the workers; seconds of processor time
    a frame)."""
    times: list[float] = []

    def progress(done: float, total: float, unit: str = "", **_: Any) -> None:
        if unit == "episodes" and done:
            times.append(time.perf_counter())

    result = SOURCES.get("tabletop")(**fields, workers=workers).record(folder, progress)
    return (len(times) - 1) / (times[-1] - times[0]), result["cpu_s"] / result["frames"]


def frames_per_s(read: Callable[[int], object], frames: int, seconds: float = 1.0) -> float:
    """Of processor time, after a first call."""
    read(0)
    number, started = 0, time.process_time()
    while (passed := time.process_time() - started) < seconds:
        number += 1
        read(number)
    return number * frames / passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--image-px", type=int, default=64)
    options = parser.parse_args()
    fields = {"episodes": options.episodes, "image_px": options.image_px}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"recording {options.episodes} episodes, {options.image_px} px, soft shadows, 10 Hz")
        costs = dict(parts(folder, **fields))
        for what, seconds in costs.items():
            print(f"  {what:<22}{1e3 * seconds:7.3f} ms a frame  {seconds / costs['all']:5.0%}")
        print(f"  {1 / costs['all']:.0f} frames/s a core")
        longer = {**fields, "episodes": 4 * options.episodes}
        (alone, alone_s), (together, together_s) = (by_the_clock(folder / f"by-{workers}", workers, **longer)
                                                    for workers in (1, 2))
        print(f"  two workers: {together / alone:.2f} times one by the clock, a frame costs {together_s / alone_s:.2f} "
              "times as much")
        read_back(RecordedEpisodes(folder / "whole-0"))


def read_back(episodes: RecordedEpisodes) -> None:
    """Print how fast the trainer's batches are read."""
    import torch  # not above: the workers import this module

    from vlactl.actions import ActionCodec, ActionNormalizer
    from vlactl.windows import MixtureStream

    torch.set_num_threads(1)
    frames, rng = len(episodes.episode_of_N), np.random.default_rng(0)
    images = episodes.images_NKYXC
    plain = frames_per_s(lambda number: np.array(images[number % 8 * 64:][:64]), min(64, frames))
    print(f"reading, from the page cache\n  {'a plain copy':<32}{plain:9.0f} frames/s  1.00")
    chosen = rng.integers(0, frames, (64, 64))
    rate = frames_per_s(lambda number: images[chosen[number % 64]], 64)
    print(f"  {'single images, shuffled':<32}{rate:9.0f} frames/s  {rate / plain:.2f}")
    weighted = (episodes, ActionCodec(normalizer=ActionNormalizer.fit(episodes.actions_NA)), 1.0)
    for history, windows in WINDOWS:
        stream = MixtureStream([weighted], history=history, horizon=6, execute=3, batch_windows=windows, seed=0)
        rate = frames_per_s(stream.at, history * windows)
        print(f"  {f'batches of {windows}, history {history}':<32}{rate:9.0f} frames/s  {rate / plain:.2f}")


if __name__ == "__main__":
    main()
