"""Pydantic's complaints in plain words, at the place in the recipe that caused them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from vlactl.errors import UnknownName, VlactlError, did_you_mean
from vlactl.recipe.marks import Document, Path

Locate = Callable[[Path], "tuple[Path, Path]"]
"""Path inside a spec -> (path of the value in the document, path of its key)."""

WANTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "path": "a path",
    "none": "null",
}
"""By the first word of pydantic's error type (``int_type``, ``int_parsing``, ``int_from_float``)."""

BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


def build(model: type[BaseModel], fields: dict[str, Any], document: Document, locate: Locate) -> Any:
    """``model`` from the recipe's ``fields``, or None after every mistake in them was noted."""
    try:
        return model.model_validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            note(item, model, fields, document, locate)
    return None


def note(item: Any, model: type[BaseModel], fields: dict[str, Any], document: Document, locate: Locate) -> None:
    """Add one of pydantic's errors to the document's problems."""
    kind, loc, given = item["type"], present(item["loc"], fields), item["input"]
    value_path, key_path = locate(loc)
    if kind == "extra_forbidden":
        known = list(model.model_fields) if len(loc) == 1 else []
        document.add(
            key_path,
            f"unknown key '{loc[-1]}'",
            key=True,
            expected=" | ".join(known) or "no such key",
            remedy=did_you_mean(str(loc[-1]), known),
        )
    elif kind == "missing":
        name = item["loc"][-1]
        help_text = model.model_fields[name].description if name in model.model_fields else ""
        document.add(
            locate(loc[:-1] if loc and loc[-1] == name else loc)[0],
            f"'{name}' is missing",
            expected=f"{name}: {' '.join((help_text or '...').split())}",
            remedy=f"add {name}: ...",
        )
    elif kind == "value_error":
        refuse(item["ctx"]["error"], loc, fields, document, locate)
    else:
        expected = wanted(kind, item.get("ctx", {}), item["msg"])
        document.add(value_path, f"{shown(given)} is not allowed here", expected=expected, remedy=mend(given, expected))


def refuse(error: Exception, loc: Path, fields: dict[str, Any], document: Document, locate: Locate) -> None:
    """A spec's own validator said no: place its message at the field that it is about."""
    if not loc:
        about = culprit(error, fields)
        loc = (about,) if about else ()
    path, _ = locate(loc)
    if isinstance(error, VlactlError):
        document.add(path, error.what, expected=error.expected, remedy=error.remedy)
    else:
        document.add(path, " ".join(str(error).split()))


def culprit(error: Exception, fields: dict[str, Any]) -> str | None:
    """The given field that an error of the whole spec is about: the one with the unknown name, or the first named."""
    if isinstance(error, UnknownName):
        return next((name for name, value in fields.items() if value == error.name), None)
    if isinstance(error, VlactlError) and error.where:
        found = next((name for name, value in fields.items() if value == error.where or name == error.where), None)
        if found:
            return found
    words = re.findall(r"\w+", error.what if isinstance(error, VlactlError) else str(error))
    return next((word for word in words if word in fields), None)


def present(loc: tuple[Any, ...], fields: Any) -> Path:
    """``loc`` as far as it exists in ``fields``, and one key more; pydantic adds names of union branches."""
    path: list[Any] = []
    for part in loc:
        if not isinstance(fields, (dict, list)):
            break
        path.append(part)
        if part not in (fields if isinstance(fields, dict) else range(len(fields))):
            break
        fields = fields[part]
    return tuple(path)


def wanted(kind: str, context: dict[str, Any], message: str) -> str:
    """What pydantic would have accepted."""
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return f"{words} {context[key]:g}"
    if kind in ("literal_error", "enum"):
        return context["expected"].replace("'", "").replace(" or ", " | ").replace(", ", " | ")
    if kind == "string_pattern_mismatch":
        return f"a text like {context['pattern']}"
    stem = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_attributes").removesuffix("_from_float")
    return WANTED.get(stem, message[:1].lower() + message[1:])


def mend(given: Any, expected: str) -> str:
    """A repair that can be named with confidence."""
    if expected == "a whole number" and isinstance(given, float) and given.is_integer():
        return f"write {int(given)}"
    if isinstance(given, str) and expected in ("a whole number", "a number") and re.fullmatch(r"[-+\d.eE_]+", given):
        return "remove the quotes or underscores: a number is written bare"
    if isinstance(given, str) and " | " in expected:
        return did_you_mean(given, expected.split(" | "))
    return "put it in [ ]" if expected == "a list" and not isinstance(given, dict) else ""


def shown(value: Any) -> str:
    """A value as it would stand in YAML, cut to a readable length."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
