"""name -> spec, for the families that people extend.  Duplicates raise; unknown names suggest the nearest one.

A *spec* is a frozen pydantic model whose fields are what a recipe may set.  Its menu (the family's ``__init__``)
imports nothing heavy; the spec's ``build()`` does.  Another package joins a family by an entry point in the group
``vlactl.<family>``, for example ``vlactl.backbones``, whose value is a spec class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from vlactl.errors import UnknownName


class Spec(BaseModel):
    """Base of everything that a recipe can name: immutable, strict about keys, with its registered name as ``kind``."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)

    kind: ClassVar[str]

    def identity(self) -> dict:
        """What a digest covers: the kind and every field that is not declared execution."""
        return {"kind": self.kind, **self.model_dump(mode="json", exclude=execution_fields(type(self)))}

    def execution_settings(self) -> dict:
        """What a stage needs beside the identity to build this spec on a machine: its execution fields."""
        return self.model_dump(mode="json", include=execution_fields(type(self)))

    def missing(self) -> tuple[str, ...]:
        """What this machine lacks to *run* this (a package, a dataset, a simulator), one sentence each with what to do
        about it; planning never needs it.  Cheap: looks for things, imports and loads nothing."""
        return ()


def execution_fields(spec: type[BaseModel]) -> set[str]:
    """Names of the fields declared with ``json_schema_extra={"execution": True}``: they change speed, never results."""
    return {name for name, field in spec.model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("execution")}


S = TypeVar("S", bound=Spec)
T = TypeVar("T", bound=Spec)


class Registry(Generic[S]):
    """One family of specs, in the order in which they were put on the menu."""

    def __init__(self, family: str, noun: str) -> None:
        self.family, self.noun = family, noun
        self._specs: dict[str, type[S]] = {}
        self._plugins_read = False

    def add(self, spec: type[T]) -> type[T]:
        """Put ``spec`` on the menu under ``spec.kind``; usable as a class decorator."""
        if spec.kind in self._specs and self._specs[spec.kind] is not spec:
            raise ValueError(f"two {self.family} are called '{spec.kind}': {self._specs[spec.kind]} and {spec}")
        self._specs[spec.kind] = cast("type[S]", spec)
        return spec

    def _read_plugins(self) -> None:
        if not self._plugins_read:
            self._plugins_read = True
            for point in entry_points(group=f"vlactl.{self.family}"):
                self.add(point.load())

    def get(self, kind: str) -> type[S]:
        """The spec class called ``kind``; raises :class:`UnknownName`."""
        self._read_plugins()
        if kind not in self._specs:
            raise UnknownName(self.noun, kind, self._specs)
        return self._specs[kind]

    def parse(self, document: Mapping[str, Any]) -> S:
        """The spec that ``identity()`` wrote: ``{"kind": ..., field: value, ...}``."""
        fields = dict(document)
        return self.get(fields.pop("kind"))(**fields)

    def __iter__(self) -> Iterator[str]:
        self._read_plugins()
        return iter(self._specs)

    def __contains__(self, kind: object) -> bool:
        self._read_plugins()
        return kind in self._specs
