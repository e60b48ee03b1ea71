"""Records demonstrations of the embedded world: expert -> pictures -> episode directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from vlactl.formats import Progress, Tabletop
from vlactl.formats.recorded import EpisodeWriter
from vlactl.tabletop.demonstrations import Demonstrations
from vlactl.tabletop.renderer import Renderer, warm_up
from vlactl.tabletop.scene import model
from vlactl.tabletop.tasks import SUITES
from vlactl.tabletop.world import World


def record(source: Tabletop, out: Path, progress: Progress) -> dict[str, Any]:
    """The body of :meth:`vlactl.formats.Tabletop.record`; ``kernels_s`` and ``frames_per_s`` are in the summary."""
    progress(0, 1, unit="kernels")
    kernels_s = warm_up()
    progress(1, 1, unit="kernels")
    spaces = source.spaces()
    renderer = Renderer(model(source.embodiment, source.scene), image_px=source.image_px, shadows=source.shadows,
                        antialias=source.antialias, cameras=tuple(name for name, *_ in spaces.observation.cameras))

    def look(world: World) -> np.ndarray:
        return renderer.render([world.data], [world.colors()])[0]

    demonstrations = Demonstrations(source.embodiment, source.scene, SUITES[source.tasks], source.episodes_per_task,
                                    source.seed, source.noise, look)
    started = time.perf_counter()
    with EpisodeWriter(out, spaces) as writer:
        for number, episode in enumerate(demonstrations, 1):
            writer.add(episode)
            progress(number, len(demonstrations), unit="episodes",
                     frames_per_s=round(writer.frames / (time.perf_counter() - started), 1))
        summary = writer.close()
    return {**summary, "dropped": dict(sorted(demonstrations.dropped.items())), "kernels_s": round(kernels_s, 2),
            "frames_per_s": round(writer.frames / (time.perf_counter() - started), 1)}
