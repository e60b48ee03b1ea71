"""How many images a second one thread draws: ``python tests/bench/bench_renderer.py [--worlds 32] [--repeats 5]``.

Both cameras of the tabletop, worlds with arms in different poses.  Figures are per second of processor time of the
whole process, so a busy machine changes them little; the ratio is to 64 px with shadows.
"""

from __future__ import annotations

import argparse
import time

import mujoco
import numpy as np

from vlactl.tabletop.renderer import Renderer, warm_up
from vlactl.tabletop.world import World


def scattered(count: int) -> list[mujoco.MjData]:
    """The same desk with ``count`` poses of the arm, drawer and door."""
    world, rng, found = World("panda"), np.random.default_rng(0), []
    for _ in range(count):
        data = mujoco.MjData(world.model)
        data.qpos[:] = world.data.qpos
        for joint, spread in (*((f"j{i}", 0.2) for i in range(1, 8)), ("drawer", 0.1), ("slider", 0.1)):
            data.qpos[world.model.joint(joint).qposadr[0]] += rng.uniform(-spread, spread)
        found.append(data)
    return found


def images_per_s(renderer: Renderer, datas: list[mujoco.MjData], repeats: int) -> float:
    """Median over ``repeats``."""
    rates = []
    for _ in range(repeats):
        started = time.process_time()
        images = renderer.render(datas)
        rates.append(images.shape[0] * images.shape[1] / (time.process_time() - started))
    return float(np.median(rates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"kernels ready after {warm_up():.2f} s")
    datas = scattered(options.worlds)
    model, base = World("panda").model, None
    print("px   shadows  rays  images/s  ratio")
    for image_px in (64, 96, 128):
        for shadows, antialias in ((True, 1), (False, 1), (True, 2)):
            renderer = Renderer(model, image_px=image_px, shadows=shadows, antialias=antialias)
            rate = images_per_s(renderer, datas, options.repeats)
            base = base or rate
            light = "soft" if shadows else "none"
            print(f"{image_px:<4} {light:<8} {antialias}x{antialias}   {rate:8.0f}  {rate / base:5.2f}")


if __name__ == "__main__":
    main()
