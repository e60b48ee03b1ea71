"""The fields of a spec as a recipe's author writes them: name, type, default, meaning."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo


def fields(model: type[BaseModel], prefix: str = "") -> list[dict[str, Any]]:
    """One document per field; those of a nested model follow under dotted names."""
    from pydantic import BaseModel

    from vlactl.registry import execution_fields

    execution = execution_fields(model)
    found: list[dict[str, Any]] = []
    for name, field in model.model_fields.items():
        inside = inner_model(field.annotation)
        if inside is not None and inside is field.annotation:
            found += fields(inside, f"{prefix}{name}.")
            continue
        found.append(
            {
                "name": prefix + name,
                "type": type_text(field.annotation),
                "default": default_text(field),
                "execution": name in execution,
                "about": plain(field.description),
            }
        )
        if inside is not None and issubclass(inside, BaseModel):
            found += fields(inside, f"{prefix}{name}[].")
    return found


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model that a field is, or that it is a list of."""
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, list):
        return next((inside for each in get_args(annotation) if (inside := inner_model(each)) is not None), None)
    return None


def plain(text: str | None) -> str:
    """A docstring on one line, without marks."""
    return " ".join((text or "").split()).replace("``", "")


def type_text(annotation: Any) -> str:
    """A type as a recipe's author writes values of it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(type_text(each) for each in arguments)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin in (tuple, list, set, frozenset):
        inside = [type_text(each) for each in arguments if each is not Ellipsis]
        fixed = origin is tuple and Ellipsis not in arguments
        return f"[{', '.join(inside)}{'' if fixed else ', ...'}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{{{type_text(arguments[0])}: {type_text(arguments[1])}, ...}}"
    names = {"str": "text", "int": "integer", "float": "number", "bool": "true | false"}
    return names.get(getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation)))


def default_text(field: FieldInfo) -> str:
    from pydantic_core import PydanticUndefined

    value = (
        field.get_default(call_default_factory=True) if field.default_factory is None or not needs_data(field) else None
    )
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {each}" for key, each in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(str(each) for each in value) + "]"
    return str(value)


def needs_data(field: FieldInfo) -> bool:
    return bool(field.default_factory_takes_validated_data)
