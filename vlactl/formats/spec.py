"""What a data stage asks of a source, and the registry of them.  This file imports nothing heavy."""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import model_validator

from vlactl.errors import UsageError
from vlactl.registry import Registry, Spec
from vlactl.spaces import Spaces

Progress = Callable[..., None]
"""``progress(done, total, unit="episodes", **numbers)``; the science calls it and never reads anything back."""


FORMAT = 2
"""Of the episode directory that every source is recorded into."""


class SourceSpec(Spec, abc.ABC):
    """One dataset of demonstrations of one embodiment."""

    goes_on: ClassVar[bool] = False
    """Whether ``record`` takes a folder that holds the beginning of the same recording."""

    @classmethod
    @abc.abstractmethod
    def versions(cls) -> dict[str, Any]:
        """Of everything but the fields that decides what is recorded; part of the identity."""

    def identity(self) -> dict:
        """What the data stage's digest covers; ``SOURCES.parse`` reads it back."""
        return {**super().identity(), "versions": self.versions()}

    @model_validator(mode="before")
    @classmethod
    def _same_versions(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "versions" in fields:
            fields = dict(fields)
            if (planned := fields.pop("versions")) != cls.versions():
                raise UsageError(f"source '{cls.kind}' was planned with versions {planned}, here are {cls.versions()}",
                                 remedy="plan the sweep again")
        return fields

    @property
    def has_words(self) -> bool | None:
        """Whether frames have captions and questions, as the role vision-language needs; None where only the data
        know."""
        return None

    @abc.abstractmethod
    def spaces(self) -> Spaces:
        """What the episodes hold, known before anything is recorded."""

    @abc.abstractmethod
    def record(self, out: Path, progress: Progress) -> dict[str, Any]:
        """Write an episode directory to ``out`` (existing, empty) and return a summary: the body of the data stage."""


SOURCES: Registry[SourceSpec] = Registry("formats", "source")
