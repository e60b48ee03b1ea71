"""CALVIN's directory format -> episodes: our exports, and CALVIN's own dataset."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vlactl.benchmarks.foreign import calvin_pictures, calvin_spaces
from vlactl.episodes import Episode
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats import sidecar
from vlactl.formats.calvin import layout
from vlactl.formats.pickled import HEADER_ERRORS, read_object
from vlactl.formats.recorded import PairRow
from vlactl.spaces import Spaces

RESTORE = "restore the file from where the dataset came from, or convert the dataset again"


class CalvinEpisodes:
    """One episode per language annotation, in the order in which they were exported.

    CALVIN's own dataset is read as it is: ``rel_actions`` at 30 Hz, ``robot_obs`` as proprioception.  Its two cameras
    differ in size and an episode's may not: ``image_px`` resizes both (bilinear), which ``pictures`` then declares.
    Raises :class:`UsageError` for a folder that is not whole, or not in this format.
    """

    def __init__(self, path: Path, *, image_px: int | None = None, renderer: str = "egl") -> None:
        """``renderer``: who drew the images of a dataset that is not ours, ``egl`` or ``tiny``."""
        self.path, self._image_px, self._renderer = path, image_px, renderer
        found = sidecar.read(path, "calvin")
        if found is not None and image_px is not None:
            raise UsageError("the images of an export are read as they are", where="--image-px",
                             remedy="leave the option out")
        halves = [path / name for name in layout.HALVES if (path / name).is_dir()]
        rows = [row for half in halves or [path] for row in read_annotations(half)]
        if found is not None:
            rows = _in_order(rows, found, path)
        self._rows = rows
        self.tasks: list[str] = [row["task"] for row in rows]
        self.instructions: list[str] = [row["instruction"] for row in rows]
        self.scenes: list[str] = [row["scene"] for row in rows]
        self._is_ours = found is not None
        self.spaces = found.spaces if found is not None else self._foreign_spaces()
        self._keys = layout.camera_keys(self.spaces)

    def __len__(self) -> int:
        return len(self._rows)

    def pairs(self) -> list[PairRow]:
        """What was written about single frames of an export, in their order."""
        return sidecar.read_pairs(self.path)

    def __getitem__(self, position: int) -> Episode:
        row = self._rows[position]
        frames = [self._frame(row["folder"] / layout.FRAME.format(number))
                  for number in range(row["first"], row["last"] + 1)]

        def stacked(key: str) -> np.ndarray:
            return np.stack([frame[key] for frame in frames]).astype(np.float32)

        return Episode(task=row["task"], instruction=row["instruction"], scene=row["scene"],
                       embodiment=self.spaces.embodiment,
                       images_TKYXC=np.stack([[frame[key] for key in self._keys] for frame in frames]),
                       states_TS=stacked(layout.STATE if self._is_ours else "robot_obs"),
                       actions_TA=stacked("rel_actions"), robot_TR=stacked("robot_obs"), scene_TD=stacked("scene_obs"))

    def _frame(self, file: Path) -> dict[str, np.ndarray]:
        """The arrays of one frame that an episode needs, with their shapes checked."""
        shapes: dict[str, tuple[int, ...]] = {"rel_actions": (layout.ACTION,), "robot_obs": (layout.ROBOT,),
                                              "scene_obs": (layout.SCENE,)}
        if self._is_ours:
            shapes[layout.STATE] = (len(self.spaces.observation.state),)
        arrays = {**_arrays(file, tuple(shapes)), **_images(file, self._keys, self._image_px)}
        for key, shape in shapes.items():
            _require(arrays[key].dtype.kind == "f" and arrays[key].shape == shape, arrays[key], file, key,
                     f"floats {shape}")
        for key, (_, height, width) in zip(self._keys, self.spaces.observation.cameras, strict=True):
            _require(arrays[key].shape == (height, width, 3), arrays[key], file, key, f"uint8 {(height, width, 3)}")
        return arrays

    def _foreign_spaces(self) -> Spaces:
        """The spaces of CALVIN's own dataset, from the sizes of its first annotated frame."""
        row = self._rows[0]
        file = row["folder"] / layout.FRAME.format(row["first"])
        images = _images(file, tuple(layout.CAMERA_KEYS.values()), self._image_px)
        with np.load(file, allow_pickle=False) as frame:  # it was just found whole
            if layout.STATE in frame.files:
                raise UsageError(f"it is an export of vlactl's, or half of one, without its {sidecar.NAME}",
                                 where=str(self.path), expected=f"{sidecar.NAME}, which lies beside 'training'",
                                 remedy="give the folder above it, or convert the dataset again")
        sizes = {key: (image_YXC.shape[0], image_YXC.shape[1]) for key, image_YXC in images.items()}
        if len(set(sizes.values())) != 1:
            raise IncompatibleSpaces(
                "the cameras have different sizes: " + ", ".join(f"{key} {size[0]}x{size[1]}" for key, size
                                                                 in sizes.items()),
                where=str(file), expected="one size for all cameras of a dataset",
                remedy="resize them while converting, for example with --image-px 96")
        return calvin_spaces(sizes["rgb_static"], sizes["rgb_gripper"], calvin_pictures(self._image_px, self._renderer))



def read_annotations(half: Path) -> list[dict[str, Any]]:
    """``{"folder", "task", "instruction", "first", "last", "scene"}`` of every annotation of one half."""
    file = half / layout.ANNOTATIONS
    found = read_object(file, "CALVIN's language annotations")
    try:
        texts, tasks, ranges = found["language"]["ann"], found["language"]["task"], found["info"]["indx"]
        rows = [{"folder": half, "task": str(task), "instruction": str(text), "first": int(first), "last": int(last)}
                for text, task, (first, last) in zip(texts, tasks, ranges, strict=True)]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"it lacks what annotations have ({type(error).__name__}: {error})", where=str(file),
                         expected="as many texts and tasks under 'language' as ranges under 'info'",
                         remedy=RESTORE) from error
    if not rows or any(not 0 <= row["first"] <= row["last"] for row in rows):
        raise UsageError("it annotates nothing, or a range that ends before it begins", where=str(file), remedy=RESTORE)
    scenes = _scenes(half / "scene_info.npy")
    for row in rows:
        row["scene"] = next((name for first, last, name in scenes if first <= row["first"] <= last), "")
    return rows


def _scenes(file: Path) -> list[tuple[int, int, str]]:
    """``(first frame, last frame, letter)``; empty where the file is missing, as in some copies of the dataset."""
    if not file.exists():
        return []
    try:
        return [(int(first), int(last), str(name).removeprefix(layout.SCENE_PREFIX).removeprefix("calvin_scene_"))
                for name, (first, last) in read_object(file, "the range of frames of every scene").items()]
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"it does not hold ranges ({error})", where=str(file),
                         expected="{scene: [first frame, last frame]}", remedy=RESTORE) from error


def _in_order(rows: list[dict[str, Any]], found: sidecar.Sidecar, path: Path) -> list[dict[str, Any]]:
    """The rows of an export in the order of the dataset that it was made from."""
    order = [position for half in layout.HALVES for position in found.facts.get("order", {}).get(half, [])]
    frames = sum(row["last"] - row["first"] + 1 for row in rows)
    if sorted(order) != list(range(len(rows))) or (len(rows), frames) != (found.episodes, found.frames):
        raise UsageError(f"the annotations cover {len(rows)} episodes, {frames} frames", where=str(path),
                         expected=f"{found.episodes} episodes, {found.frames} frames, as {sidecar.NAME} says",
                         remedy=RESTORE)
    return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]


def _arrays(file: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Named arrays of one npz file; raises :class:`UsageError` where it is missing, cut short or lacks one."""
    try:
        with np.load(file, allow_pickle=False) as frame:
            arrays = {key: frame[key] for key in keys}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("a member is not an array")
            return arrays
    except (*HEADER_ERRORS, OSError, KeyError, AttributeError, EOFError, MemoryError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"the frame cannot be read ({type(error).__name__}: {error})", where=str(file),
                         expected="an npz file with " + ", ".join(keys), remedy=RESTORE) from error


def _images(file: Path, keys: tuple[str, ...], side_px: int | None) -> dict[str, np.ndarray]:
    """The cameras of one frame, uint8 (Y, X, 3), resized to a square where ``side_px`` says so."""
    from PIL import Image

    images = _arrays(file, keys)
    for key, image_YXC in images.items():
        _require(image_YXC.dtype == np.uint8 and image_YXC.shape[2:] == (3,), image_YXC, file, key, "uint8 (Y, X, 3)")
        if side_px is not None:
            resized = Image.fromarray(image_YXC).resize((side_px, side_px), Image.Resampling.BILINEAR)
            images[key] = np.asarray(resized)
    return images


def _require(good: bool, array: np.ndarray, file: Path, key: str, expected: str) -> None:
    if not good:
        raise UsageError(f"{key} is {array.dtype} {array.shape}", where=str(file), expected=expected, remedy=RESTORE)
