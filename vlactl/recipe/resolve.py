"""Rows of the grid -> specs: base values, named values and dotted values laid over each other, validated once each.

A spec is built once for every combination of the values that touch its section, not once per cell, so a large grid
costs little more than its axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from vlactl.errors import UnknownName, UsageError, VlactlError, did_you_mean
from vlactl.identity import digest, identity_of
from vlactl.recipe.axes import Dimension, Row, Value
from vlactl.recipe.marks import Document, Path, dotted
from vlactl.recipe.menus import ROLES, SECTIONS, Menus
from vlactl.recipe.plainly import build, culprit
from vlactl.registry import Spec


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """A valid spec with its digest; compared by being the same object."""

    spec: Any
    digest: str
    path: Path
    """Where it is written: a named value, a source, or the section."""


class InvalidSpecError(UsageError):
    """A field was asked of a spec whose mistakes are noted already."""


@dataclass(slots=True)
class Layers:
    """Fields of one section, and where each was written."""

    fields: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, tuple[Path, Path]] = field(default_factory=dict)
    """Path in the section -> (path of the value in the document, path of what names it)."""
    path: Path = ()

    def lay(self, path: Path, content: Mapping[str, Any]) -> None:
        """Put the fields of ``content``, written at ``path``, over what is there."""
        for key, value in content.items():
            self.set((key,), value, (*path, key), (*path, key))

    def set(self, target: Path, value: Any, path: Path, named: Path) -> None:
        """Set the field at ``target``, making mappings on the way."""
        here: Any = self.fields
        for part in target[:-1]:
            below = here.get(part)
            here[part] = dict(below) if isinstance(below, dict) else {}
            here = here[part]
        here[target[-1]] = deepcopy(value)
        self.origins = {key: at for key, at in self.origins.items() if key[: len(target)] != target}
        self.origins[target] = (path, named)

    def locate(self, target: Path) -> tuple[Path, Path]:
        """The document's paths of the value and of the key of ``target``."""
        for size in range(len(target), 0, -1):
            if target[:size] in self.origins:
                value, named = self.origins[target[:size]]
                rest = target[size:]
                return (*value, *rest), (*value, *rest) if rest else named
        return self.path, self.path


class Resolver:
    """Turns rows into specs; every mistake is noted once in the document."""

    def __init__(self, document: Document, dimensions: list[Dimension], menus: Menus) -> None:
        self.document, self.dimensions, self.menus = document, dimensions, menus
        self._touching = {
            section: [index for index, dimension in enumerate(dimensions) if dimension.target[0] == section]
            for section in (*SECTIONS, "sources")
        }
        self._made: dict[tuple, Any] = {}
        self.given = {
            section
            for section in SECTIONS
            if section == "training" or document.data.get(section) is not None or self._touching[section]
        }
        """Sections that the recipe says something about; that another is absent is told once, elsewhere."""

    # ---- sections of one spec ----

    def spec(self, section: str, row: Row) -> Resolved | None:
        """The section's spec in this cell, or None after its mistakes were noted."""
        key = (section, *(row[index] for index in self._touching[section]))
        if key not in self._made:
            self._made[key] = self._build(section, self._layers(section, row))
        return self._made[key]

    def _layers(self, section: str, row: Row) -> Layers:
        layers = Layers(path=(section,))
        base = self.document.data.get(section)
        if isinstance(base, str):
            layers.set(("kind",), base, (section,), (section,))
        elif isinstance(base, dict):
            layers.lay((section,), base)
        touching = [(self.dimensions[index], row[index]) for index in self._touching[section]]
        for dimension, value in sorted(touching, key=lambda pair: len(pair[0].target)):
            if len(dimension.target) > 1:
                layers.set(dimension.target[1:], value.content, value.path, dimension.path)
            else:
                layers.path = value.path
                self._lay_named(layers, value)
        return layers

    def _lay_named(self, layers: Layers, value: Value) -> None:
        layers.lay(value.path, value.content)
        if (*value.path, "kind") not in self.document.keys and "kind" in value.content:
            layers.origins[("kind",)] = (value.path, value.path)  # the kind is the value's own name

    def _build(self, section: str, layers: Layers, *, noun: str = "") -> Resolved | None:
        """The spec of ``layers``; ``section`` says which registry its kind is in."""
        registry, fields = self.menus.registry(section), dict(layers.fields)
        model: type[Spec] = self.menus.training
        if registry is not None:
            kind = fields.pop("kind", None)
            if not isinstance(kind, str):
                self.document.add(
                    layers.locate(("kind",))[0],
                    f"{noun or section} has no kind",
                    expected=" | ".join(registry),
                    remedy="add kind: ..." if kind is None else "",
                )
                return None
            try:
                model = registry.get(kind)
            except UnknownName as error:
                self.document.add(layers.locate(("kind",))[0], error.what, expected=error.expected, remedy=error.remedy)
                return None
        spec = build(model, fields, self.document, layers.locate)
        try:
            return None if spec is None else Resolved(spec, digest(identity_of(spec)), layers.path)
        except VlactlError as error:
            self.complain(layers, error)
            return None

    def complain(self, layers: Layers, error: VlactlError) -> None:
        """A valid spec that cannot be used, such as a dataset that is not there: say so at the field it is about."""
        about = culprit(error, layers.fields)
        path = layers.locate((about,))[0] if about else layers.path
        what = error.what if not error.where or error.where == about else f"{error.what} ({error.where})"
        self.document.add(path, what, expected=error.expected, remedy=error.remedy)

    # ---- sources ----

    def sources(self, row: Row) -> dict[str, dict[str, Resolved]] | None:
        """role -> name -> source in this cell, or None after mistakes."""
        key = ("sources", *(row[index] for index in self._touching["sources"]))
        if key not in self._made:
            self._made[key] = self._build_sources(row)
        return self._made[key]

    def _build_sources(self, row: Row) -> dict[str, dict[str, Resolved]] | None:
        tree = Layers(path=("sources",))
        base = self.document.data.get("sources") or {}
        for role, named in base.items():
            for name, content in named.items() if isinstance(named, dict) and role in ROLES else ():
                tree.set((role, name), content, ("sources", role, name), ("sources", role, name))
        for index in self._touching["sources"]:
            dimension, value = self.dimensions[index], row[index]
            _, role, *rest = (str(part) for part in dimension.target)
            named = tree.fields.get(role) or {}
            if len(rest) > 1 and rest[0] not in named:
                self.document.add(
                    dimension.path,
                    f"there is no source '{rest[0]}' with the role '{role}'",
                    key=True,
                    expected=" | ".join(named) or "a source under sources",
                    remedy=did_you_mean(rest[0], named),
                )
                return None
            if len(rest) > 1 and isinstance(named[rest[0]], str):
                named[rest[0]] = {"kind": named[rest[0]]}
            tree.set((role, *rest), value.content, value.path, dimension.path)
        found: dict[str, dict[str, Resolved]] = {}
        sound = True
        for role, named in tree.fields.items():
            for name, content in (named or {}).items():
                source = self._source(tree, str(role), str(name), content)
                sound = sound and source is not None
                if source is not None:
                    found.setdefault(role, {})[name] = source
        return found if sound else None

    def _source(self, tree: Layers, role: str, name: str, content: Any) -> Resolved | None:
        """One source; ``tree`` knows where its fields were written."""
        path = tree.locate((role, name))[0]
        if isinstance(content, str) or (content is None and name in self.menus.sources):
            content = {"kind": content or name}
        if not isinstance(content, dict):
            self.document.add(path, f"source '{name}' must be a mapping", expected="{kind: tabletop, ...}")
            return None
        key = ("source", path, digest(content))
        if key not in self._made:
            layers = Layers(path=path)
            for field_name, value in content.items():
                layers.fields[field_name] = value
                layers.origins[(field_name,)] = tree.locate((role, name, field_name))
            for target, at in tree.origins.items():
                if target[:2] == (role, name) and len(target) > 2:
                    layers.origins[target[2:]] = at
            if "kind" not in content and name in self.menus.sources:
                layers.fields["kind"] = name
            self._made[key] = self._build("sources", layers, noun=f"source '{name}'")
        return self._made[key]

    # ---- what `where` sees ----

    def look(self, name: tuple[str, ...], row: Row) -> Any:
        """The value of an axis, or of a field of a section, in this cell."""
        axis = ".".join(name)
        for dimension, value in zip(self.dimensions, row, strict=True):
            if dimension.name == axis:
                return value.name if len(dimension.target) == 1 else value.content
        resolved = self.spec(name[0], row)
        if resolved is None:
            raise InvalidSpecError(f"'{axis}' has no value here: {name[0]} is not valid")
        if len(name) == 1 or name[1] == "kind":
            return resolved.spec.kind
        if name[1] not in type(resolved.spec).model_fields:
            raise UsageError(
                f"'{axis}': {resolved.spec.kind} has no field '{name[1]}'",
                remedy=f"ask for the kind first: {name[0]}.kind == '...' and {axis} ...",
            )
        return getattr(resolved.spec, name[1])


def check_sources(document: Document) -> None:
    """The shape of ``sources``: known roles, names that can be folder names, no name in two roles."""
    sources = document.data.get("sources")
    if sources is None:
        document.add((), "there are no sources", expected="sources: {in-domain: {name: {kind: ...}}}")
        return
    if not isinstance(sources, dict):
        document.add(("sources",), "sources must be a mapping", expected="role -> name -> {kind: ...}")
        document.data["sources"] = {}
        return
    first: dict[str, str] = {}
    for role, named in sources.items():
        path: Path = ("sources", role)
        if role not in ROLES:
            document.add(
                path, f"unknown role '{role}'", expected=" | ".join(ROLES), key=True, remedy=did_you_mean(role, ROLES)
            )
        if not isinstance(named, dict) or not named:
            document.add(path, f"the role '{role}' needs at least one source", expected="name: {kind: ...}")
            continue
        for name in named:
            if name in first:
                document.add(
                    (*path, name),
                    f"the source '{name}' is already given under {dotted(('sources', first[name]))}",
                    key=True,
                    expected="every source name once",
                )
            first.setdefault(name, role)
