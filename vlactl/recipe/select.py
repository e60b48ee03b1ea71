"""``--only``, ``--skip`` and ``--limit``: which of a recipe's trials this run is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlactl.errors import did_you_mean
from vlactl.recipe.axes import Dimension
from vlactl.recipe.marks import Document, Mark, read
from vlactl.recipe.model import Trial

Filter = dict[str, set[str]]
"""axis (or ``seed``) -> names of values."""


class Selection:
    """``only`` keeps trials that match every axis it names, ``skip`` drops trials that match any of its entries."""

    def __init__(
        self,
        document: Document,
        dimensions: Sequence[Dimension],
        seeds: Iterable[int],
        *,
        only: Sequence[str] = (),
        skip: Sequence[str] = (),
        limit: int | None = None,
    ) -> None:
        self.document, self.limit = document, limit
        self._dimensions = {dimension.name: dimension for dimension in dimensions}
        self._seeds = [str(seed) for seed in seeds]
        self.only = self._filter("--only", only)
        self.skip = self._filter("--skip", skip)
        if limit is not None and limit < 1:
            document.add((), f"--limit {limit} leaves nothing", expected="at least 1", mark=Mark("--limit", 1, 1))

    def choose(self, trials: Sequence[Trial]) -> list[Trial]:
        """The chosen trials in order; notes when none is left."""
        chosen = [trial for trial in trials if self._wanted(trial)][: self.limit]
        if trials and not chosen and not self.document.problems:
            self.document.add(
                (),
                "no trial is left",
                expected="at least one",
                remedy="loosen --only and --skip",
                mark=Mark("--only" if self.only else "--skip", 1, 1),
            )
        return chosen

    def _wanted(self, trial: Trial) -> bool:
        names = {**dict(trial.cell), "seed": str(trial.seed)}
        return all(names[axis] in values for axis, values in self.only.items()) and not any(
            names[axis] in values for axis, values in self.skip.items()
        )

    def _filter(self, option: str, entries: Sequence[str]) -> Filter:
        found: Filter = {}
        for entry in entries:
            axis, equals, text = entry.partition("=")
            mark = Mark(f"{option} {axis}", 1, 1)
            known = [*self._dimensions, "seed"]
            if not equals or axis not in known:
                what = f"unknown axis '{axis}'" if equals else f"cannot read '{entry}'"
                self.document.add(
                    (),
                    what,
                    expected=f"{option} axis=value, where axis is {' | '.join(known)}",
                    remedy=did_you_mean(axis, known),
                    mark=mark,
                )
                continue
            for name in text.split(","):
                value = self._value(axis, name)
                if value is None:
                    names = self._seeds if axis == "seed" else self._dimensions[axis].names
                    self.document.add(
                        (),
                        f"axis '{axis}' has no value '{name}'",
                        expected=" | ".join(names),
                        remedy=did_you_mean(name, names),
                        mark=mark,
                    )
                else:
                    found.setdefault(axis, set()).add(value)
        return found

    def _value(self, axis: str, name: str) -> str | None:
        if axis == "seed":
            return name if name in self._seeds else None
        value = self._dimensions[axis].find(read(name, "").data, name)
        return value.name if value else None
