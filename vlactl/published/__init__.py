"""Published numbers as data: what the paper printed, in which version and table, and how far our copy is to be trusted.

One YAML file per table lies beside this module.  These numbers come from other simulators, cameras and budgets: they
stand beside ours in a report, in a block of their own, and never enter a test.  A cell that no source gives is absent;
a printed oddity is kept as printed and has a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vlactl.errors import UnknownName

FOLDER = Path(__file__).parent
CHAIN = ("sr1", "sr2", "sr3", "sr4", "sr5")
ROUNDING = 0.01
"""How far the rates of a row may sum from its printed mean."""
TRUST = {
    "read": "read in the authors' repository",
    "transcribed": "from a transcription with verbatim quotes; the rates of every row sum to its mean",
    "notes": "two or more independent reader notes agree",
    "one-note": "one reader note, not confirmed",
    "inferred": "the numbers are printed, which row they belong to is inferred",
    "approximate": "sources disagree, or the value was read off a figure",
}
"""How far a row is to be trusted, best first."""
UNITS = ("share", "percent")
COORDINATES = {
    "backbone": "the vision-language model",
    "formulation": "how actions are asked of it",
    "strategy": "which data, in which phase",
    "split": "scenes of the demonstrations (CALVIN)",
    "portion": "share of the demonstrations",
    "per_task": "demonstrations of each task",
    "vl_pretrain": "whether the backbone has learned from pictures with words",
    "execution": "what is done of a planned chunk",
    "objective": "the loss of the actions",
    "expert": "whether action tokens have a feed-forward of their own",
}
"""What tells the rows of a table apart; named as the fields of a recipe where there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """One line of a published table."""

    method: str
    """What the paper calls it."""
    cell: Mapping[str, tuple[str, ...]]
    """Coordinate -> the names that a recipe may give it, the shown one first; what all rows share is among them."""
    scores: Mapping[str, float]
    """Column -> the number as printed, or the mean that is computed here; what is not known is absent."""
    versions: tuple[str, ...]
    """Versions of the paper that print this row."""
    place: str
    """Table or figure."""
    source: str
    trust: str
    """A key of :data:`TRUST`."""
    note: str = ""
    odd_sum: bool = False
    """Whether the printed rates contradict the printed mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """One published table or figure."""

    id: str
    title: str
    paper: str
    place: str
    versions: tuple[str, ...]
    setting: str
    """How these numbers were measured."""
    source: str
    trust: str
    note: str
    metric: str
    """The column that sums a row up."""
    unit: str
    """``share`` | ``percent``: of every column but ``avg_len``, which is in tasks."""
    columns: tuple[str, ...]
    means: Mapping[str, tuple[str, ...]]
    """Columns computed here: name -> the printed columns that it is the mean of."""
    coordinates: tuple[str, ...]
    """The coordinates in which rows differ."""
    rows: tuple[PublishedRow, ...]

    def mark(self) -> str:
        """What stands above these numbers wherever they are shown."""
        return (f"published, {self.paper} {'/'.join(self.versions)}, {self.place}; "
                "another protocol, never part of any test here")


def names() -> tuple[str, ...]:
    """The ids of all tables."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def table(name: str) -> PublishedTable:
    """The table called ``name``; raises :class:`UnknownName`."""
    if name not in names():
        raise UnknownName("published table", name, names())
    return read_table(name, yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def read_table(name: str, document: Mapping[str, Any]) -> PublishedTable:
    """The table that a file describes; raises ValueError that names what is wrong with it."""
    fields = dict(document)
    shared = fields.pop("shared", {})
    rows = fields.pop("rows", None)
    if not rows:
        raise ValueError(f"{name}: a published table has rows")
    wanted = {"title", "paper", "place", "versions", "setting", "source", "trust", "metric", "unit", "columns",
              "coordinates"}
    if unknown := sorted((fields.keys() ^ wanted) - {"note", "means"}):
        raise ValueError(f"{name}: missing or unknown keys: {', '.join(unknown)}")
    means = {mean: tuple(of) for mean, of in fields.get("means", {}).items()}
    made = PublishedTable(
        id=name,
        rows=tuple(read_row(f"{name}, row {number}", row, fields, shared, means)
                   for number, row in enumerate(rows, start=1)),
        **{**fields, "note": flowing(fields.get("note", "")), "setting": flowing(fields["setting"]), "means": means,
           **{key: tuple(fields[key]) for key in ("versions", "columns", "coordinates")}},
    )
    if stray := sorted({key for row in made.rows for key in row.cell} - COORDINATES.keys()):
        raise ValueError(f"{name}: {', '.join(stray)} is no coordinate")
    if problem := next(problems_of(made), None):
        raise ValueError(f"{name}: {problem}")
    return made


def read_row(where: str, row: Mapping[str, Any], defaults: Mapping[str, Any], shared: Mapping[str, Any],
             means: Mapping[str, tuple[str, ...]]) -> PublishedRow:
    """One row, with the table's version, place, source and trust where it has none of its own."""
    known = set(PublishedRow.__dataclass_fields__)
    if unknown := sorted(row.keys() - known):
        raise ValueError(f"{where}: unknown keys: {', '.join(unknown)}")
    own = {"versions": defaults["versions"], "place": defaults["place"], "source": defaults["source"],
           "trust": defaults["trust"], **row}
    cell = {key: spelled(value) for key, value in {**(shared if row["cell"] else {}), **row["cell"]}.items()}
    scores = {column: float(value) for column, value in row["scores"].items()}
    for mean, of in means.items():
        if all(column in scores for column in of):
            scores[mean] = sum(scores[column] for column in of) / len(of)
    return PublishedRow(**{**own, "versions": tuple(own["versions"]), "cell": cell, "scores": scores})


def spelled(value: Any) -> tuple[str, ...]:
    """The names that a coordinate may have in a recipe, as the recipe's axes spell them."""
    several = value if isinstance(value, list) else [value]
    return tuple(str(each).lower() if isinstance(each, bool) else str(each) for each in several)


def flowing(text: str) -> str:
    return " ".join(text.split())


def problems_of(table: PublishedTable) -> Iterator[str]:
    """What contradicts itself in a table: unknown words, impossible numbers, rates that do not sum to their mean."""
    if table.unit not in UNITS:
        yield f"unit '{table.unit}' is none of {', '.join(UNITS)}"
    columns = {*table.columns, *table.means}
    if table.metric not in columns:
        yield f"metric '{table.metric}' is no column"
    for row in table.rows:
        if row.trust not in TRUST:
            yield f"{row.method}: trust '{row.trust}' is none of {', '.join(TRUST)}"
        if unknown := sorted(row.scores.keys() - columns):
            yield f"{row.method}: {', '.join(unknown)} is no column"
        if not set(row.versions) <= set(table.versions):
            yield f"{row.method}: version {'/'.join(row.versions)} is not the table's"
        top = 1.0 if table.unit == "share" else 100.0
        for column, value in row.scores.items():
            if not 0 <= value <= (len(CHAIN) if column == "avg_len" else top):
                yield f"{row.method}: {column} {value:g} is impossible"
        if (gap := sum_gap(row)) is not None and (abs(gap) > ROUNDING) != row.odd_sum:
            yield f"{row.method}: the rates miss the mean by {gap:.3f}, and odd_sum says {row.odd_sum}"


def sum_gap(row: PublishedRow) -> float | None:
    """Sum of the rates minus avg_len; what the known rates exceed it by where some are absent; None without both."""
    known = [row.scores[rate] for rate in CHAIN if rate in row.scores]
    if not known or "avg_len" not in row.scores:
        return None
    gap = round(sum(known) - row.scores["avg_len"], 6)
    return gap if len(known) == len(CHAIN) else max(gap, 0.0)


def matches(
    table: PublishedTable, row: PublishedRow, coordinates: Mapping[str, Sequence[str]], axes: Sequence[str]
) -> bool:
    """Whether a cell of ours is this row by name.

    Rows of other methods lack some of the table's coordinates and match nothing.

    Args:
        coordinates: what our cell is: name of an axis or of a field -> the names of its value.
        axes: those in which our cells differ: each must be a coordinate of the row, or the row would stand beside
            several cells.
    """
    if not set(table.coordinates) <= row.cell.keys() or any(leaf(axis) not in row.cell for axis in axes):
        return False
    ours = {leaf(name): values for name, values in coordinates.items()}
    return all(
        any(same(theirs, value) for theirs in names for value in ours[name])
        for name, names in row.cell.items()
        if name in ours
    )


def leaf(axis: str) -> str:
    """``strategy.portion`` -> ``portion``: published coordinates have the names of a recipe's fields.

    What a paper varies of its sources is the split, whatever the recipe calls them.
    """
    return "split" if axis.startswith("sources.") else axis.rsplit(".", 1)[-1]


def same(first: str, second: str) -> bool:
    """Whether two spellings are one value: ``1``, ``1.0`` and ``1x``."""
    if first.lower() == second.lower():
        return True
    try:
        return float(first.removesuffix("x")) == float(second.removesuffix("x"))
    except ValueError:
        return False
