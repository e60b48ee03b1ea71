"""Sources that other people recorded: CALVIN's dataset, and datasets of Open X-Embodiment.

Their identity is their published name and version, so that a recipe plans where no dataset is; ``missing()`` says what
to fetch.  A folder of one's own counts by its content.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from vlactl.benchmarks.foreign import calvin_pictures, calvin_spaces, rlds_spaces
from vlactl.errors import UnknownName, UsageError
from vlactl.formats.oxe import DATASETS
from vlactl.formats.spec import FORMAT, Progress, SourceSpec
from vlactl.spaces import Spaces

CALVIN_ROOT = "CALVIN_DATASETS"
"""Environment variable: the folder in which CALVIN's official splits lie."""


@dataclass(frozen=True, slots=True)
class CalvinSplit:
    """An official split of CALVIN's dataset."""

    folder: str
    annotated: int
    """Language-annotated segments of its training half."""
    size_gb: int


CALVIN_SPLITS = {
    "ABCD": CalvinSplit("task_ABCD_D", 22_994, 656),
    "ABC": CalvinSplit("task_ABC_D", 17_870, 517),
    "D": CalvinSplit("task_D_D", 5_124, 166),
}
"""Split -> facts.  Sizes: mees/calvin at fa03f01, ``dataset/README.md``.  Segments: RoboVLMs (ABCD), the card of the
LeRobot conversion (ABC), their difference (D)."""


class Calvin(SourceSpec):
    """CALVIN's own demonstrations (plans without them), or others in its format: the annotated segments, at 30 Hz.

    Plans anywhere; recording reads the dataset from ``path`` or ``$CALVIN_DATASETS``.  Only the training half is read:
    its validation half is scene D.  CALVIN's likeness that needs no download is ``tabletop``.
    """

    kind: ClassVar[str] = "calvin"
    goes_on: ClassVar[bool] = True

    split: Literal["ABCD", "ABC", "D", "custom"] = "ABC"
    """An official split, named by its training scenes (ABC is ``task_ABC_D``, for testing at an unseen desk); or
    ``custom``, the folder at ``path``."""
    path: str | None = Field(default=None, json_schema_extra={"execution": True})
    """The dataset's folder, which holds ``training``, or a ``training`` folder itself; null is
    ``$CALVIN_DATASETS/task_<split>_D``."""
    content: str | None = None
    """With ``custom``: the content digest that the folder must have; null takes what is there at planning."""
    image_px: int = Field(default=200, ge=16, le=512)
    """Side to which both cameras' images (200 and 84 px) are resized when recorded, as an episode's must be equal."""
    renderer: Literal["egl", "tiny"] = "egl"
    """Who drew the images: EGL, as in the official splits, or PyBullet's TinyRenderer."""
    workers: int = Field(default=1, ge=1, le=1024, json_schema_extra={"execution": True})
    """Processes that read at once; what they record does not depend on how many they are."""

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        return None if path is None else str(Path(path).expanduser().absolute())

    @model_validator(mode="after")
    def _a_custom_folder_has_a_place(self) -> Self:
        if self.split == "custom" and self.path is None:
            raise UsageError("a custom split needs a folder", where="path", expected="the dataset's folder")
        if self.split != "custom" and (self.content is not None or self.renderer != "egl"):
            raise UsageError(f"the split {self.split} is official: its content and renderer are known", where="split",
                             expected="content: null and renderer: egl", remedy="set them with split: custom only")
        return self

    @classmethod
    def versions(cls) -> dict[str, Any]:
        """Bump ``reading`` when the same folder would be cut into other episodes."""
        return {"reading": 1, "format": FORMAT}

    @property
    def folder(self) -> Path | None:
        """Where the dataset should be on this machine; None where nobody said."""
        if self.path is not None or self.split == "custom":
            return Path(self.path or "")
        root = os.environ.get(CALVIN_ROOT)
        return Path(root).expanduser().absolute() / CALVIN_SPLITS[self.split].folder if root else None

    def identity(self) -> dict:
        """An official split counts by its name, a custom folder by what it holds."""
        if self.split != "custom":
            return super().identity()
        from vlactl.formats.calvin.recording import fingerprint
        assert self.folder is not None
        found = fingerprint(self.folder)
        if self.content not in (None, found):
            raise UsageError(f"the dataset's content is {found}", where=self.path or "", expected=self.content or "",
                             remedy="restore the dataset, or set 'content' to null and plan the sweep again")
        return {**super().identity(), "content": found}

    @property
    def has_words(self) -> bool:
        return False

    def spaces(self) -> Spaces:
        side = (self.image_px, self.image_px)
        return calvin_spaces(side, side, calvin_pictures(self.image_px, self.renderer))

    def missing(self) -> tuple[str, ...]:
        if self.folder is not None and self.folder.is_dir():
            return ()
        if self.split == "custom":
            return (f"The dataset in CALVIN's format at {self.path}: correct 'path'.",)
        known = CALVIN_SPLITS[self.split]
        looked = f"set {CALVIN_ROOT}" if self.folder is None else f"it is not at {self.folder}: correct {CALVIN_ROOT}"
        return (f"CALVIN's dataset {known.folder} ({known.size_gb} GB): fetch it with mees/calvin's "
                f"dataset/download_data.sh {self.split}; {looked} to the folder it lies in, or set 'path'.",)

    def record(self, out: Path, progress: Progress) -> dict[str, Any]:
        from vlactl.formats.calvin.recording import record
        return record(self, out, progress)


class Oxe(SourceSpec):
    """One dataset of Open X-Embodiment in RLDS (plans here, cannot be read yet): the primary camera, end-effector
    increments, no proprioception.

    Plans here, by name and version; this version of vlactl cannot read RLDS.  A mixture is several such sources with
    weights in the strategy; ``vlactl.formats.oxe`` has those of ``oxe_magic_soup``.
    """

    kind: ClassVar[str] = "oxe"

    dataset: str = "bridge_orig"
    """Name of the dataset in TensorFlow Datasets, one of the 23 of ``oxe_magic_soup``."""
    version: str | None = None
    """Its version; null is the one in the Open X-Embodiment bucket."""
    tasks: tuple[str, ...] = ()
    """Only demonstrations whose instruction begins so, such as ``pick coke can``; empty is all of them."""
    image_px: int = Field(default=224, ge=16, le=512)
    """Side to which the primary camera's images are resized when recorded."""

    @model_validator(mode="before")
    @classmethod
    def _published_version(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("version") is None:
            known = DATASETS.get(fields.get("dataset", "bridge_orig"))
            return {**fields, "version": known.version} if known else fields
        return fields

    @field_validator("tasks", mode="before")
    @classmethod
    def _listed(cls, tasks: Any) -> Any:
        return tuple(tasks) if isinstance(tasks, list) else tasks  # JSON's list, which strict validation refuses

    @field_validator("dataset")
    @classmethod
    def _is_known(cls, dataset: str) -> str:
        if dataset not in DATASETS:
            raise UnknownName("dataset", dataset, DATASETS)
        return dataset

    @classmethod
    def versions(cls) -> dict[str, Any]:
        """Of what would be recorded."""
        return {"reading": 0, "format": FORMAT}

    @property
    def has_words(self) -> bool:
        return False

    def spaces(self) -> Spaces:
        known = DATASETS[self.dataset]
        return rlds_spaces(known.robot, known.rate_hz, self.image_px)

    def missing(self) -> tuple[str, ...]:
        return ("A reader of RLDS: this version of vlactl has none. Convert the dataset to LeRobot and from there with "
                "'vlactl data convert --to vlactl', and take kind: recorded.",)

    def record(self, out: Path, progress: Progress) -> dict[str, Any]:
        raise UsageError(f"{self.dataset} is in RLDS, which this version of vlactl cannot read", where="sources",
                         expected="a source that can be recorded here", remedy=self.missing()[0])
