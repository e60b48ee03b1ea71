"""The LeRobot v3.0 format -> episodes."""

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
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats import sidecar
from vlactl.formats.lerobot import films, layout
from vlactl.formats.recorded import PairRow
from vlactl.spaces import Spaces

RESTORE = "restore the file from where the dataset came from, or convert the dataset again"


class LeRobotEpisodes:
    """The episodes of a LeRobot dataset, in order.

    An export of ours knows its ``spaces``; for a dataset of somebody else's they are given, because LeRobot does not
    record what actions mean.  Raises :class:`UsageError` for a folder that is not whole or of another version, and
    :class:`IncompatibleSpaces` where its columns are not what the spaces say.
    """

    def __init__(self, path: Path, *, spaces: Spaces | None = None) -> None:
        self.path = path
        self._info = _info(path)
        found = sidecar.read(path, "lerobot")
        self._is_ours = found is not None
        self.spaces = _declared(found, spaces, path)
        self._check_features()
        self._tasks = _task_texts(path)
        self._rows = self._episodes()
        self.instructions = [row["tasks"][0] for row in self._rows]
        self.tasks = [row.get(layout.TASK_NAME) or row["tasks"][0] for row in self._rows]
        self.scenes = [row.get(layout.SCENE_LETTER) or "" for row in self._rows]
        self._first_rows: dict[tuple[int, int], int] = {}
        """(chunk, file) -> the dataset's frame that is the file's first."""
        for row in self._rows:
            self._first_rows.setdefault(_place(row), row["dataset_from_index"])
        self._opened: tuple[Path, pq.ParquetFile] | None = None
        self._read: tuple[tuple, pa.Table] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def pairs(self) -> list[PairRow]:
        """What was written about single frames of an export, in their order."""
        return sidecar.read_pairs(self.path)

    def __getitem__(self, position: int) -> Episode:
        row = self._rows[position]
        table = self._table(row)

        def simulated(key: str) -> np.ndarray | None:
            # somebody else's columns of these names mean something else
            return self._vectors(table, key, row) if self._is_ours and key in self._info["features"] else None

        return Episode(task=self.tasks[position], instruction=self.instructions[position],
                       scene=self.scenes[position], embodiment=self.spaces.embodiment,
                       images_TKYXC=np.stack([self._images(table, row, *camera)
                                              for camera in self.spaces.observation.cameras], 1),
                       states_TS=self._vectors(table, layout.STATE, row),
                       actions_TA=self._vectors(table, layout.ACTION, row),
                       robot_TR=simulated(layout.ROBOT), scene_TD=simulated(layout.SCENE))

    def _check_features(self) -> None:
        features, spaces = self._info["features"], self.spaces
        wanted = {layout.STATE: [[len(spaces.observation.state)]], layout.ACTION: [[spaces.action.size]],
                  **{layout.camera_key(name): [[height, width, 3], [3, height, width]]  # LeRobot's own differ in this
                     for name, height, width in spaces.observation.cameras}}
        for key, shapes in wanted.items():
            if key not in features or features[key]["shape"] not in shapes:
                raise IncompatibleSpaces(f"{key} is {features[key]['shape'] if key in features else 'missing'}",
                                         where=str(self.path / layout.INFO), expected=f"shape {shapes[0]}",
                                         remedy="declare the spaces that the dataset has")
        if self._info["fps"] != spaces.action.rate_hz:
            raise IncompatibleSpaces(f"it has {self._info['fps']} frames per second",
                                     where=str(self.path / layout.INFO),
                                     expected=f"{spaces.action.rate_hz:g}, the rate of the spaces",
                                     remedy="declare the spaces that the dataset has")

    def _episodes(self) -> list[dict[str, Any]]:
        """The rows of ``meta/episodes`` without the moments, checked for tiling the frames."""
        files = sorted((self.path / "meta/episodes").glob("*/*.parquet"))
        if not files:
            raise UsageError("there are no episodes", where=str(self.path / "meta/episodes"), remedy=RESTORE,
                             expected=layout.EPISODES.format(chunk_index=0, file_index=0))
        rows: list[dict[str, Any]] = []
        for file in files:
            opened = _open(file)
            wanted = [name for name in opened.schema_arrow.names if not name.startswith("stats/")]
            rows += _guarded(file, lambda opened=opened, wanted=wanted: opened.read(wanted)).to_pylist()
        try:
            rows.sort(key=lambda row: row["episode_index"])
            several = next((row for row in rows if len(row["tasks"]) != 1), None)
            edges = [0, *(row["dataset_to_index"] for row in rows)]
            whole = ([row["episode_index"] for row in rows] == list(range(self._info["total_episodes"]))
                     and all(row["dataset_from_index"] == edge and row["length"] == row["dataset_to_index"] - edge > 0
                             for row, edge in zip(rows, edges, strict=False))
                     and edges[-1] == self._info["total_frames"])
        except (KeyError, TypeError) as error:
            raise UsageError(f"the episodes lack {error}", where=str(files[0]), remedy=RESTORE) from error
        if several:
            raise UsageError(f"episode {several['episode_index']} has {len(several['tasks'])} instructions",
                             where=str(files[0].parent), expected="one for each episode",
                             remedy="split the episode where the instruction changes")
        if not whole:
            raise UsageError("the episodes do not cover the frames one after another", where=str(files[0].parent),
                             expected=f"{self._info['total_episodes']} episodes, {self._info['total_frames']} frames, "
                                      f"as {layout.INFO} says", remedy=RESTORE)
        return rows

    def _table(self, row: dict[str, Any]) -> pa.Table:
        """The rows of one episode.

        The file and the row groups that were read last are kept, because neighbouring episodes share them.
        """
        chunk, number = _place(row)
        file = self.path / layout.DATA.format(chunk_index=chunk, file_index=number)
        if self._opened is None or self._opened[0] != file:
            self._opened = (file, _open(file))
        opened = self._opened[1]
        start = row["dataset_from_index"] - self._first_rows[chunk, number]
        edges = np.cumsum([0, *(opened.metadata.row_group(n).num_rows for n in range(opened.metadata.num_row_groups))])
        groups = [n for n in range(len(edges) - 1) if edges[n] < start + row["length"] and edges[n + 1] > start]
        if self._read is None or self._read[0] != (file, groups):
            names = self._columns(opened.schema_arrow, file)
            self._read = ((file, groups), _guarded(file, lambda: opened.read_row_groups(groups, names)))
        table = self._read[1].slice(start - edges[groups[0]] if groups else 0, row["length"])
        if (table["episode_index"].to_pylist() != [row["episode_index"]] * row["length"]
                or not {self._tasks.get(index) for index in table["task_index"].to_pylist()} <= set(row["tasks"])):
            raise UsageError(f"its rows are not those of episode {row['episode_index']}", where=str(file),
                             expected=f"{row['length']} frames of '{row['tasks'][0]}'", remedy=RESTORE)
        return table

    def _columns(self, schema: pa.Schema, file: Path) -> list[str]:
        """The columns that are read; raises :class:`UsageError` where one is missing or of another kind."""
        features = {name: feature for name, feature in self._info["features"].items() if feature["dtype"] != "video"}
        wanted = [*features, *(name for name in ("episode_index", "task_index") if name not in features)]
        for name in wanted:
            found = schema.field(name).type if name in schema.names else None
            if found is None or (name in features and features[name]["dtype"] == "image"
                                 and not (pa.types.is_struct(found) and found.get_field_index("bytes") >= 0)):
                raise UsageError(f"column {name} is {found or 'missing'}", where=str(file),
                                 expected=f"the columns that {layout.INFO} describes", remedy=RESTORE)
        return wanted

    def _vectors(self, table: pa.Table, key: str, row: dict[str, Any]) -> np.ndarray:
        column = table[key].combine_chunks()
        flat = column.flatten() if pa.types.is_nested(column.type) else column
        width = int(np.prod(self._info["features"][key]["shape"]))
        is_number = pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)
        if not is_number or flat.null_count or len(flat) != row["length"] * width:
            raise UsageError(f"{key} is not complete", where=f"{self.path}, episode {row['episode_index']}",
                             expected=f"{width} numbers in every frame", remedy=RESTORE)
        return flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(row["length"], width)

    def _images(self, table: pa.Table, row: dict[str, Any], name: str, height: int, width: int) -> np.ndarray:
        key = layout.camera_key(name)
        where = f"{self.path}, episode {row['episode_index']}, {key}"
        if self._info["features"][key]["dtype"] == "video":
            file = self.path / layout.VIDEO.format(video_key=key, chunk_index=int(row[f"videos/{key}/chunk_index"]),
                                                   file_index=int(row[f"videos/{key}/file_index"]))
            images = films.frames(file, row[f"videos/{key}/from_timestamp"], row["length"], self.spaces.action.rate_hz)
        else:
            images = [_picture(picture["bytes"], where) for picture in table[key].to_pylist()]
        if {image.shape for image in images} != {(height, width, 3)}:
            raise UsageError(f"the images are {sorted({image.shape for image in images})}", where=where,
                             expected=f"{(height, width, 3)}", remedy=RESTORE)
        return np.stack(images)


def _place(row: dict[str, Any]) -> tuple[int, int]:
    """Chunk and number of the data file in which an episode lies."""
    return int(row["data/chunk_index"]), int(row["data/file_index"])


def _declared(found: sidecar.Sidecar | None, spaces: Spaces | None, path: Path) -> Spaces:
    if found is not None and spaces is not None:
        raise UsageError("an export knows its spaces", where="--spaces", remedy="leave the option out")
    if found is not None:
        return found.spaces
    if spaces is not None:
        return spaces
    raise UsageError("it does not say what its actions and states mean", where=str(path),
                     expected=f"{sidecar.NAME}, which 'vlactl data convert' writes",
                     remedy="declare the spaces of somebody else's dataset: --spaces FILE, JSON as in the spaces.json "
                            "of an episode directory")


def _info(path: Path) -> dict[str, Any]:
    file = path / layout.INFO
    try:
        info = json.loads(file.read_text())
        version = info["codebase_version"]
        paths = info["data_path"], info["video_path"]
        _ = [info[name] for name in ("fps", "total_episodes", "total_frames")]
        _ = [(feature["dtype"], feature["shape"]) for feature in info["features"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"cannot be read ({type(error).__name__}: {error})", where=str(file),
                         expected="the description of a LeRobot dataset", remedy=RESTORE) from error
    if not str(version).startswith("v3."):
        raise UsageError(f"it is a LeRobot dataset of version {version}", where=str(file), expected=layout.VERSION,
                         remedy="convert it with LeRobot's own tool (lerobot.datasets.v30)")
    if paths[0] != layout.DATA or paths[1] not in (None, layout.VIDEO):
        raise UsageError(f"its files are called {' and '.join(map(str, paths))}", where=str(file),
                         expected=f"{layout.DATA} and {layout.VIDEO}", remedy="give them LeRobot's own names")
    return info


def _task_texts(path: Path) -> dict[int, str]:
    """task_index -> instruction."""
    file = path / layout.TASKS
    opened = _open(file)
    table = _guarded(file, opened.read)
    texts = [name for name, kind in zip(table.schema.names, table.schema.types, strict=True)
             if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
    if len(texts) != 1 or "task_index" not in table.schema.names:
        raise UsageError(f"it has the columns {', '.join(table.schema.names)}", where=str(file),
                         expected="task_index and one column of instructions", remedy=RESTORE)
    return dict(zip(table["task_index"].to_pylist(), table[texts[0]].to_pylist(), strict=True))


def _open(file: Path) -> pq.ParquetFile:
    return _guarded(file, lambda: pq.ParquetFile(file, page_checksum_verification=True))


def _guarded(file: Path, read: Any) -> Any:
    try:
        return read()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UsageError(f"cannot be read ({type(error).__name__}: {error})", where=str(file),
                         expected="a whole parquet file", remedy=RESTORE) from error


def _picture(data: bytes | None, where: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data or b""), formats=("PNG", "JPEG")) as image:
            if image.mode != "RGB":
                raise ValueError(f"an image of mode {image.mode}")
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"an image cannot be read ({type(error).__name__}: {error})", where=where,
                         expected="a PNG or JPEG file in RGB", remedy=RESTORE) from error
