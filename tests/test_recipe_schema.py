"""The JSON Schema of recipes: it knows every kind and field, accepts good recipes and refuses typos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.fake_menus import menus
from vlactl.recipe import Menus, json_schema, load
from vlactl.recipe.marks import read
from vlactl.recipe.menus import SECTIONS

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))
GOOD = {
    "version": 1,
    "name": "x",
    "backbone": "alpha",
    "formulation": {"kind": "policy-head", "layers": 2},
    "strategy": "in-domain",
    "evaluation": {"kind": "desk", "chains": 5},
    "training": {"updates": 5},
    "sources": {"in-domain": {"own": {"kind": "drawn"}}},
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found = json_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def small() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema(menus()))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_this_repository_are_valid(path: Path, schema: dict[str, Any]) -> None:
    assert load(path).trials
    assert [
        error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(read(path.read_text(), "").data)
    ] == []


def test_every_kind_and_field_of_the_menus_is_there_with_its_help(schema: dict[str, Any]) -> None:
    for section in (*SECTIONS, "sources"):
        for spec in Menus().specs(section):
            definition = schema["$defs"][f"{section}.{spec.kind}"]
            assert definition["description"]
            for name in spec.model_fields:
                assert definition["properties"][name]["description"], f"{spec.kind}.{name}"


def test_kinds_are_told_apart_by_their_kind(schema: dict[str, Any]) -> None:
    assert schema["$defs"]["backbone.llava"]["properties"]["kind"] == {"const": "llava"}
    assert "kind" in schema["$defs"]["backbone.llava"]["required"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"axes": {"backbone": ["alpha", {"wide": {"kind": "alpha", "width": 512}}]}},
        {"axes": {"formulation": {"one": "one-step", "interleaved": None}, "training.updates": [1, 2]}},
        {"axes": {"sources.in-domain.own.episodes": {"few": 5}}, "zip": [["a", "b"]], "where": ["backbone == 'alpha'"]},
        {"exclude": [{"backbone": ["alpha"], "because": "slow"}], "include": [{"backbone": "alpha"}]},
        {"backbone": {"width": 64}, "execution": {"hint_s": {"data": 5}, "retries": {"oom": 1, "preempted": None}}},
        {"references": ["expert"], "report": {"metric": "sr1"}, "seeds": [0, 1], "training": None},
    ],
)
def test_good_recipes_pass(change: dict[str, Any]) -> None:
    assert [error.message for error in small().iter_errors({**GOOD, **change})] == []


@pytest.mark.parametrize(
    "change",
    [
        {"trainig": {}},
        {"version": 2},
        {"backbone": "alfa"},
        {"backbone": {"kind": "alpha", "widht": 3}},
        {"formulation": {"kind": "one-step", "layers": 2}},
        {"backbone": {"widht": 3}},
        {"training": {"updates": "5"}},
        {"training": {"updates": 0}},
        {"axes": {"bakcbone": ["alpha"]}},
        {"axes": {"backbone": []}},
        {"axes": {"backbone": ["alfa"]}},
        {"axes": {"backbone": {"a/b": "alpha"}}},
        {"exclude": [{"backbone": "alpha"}]},
        {"sources": {"indomain": {}}},
        {"sources": {"in-domain": {"own": {"kind": "drawn", "path": "x"}}}},
        {"execution": {"job": 2}},
        {"references": ["oracle"]},
        {"seeds": []},
        {"name": "a/b"},
    ],
)
def test_typos_fail(change: dict[str, Any]) -> None:
    assert not small().is_valid({**GOOD, **change})
