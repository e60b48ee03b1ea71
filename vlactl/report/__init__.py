"""The answer: trials x store -> :class:`Report` -> a table for people, papers and programs.

A report never drops a cell, carries the protocol beside every score, and says in words which cell is best and whether
the difference is real.  It reads the store alone: neither torch nor ray nor mlflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from vlactl.errors import UnknownName

if TYPE_CHECKING:
    from vlactl.events import SweepState
    from vlactl.plan import Plan
    from vlactl.recipe import Recipe
    from vlactl.statistics import Comparison, Estimate
    from vlactl.store import Store

FORMATS = ("table", "markdown", "latex", "csv", "json", "html")
METRICS = ("avg_len", "sr1", "sr2", "sr3", "sr4", "sr5")
CHAIN = 5
"""Tasks in a chain; the upper bound of avg_len."""

State = Literal["done", "partial", "failed", "upstream_failed", "unfinished", "excluded"]
"""``partial``: some seeds are done, others are not; its score is shown and says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One cell, or one reference policy."""

    cell: tuple[tuple[str, str], ...]
    """``((axis, value), ...)``; empty for a reference."""
    state: State
    detail: str = ""
    """Failure class and stage, why it was excluded, or what a reference is."""
    reference: str = ""
    """``expert`` | ``random`` | ``zero``, with ``/<evaluation>`` where there are several; empty for a cell."""
    estimate: Estimate | None = None
    """The metric with its 95 % interval."""
    rates: tuple[Estimate, ...] = ()
    """SR@1..5: share of chains with at least k tasks solved in a row."""
    n: int = 0
    """Episodes scored per seed."""
    seeds: int = 0
    """Training seeds that are done."""
    seeds_wanted: int = 0
    per_seed: tuple[float, ...] = ()
    """The metric of each seed that is done."""
    invalid: int = 0
    infra: int = 0
    letters: str = ""
    """Cells without a common letter differ (Holm, 5 %)."""
    best: float | None = None
    """Share of resamples in which this cell is the best of all."""
    behind: Comparison | None = None
    """The best cell minus this one, paired on episodes; None for the best."""
    p_adjusted: float | None = None
    """Of that difference, by Holm over all pairs of cells."""
    per_task: tuple[tuple[str, int, int], ...] = ()
    """``(task, successes, attempts)`` over seeds."""
    updates: int | None = None
    train_s: float | None = None
    """Mean seconds of finetuning per seed."""
    trials: tuple[str, ...] = ()
    """Ids, in the order of seeds."""
    digests: tuple[str, ...] = ()
    """Digests of the finished evaluations."""

    @property
    def name(self) -> str:
        return self.reference or " / ".join(value for _, value in self.cell)

    @property
    def policy(self) -> str:
        """Which reference policy this is, whatever it was tested in."""
        return self.reference.partition("/")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One value of an axis, averaged over the combinations of the other axes in which every value is done."""

    value: str
    estimate: Estimate | None
    """Mean over those cells; interval over episodes, for these very cells."""
    effect: Comparison | None
    """This value minus the mean of all values, paired in cells and episodes; both are taken as samples."""
    letters: str
    cells: int
    """Cells of this value that have a score; ``Margin.blocks`` of them enter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """The effect of one axis."""

    axis: str
    blocks: int
    """Combinations of the other axes that are complete."""
    levels: tuple[Level, ...]
    """Best first."""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotedRow:
    """One line of a published table, with the cells of ours that have its names."""

    method: str
    cell: tuple[tuple[str, str], ...]
    """``((coordinate, value), ...)``; empty for another method."""
    scores: Mapping[str, float]
    """As printed, rates in percent; what is not known is absent."""
    versions: tuple[str, ...]
    place: str
    source: str
    trust: str
    note: str
    ours: tuple[tuple[str, Estimate | None], ...] = ()
    """``(name of our row, its metric)``, None where it has no score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quoted:
    """A published table beside ours: numbers of another protocol, never part of a test."""

    id: str
    title: str
    mark: str
    """What stands above it: published, paper and version, table; another protocol, never part of any test here."""
    setting: str
    note: str
    metric: str
    coordinates: tuple[str, ...]
    """Those in which the rows differ."""
    columns: tuple[str, ...]
    rows: tuple[QuotedRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that the six formats show."""

    name: str
    description: str
    metric: str
    by: str | None
    axes: tuple[str, ...]
    rows: tuple[Row, ...]
    """Cells: those with a score, best first; then the others."""
    references: tuple[Row, ...]
    margins: tuple[Margin, ...]
    answer: str
    """Which cell is best and whether the difference is real, in words."""
    notes: tuple[str, ...]
    """What a reader must know: seeds, what is missing, what the letters mean."""
    protocol: str
    protocol_digest: str
    protocol_fields: Mapping[str, Any]
    created: datetime
    provenance: tuple[tuple[str, str], ...]
    """``(commit | machine | versions, text)``"""
    shared: int
    """Episodes on which cells are compared."""
    designs: bool
    """Whether the seed spread is part of the comparisons; False: they compare checkpoints."""
    published: tuple[Quoted, ...] = ()
    """Published tables, when they were asked for."""


def build(
    recipe: Recipe,
    plan: Plan,
    store: Store,
    metric: str = "avg_len",
    by: str | None = None,
    *,
    state: SweepState | None = None,
    ignore: Sequence[str] = (),
    published: Sequence[str] = (),
    now: datetime | None = None,
) -> Report:
    """Read the store and compare.

    ``state`` is the fold of the sweep's journal: without it a failed cell can only be called unfinished.  ``ignore``
    names protocol fields that may differ between rows (``*``: all); without it two protocols in one table raise
    :class:`UsageError`, but for the fields that the recipe's own ``evaluation`` axes vary.  ``published`` names
    published tables to show beside ours.  Raises :class:`UnknownName` for a metric, axis or published table that does
    not exist.
    """
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    names = tuple(axis.name for axis in recipe.axes)
    if by is not None and by not in names:
        raise UnknownName("axis", by, names)
    from vlactl.report.assembly import assemble
    from vlactl.report.quoted import beside

    found = assemble(recipe, plan, store, metric, by, state=state, ignore=ignore, now=now)
    return beside(found, recipe, published) if published else found


def render(report: Report, format: str = "table", *, colour: bool = False, width: int | None = None) -> str:
    """The report as text, ending in a newline; ``colour`` and ``width`` (characters) are for ``table`` only."""
    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    if format == "table":
        from vlactl.report.terminal import render_table

        return render_table(report, colour=colour, width=width)
    from importlib import import_module

    return import_module(f"vlactl.report.{format}").render(report)


def artifacts(report: Report) -> dict[str, str]:
    """File name -> text, as it is put on the parent run in MLflow; ``comparison.json`` is MLflow's table format."""
    from vlactl.report.csv import table_json

    return {
        "comparison.csv": render(report, "csv"),
        "comparison.json": table_json(report),
        "report.html": render(report, "html"),
        "report.md": render(report, "markdown"),
    }
