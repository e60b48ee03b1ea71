"""How many images a second each renderer draws: ``python tests/bench/bench_renderer.py [--worlds 32] [--repeats 5]``.

Both cameras of the tabletop, worlds with arms in different poses; all renderers in one run, interleaved, so that a busy
machine is unfair to none.  ``cpu`` is per second of processor time of the whole process, which a busy machine changes
little; ``wall`` is per second of the clock, and what a second thread is for.  Those that cannot work here say why.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop.rendering import RENDERERS, Poses, Renderer, open_renderer, warm_up
from vlactl.tabletop.rendering.poses import of_datas
from vlactl.tabletop.world import World

SIZES = (64, 96, 128, 200, (200, 84))
"""Side of the pictures in pixels; the last is CALVIN's static and wrist camera."""
SLOW_WORLDS = 4
"""Worlds in a call of the renderers that are not ours: they take a hundred times as long."""


def scattered(world: World, count: int) -> Poses:
    """The same desk with ``count`` poses of the arm, drawer and door."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        data = mujoco.MjData(world.model)
        data.qpos[:] = world.data.qpos
        for joint, spread in (*((f"j{i}", 0.2) for i in range(1, 8)), ("drawer", 0.1), ("slider", 0.1)):
            data.qpos[world.model.joint(joint).qposadr[0]] += rng.uniform(-spread, spread)
        mujoco.mj_forward(world.model, data)
        found.append(data)
    return of_datas(found, [world.colors()] * count)


@dataclass(slots=True)
class Row:
    """One line of the table."""

    name: str
    px: str
    light: str
    rays: int
    threads: int
    renderer: Renderer
    poses: Poses
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Draw once, and note images per second."""
        cpu, wall = time.process_time(), time.perf_counter()
        images = sum(len(image) for image in self.renderer.draw(self.poses))
        self.cpu.append(images / (time.process_time() - cpu))
        self.wall.append(images / (time.perf_counter() - wall))


def rows(world: World, kinds: list[str], worlds: int) -> Iterator[Row]:
    """Every combination that is worth a line; says on the screen which renderers cannot work."""
    many, few = scattered(world, worlds), scattered(world, min(worlds, SLOW_WORLDS))
    for px in SIZES:
        for kind in kinds:
            ours = kind == "raycast"
            for shadows, rays, threads in ((True, 1, 1), (True, 1, 2), (False, 1, 1), (True, 2, 1)):
                if not ours and (threads > 1 or rays > 1):
                    continue
                try:
                    renderer = open_renderer(kind, world.model, image_px=px, shadows=shadows, antialias=rays,
                                             threads=threads)
                except UsageError as error:
                    print(f"{kind}: {error}")
                    kinds = [other for other in kinds if other != kind]
                    break
                row = Row(kind, str(px), "soft" if shadows else "none", rays, threads, renderer, many if ours else few)
                row.measure()  # compiles or fills caches
                row.cpu.clear()
                row.wall.clear()
                yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scene", default="D")
    parser.add_argument("--renderers", nargs="+", default=list(RENDERERS), choices=RENDERERS)
    options = parser.parse_args()
    print(f"kernels ready after {warm_up():.2f} s")
    world = World("panda", options.scene)
    table = list(rows(world, options.renderers, options.worlds))
    for _ in range(options.repeats):
        for row in table:
            row.measure()
    print("renderer  px         shadows  rays  threads  images/s: cpu     wall")
    for row in table:
        print(f"{row.name:<9} {row.px:<10} {row.light:<8} {row.rays}x{row.rays}   {row.threads:<8} "
              f"{np.median(row.cpu):12.0f} {np.median(row.wall):8.0f}")


if __name__ == "__main__":
    main()
