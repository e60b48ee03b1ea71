"""Records a dataset in CALVIN's directory format: frames -> resized pictures -> units -> episode directory."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from vlactl.errors import UsageError
from vlactl.formats import Calvin, Progress, sidecar
from vlactl.formats.calvin import layout
from vlactl.formats.calvin.reader import CalvinEpisodes, read_annotations
from vlactl.formats.crew import Tell
from vlactl.formats.foreign import CALVIN_SPLITS
from vlactl.formats.quotas import UNIT_EPISODES, Unit
from vlactl.formats.recorded import EpisodeWriter
from vlactl.formats.recording import Recording
from vlactl.identity import digest, identity_of


def record(source: Calvin, out: Path, progress: Progress) -> dict[str, Any]:
    """The body of :meth:`vlactl.formats.Calvin.record`: goes on where an interrupted recording of the same source in
    ``out`` ended, and returns the summary with ``cpu_s`` and ``frames_per_s``.

    Raises :class:`UsageError` where the dataset is missing, not whole, or not the split that it is called.
    """
    folder = training_half(source)
    units = divided(_opened(folder, source.image_px, source.renderer))
    expected = CALVIN_SPLITS[source.split].annotated if source.split in CALVIN_SPLITS else None
    if expected not in (None, found := sum(unit.episodes for unit in units)):
        raise UsageError(f"it has {found} annotated segments", where=str(folder),
                         expected=f"{expected}, as the training half of {CALVIN_SPLITS[source.split].folder} has",
                         remedy="fetch the split again (copies from before 16 September 2022 are wrong), or take "
                                "split: custom, which counts by content")
    identity = identity_of(source)  # once: that of a custom folder looks at all its files
    return Recording(out, identity, source.spaces()).carried_out(
        units, partial(record_unit, source, identity, folder, out), workers=source.workers, progress=progress)


def training_half(source: Calvin) -> Path:
    """The folder with the annotated frames; raises :class:`UsageError` where there is none, or an export of ours."""
    if source.folder is None or not source.folder.is_dir():
        raise UsageError("there is no dataset", where=str(source.folder or source.split),
                         expected="a folder in CALVIN's directory format", remedy=source.missing()[0])
    if sidecar.read(source.folder, "calvin") is not None:
        raise UsageError("it is an export of vlactl's, whose spaces are not CALVIN's", where=str(source.folder),
                         expected="CALVIN's own dataset, or one recorded in CALVIN's simulator",
                         remedy="vlactl data convert FOLDER --to vlactl -o NEW, and take {kind: recorded, path: NEW}")
    return half_of(source.folder)


def half_of(folder: Path) -> Path:
    """The training half in a dataset's folder, or the folder itself where it is that half."""
    inner = folder / layout.HALVES[0]
    return inner if inner.is_dir() else folder


def divided(episodes: CalvinEpisodes) -> tuple[Unit, ...]:
    """The units: neighbours in the order of the annotations, scene by scene."""
    units: list[Unit] = []
    for positions in _parts(tuple(episodes.scenes)):
        quota = Counter(episodes.tasks[position] for position in positions)
        units.append(Unit(number=len(units), scene=episodes.scenes[positions[0]], quota=dict(quota)))
    return tuple(units)


@lru_cache(maxsize=2)
def _parts(scenes: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """Positions of the episodes of each unit."""
    at_scene: dict[str, list[int]] = {}
    for position, scene in enumerate(scenes):
        at_scene.setdefault(scene, []).append(position)
    return tuple(tuple(positions[start:start + UNIT_EPISODES]) for _, positions in sorted(at_scene.items())
                 for start in range(0, len(positions), UNIT_EPISODES))


@lru_cache(maxsize=1)
def _opened(folder: Path, image_px: int, renderer: str) -> CalvinEpisodes:
    """Kept by a worker for all its units: the annotations of a split are some thousand rows."""
    return CalvinEpisodes(folder, image_px=image_px, renderer=renderer)


def record_unit(source: Calvin, identity: dict, folder: Path, out: Path, unit: Unit, tell: Tell) -> None:
    """Make one unit, in whatever process."""
    recording = Recording(out, identity, source.spaces())
    episodes = _opened(folder, source.image_px, source.renderer)
    started = time.process_time()
    with recording.writing(unit) as partial_folder:
        with EpisodeWriter(partial_folder, recording.spaces) as writer:
            for position in _parts(tuple(episodes.scenes))[unit.number]:
                episode = episodes[position]
                writer.add(episode)
                tell(1, len(episode))
        recording.stamp(unit, {"dropped": {}, "cpu_s": round(time.process_time() - started, 3)})


def fingerprint(folder: Path) -> str:
    """Digest of a custom dataset: its annotations and scenes by content, its annotated frames by name and size.

    Frames are compressed, so that a changed one hardly ever keeps its size; reading all of them would take hours.
    Raises :class:`UsageError` where there is no dataset, or a frame is missing.
    """
    half = half_of(folder)
    rows = read_annotations(half)
    sizes = []
    for number in sorted({frame for row in rows for frame in range(row["first"], row["last"] + 1)}):
        file = half / layout.FRAME.format(number)
        if not file.is_file():
            raise UsageError("an annotated frame is missing", where=str(file), remedy="restore it, or fetch it again")
        sizes.append([number, file.stat().st_size])
    tables = {name: hashlib.sha256((half / name).read_bytes()).hexdigest()
              for name in (layout.ANNOTATIONS, "scene_info.npy") if (half / name).is_file()}
    return digest({"tables": tables, "frames": sizes})
