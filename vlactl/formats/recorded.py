"""An episode directory on disk: flat, memory-mapped arrays and JSON, without pickle.

    images.npy    uint8   (N, K, Y, X, C)     all frames of all episodes, one after another
    states.npy    float32 (N, S)
    actions.npy   float32 (N, A)              in [-1, 1]; actions[i] was commanded after seeing frame i
    episodes.json [{"task", "instruction", "start", "end"}, ...]      half-open ranges of frames, in order
    spaces.json   vlactl.spaces.Spaces
    index.json    format, counts and a SHA-256 of each file's content; written last: without it there is no dataset
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from vlactl.episodes import Episode
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats import FORMAT, Progress
from vlactl.identity import canonical
from vlactl.identity import digest as digest_of
from vlactl.spaces import Spaces

ARRAYS = {"images": "uint8", "states": "float32", "actions": "float32"}
CHUNK_BYTES = 1 << 24
REMEDY = "record it again, or correct the path; a directory is written by vlactl.formats.recorded.EpisodeWriter"


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """What ``index.json`` holds."""

    episodes: int
    frames: int
    shapes: dict[str, tuple[int, ...]]
    """Array name -> shape."""
    sha256: dict[str, str]
    """File stem -> SHA-256 of the array's data (without the npy header) or of the canonical JSON."""

    @property
    def digest(self) -> str:
        """The content's digest: equal for equal episodes, wherever and whenever they were written."""
        return digest_of({"format": FORMAT, "shapes": self.shapes, "sha256": self.sha256})

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "digest": self.digest, "episodes": self.episodes, "frames": self.frames,
                "shapes": {name: list(shape) for name, shape in self.shapes.items()}, "sha256": self.sha256}


def array_shapes(spaces: Spaces, frames: int) -> dict[str, tuple[int, ...]]:
    """Array name -> shape for ``frames`` frames; all cameras of one source have one size."""
    sizes = {(height, width) for _, height, width in spaces.observation.cameras}
    if len(sizes) != 1:
        raise IncompatibleSpaces(f"the cameras have different sizes: {sorted(sizes)}", where=spaces.embodiment,
                                 expected="one size for all cameras of a source")
    height, width = sizes.pop()
    return {"images": (frames, len(spaces.observation.cameras), height, width, 3),
            "states": (frames, len(spaces.observation.state)), "actions": (frames, spaces.action.size)}


def read_index(path: Path) -> Index:
    """The index of the dataset in ``path``; raises :class:`UsageError` if it is missing, unfinished or truncated."""
    if not path.is_dir():
        raise UsageError("there is no such dataset", where=str(path), expected="an episode directory", remedy=REMEDY)
    document = _read_json(path / "index.json", "an index; the recording was not finished")
    if document.get("format") != FORMAT:
        raise UsageError(f"unknown format {document.get('format')!r}", where=str(path / "index.json"),
                         expected=f"format {FORMAT}", remedy="record it again with this version of vlactl")
    try:
        index = Index(episodes=document["episodes"], frames=document["frames"], sha256=dict(document["sha256"]),
                      shapes={name: tuple(document["shapes"][name]) for name in ARRAYS})
    except (KeyError, TypeError) as error:
        raise UsageError(f"the index lacks {error}", where=str(path / "index.json"), remedy=REMEDY) from error
    if index.digest != document.get("digest"):
        raise UsageError("the index does not match its own digest", where=str(path / "index.json"), remedy=REMEDY)
    for name in ARRAYS:
        _open_array(path / f"{name}.npy", index.shapes[name], ARRAYS[name])
    return index


def read_spaces(path: Path) -> Spaces:
    """The spaces of the dataset in ``path``, after :func:`read_index` has found it whole."""
    read_index(path)
    return Spaces.from_json(_read_json(path / "spaces.json", "the spaces of the dataset"))


class RecordedEpisodes:
    """A dataset to read: episode by episode, or as flat arrays from which windows are cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = read_index(path)
        self.spaces: Spaces = read_spaces(path)
        rows = _read_json(path / "episodes.json", "the list of episodes")
        shapes = array_shapes(self.spaces, self.index.frames)
        if shapes != self.index.shapes:
            raise UsageError(f"the arrays are {self.index.shapes}, the spaces say {shapes}", where=str(path),
                             remedy=REMEDY)
        self.images_NKYXC = _open_array(path / "images.npy", shapes["images"], "uint8")
        self.states_NS = np.array(_open_array(path / "states.npy", shapes["states"], "float32"))
        self.actions_NA = np.array(_open_array(path / "actions.npy", shapes["actions"], "float32"))
        self.starts = np.array([row["start"] for row in rows], np.int64)
        self.ends = np.array([row["end"] for row in rows], np.int64)
        self.tasks: list[str] = [row["task"] for row in rows]
        self.instructions: list[str] = [row["instruction"] for row in rows]
        if len(rows) != self.index.episodes or not _tile(self.starts, self.ends, self.index.frames):
            raise UsageError("the episodes do not cover the frames one after another",
                             where=str(path / "episodes.json"), remedy=REMEDY)
        self.episode_of_N = np.repeat(np.arange(len(rows)), self.ends - self.starts)

    def digest(self) -> str:
        """The content's digest; what it covers was checked when the dataset entered the store."""
        return self.index.digest

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, position: int) -> Episode:
        frames = slice(int(self.starts[position]), int(self.ends[position]))
        return Episode(task=self.tasks[position], instruction=self.instructions[position],
                       embodiment=self.spaces.embodiment, images_TKYXC=self.images_NKYXC[frames],
                       states_TS=self.states_NS[frames], actions_TA=self.actions_NA[frames])


class EpisodeWriter:
    """Appends episodes to a directory; a context manager that leaves no index behind when its body raises."""

    def __init__(self, path: Path, spaces: Spaces) -> None:
        self.path, self.spaces = path, spaces
        self._shapes = array_shapes(spaces, 0)
        path.mkdir(parents=True, exist_ok=True)
        if (path / "index.json").exists():
            raise UsageError("a dataset is there already", where=str(path), remedy="choose an empty directory")
        self._files: dict[str, IO[bytes]] = {name: open(path / f"{name}.npy", "wb") for name in ARRAYS}  # noqa: SIM115
        self._hashes = {name: hashlib.sha256() for name in ARRAYS}
        for name, file in self._files.items():
            file.write(_header(self._shapes[name], ARRAYS[name]))
        self._rows: list[dict[str, Any]] = []
        self.frames = 0

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and not (self.path / "index.json").exists():
            self.close()
        for file in self._files.values():
            file.close()

    def add(self, episode: Episode) -> None:
        """Append one episode; raises :class:`IncompatibleSpaces` where it does not fit the directory's spaces."""
        arrays = {"images": episode.images_TKYXC, "states": episode.states_TS, "actions": episode.actions_TA}
        where = f"episode {len(self._rows)} ({episode.task})"
        if episode.embodiment != self.spaces.embodiment:
            raise IncompatibleSpaces(f"it is of embodiment '{episode.embodiment}'", where=where,
                                     expected=f"'{self.spaces.embodiment}', like the rest of the directory")
        for name, array in arrays.items():
            if array.shape != (len(episode), *self._shapes[name][1:]) or array.dtype != ARRAYS[name]:
                raise IncompatibleSpaces(f"its {name} are {array.dtype} {array.shape}", where=where,
                                         expected=f"{ARRAYS[name]} (frames, {self._shapes[name][1:]})")
        if len(episode) == 0 or not np.isfinite(episode.states_TS).all() or not _legal(episode.actions_TA):
            raise IncompatibleSpaces("it is empty, or a state or action is not finite or outside [-1, 1]", where=where,
                                     expected="at least one frame, finite states, actions in [-1, 1]")
        for name, array in arrays.items():
            data = np.ascontiguousarray(array).data
            self._files[name].write(data)
            self._hashes[name].update(data)
        self._rows.append({"task": episode.task, "instruction": episode.instruction,
                           "start": self.frames, "end": self.frames + len(episode)})
        self.frames += len(episode)

    def close(self) -> dict[str, Any]:
        """Finish the headers, write the JSON files, the index last; returns the summary."""
        shapes = array_shapes(self.spaces, self.frames)
        for name, file in self._files.items():
            file.seek(0)
            file.write(_header(shapes[name], ARRAYS[name]))
            file.flush()
            os.fsync(file.fileno())
            file.close()
        documents = {"episodes": self._rows, "spaces": self.spaces.to_json()}
        sha256 = {name: self._hashes[name].hexdigest() for name in ARRAYS}
        for name, document in documents.items():
            _write_json(self.path / f"{name}.json", document)
            sha256[name] = hashlib.sha256(canonical(document).encode()).hexdigest()
        index = Index(episodes=len(self._rows), frames=self.frames, shapes=shapes, sha256=sha256)
        _write_json(self.path / "index.json", index.to_json())
        return summary(self._rows, index)


def summary(rows: list[dict[str, Any]], index: Index) -> dict[str, Any]:
    """Counts and digest of a dataset, as the data stage's result."""
    return {"episodes": index.episodes, "frames": index.frames, "digest": index.digest,
            "tasks": dict(sorted(Counter(row["task"] for row in rows).items()))}


def copy_verified(source: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """Copy a dataset into ``out``, checking every byte against its index; raises :class:`UsageError` at a difference.

    A copy, not a link: what is in the store must not change when its owner goes on recording.
    """
    index = read_index(source)
    out.mkdir(parents=True, exist_ok=True)
    total = sum((source / f"{name}.npy").stat().st_size for name in ARRAYS)
    done = 0
    for name in ARRAYS:
        file = source / f"{name}.npy"
        with open(file, "rb") as reading, open(out / file.name, "wb") as writing:
            done += writing.write(reading.read(_header_bytes(file)))
            found = hashlib.sha256()
            while chunk := reading.read(CHUNK_BYTES):
                found.update(chunk)
                done += writing.write(chunk)
                progress(done, total, unit="bytes")
        _require(found.hexdigest() == index.sha256[name], file)
    rows = _read_json(source / "episodes.json", "the list of episodes")
    for name, document in (("episodes", rows), ("spaces", _read_json(source / "spaces.json", "the spaces"))):
        content = hashlib.sha256(canonical(document).encode()).hexdigest()
        _require(content == index.sha256[name], source / f"{name}.json")
        shutil.copyfile(source / f"{name}.json", out / f"{name}.json")
    _write_json(out / "index.json", index.to_json())
    RecordedEpisodes(out)
    return summary(rows, index)


def _require(equal: bool, file: Path) -> None:
    if not equal:
        raise UsageError("the content is not what the index says", where=str(file),
                         remedy="restore the file from where it was recorded, or record the dataset again")


def _legal(actions_TA: np.ndarray) -> bool:
    return bool((np.abs(actions_TA) <= 1).all())  # false for NaN as well


def _tile(starts: np.ndarray, ends: np.ndarray, frames: int) -> bool:
    """Whether the ranges cover [0, frames) without gap, overlap or empty range."""
    edges = np.concatenate([[0], ends])
    return bool((edges[:-1] == starts).all() and (starts < ends).all() and edges[-1] == frames)


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """An npy header; its length does not depend on the number of frames, so that it can be written again at the end."""
    text = str({"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape})
    return b"\x93NUMPY\x01\x00" + (246).to_bytes(2, "little") + text.ljust(245).encode() + b"\n"


def _header_bytes(file: Path) -> int:
    with open(file, "rb") as reading:
        version = np.lib.format.read_magic(reading)
        (np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0)(reading)
        return reading.tell()


def _open_array(file: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A read-only memory map; raises :class:`UsageError` if the file is missing, cut short or of another shape."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False) if shape[0] else np.empty(shape, dtype)
    except (OSError, ValueError) as error:
        raise UsageError(f"the array cannot be read ({error})", where=str(file), expected=f"{dtype} {shape}",
                         remedy=REMEDY) from error
    if array.shape != shape or array.dtype != dtype:
        raise UsageError(f"it holds {array.dtype} {array.shape}", where=str(file), expected=f"{dtype} {shape}",
                         remedy=REMEDY)
    return array


def _read_json(file: Path, what: str) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read ({type(error).__name__})", where=str(file), expected=what,
                         remedy=REMEDY) from error


def _write_json(file: Path, document: Any) -> None:
    """Write, flush and rename: the file is whole or absent."""
    partial = file.with_name(file.name + ".partial")
    with open(partial, "w") as writing:
        json.dump(document, writing, indent=1, allow_nan=False)
        writing.write("\n")
        writing.flush()
        os.fsync(writing.fileno())
    partial.replace(file)
