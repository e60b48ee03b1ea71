"""Where demonstrations come from: the menu of sources.

A *source* is recorded once by a data stage into an episode directory (:mod:`vlactl.formats.recorded`); everything after
that reads the directory and no longer knows how it came about.  This file imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from vlactl.errors import UnknownName, UsageError
from vlactl.formats.foreign import Calvin, Oxe
from vlactl.formats.spec import FORMAT, SOURCES, Progress, SourceSpec
from vlactl.spaces import Spaces

__all__ = ["FORMAT", "SOURCES", "Calvin", "Oxe", "Progress", "Recorded", "SourceSpec", "Tabletop"]



class Tabletop(SourceSpec):
    """Demonstrations by the scripted expert in the embedded tabletop world."""

    kind: ClassVar[str] = "tabletop"
    goes_on: ClassVar[bool] = True

    embodiment: str = "panda"
    """Which robot: its arm, gripper, cameras and action scale."""
    scenes: str = "D"
    """Which arrangements and colours of the desk, by their letters; CALVIN trains on ABC and tests on D."""
    tasks: str = "full"
    """Which named suite of tasks to demonstrate: ``full``, CALVIN's 34, or a part of them."""
    episodes: int = Field(default=3400, ge=1)
    """Successful demonstrations to keep in all, spread evenly over tasks and scenes."""
    seed: int = Field(default=0, ge=0)
    """Seed of the start states, the instructions and the noise."""
    action_repeat: int = Field(default=3, ge=1, le=12, strict=True)
    """How often an action is repeated at 30 Hz: 3 is control at 10 Hz; CALVIN's own rate is 1."""
    image_px: int = Field(default=64, ge=16, le=512)
    """Side of every camera image in pixels."""
    renderer: str = "raycast"
    """Who draws the images: the house's ray caster, which needs no OpenGL, or one for GPU nodes."""
    shadows: bool = True
    """Whether the light casts soft shadows; about 1.7 times slower to draw."""
    antialias: Literal[1, 2] = 1
    """Rays per pixel and side: 2 draws at twice the size and averages, about 3.5 times slower."""
    noise: float = Field(default=0.35, ge=0.0, le=1.0)
    """Standard deviation of what is added to one executed action in five; the recorded label stays the expert's."""
    pairs_per_episode: int = Field(default=0, ge=0, le=100)
    """Captions and questions with answers to write about frames of each episode, for vision-language pretraining."""
    workers: int = Field(default=1, ge=1, le=1024, json_schema_extra={"execution": True})
    """Processes that record at once; what they record does not depend on how many they are."""

    @field_validator("scenes")
    @classmethod
    def _in_order(cls, scenes: str) -> str:
        from vlactl.tabletop.layouts import layout
        if not scenes or len(set(scenes)) != len(scenes):
            raise UsageError(f"the scenes '{scenes}'", expected="different letters, such as ABC")
        for scene in scenes:
            layout(scene)
        return "".join(sorted(scenes))

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        from vlactl.tabletop.embodiments import embodiment
        from vlactl.tabletop.rendering import RENDERERS
        from vlactl.tabletop.tasks import SUITES
        embodiment(self.embodiment)
        for kind, name, known in (("suite of tasks", self.tasks, SUITES), ("renderer", self.renderer, RENDERERS)):
            if name not in known:
                raise UnknownName(kind, name, known)
        return self

    @property
    def has_words(self) -> bool:
        return self.pairs_per_episode > 0

    @classmethod
    def versions(cls) -> dict[str, Any]:
        """Bump ``recording`` when the same worlds and pictures would be cut into other episodes."""
        from vlactl.tabletop import RENDERER_VERSION, WORLD_VERSION, physics_version
        return {"recording": 2, "world": WORLD_VERSION, "renderer": RENDERER_VERSION, "mujoco": physics_version()}

    def spaces(self) -> Spaces:
        from vlactl.tabletop.interface import pictures, spaces
        return spaces(self.embodiment, self.image_px, action_repeat=self.action_repeat,
                      pictures=pictures(self.renderer, self.shadows, self.antialias))

    def record(self, out: Path, progress: Progress) -> dict[str, Any]:
        from vlactl.formats.tabletop import record
        return record(self, out, progress)


class Recorded(SourceSpec):
    """An episode directory that exists already: bring your own demonstrations.

    Its identity is what it holds, never where it lies: a copy elsewhere is the same source.
    """

    kind: ClassVar[str] = "recorded"

    path: str = Field(json_schema_extra={"execution": True})
    """The directory, as written by ``vlactl.formats.recorded.EpisodeWriter`` or ``vlactl data record``."""
    content: str | None = None
    """The content digest that the directory must have; null takes what is there when the sweep is planned."""

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        return str(Path(path).expanduser().absolute())  # a stage runs in another folder than the planner

    @classmethod
    def versions(cls) -> dict[str, Any]:
        """Of the directory's format."""
        return {"format": FORMAT}

    def identity(self) -> dict:
        """Covers the content; raises :class:`UsageError` where there is no whole dataset, or another than promised."""
        from vlactl.formats.recorded import read_index
        found = read_index(Path(self.path)).digest
        if self.content not in (None, found):
            raise UsageError(f"the dataset's content is {found}", where=self.path, expected=self.content or "",
                             remedy="restore the dataset, or set 'content' to null and plan the sweep again")
        return {**super().identity(), "content": found}

    @property
    def has_words(self) -> bool:
        from vlactl.formats.recorded import read_index
        return "pairs" in read_index(Path(self.path)).documents

    def spaces(self) -> Spaces:
        from vlactl.formats.recorded import read_spaces
        return read_spaces(Path(self.path))

    def record(self, out: Path, progress: Progress) -> dict[str, Any]:
        from vlactl.formats.recorded import copy_verified
        self.identity()
        return copy_verified(Path(self.path), out, progress)


SOURCES.add(Tabletop)
SOURCES.add(Recorded)
SOURCES.add(Calvin)
SOURCES.add(Oxe)
