"""How fast demonstrations go into other formats and back: ``python -m tests.bench.bench_exchange [--episodes 184]``.

Frames a second by the clock and of processor time, and bytes a frame, for a recording of the embedded world at 64 px
(184 episodes are about 2,000 frames), with pyarrow on one thread.  The episode directory is the yardstick.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow

from vlactl.formats import Tabletop
from vlactl.formats.exchange import convert, open_episodes

ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("vlactl", {}), ("calvin", {}), ("lerobot", {}), ("lerobot", {"video": True}))


def quiet(*_: Any, **__: Any) -> None:
    """Nobody watches."""


def rates(work: Callable[[], Any], frames: int) -> tuple[Any, str]:
    """The result, and frames a second by the clock and of processor time."""
    clock_s, processor_s = time.perf_counter(), time.process_time()
    result = work()
    clock_s, processor_s = time.perf_counter() - clock_s, time.process_time() - processor_s
    return result, f"{frames / clock_s:10.0f}{frames / processor_s:10.0f}"


def read(path: Path) -> int:
    """Every frame of every episode; returns how many there are."""
    episodes = open_episodes(path)
    return sum(len(episodes[position].images_TKYXC.copy()) for position in range(len(episodes)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=184)
    parser.add_argument("--image-px", type=int, default=64)
    arguments = parser.parse_args()
    pyarrow.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "recording"
        Tabletop(scenes="ABCD", episodes=arguments.episodes,
                 image_px=arguments.image_px).record(recording, quiet)
        frames = read(recording)
        for number, (kind, options) in enumerate(ROWS):  # once to import and warm up, then measured
            convert(open_episodes(recording), Path(folder) / f"warm-{number}", kind, quiet, **options)
        print(f"{frames} frames of {arguments.image_px} px, load {os.getloadavg()[0]:.1f}\n"
              f"{'':18}{'write/s':>10}{'/cpu-s':>10}{'read/s':>10}{'/cpu-s':>10}{'bytes':>10}")
        for number, (kind, options) in enumerate(ROWS):
            out = Path(folder) / str(number)
            summary, wrote = rates(lambda out=out, kind=kind, options=options:
                                   convert(open_episodes(recording), out, kind, quiet, **options), frames)
            _, found = rates(lambda out=out: read(out), frames)
            print(f"{kind:8}{'video' if options else '':10}{wrote}{found}{summary['bytes'] / frames:10.0f}"
                  + "".join(f"  PSNR {camera} {value:g} dB" for camera, value in summary.get("psnr_db", {}).items()))


if __name__ == "__main__":
    main()
