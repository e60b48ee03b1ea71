"""``list``, ``show`` and ``schema``: what a recipe may say, read from the menus."""

from __future__ import annotations

import inspect
import re
import textwrap
import types
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from vlactl.cli import options
from vlactl.cli.names import NAMES
from vlactl.cli.screen import columns, emit, say
from vlactl.errors import UnknownName

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

FAMILIES = {
    "backbones": ("vlactl.backbones", "BACKBONES", "pretrained vision-language models"),
    "formulations": ("vlactl.formulations", "FORMULATIONS", "how actions are asked of a backbone"),
    "strategies": ("vlactl.strategies", "STRATEGIES", "which data are used in which phase"),
    "benchmarks": ("vlactl.benchmarks", "BENCHMARKS", "what a policy is tested in"),
    "formats": ("vlactl.formats", "SOURCES", "where demonstrations come from"),
    "training": ("vlactl.training", "TrainingSettings", "the training loop's settings"),
    "execution": ("vlactl.recipe", "Execution", "how a sweep runs; never part of a result's identity"),
}
"""kind -> module, its registry (or its one model), what it is."""

Kind = Annotated[str, typer.Argument(metavar="KIND", help=" | ".join(FAMILIES), show_default=False)]


def members(kind: str, known: Collection[str] = FAMILIES) -> dict[str, type[BaseModel]]:
    """name -> model, in the order of the menu; raises :class:`UnknownName`, which suggests one of ``known``."""
    if kind not in FAMILIES:
        raise UnknownName("kind", kind, known)
    module, attribute, _ = FAMILIES[kind]
    menu = getattr(import_module(module), attribute)
    return {kind: menu} if isinstance(menu, type) else {name: menu.get(name) for name in menu}


def list_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[KIND]",
            help=" | ".join((*FAMILIES, *NAMES)) + ". Default: the kinds themselves.",
            show_default=False,
        ),
    ] = "",
    json: options.Json = False,
) -> None:
    """List what a recipe can name.

    \b
    vlactl list                  the kinds
    vlactl list backbones        every backbone with one line about it
    vlactl list shifts           what a tabletop benchmark can change
    """
    if kind in NAMES:
        rows = list(NAMES[kind][0]().items())
    elif kind:
        rows = [(name, first_sentence(model)) for name, model in members(kind, (*FAMILIES, *NAMES)).items()]
    else:
        rows = [(name, about) for name, (*_, about) in {**FAMILIES, **NAMES}.items()]
    if json:
        for name, about in rows:
            emit({"type": "member" if kind else "kind", "name": name, "about": about})
    else:
        say(columns(rows))


def show(
    kind: Kind,
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="One member. Default: all of them.", show_default=False)
    ] = "",
    json: options.Json = False,
) -> None:
    """Show the fields that a recipe may set: type, default and meaning.

    Fields marked 'execution' change speed or memory, never a result, and are no part of a digest.

    \b
    vlactl show formulations policy-head-continuous
    vlactl show training
    """
    found = members(kind)
    if name and name not in found:
        raise UnknownName(kind.removesuffix("s"), name, found)
    for each, model in found.items():
        if name in ("", each):
            if json:
                emit({"type": "spec", "family": kind, "name": each, "about": about(model), "fields": fields(model)})
            else:
                say(page(each, model))


def schema() -> None:
    """Print the JSON Schema of a recipe, for editors and other tools.

    \b
    vlactl schema > recipe.schema.json
    # yaml-language-server: $schema=recipe.schema.json     (first line of the recipe)
    """
    import json

    from vlactl.recipe import json_schema

    say(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def about(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").replace("``", "")


def first_sentence(model: type[BaseModel]) -> str:
    text = " ".join(about(model).split("\n\n")[0].split())
    return re.split(r"(?<=[.;:]) ", text, maxsplit=1)[0].rstrip(".;:")


def fields(model: type[BaseModel], prefix: str = "") -> list[dict[str, Any]]:
    """One document per field; those of a nested model follow under dotted names."""
    from pydantic import BaseModel

    from vlactl.registry import execution_fields

    execution = execution_fields(model)
    found: list[dict[str, Any]] = []
    for name, field in model.model_fields.items():
        inside = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        if inside:
            found += fields(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]
            continue
        found.append(
            {
                "name": prefix + name,
                "type": type_text(field.annotation),
                "default": default_text(field),
                "execution": name in execution,
                "about": " ".join((field.description or "").split()).replace("``", ""),
            }
        )
    return found


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


def page(name: str, model: type[BaseModel]) -> str:
    """The help text of one member."""
    lines = [name, textwrap.indent(about(model), "  "), ""]
    for field in fields(model):
        mark = "  (execution)" if field["execution"] else ""
        lines.append(f"  {field['name']}: {field['type']} = {field['default']}{mark}")
        if field["about"]:
            lines += textwrap.wrap(field["about"], 110, initial_indent="      ", subsequent_indent="      ")
    if not model.model_fields:
        lines.append("  (no fields)")
    return "\n".join(lines) + "\n"
