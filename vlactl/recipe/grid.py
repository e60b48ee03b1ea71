"""The cells that the axes span, and what ``exclude``, ``where``, ``include`` and ``zip`` make of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vlactl.errors import UsageError, did_you_mean
from vlactl.recipe.axes import Dimension, Row, Value, read_value
from vlactl.recipe.marks import Document, Path
from vlactl.recipe.menus import SECTIONS, Menus
from vlactl.recipe.model import Cell, Excluded
from vlactl.recipe.resolve import InvalidSpecError
from vlactl.recipe.where import Names, Where, parse

CELL_LIMIT = 200_000
"""More than anyone can run; an axis too many should not eat the memory."""


@dataclass(kw_only=True, slots=True)
class Grid:
    """The rows to run and the rows left out."""

    rows: list[Row]
    excluded: list[Excluded]


def cell_of(dimensions: Sequence[Dimension], row: Row) -> Cell:
    return tuple((dimension.name, value.name) for dimension, value in zip(dimensions, row, strict=True))


def span(
    document: Document, dimensions: list[Dimension], menus: Menus, look: Callable[[tuple[str, ...], Row], Any]
) -> Grid:
    """All cells: the product of the axes (zipped ones together), less exclude and where, plus include."""
    groups = _groups(document, dimensions)
    size = math.prod(len(group[0].values) for group in groups)
    if size > CELL_LIMIT:
        document.add(("axes",), f"the axes span {size:,} cells", expected=f"at most {CELL_LIMIT:,}", key=True)
        return Grid(rows=[], excluded=[])
    rules = _rules(document, dimensions)
    expressions = _expressions(document, dimensions, menus)
    grid, hits = Grid(rows=[], excluded=[]), [0] * len(rules)
    dropped: dict[Row, Excluded] = {}
    for row in _product(dimensions, groups):
        matching = [number for number, rule in enumerate(rules) if rule.matches(row)]
        for number in matching:
            hits[number] += 1
        reason = (
            (rules[matching[0]].because, str(document.mark(rules[matching[0]].path)))
            if matching
            else _refused(document, expressions, row, look)
        )
        if reason is None:
            grid.rows.append(row)
        else:
            dropped[row] = Excluded(cell=cell_of(dimensions, row), because=reason[0], where=reason[1])
    for rule, count in zip(rules, hits, strict=True):
        if not count and rule.sound:
            document.add(
                rule.path,
                "this exclude matches no cell",
                expected="at least one cell of the grid",
                remedy="remove it, or correct its values",
            )
    for row in _included(document, dimensions, menus, set(grid.rows)):
        grid.rows.append(row)
        dropped.pop(row, None)
    grid.excluded = list(dropped.values())
    return grid


def _groups(document: Document, dimensions: list[Dimension]) -> list[list[Dimension]]:
    """Axes that advance together, in the order of the axes; an axis alone is a group of one."""
    by_name = {dimension.name: dimension for dimension in dimensions}
    taken: dict[str, list[Dimension]] = {}
    zips = document.data.get("zip") or []
    if not isinstance(zips, list) or not all(isinstance(item, list) for item in zips):
        document.add(("zip",), "zip must be a list of lists of axes", expected="zip: [[first-axis, second-axis]]")
        zips = []
    for number, names in enumerate(zips):
        group = []
        for index, name in enumerate(names):
            path: Path = ("zip", number, index)
            if name not in by_name:
                document.add(
                    path,
                    f"unknown axis '{name}'",
                    expected=" | ".join(by_name),
                    remedy=did_you_mean(str(name), by_name),
                )
            elif name in taken or by_name[name] in group:
                document.add(path, f"axis '{name}' is zipped twice", expected="every axis in one group at most")
            else:
                group.append(by_name[name])
        if len({len(dimension.values) for dimension in group}) > 1:
            lengths = ", ".join(f"{dimension.name} has {len(dimension.values)}" for dimension in group)
            document.add(
                ("zip", number),
                f"zipped axes differ in length: {lengths}",
                expected="the same number of values",
                remedy="give each the same number of values, or take one out of zip",
            )
            continue
        taken.update({dimension.name: group for dimension in group})
    groups: list[list[Dimension]] = []
    for dimension in dimensions:
        group = taken.get(dimension.name, [dimension])
        if group not in groups:
            groups.append(group)
    return groups


def _product(dimensions: list[Dimension], groups: list[list[Dimension]]) -> Iterator[Row]:
    order = [dimensions.index(dimension) for group in groups for dimension in group]
    back = [order.index(index) for index in range(len(dimensions))]
    columns = [list(zip(*(dimension.values for dimension in group), strict=True)) for group in groups]
    for picked in itertools.product(*columns):
        flat = [value for values in picked for value in values]
        yield tuple(flat[index] for index in back)


@dataclass(kw_only=True, slots=True)
class Rule:
    """One entry of ``exclude``."""

    path: Path
    because: str
    picks: dict[int, set[Value]]
    """Index of an axis -> the values that are left out."""
    sound: bool
    """Every name in it exists."""

    def matches(self, row: Row) -> bool:
        return self.sound and all(row[index] in values for index, values in self.picks.items())


def _rules(document: Document, dimensions: list[Dimension]) -> list[Rule]:
    rules, entries = [], document.data.get("exclude") or []
    if not isinstance(entries, list):
        document.add(("exclude",), "exclude must be a list", expected='- {axis: value, because: "..."}')
        return []
    for number, entry in enumerate(entries):
        path: Path = ("exclude", number)
        if not isinstance(entry, dict):
            document.add(path, "an exclude must be a mapping", expected='{axis: value, because: "..."}')
            continue
        because = entry.get("because")
        if not isinstance(because, str) or not because.strip():
            document.add(
                path,
                "this exclude does not say why",
                expected='because: "the reason, shown in every report"',
                remedy="add because: ...",
            )
        picks: dict[int, set[Value]] = {}
        sound = True
        for name, raw in entry.items():
            if name != "because":
                index, picked = _pick(document, dimensions, (*path, name), name, raw)
                sound = sound and index is not None
                if index is not None:
                    picks[index] = picked
        if sound and not picks:
            document.add(
                path,
                "this exclude names no axis and would leave nothing",
                expected=" | ".join(dimension.name for dimension in dimensions),
            )
            sound = False
        rules.append(Rule(path=path, because=" ".join(str(because).split()), picks=picks, sound=sound))
    return rules


def _pick(
    document: Document, dimensions: list[Dimension], path: Path, name: str, raw: Any
) -> tuple[int | None, set[Value]]:
    """Index of the axis called ``name`` and the values that ``raw`` (one or a list) names; no index after a mistake."""
    index = next((i for i, dimension in enumerate(dimensions) if dimension.name == name), None)
    if index is None:
        known = [dimension.name for dimension in dimensions]
        document.add(
            path,
            f"'{name}' is not an axis",
            expected=" | ".join([*known, "because"]),
            key=True,
            remedy=did_you_mean(name, [*known, "because"]),
        )
        return None, set()
    items = [((*path, number), item) for number, item in enumerate(raw)] if isinstance(raw, list) else [(path, raw)]
    picked: set[Value] = set()
    for item_path, item in items:
        text = document.text(item_path)
        value = dimensions[index].find(item, text)
        if value is None:
            error = dimensions[index].missing(text)
            document.add(item_path, error.what, expected=error.expected, remedy=error.remedy)
            return None, set()
        picked.add(value)
    return index, picked


def _expressions(document: Document, dimensions: list[Dimension], menus: Menus) -> list[tuple[Where, Path]]:
    raw = document.data.get("where")
    items: list[tuple[Path, Any]] = (
        []
        if raw is None
        else [(("where",), raw)]
        if not isinstance(raw, list)
        else [(("where", number), item) for number, item in enumerate(raw)]
    )
    names = Names(
        axes={dimension.name: dimension.names for dimension in dimensions},
        fields={
            section: sorted({"kind", *(f for spec in menus.specs(section) for f in spec.model_fields)})
            for section in SECTIONS
        }
        if items
        else {},
    )
    found = []
    for path, item in items:
        if not isinstance(item, str):
            document.add(path, "where must be an expression", expected="for example: formulation.history > 1")
            continue
        try:
            found.append((parse(item, names), path))
        except UsageError as error:
            document.add(path, error.what, expected=error.expected, remedy=error.remedy)
    return found


def _refused(
    document: Document, expressions: list[tuple[Where, Path]], row: Row, look: Callable[[tuple[str, ...], Row], Any]
) -> tuple[str, str] | None:
    """The first expression that does not hold, as (because, where); one that cannot be computed is told and dropped."""
    for where, path in list(expressions):
        try:
            if not where.holds(lambda name: look(name, row)):
                return f"not where {where.text}", str(document.mark(path))
        except InvalidSpecError:
            continue
        except UsageError as error:
            document.add(path, error.what, expected=error.expected, remedy=error.remedy)
            expressions.remove((where, path))
    return None


def _included(document: Document, dimensions: list[Dimension], menus: Menus, present: set[Row]) -> Iterator[Row]:
    entries = document.data.get("include") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        document.add(("include",), "include must be a list of cells", expected="- {axis: value, ...}")
        return
    for number, entry in enumerate(entries):
        path: Path = ("include", number)
        known = [dimension.name for dimension in dimensions]
        for name in entry:
            if name not in known:
                document.add(
                    (*path, name),
                    f"'{name}' is not an axis",
                    expected=" | ".join(known),
                    key=True,
                    remedy=did_you_mean(name, known) or "make it an axis, with its usual value in the grid",
                )
        absent = [name for name in known if name not in entry]
        if absent:
            document.add(path, f"this cell has no value for {', '.join(absent)}", expected="a value for every axis")
        if absent or len(entry) != len(known):
            continue
        row = tuple(
            _include_value(document, (*path, dimension.name), dimension, entry[dimension.name], menus)
            for dimension in dimensions
        )
        if None in row:
            continue
        if row in present:
            document.add(path, "this cell is in the grid already", remedy="remove it from include")
            continue
        present.add(row)  # type: ignore[arg-type]
        yield row  # type: ignore[misc]


def _include_value(document: Document, path: Path, dimension: Dimension, raw: Any, menus: Menus) -> Value | None:
    """A value of the axis, or a new one, which the axis then has beyond the grid."""
    known = dimension.find(raw, document.text(path))
    if known is not None:
        return known
    registry = menus.registry(str(dimension.target[0]))
    if len(dimension.target) == 1 and isinstance(raw, str) and (registry is None or raw not in registry):
        error = dimension.missing(raw)
        document.add(path, error.what, expected=error.expected, remedy=error.remedy)
        return None
    value = read_value(document, path, dimension.target, raw, menus)
    if value is not None:
        dimension.extra.append(value)
    return value
