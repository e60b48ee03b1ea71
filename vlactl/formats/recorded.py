"""An episode directory on disk: flat, memory-mapped arrays and JSON, without pickle.

    images.npy    uint8   (N, K, Y, X, C)     all frames of all episodes, one after another
    states.npy    float32 (N, S)
    actions.npy   float32 (N, A)              in [-1, 1]; actions[i] is the teacher's answer to frame i
    robot.npy     float32 (N, 15)             optional: CALVIN's robot_obs
    scene.npy     float32 (N, 24)             optional: CALVIN's scene_obs
    episodes.json [{"task", "instruction", "scene", "start", "end"}, ...]      half-open ranges of frames, in order
    pairs.json    [{"frame", "kind", "question", "answer"}, ...]               optional: what is true of a frame
    spaces.json   vlactl.spaces.Spaces
    index.json    format, counts and a SHA-256 of each file's content; written last: without it there is no dataset

The digest covers all of them, and which of the optional ones there are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np

from vlactl.episodes import Episode
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats import FORMAT, Progress
from vlactl.identity import canonical
from vlactl.identity import digest as digest_of
from vlactl.spaces import Spaces, require_equal

ARRAYS = {"images": "uint8", "states": "float32", "actions": "float32"}
SIMULATED = {"robot": 15, "scene": 24}
"""Optional arrays, float32, and their widths: CALVIN's ``robot_obs`` and ``scene_obs``."""
DOCUMENTS = ("episodes", "spaces")
PAIR_KINDS = ("caption", "question")
CHUNK_BYTES = 1 << 22
REMEDY = "record it again, or correct the path; a directory is written by vlactl.formats.recorded.EpisodeWriter"


class PairRow(TypedDict):
    """One thing said about one frame: a caption (its question is empty), or a question with its answer."""

    frame: int
    """Of the directory; where an episode is added, of the episode."""
    kind: str
    question: str
    answer: str


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

    @property
    def dtypes(self) -> dict[str, str]:
        """Array name -> dtype, of the arrays that are there."""
        return {name: _dtype(name) for name in self.shapes}

    @property
    def documents(self) -> tuple[str, ...]:
        """Stems of the JSON files that are there, besides the index."""
        return (*DOCUMENTS, *(["pairs"] if "pairs" in self.sha256 else []))

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "digest": self.digest, "episodes": self.episodes, "frames": self.frames,
                "shapes": {name: list(shape) for name, shape in self.shapes.items()}, "sha256": self.sha256}


def array_shapes(spaces: Spaces, frames: int, simulated: Sequence[str] = ()) -> dict[str, tuple[int, ...]]:
    """Array name -> shape for ``frames`` frames; all cameras of one source have one size."""
    sizes = {(height, width) for _, height, width in spaces.observation.cameras}
    if len(sizes) != 1:
        raise IncompatibleSpaces(f"the cameras have different sizes: {sorted(sizes)}", where=spaces.embodiment,
                                 expected="one size for all cameras of a source")
    height, width = sizes.pop()
    return {"images": (frames, len(spaces.observation.cameras), height, width, 3),
            "states": (frames, len(spaces.observation.state)), "actions": (frames, spaces.action.size),
            **{name: (frames, width) for name, width in SIMULATED.items() if name in simulated}}


def read_index(path: Path) -> Index:
    """The index of the dataset in ``path``; raises :class:`UsageError` if it is missing, unfinished or truncated."""
    if not path.is_dir():
        raise UsageError("there is no such dataset", where=str(path), expected="an episode directory", remedy=REMEDY)
    document = read_document(path / "index.json", "an index; the recording was not finished")
    if document.get("format") != FORMAT:
        raise UsageError(f"the dataset is of format {document.get('format')!r}", where=str(path / "index.json"),
                         expected=f"format {FORMAT}, which says how the pictures were made",
                         remedy="record it again with this version of vlactl")
    try:
        shapes = {name: tuple(document["shapes"][name]) for name in (*ARRAYS, *SIMULATED)
                  if name in ARRAYS or name in document["shapes"]}
        index = Index(episodes=document["episodes"], frames=document["frames"], sha256=dict(document["sha256"]),
                      shapes=shapes)
    except (KeyError, TypeError) as error:
        raise UsageError(f"the index lacks {error}", where=str(path / "index.json"), remedy=REMEDY) from error
    if index.digest != document.get("digest") or index.sha256.keys() != {*shapes, *index.documents}:
        raise UsageError("the index does not match its own digest", where=str(path / "index.json"), remedy=REMEDY)
    for name, dtype in index.dtypes.items():
        open_array(path / f"{name}.npy", shapes[name], dtype)
    return index


def read_spaces(path: Path) -> Spaces:
    """The spaces of the dataset in ``path``, after :func:`read_index` has found it whole."""
    read_index(path)
    return Spaces.from_json(read_document(path / "spaces.json", "the spaces of the dataset"))


class RecordedEpisodes:
    """A dataset to read: episode by episode, or as flat arrays from which windows are cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = read_index(path)
        self.spaces: Spaces = read_spaces(path)
        rows = read_document(path / "episodes.json", "the list of episodes")
        shapes = array_shapes(self.spaces, self.index.frames, tuple(self.index.shapes))
        if shapes != self.index.shapes:
            raise UsageError(f"the arrays are {self.index.shapes}, the spaces say {shapes}", where=str(path),
                             remedy=REMEDY)
        arrays = {name: open_array(path / f"{name}.npy", shapes[name], dtype)
                  for name, dtype in self.index.dtypes.items()}
        self.images_NKYXC = arrays["images"]
        self.states_NS = np.asarray(arrays["states"])  # plain arrays over the mapped pages, which processes share
        self.actions_NA = np.asarray(arrays["actions"])
        self.robot_NR: np.ndarray | None = arrays.get("robot")
        self.scene_ND: np.ndarray | None = arrays.get("scene")
        self.starts = np.array([row["start"] for row in rows], np.int64)
        self.ends = np.array([row["end"] for row in rows], np.int64)
        self.tasks: list[str] = [row["task"] for row in rows]
        self.instructions: list[str] = [row["instruction"] for row in rows]
        self.scenes: list[str] = [row["scene"] for row in rows]
        if len(rows) != self.index.episodes or not _tile(self.starts, self.ends, self.index.frames):
            raise UsageError("the episodes do not cover the frames one after another",
                             where=str(path / "episodes.json"), remedy=REMEDY)
        self.episode_of_N = np.repeat(np.arange(len(rows)), self.ends - self.starts)

    def digest(self) -> str:
        """The content's digest; what it covers was checked when the dataset entered the store."""
        return self.index.digest

    def pairs(self) -> list[PairRow]:
        """What was written about single frames, in their order; empty where nothing was."""
        if "pairs" not in self.index.documents:
            return []
        return read_document(self.path / "pairs.json", "captions and questions")

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, position: int) -> Episode:
        frames = slice(int(self.starts[position]), int(self.ends[position]))
        return Episode(task=self.tasks[position], instruction=self.instructions[position],
                       embodiment=self.spaces.embodiment, images_TKYXC=self.images_NKYXC[frames],
                       states_TS=self.states_NS[frames], actions_TA=self.actions_NA[frames],
                       robot_TR=None if self.robot_NR is None else self.robot_NR[frames],
                       scene_TD=None if self.scene_ND is None else self.scene_ND[frames],
                       scene=self.scenes[position])


class EpisodeWriter:
    """Appends episodes to a directory; a context manager that leaves no index behind when its body raises."""

    def __init__(self, path: Path, spaces: Spaces) -> None:
        self.path, self.spaces = path, spaces
        self._shapes = array_shapes(spaces, 0, tuple(SIMULATED))
        path.mkdir(parents=True, exist_ok=True)
        if (path / "index.json").exists():
            raise UsageError("a dataset is there already", where=str(path), remedy="choose an empty directory")
        self._files: dict[str, IO[bytes]] = {}
        self._hashes = {name: hashlib.sha256() for name in self._shapes}
        self._rows: list[dict[str, Any]] = []
        self._pairs: list[PairRow] = []
        self.frames = 0
        for name in ARRAYS:
            self._open(name)

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and not (self.path / "index.json").exists():
            self.close()
        for file in self._files.values():
            file.close()

    def _open(self, name: str) -> None:
        self._files[name] = open(self.path / f"{name}.npy", "wb")  # noqa: SIM115
        self._files[name].write(_header(self._shapes[name], _dtype(name)))

    def add(self, episode: Episode, pairs: Sequence[PairRow] = ()) -> None:
        """Append one episode, and what is true of its frames; raises :class:`IncompatibleSpaces` where it does not fit
        the directory's spaces, or where only some episodes have CALVIN's robot and scene states."""
        where = f"episode {len(self._rows)} ({episode.task})"
        arrays = {"images": episode.images_TKYXC, "states": episode.states_TS, "actions": episode.actions_TA}
        optional = {"robot": episode.robot_TR, "scene": episode.scene_TD}
        arrays.update({name: array for name, array in optional.items() if array is not None})
        self._prepare(arrays, where)
        self._require_fit(episode, arrays, where)
        for pair in pairs:
            if not 0 <= pair["frame"] < len(episode) or pair["kind"] not in PAIR_KINDS or not pair["answer"]:
                raise IncompatibleSpaces(f"no pair of picture and words: {pair}", where=where,
                                         expected=f"a frame of the episode, {' or '.join(PAIR_KINDS)}, and an answer")
        for name, array in arrays.items():
            self._write(name, np.ascontiguousarray(array).data)
        self._enlist([{"task": episode.task, "instruction": episode.instruction, "scene": episode.scene, "start": 0,
                       "end": len(episode)}], pairs, len(episode))

    def append(self, source: Path, progress: Progress = lambda *_, **__: None, *, done: int = 0,
               total: int | None = None) -> int:
        """Append a whole dataset, checking every byte against its index; returns ``done`` and the array bytes added.

        Raises :class:`UsageError` at a difference, and :class:`IncompatibleSpaces` for a dataset of other spaces.
        """
        index = read_index(source)
        require_equal(self.spaces, read_spaces(source), where=str(source))
        documents = {name: read_document(source / f"{name}.json", f"the {name}") for name in index.documents}
        for name, document in documents.items():
            _require(document_sha256(document) == index.sha256[name], source / f"{name}.json")
        self._prepare(index.shapes, str(source))
        total = total or done + sum((source / f"{name}.npy").stat().st_size for name in index.shapes)
        for name in index.shapes:
            file, found = source / f"{name}.npy", hashlib.sha256()
            with open(file, "rb") as reading:
                done += reading.seek(_header_bytes(file))
                while chunk := reading.read(CHUNK_BYTES):
                    found.update(chunk)
                    self._write(name, chunk)
                    done += len(chunk)
                    progress(done / 1e6, total / 1e6, unit="MB")
            _require(found.hexdigest() == index.sha256[name], file)
        self._enlist(documents["episodes"], documents.get("pairs", ()), index.frames)
        return done

    def close(self) -> dict[str, Any]:
        """Finish the headers, write the JSON files, the index last; returns the summary."""
        shapes = array_shapes(self.spaces, self.frames, tuple(self._files))
        for name, file in self._files.items():
            file.seek(0)
            file.write(_header(shapes[name], _dtype(name)))
            file.flush()
            os.fsync(file.fileno())
            file.close()
        documents: dict[str, Any] = {"episodes": self._rows, "spaces": self.spaces.to_json(),
                                     **({"pairs": self._pairs} if self._pairs else {})}
        sha256 = {name: self._hashes[name].hexdigest() for name in shapes}
        for name, document in documents.items():
            write_document(self.path / f"{name}.json", document)
            sha256[name] = document_sha256(document)
        index = Index(episodes=len(self._rows), frames=self.frames, shapes=shapes, sha256=sha256)
        write_document(self.path / "index.json", index.to_json())
        return summary(self._rows, index)

    def _prepare(self, arrays: Mapping[str, Any], where: str) -> None:
        """The first episode decides which optional arrays there are."""
        if not self._rows:
            for name in arrays.keys() - self._files.keys():
                self._open(name)
        if arrays.keys() != self._files.keys():
            raise IncompatibleSpaces(f"it has the arrays {sorted(arrays)}", where=where,
                                     expected=f"{sorted(self._files)}, like the rest of the directory")

    def _require_fit(self, episode: Episode, arrays: Mapping[str, np.ndarray], where: str) -> None:
        if episode.embodiment != self.spaces.embodiment:
            raise IncompatibleSpaces(f"it is of embodiment '{episode.embodiment}'", where=where,
                                     expected=f"'{self.spaces.embodiment}', like the rest of the directory")
        for name, array in arrays.items():
            if array.shape != (len(episode), *self._shapes[name][1:]) or array.dtype != _dtype(name):
                raise IncompatibleSpaces(f"its {name} are {array.dtype} {array.shape}", where=where,
                                         expected=f"{_dtype(name)} (frames, {self._shapes[name][1:]})")
        finite = all(np.isfinite(array).all() for name, array in arrays.items() if name != "images")
        if len(episode) == 0 or not finite or not (np.abs(episode.actions_TA) <= 1).all():
            raise IncompatibleSpaces("it is empty, or a state or action is not finite or outside [-1, 1]", where=where,
                                     expected="at least one frame, finite states, actions in [-1, 1]")

    def _write(self, name: str, data: bytes | memoryview) -> None:
        self._files[name].write(data)
        self._hashes[name].update(data)

    def _enlist(self, rows: Sequence[Mapping[str, Any]], pairs: Sequence[PairRow], frames: int) -> None:
        first = self.frames
        self._rows += [{**row, "start": first + row["start"], "end": first + row["end"]} for row in rows]
        self._pairs += [PairRow(frame=first + pair["frame"], kind=pair["kind"], question=pair["question"],
                                answer=pair["answer"]) for pair in pairs]
        self.frames += frames


def summary(rows: Sequence[Mapping[str, Any]], index: Index) -> dict[str, Any]:
    """Counts and digest of a dataset, as the data stage's result."""
    return {"episodes": index.episodes, "frames": index.frames, "digest": index.digest,
            "tasks": dict(sorted(Counter(row["task"] for row in rows).items()))}


def copy_verified(source: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """Copy a dataset into ``out``, checking every byte against its index; raises :class:`UsageError` at a difference.

    A copy, not a link: what is in the store must not change when its owner goes on recording.
    """
    with EpisodeWriter(out, read_spaces(source)) as writer:
        writer.append(source, progress)
        return writer.close()


def _require(equal: bool, file: Path) -> None:
    if not equal:
        raise UsageError("the content is not what the index says", where=str(file),
                         remedy="restore the file from where it was recorded, or record the dataset again")


def _dtype(name: str) -> str:
    return ARRAYS.get(name, "float32")


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """An npy header; its length does not depend on the number of frames, so that it can be written again at the end."""
    text = str({"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape})
    return b"\x93NUMPY\x01\x00" + (246).to_bytes(2, "little") + text.ljust(245).encode() + b"\n"


def _header_bytes(file: Path) -> int:
    """Where the data of an npy file begin."""
    with open(file, "rb") as reading:
        array_header(reading)
        return reading.tell()


def array_header(reading: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and type of an npy file, which is then read up to its data; raises ValueError if it is none.
    """
    version = np.lib.format.read_magic(reading)
    return (np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0)(reading)


def open_array(file: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
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


def read_document(file: Path, what: str) -> Any:
    """A JSON file; raises :class:`UsageError` that says it should have been ``what``."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read ({type(error).__name__})", where=str(file), expected=what,
                         remedy=REMEDY) from error


def document_sha256(document: Any) -> str:
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def _tile(starts: np.ndarray, ends: np.ndarray, frames: int) -> bool:
    """Whether the ranges cover [0, frames) without gap, overlap or empty range."""
    edges = np.concatenate([[0], ends])
    return bool((edges[:-1] == starts).all() and (starts < ends).all() and edges[-1] == frames)


def write_document(file: Path, document: Any) -> None:
    """Write, flush and rename: the file is whole or absent."""
    partial = file.with_name(file.name + ".partial")
    with open(partial, "w") as writing:
        json.dump(document, writing, indent=1, allow_nan=False)
        writing.write("\n")
        writing.flush()
        os.fsync(writing.fileno())
    partial.replace(file)
