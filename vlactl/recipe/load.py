"""Reading a recipe file: every mistake in it at once, or a :class:`Recipe` of resolved trials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import Any, get_args

from vlactl.errors import Problem, RecipeError, UsageError, did_you_mean
from vlactl.identity import digest
from vlactl.recipe.axes import NAME, Dimension, Row, read_axes
from vlactl.recipe.check import Checker
from vlactl.recipe.grid import Grid, cell_of, span
from vlactl.recipe.marks import Document, read
from vlactl.recipe.menus import SECTIONS, Menus
from vlactl.recipe.model import Axis, Execution, Recipe, Reference, ReportSettings, Trial
from vlactl.recipe.override import apply, refuse_shadowed
from vlactl.recipe.plainly import build
from vlactl.recipe.resolve import Resolver, check_sources
from vlactl.recipe.select import Selection

KEYS = (
    "version",
    "name",
    "description",
    *SECTIONS,
    "sources",
    "axes",
    "seeds",
    "zip",
    "where",
    "exclude",
    "include",
    "references",
    "execution",
    "report",
)
VERSION = 1
"""Of the recipe language."""


def load(
    path: File | str,
    overrides: Sequence[str] = (),
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    limit: int | None = None,
    menus: Menus | None = None,
) -> Recipe:
    """The recipe at ``path`` with ``a.b=c`` overrides, of whose trials ``axis=value`` filters and a limit choose.

    Raises:
        RecipeError: with every mistake of the file, located.
        UsageError: there is no such file.
    """
    menus = menus or Menus()
    document = open_document(File(path))
    for override in overrides:
        apply(document, override)
    check_top_level(document)
    check_sources(document)
    dimensions = read_axes(document, menus)
    refuse_shadowed(document, dimensions)
    resolver = Resolver(document, dimensions, menus)
    execution = settings(document, "execution", Execution)
    report = settings(document, "report", ReportSettings)
    _check_alone(resolver, dimensions)
    grid = span(document, dimensions, menus, resolver.look)
    seeds = read_seeds(document)
    cells = resolve_cells(document, resolver, grid, Checker(document, resolver, execution or Execution()))
    selection = Selection(document, dimensions, seeds, only=only, skip=skip, limit=limit)
    trials = [trial_of(dimensions, row, parts, seed) for seed in seeds for row, parts in cells]
    chosen = selection.choose(trials)
    axes = tuple(Axis(name=d.name, values=tuple(v.name for v in (*d.values, *d.extra))) for d in dimensions)
    check_report(document, report, axes)
    stop_if_wrong(document)
    assert execution is not None
    assert report is not None
    return Recipe(
        name=document.data["name"],
        description=document.data.get("description") or "",
        path=str(path),
        axes=axes,
        seeds=tuple(seeds),
        trials=tuple(chosen),
        excluded=tuple(grid.excluded),
        references=tuple(document.data.get("references") or ()),
        execution=execution,
        report=report,
        document=document.data,
        left_out=len(trials) - len(chosen),
    )


def open_document(path: File) -> Document:
    """Read and parse the file; raises :class:`UsageError` where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [str(item) for item in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise UsageError(
            "there is no such recipe",
            where=str(path),
            expected=" | ".join(sorted(near)[:12]),
            remedy=did_you_mean(str(path), near),
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the recipe: {error}", where=str(path), expected="a YAML file in UTF-8") from None
    document = read(text, str(path))
    if not isinstance(document.data, dict):
        if not document.problems:
            document.add(
                (), "a recipe is a mapping", expected=" | ".join(KEYS), remedy="start from recipes/quickstart.yaml"
            )
        stop_if_wrong(document)
    return document


def stop_if_wrong(document: Document) -> None:
    """Raise what was found, in the order of the file; command-line arguments come last."""
    if document.problems:

        def place(problem: Problem) -> tuple:
            return (problem.file != document.file, problem.file, problem.line, problem.column)

        raise RecipeError(sorted(document.problems, key=place))


def check_top_level(document: Document) -> None:
    """Keys, version, name, references and the presence of what every trial needs."""
    data = document.data
    for key in data:
        if key not in KEYS:
            document.add(
                (key,), f"unknown key '{key}'", key=True, expected=" | ".join(KEYS), remedy=did_you_mean(key, KEYS)
            )
    if data.get("version") != VERSION or isinstance(data.get("version"), bool):
        given = "version is missing" if "version" not in data else f"version {json.dumps(data['version'])} is not known"
        document.add(("version",) if "version" in data else (), given, expected=f"version: {VERSION}")
    if not isinstance(data.get("name"), str) or not NAME.fullmatch(data["name"]):
        given = "the recipe has no name" if "name" not in data else "this cannot be a name"
        document.add(
            ("name",) if "name" in data else (), given, expected="name: letters, digits and . _ + = - (at most 64)"
        )
    if not isinstance(data.get("description"), str | None):
        document.add(("description",), "description must be a text", remedy="put it in quotes")
    axes = data.get("axes") if isinstance(data.get("axes"), dict) else {}
    for section in SECTIONS:
        base = data.get(section)
        if base is None and section not in axes and section != "training":
            document.add(
                (section,) if section in data else (),
                f"there is no {section}",
                remedy="add it, or an axis of it",
                expected=f"{section}: {{kind: ...}}, or under axes: {section}: [kind, ...]",
            )
        if not isinstance(base, dict | None) and not (isinstance(base, str) and section != "training"):
            document.add((section,), f"{section} must be a mapping", expected="{field: value, ...}")
            data[section] = None
    references = data.get("references") or []
    known = get_args(Reference)
    if not isinstance(references, list):
        document.add(("references",), "references must be a list", expected=" | ".join(known), remedy="put it in [ ]")
    for index, name in enumerate(references if isinstance(references, list) else []):
        if name not in known or references.index(name) != index:
            what = f"unknown reference '{name}'" if name not in known else f"the reference '{name}' is given twice"
            document.add(("references", index), what, expected=" | ".join(known), remedy=did_you_mean(str(name), known))


def settings(document: Document, key: str, model: type) -> Any:
    """A section that is plain settings; None after mistakes."""
    content = document.data.get(key)
    if content is not None and not isinstance(content, dict):
        document.add((key,), f"{key} must be a mapping", expected=" | ".join(model.model_fields))
        return None
    return build(model, dict(content or {}), document, lambda loc: ((key, *loc), (key, *loc)))


def read_seeds(document: Document) -> list[int]:
    seeds = document.data.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds:
        document.add(("seeds",), "seeds must be a list of at least one", expected="seeds: [0, 1, 2]")
        return []
    for index, seed in enumerate(seeds):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            document.add(("seeds", index), "a seed is a whole number", expected="0 to 2147483647")
        elif seeds.index(seed) != index:
            document.add(("seeds", index), f"the seed {seed} is given twice", expected="every seed once")
    return seeds


def _check_alone(resolver: Resolver, dimensions: list[Dimension]) -> None:
    """Sections that no axis touches, and named values that no dotted axis completes: told even if no cell uses them."""
    first: list[Any] = [dimension.values[0] if dimension.values else None for dimension in dimensions]
    for section in SECTIONS:
        touching = [index for index, dimension in enumerate(dimensions) if dimension.target[0] == section]
        if not touching and section in resolver.given:
            resolver.spec(section, tuple(first))
        elif len(touching) == 1 and dimensions[touching[0]].target == (section,):
            for value in dimensions[touching[0]].values:
                resolver.spec(section, (*first[: touching[0]], value, *first[touching[0] + 1 :]))
    if not any(dimension.target[0] == "sources" and not dimension.values for dimension in dimensions):
        resolver.sources(tuple(first))


def resolve_cells(document: Document, resolver: Resolver, grid: Grid, checker: Checker) -> list[tuple[Row, Mapping]]:
    """Every row with its parts: section -> Resolved, and ``sources``.  Rows with mistakes are left out."""
    cells, seen = [], {}
    for row in grid.rows:
        parts: dict[str, Any] = {
            section: resolver.spec(section, row) if section in resolver.given else None for section in SECTIONS
        }
        parts["sources"] = resolver.sources(row)
        checker.check(parts, row)
        if any(part is None for part in parts.values()):
            continue
        parts["sources"] = checker.used(parts)
        parts["digests"] = {section: parts[section].digest for section in SECTIONS}
        parts["digests"]["sources"] = {
            role: sorted(source.digest for source in named.values()) for role, named in parts["sources"].items()
        }
        key = json.dumps(parts["digests"], sort_keys=True)
        if key in seen:
            checker.twins(seen[key], row)
            continue
        seen[key] = row
        cells.append((row, parts))
    if not cells and not document.problems:
        document.add(("axes",), "no cell is left", expected="at least one", remedy="loosen exclude or where", key=True)
    return cells


def trial_of(dimensions: list[Dimension], row: Row, parts: Mapping[str, Any], seed: int) -> Trial:
    return Trial(
        id=digest({**parts["digests"], "seed": seed}),
        cell=cell_of(dimensions, row),
        seed=seed,
        backbone=parts["backbone"].spec,
        formulation=parts["formulation"].spec,
        strategy=parts["strategy"].spec,
        training=parts["training"].spec,
        evaluation=parts["evaluation"].spec,
        sources={
            role: {name: source.spec for name, source in named.items()} for role, named in parts["sources"].items()
        },
    )


def check_report(document: Document, report: ReportSettings | None, axes: Sequence[Axis]) -> None:
    known = [axis.name for axis in axes]
    for index, name in enumerate(report.by if report else ()):
        if name not in known:
            document.add(
                ("report", "by", index),
                f"unknown axis '{name}'",
                expected=" | ".join(known),
                remedy=did_you_mean(name, known),
            )
