"""Axes of a grid and their named values, as the recipe writes them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from vlactl.errors import UsageError, did_you_mean
from vlactl.recipe.marks import Document, Path
from vlactl.recipe.menus import ROLES, SECTIONS, Menus

NAME = re.compile(r"(?!\.)[A-Za-z0-9._+=-]{1,64}")
"""Names become folder names, columns and arguments of ``--only``."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Value:
    """One value of one axis; compared by being the same object."""

    name: str
    content: Any
    """For an axis of kinds the section's fields with ``kind``; for a dotted axis the value itself."""
    path: Path
    """Where it is written."""


Row = tuple[Value, ...]
"""A cell while the grid is built: one value per axis, in the order of the axes."""


@dataclass(kw_only=True, slots=True, eq=False)
class Dimension:
    """An axis while the grid is built."""

    name: str
    target: Path
    """What it sets: ``("backbone",)`` or ``("training", "learning_rate")``."""
    path: Path
    values: list[Value]
    extra: list[Value] = field(default_factory=list)
    """Values that only ``include`` uses."""

    @property
    def names(self) -> list[str]:
        return [value.name for value in self.values]

    def find(self, raw: Any, text: str) -> Value | None:
        """The value called ``text``, or equal to ``raw``: ``1e-3`` finds ``0.001``."""
        for value in (*self.values, *self.extra):
            if text == value.name or (
                len(self.target) > 1
                and not isinstance(raw, (list, dict))
                and value.content == raw
                and type(value.content) is type(raw)
            ):
                return value
        return None

    def missing(self, text: str) -> UsageError:
        return UsageError(
            f"axis '{self.name}' has no value '{text}'",
            expected=" | ".join(self.names),
            remedy=did_you_mean(text, self.names),
        )


def read_axes(document: Document, menus: Menus) -> list[Dimension]:
    """The axes of the document; mistakes are noted."""
    axes, dimensions = document.data.get("axes") or {}, []
    if not isinstance(axes, dict):
        document.add(("axes",), "axes must be a mapping", expected="axis name -> values")
        return []
    groups = document.data.get("zip")
    zipped = [name for group in groups if isinstance(group, list) for name in group] if isinstance(groups, list) else []
    for name, content in axes.items():
        path: Path = ("axes", name)
        target = tuple(name.split("."))
        if not _is_target(target):
            known = [*SECTIONS, "training.updates"]
            document.add(
                path,
                f"unknown axis '{name}'",
                key=True,
                expected=f"{' | '.join(SECTIONS)} | a dotted path such as training.learning_rate",
                remedy=did_you_mean(name, known) or did_you_mean(target[0], [*SECTIONS, "sources"]),
            )
            continue
        if not _is_field(document, path, target, menus):
            continue
        values = _values(document, path, target, content, menus)
        if not content:
            document.add(
                path,
                f"axis '{name}' has no values",
                expected="a list or a mapping of at least one value",
                remedy="give it values or remove it",
            )
        _refuse_twins(document, values, name, zipped=name in zipped)
        dimensions.append(Dimension(name=name, target=target, path=path, values=values))
    return dimensions


def _is_field(document: Document, path: Path, target: Path, menus: Menus) -> bool:
    """Whether a dotted axis sets a field that at least one kind of its section has; told where not."""
    if len(target) == 1 or target[0] == "sources":
        return True
    specs = menus.specs(str(target[0]))
    kind = [] if menus.registry(str(target[0])) is None else ["kind"]
    known = list(dict.fromkeys([*kind, *(name for spec in specs for name in spec.model_fields)]))
    if target[1] not in known:
        document.add(
            path,
            f"unknown key '{target[1]}'",
            key=True,
            expected=" | ".join(known),
            remedy=did_you_mean(str(target[1]), known),
        )
    return target[1] in known


def _is_target(target: Path) -> bool:
    if target[0] == "sources":
        return len(target) > 1 and target[1] in ROLES
    return target[0] in SECTIONS and all(target)


def _values(document: Document, path: Path, target: Path, content: Any, menus: Menus) -> list[Value]:
    if isinstance(content, dict):
        found = [
            read_value(document, (*path, name), target, value, menus, name=name) for name, value in content.items()
        ]
    elif isinstance(content, list):
        found = [read_value(document, (*path, index), target, value, menus) for index, value in enumerate(content)]
    else:
        if content is not None:
            document.add(
                path,
                "an axis needs a list or a mapping of values",
                expected="[first, second, ...]",
                remedy="put it in [ ], or move it out of axes if it has one value only",
            )
        found = []
    return [value for value in found if value is not None]


def read_value(document: Document, path: Path, target: Path, raw: Any, menus: Menus, *, name: str = "") -> Value | None:
    """One value of an axis: a kind, ``name: {kind: ...}``, or what a dotted path is set to; None where it is none."""
    if not name and isinstance(raw, dict) and len(raw) == 1 and "kind" not in raw:
        name, raw = next(iter(raw.items()))
        path = (*path, name)
    plain_name = name or _name_of(raw, document.text(path))
    if not plain_name:
        document.add(path, "this value needs a name", expected="name: value", remedy="write - some-name: {...}")
        return None
    if not NAME.fullmatch(plain_name):
        document.add(
            path,
            f"'{plain_name}' cannot be the name of a value",
            key=bool(name),
            expected="letters, digits and . _ + = - (at most 64)",
            remedy="give it a name: {short-name: value}",
        )
        return None
    if len(target) > 1:
        return Value(name=plain_name, content=raw, path=path)
    fields = _fields(document, path, target, raw, plain_name, menus)
    return None if fields is None else Value(name=plain_name, content=fields, path=path)


def _name_of(raw: Any, text: str) -> str:
    """A scalar is called what was written, where that can be a name; a list or mapping has no name of its own."""
    if isinstance(raw, (dict, list)):
        return ""
    return text if text and NAME.fullmatch(text) else raw if isinstance(raw, str) else json.dumps(raw)


def _fields(document: Document, path: Path, target: Path, raw: Any, name: str, menus: Menus) -> dict | None:
    """The fields that a named value sets in its section."""
    registry = menus.registry(str(target[0]))
    if isinstance(raw, str) and registry is not None:
        return {"kind": raw}
    if raw is None and registry is not None:
        return {"kind": name}
    if not isinstance(raw, dict):
        document.add(
            path,
            f"a value of axis '{target[0]}' must be a mapping of fields",
            expected="name: {field: value}" if registry is None else "a kind, or name: {kind: ..., field: value}",
        )
        return None
    base = document.data.get(target[0])
    based = isinstance(base, str) or (isinstance(base, dict) and "kind" in base)
    if registry is not None and "kind" not in raw and not based and name in registry:
        return {"kind": name, **raw}
    return dict(raw)


def _refuse_twins(document: Document, values: list[Value], name: str, *, zipped: bool) -> None:
    """Two values of one name or content are a slip; zipped with another axis, contents may well be equal."""
    seen: dict[str, Value] = {}
    for value in values:
        keys = [f"name {value.name}", *([] if zipped else [f"content {json.dumps(value.content, sort_keys=True)}"])]
        twin = next((seen[key] for key in keys if key in seen), None)
        if twin is not None:
            document.add(
                value.path,
                f"axis '{name}' has the value '{value.name}' twice"
                if twin.name == value.name
                else f"the values '{twin.name}' and '{value.name}' of axis '{name}' are the same",
                expected="every value once",
                remedy="remove one of them",
            )
        for key in keys:
            seen.setdefault(key, value)
