"""Episodes -> the LeRobot v3.0 format."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from vlactl.episodes import Episode
from vlactl.errors import IncompatibleSpaces
from vlactl.formats import Progress, moments
from vlactl.formats.exchange import Episodes
from vlactl.formats.lerobot import films, layout
from vlactl.formats.pace import Pace
from vlactl.formats.sidecar import Sidecar
from vlactl.spaces import Spaces

PNG_LEVEL = 1
"""zlib level of the images: 6 is 6 % smaller and takes twice as long on rendered pictures of 64 px (measured)."""
ROWS = 512
"""Rows in a row group, at least: few enough to read one episode quickly, enough to read all of them quickly."""
FLAWLESS_DB = 99.0
"""What is written for films without any error: JSON has no infinity."""
COMPARED = 16
"""Episodes whose films are compared with the original images."""


def write(episodes: Episodes, out: Path, progress: Progress, *, video: bool = False) -> dict[str, Any]:
    """Write all of ``episodes`` into ``out`` (existing, empty) and return a summary.

    Images are stored without loss unless ``video``; then the summary has the codec and the PSNR, measured on up to 16
    episodes.  Raises :class:`IncompatibleSpaces` for an episode that has other arrays than the first.
    """
    spaces, first = episodes.spaces, episodes[0]
    vectors = layout.vector_names(spaces, robot=first.robot_TR is not None, scene=first.scene_TD is not None)
    writer = _Writer(out, spaces, vectors, video)
    pace = Pace(progress, len(episodes))
    for position in range(len(episodes)):
        episode = first if position == 0 else episodes[position]
        writer.add(episode)
        pace(1, len(episode))
    summary = writer.close()
    facts: dict[str, Any] = {}
    if video:
        codec = f"{films.CODEC} {films.PIXELS} crf {films.OPTIONS['crf']}"
        facts = {"codec": codec, "psnr_db": _psnr_db(episodes, out, writer.rows)}
    Sidecar(kind="lerobot", spaces=spaces, **summary, facts=facts,
            differs=layout.differs(spaces, tuple(vectors), facts.get("codec", ""))).write(out, episodes.pairs())
    return {**summary, **facts}


class _Writer:
    """Appends episodes to data and video files and remembers where they lie."""

    def __init__(self, out: Path, spaces: Spaces, vectors: dict[str, tuple[str, ...]], video: bool) -> None:
        self.out, self.spaces, self.vectors = out, spaces, vectors
        self.rows: list[dict[str, Any]] = []
        """``meta/episodes`` without the moments."""
        self._rate_hz = spaces.action.rate_hz
        self._cameras = tuple(layout.camera_key(name) for name, *_ in spaces.observation.cameras)
        self._films = [films.Film(out, layout.camera_key(name), self._rate_hz, (height, width))
                       for name, height, width in spaces.observation.cameras] if video else []
        self._data = _DataFiles(out)
        self._tasks: dict[str, int] = {}
        self._moments: dict[str, moments.Running] = {}
        self._episodes = _EpisodesFile(out)
        self._frames = 0

    def add(self, episode: Episode) -> None:
        """Append one episode; raises :class:`IncompatibleSpaces` where it has other arrays than the first."""
        number, count = len(self.rows), len(episode)
        values = {layout.STATE: episode.states_TS, layout.ACTION: episode.actions_TA, layout.ROBOT: episode.robot_TR,
                  layout.SCENE: episode.scene_TD}
        if {key for key, value in values.items() if value is not None} != self.vectors.keys():
            raise IncompatibleSpaces("some episodes have robot or scene states and some have none",
                                     where=f"episode {number} ({episode.task})", expected="all alike",
                                     remedy="record the dataset again with this version of vlactl")
        frame_T = np.arange(count)
        counters = {"timestamp": (frame_T / self._rate_hz).astype(np.float32), "frame_index": frame_T,
                    "episode_index": np.full(count, number), "index": self._frames + frame_T,
                    "task_index": np.full(count, self._tasks.setdefault(episode.instruction, len(self._tasks)))}
        columns: dict[str, pa.Array] = {}
        row: dict[str, Any] = {"episode_index": number, "tasks": [episode.instruction], "length": count,
                               layout.TASK_NAME: episode.task, layout.SCENE_LETTER: episode.scene}
        found: dict[str, moments.Moments] = {}
        for k, key in enumerate(self._cameras):
            found[key] = moments.of_images(episode.images_TKYXC[:, k])
            if self._films:
                row.update(self._films[k].add(episode.images_TKYXC[:, k]))
            else:
                columns[key] = _pictures(episode.images_TKYXC[:, k])
        for key in self.vectors:
            found[key] = moments.of_vectors(values[key])
            columns[key] = _vectors(values[key])
        for key, values_T in counters.items():
            found[key] = moments.of_vectors(values_T[:, None])
            columns[key] = pa.array(values_T)
        row.update(self._data.add(pa.table(columns)))
        row.update({"dataset_from_index": self._frames, "dataset_to_index": self._frames + count,
                    "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self.rows.append(row)
        for key, of in found.items():
            self._moments.setdefault(key, moments.Running()).add(of)
        self._episodes.add({**row, **{f"stats/{key}/{name}": value.tolist() for key, of in found.items()
                                      for name, value in of.items()}})
        self._frames += count

    def close(self) -> dict[str, Any]:
        """Finish the files and write the metadata; returns the counts."""
        self._data.close()
        for film in self._films:
            film.close()
        self._episodes.close()
        pq.write_table(_tasks(self._tasks), self.out / layout.TASKS, write_page_checksum=True)
        video = films.info(self._fps()) if self._films else None
        info = {"codebase_version": layout.VERSION, "robot_type": self.spaces.embodiment,
                "total_episodes": len(self.rows), "total_frames": self._frames, "total_tasks": len(self._tasks),
                "chunks_size": layout.FILES_PER_CHUNK, "data_files_size_in_mb": layout.DATA_FILE_MB,
                "video_files_size_in_mb": layout.VIDEO_FILE_MB, "fps": self._fps(),
                "splits": {"train": f"0:{len(self.rows)}"}, "data_path": layout.DATA,
                "video_path": layout.VIDEO if self._films else None,
                "features": layout.features(self.spaces, self.vectors, video)}
        stats = {key: {name: value.tolist() for name, value in running.merged().items()}
                 for key, running in self._moments.items()}
        for name, document in ((layout.INFO, info), (layout.STATS, stats)):
            (self.out / name).write_text(json.dumps(document, indent=4, allow_nan=False) + "\n")
        return {"episodes": len(self.rows), "frames": self._frames}

    def _fps(self) -> float:
        """LeRobot writes whole numbers; a rate that is none stays as it is."""
        return int(self._rate_hz) if self._rate_hz.is_integer() else self._rate_hz


class _EpisodesFile:
    """``meta/episodes``: one file for all, because a row is some 10 kB and the dataset's images are the bulk."""

    def __init__(self, out: Path) -> None:
        self._path = out / layout.EPISODES.format(chunk_index=0, file_index=0)
        self._path.parent.mkdir(parents=True)
        self._pending: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        self._pending.append(row)
        if len(self._pending) >= ROWS:
            self._flush()

    def close(self) -> None:
        if self._pending:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._pending, self._writer.schema if self._writer is not None else None)
        self._pending.clear()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, write_page_checksum=True)
        self._writer.write_table(table)


class _DataFiles:
    """Parquet files of frames: row groups of whole episodes, a new file after about 100 MB."""

    def __init__(self, out: Path) -> None:
        self.out, self.file = out, 0
        self._pending: list[pa.Table] = []
        self._bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> dict[str, int]:
        """Append an episode; returns its columns of ``meta/episodes``."""
        if self._bytes and self._bytes + table.nbytes > layout.DATA_FILE_MB << 20:
            self.close()
            self.file, self._bytes = self.file + 1, 0
        self._bytes += table.nbytes
        self._pending.append(table)
        if sum(len(part) for part in self._pending) >= ROWS:
            self._flush()
        chunk, file = divmod(self.file, layout.FILES_PER_CHUNK)
        return {"data/chunk_index": chunk, "data/file_index": file}

    def close(self) -> None:
        """Finish the current file."""
        if self._pending:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        table = pa.concat_tables(self._pending).combine_chunks()
        self._pending.clear()
        if self._writer is None:
            chunk, file = divmod(self.file, layout.FILES_PER_CHUNK)
            path = self.out / layout.DATA.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema, use_dictionary=False, write_page_checksum=True)
        self._writer.write_table(table, row_group_size=len(table))


def _vectors(values_TV: np.ndarray) -> pa.Array:
    """A column of fixed-size lists; LeRobot stores single numbers flat."""
    flat = pa.array(np.ascontiguousarray(values_TV).ravel())
    return flat if values_TV.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values_TV.shape[1])


def _pictures(images_TYXC: np.ndarray) -> pa.Array:
    """A column of PNG files as ``{"bytes", "path"}``, which is how the datasets library stores images."""
    files = []
    for image_YXC in images_TYXC:
        buffer = io.BytesIO()
        Image.fromarray(image_YXC).save(buffer, "PNG", compress_level=PNG_LEVEL)
        files.append(buffer.getvalue())
    names = [f"frame-{number:06d}.png" for number in range(len(files))]
    return pa.StructArray.from_arrays([pa.array(files, pa.binary()), pa.array(names)], names=["bytes", "path"])


def _tasks(tasks: dict[str, int]) -> pa.Table:
    """``task_index`` by instruction, marked so that pandas makes the instructions the index."""
    index = {"name": None, "field_name": layout.INDEX, "pandas_type": "unicode", "numpy_type": "object",
             "metadata": None}
    column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
              "metadata": None}
    marks = {"index_columns": [layout.INDEX], "column_indexes": [], "columns": [column, index], "pandas_version": "2.0"}
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), layout.INDEX: pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(marks)})


def _psnr_db(episodes: Episodes, out: Path, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of the films, by camera, over episodes spread evenly over the dataset."""
    spaces, found = episodes.spaces, {}
    chosen = sorted({int(position) for position in np.linspace(0, len(rows) - 1, COMPARED)})
    originals = {position: episodes[position].images_TKYXC for position in chosen}
    for k, (name, *_) in enumerate(spaces.observation.cameras):
        key = layout.camera_key(name)
        seen = [films.frames(out / layout.VIDEO.format(
            video_key=key, chunk_index=rows[position][f"videos/{key}/chunk_index"],
            file_index=rows[position][f"videos/{key}/file_index"]), rows[position][f"videos/{key}/from_timestamp"],
            rows[position]["length"], spaces.action.rate_hz) for position in chosen]
        original = np.concatenate([originals[position][:, k] for position in chosen])
        found[name] = round(min(FLAWLESS_DB, films.psnr_db(original, np.concatenate(seen))), 2)
    return found
