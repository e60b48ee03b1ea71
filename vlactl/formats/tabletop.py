"""Records demonstrations of the embedded world: expert -> pictures -> units -> episode directory."""

from __future__ import annotations

import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from vlactl.formats import Progress, Tabletop
from vlactl.formats.crew import Tell
from vlactl.formats.quotas import Unit, divide
from vlactl.formats.recorded import EpisodeWriter, PairRow
from vlactl.formats.recording import Recording
from vlactl.identity import identity_of
from vlactl.tabletop import rendering, world
from vlactl.tabletop.demonstrations import Demonstrations
from vlactl.tabletop.rendering import Poses, Renderer, open_renderer
from vlactl.tabletop.tasks import SUITES
from vlactl.tabletop.world import World


def record(source: Tabletop, out: Path, progress: Progress) -> dict[str, Any]:
    """The body of :meth:`vlactl.formats.Tabletop.record`: goes on where an interrupted recording of the same source in
    ``out`` ended.

    The summary has what was ``dropped`` by task, ``cpu_s`` of all units, ``kernels_s``, and ``frames_per_s`` of this
    call over all workers; only counts and digest where the recording was complete already.
    """
    recording, kernels_s = Recording(out, identity_of(source), source.spaces()), [0.0]

    def prepare() -> None:
        kernels_s[0] = _warmed(source, progress)

    result = recording.carried_out(divided(source), partial(record_unit, source, out), workers=source.workers,
                                   progress=progress, prepare=prepare)
    return {**result, "kernels_s": round(kernels_s[0], 2)} if "frames_per_s" in result else result


def divided(source: Tabletop) -> tuple[Unit, ...]:
    """The units of a recording, a function of the source's fields alone."""
    return divide(source.episodes, source.scenes, SUITES[source.tasks])


def _warmed(source: Tabletop, progress: Progress) -> float:
    """Compile the kernels here, so that workers find them in the cache; returns the seconds that took."""
    progress(0, 1, unit="kernels")
    seconds = world.warm_up() + (rendering.warm_up() if source.renderer == "raycast" else 0.0)
    progress(1, 1, unit="kernels")
    return seconds


def record_unit(source: Tabletop, out: Path, unit: Unit, tell: Tell) -> None:
    """Make one unit, in whatever process."""
    recording = Recording(out, identity_of(source), source.spaces())
    desk, renderer = _desk(source.embodiment, unit.scene, source.action_repeat, source.renderer, source.image_px,
                           source.shadows, source.antialias)
    demonstrations = Demonstrations(desk, unit.quota, seed=(source.seed, unit.number), noise=source.noise,
                                    draw=partial(_draw, renderer), pairs=source.pairs_per_episode)
    started = time.process_time()
    with recording.writing(unit) as folder:
        with EpisodeWriter(folder, recording.spaces) as writer:
            for episode, words in demonstrations:
                writer.add(episode, [PairRow(**said._asdict()) for said in words])
                tell(1, len(episode))
        recording.stamp(unit, {"dropped": demonstrations.dropped, "cpu_s": round(time.process_time() - started, 3)})


def _draw(renderer: Renderer, poses: Poses) -> np.ndarray:
    """images_TKYXC of the poses of T frames."""
    return np.stack(renderer.draw(poses), 1)


@lru_cache(maxsize=1)
def _desk(embodiment: str, scene: str, action_repeat: int, renderer: str, image_px: int, shadows: bool, antialias: int
          ) -> tuple[World, Renderer]:
    """The world and its renderer, kept while units are of one desk; worlds are history-free."""
    desk = World(embodiment, scene, action_repeat=action_repeat)
    cameras = (desk.embodiment.static.name, desk.embodiment.wrist.name)
    return desk, open_renderer(renderer, desk.model, image_px=image_px, shadows=shadows, antialias=antialias,
                               cameras=cameras)
