"""JSON Schema of the recipe language, for editors: every kind with its fields, every field with its help text.

It accepts every recipe that :func:`vlactl.recipe.load` accepts; what only the whole recipe can tell (illegal cells,
names of values) is left to ``load``.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from vlactl.recipe.menus import ROLES, SECTIONS, Menus
from vlactl.recipe.model import Execution, Reference, ReportSettings
from vlactl.registry import Spec

SCALAR = {"type": ["string", "number", "boolean", "null"]}
VALUE_NAME = {"pattern": r"^(?!\.)[A-Za-z0-9._+=-]{1,64}$"}
DOTTED = rf"^(?:{'|'.join(SECTIONS)})\.[^.]+(?:\.[^.]+)*$|^sources\.(?:{'|'.join(ROLES)})(?:\..+)?$"
HELP = {
    "version": "Version of the recipe language.",
    "name": "Name of the sweep; a folder is called so.",
    "description": "What the sweep is to find out.",
    "seeds": "Replicates of every cell.",
    "axes": "The grid is the product of these axes.",
    "zip": "Groups of axes that advance together.",
    "where": "Cells that do not satisfy these expressions are left out.",
    "exclude": "Cells that are left out, each with its reason; an axis that is not named matches everything.",
    "include": "Further cells, with a value for every axis.",
    "sources": "Demonstrations: role -> name -> source.",
    "references": "Ceiling and floor, evaluated under the same protocol.",
    "backbone": "Base values of the vision-language model.",
    "formulation": "Base values of how actions are asked of the backbone.",
    "strategy": "Base values of which demonstrations are seen, and when.",
    "evaluation": "Base values of the benchmark.",
    "training": "How policies are trained.",
}


def json_schema(menus: Menus | None = None) -> dict[str, Any]:
    """The schema of a recipe over the installed menus, as plain data (JSON Schema 2020-12)."""
    menus = menus or Menus()
    definitions: dict[str, Any] = {}
    sections = {
        section: {"description": HELP[section], **_section(section, menus, definitions)} for section in SECTIONS
    }
    source = {"anyOf": [_kinds("sources", menus), {"type": "null"}, *_mappings("sources", menus, definitions)]}
    properties = {
        "version": {"const": 1},
        "name": {"type": "string", **VALUE_NAME},
        "description": {"type": ["string", "null"]},
        "axes": {
            "type": ["object", "null"],
            "patternProperties": {DOTTED: _dotted_axis()},
            "additionalProperties": False,
            "properties": {section: _axis(section, menus, definitions) for section in SECTIONS},
        },
        "seeds": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True},
        "zip": {"type": ["array", "null"], "items": {"type": "array", "items": {"type": "string"}}},
        "where": {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}}]},
        "exclude": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "required": ["because"],
                "properties": {"because": {"type": "string", "minLength": 1}},
                "additionalProperties": {"anyOf": [SCALAR, {"type": "array", "items": SCALAR}]},
            },
        },
        "include": {"type": ["array", "null"], "items": {"type": "object"}},
        **sections,
        "sources": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                role: {"type": "object", "minProperties": 1, "additionalProperties": source} for role in ROLES
            },
        },
        "references": {"type": ["array", "null"], "items": {"enum": list(get_args(Reference))}, "uniqueItems": True},
        "execution": _model(Execution, definitions),
        "report": _model(ReportSettings, definitions),
    }
    for key, schema in properties.items():
        schema.setdefault("description", HELP.get(key, ""))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vlactl recipe",
        "type": "object",
        "required": ["version", "name", "sources"],
        "additionalProperties": False,
        "properties": properties,
        "$defs": definitions,
    }


def _section(section: str, menus: Menus, definitions: dict[str, Any]) -> dict[str, Any]:
    """Base values: with a kind all fields of that kind, without one the fields of any kind."""
    if menus.registry(section) is None:
        return {"anyOf": [_spec(section, menus.training, definitions), {"type": "null"}]}
    fields = {
        name: _anything(schema)
        for spec in menus.specs(section)
        for name, schema in spec.model_json_schema()["properties"].items()
    }
    bare = {"type": ["object", "null"], "properties": {**fields, "kind": False}, "additionalProperties": False}
    return {"anyOf": [_kinds(section, menus), *_mappings(section, menus, definitions), bare]}


def _axis(section: str, menus: Menus, definitions: dict[str, Any]) -> dict[str, Any]:
    """A list of kinds, or names with fields; a field may come from the base values, so none is required here."""
    if menus.registry(section) is None:
        named: dict[str, Any] = {
            "type": "object",
            "minProperties": 1,
            "propertyNames": VALUE_NAME,
            "additionalProperties": _loose(_spec(section, menus.training, definitions), definitions),
        }
        return {"anyOf": [named, {"type": "array", "minItems": 1, "items": {**named, "maxProperties": 1}}]}
    value = {"anyOf": [_kinds(section, menus), {"type": ["object", "null"]}, *_mappings(section, menus, definitions)]}
    named = {"type": "object", "minProperties": 1, "propertyNames": VALUE_NAME, "additionalProperties": value}
    item = {"anyOf": [_kinds(section, menus), {**named, "maxProperties": 1}, *_mappings(section, menus, definitions)]}
    return {"anyOf": [{"type": "array", "minItems": 1, "items": item}, named]}


def _dotted_axis() -> dict[str, Any]:
    return {
        "anyOf": [
            {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean", "null", "object"]}},
            {"type": "object", "minProperties": 1, "propertyNames": VALUE_NAME},
        ]
    }


def _kinds(section: str, menus: Menus) -> dict[str, Any]:
    """A kind written short, each with what it is."""
    return {"oneOf": [{"const": spec.kind, "description": _first_line(spec)} for spec in menus.specs(section)]}


def _mappings(section: str, menus: Menus, definitions: dict[str, Any]) -> list[dict[str, Any]]:
    return [_spec(section, spec, definitions) for spec in menus.specs(section)]


def _spec(section: str, spec: type[Spec], definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the definition of one kind, discriminated by its ``kind``."""
    name = f"{section}.{spec.kind}"
    if name not in definitions:
        reference = _model(spec, definitions, name=name)
        schema = definitions[name]
        schema["description"] = _first_line(spec)
        if section != "training":
            schema["properties"] = {"kind": {"const": spec.kind}, **schema["properties"]}
            schema["required"] = ["kind", *schema.get("required", [])]
        return reference
    return {"$ref": f"#/$defs/{name}"}


def _model(model: type[BaseModel], definitions: dict[str, Any], *, name: str = "") -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    name = name or model.__name__
    definitions[name] = schema
    for field in schema["properties"].values():
        field.pop("execution", None)
        field.pop("added", None)
    return {"$ref": f"#/$defs/{name}"}


def _loose(reference: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The fields of a definition, none required."""
    schema = definitions[reference["$ref"].removeprefix("#/$defs/")]
    return {key: value for key, value in schema.items() if key != "required"}


def _anything(schema: dict[str, Any]) -> dict[str, Any]:
    """Only the help text of a field whose type may differ between kinds."""
    return {"description": schema["description"]} if "description" in schema else {}


def _first_line(spec: type[Spec]) -> str:
    return " ".join((spec.__doc__ or "").strip().split("\n\n")[0].split())
