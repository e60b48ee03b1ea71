"""Rules between the parts of a trial: what cannot work is an error of the recipe, not of the hundredth stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlactl.errors import VlactlError
from vlactl.formulations import FormulationSpec
from vlactl.recipe.axes import Row
from vlactl.recipe.marks import Document, Path, dotted
from vlactl.recipe.menus import ROLES
from vlactl.recipe.model import Execution
from vlactl.recipe.resolve import Resolved, Resolver
from vlactl.spaces import Spaces, differences
from vlactl.strategies import CROSS, IN_DOMAIN, VISION_LANGUAGE, Phase, align_conflict, split_frames, split_updates

OTHER_EMBODIMENT = (
    "embodiment",
    "action.position_scale_m",
    "action.rotation_scale_rad",
    "action.rate_hz",
    "action.frame",
)
"""Fields of the spaces in which a source of another embodiment may differ; shapes and meanings must agree."""


class Checker:
    """Checks each pair of parts once, however many cells share it."""

    def __init__(self, document: Document, resolver: Resolver, execution: Execution) -> None:
        self.document, self.resolver, self.execution = document, resolver, execution
        self._checked: set[tuple] = set()
        self._phases: dict[tuple, tuple[Phase, ...] | None] = {}
        self._twins: list[frozenset[str]] = []
        """Sets of axes of which it was told that they make equal trials."""

    def check(self, parts: Mapping[str, Any], row: Row) -> None:
        """Note what does not go together in one cell."""
        backbone, formulation, training = parts["backbone"], parts["formulation"], parts["training"]
        if backbone and formulation and self._first("legal", backbone, formulation):
            self._legal(backbone, formulation, row)
        if training and formulation and self._first("batch", training, formulation):
            self._batch(training, formulation, row)
        strategy, sources, evaluation = parts["strategy"], parts["sources"], parts["evaluation"]
        if strategy and training and self._first("phases", strategy, id(sources), training):
            self._split(strategy, self._names(sources), training)
        if strategy and training and formulation and self._first("mix", strategy, id(sources), training, formulation):
            self._mix(strategy, self._names(sources), training, formulation)
        if strategy and training and backbone and self._first("cache", strategy, id(sources), training, backbone):
            self._cache(strategy, self._names(sources), training, backbone)
        if backbone and sources and self._first("words", backbone, id(sources)):
            self._words(backbone, sources)
        if evaluation and sources and formulation and self._first("spaces", id(sources), evaluation, formulation):
            self._spaces(sources, evaluation, formulation)
        if evaluation and sources and strategy and self._first("align", id(sources), evaluation, strategy):
            self._align(strategy, sources, evaluation)
        if evaluation and formulation and self._first("actions", evaluation, formulation):
            self._actions(formulation, evaluation)

    def used(self, parts: Mapping[str, Any]) -> dict[str, dict[str, Resolved]]:
        """The sources that the trial's stages draw from; the others are no part of it."""
        phases = self._phases_of(parts["strategy"], self._names(parts["sources"])) or ()
        names = {item.source for phase in phases for item in phase.mixture}
        names |= {name for phase in phases for name, _ in phase.vl}
        if parts["backbone"].spec.needs_vl_stage:
            names |= set(parts["sources"].get(VISION_LANGUAGE, ()))
        return {
            role: kept
            for role, named in parts["sources"].items()
            if (kept := {name: source for name, source in named.items() if name in names})
        }

    def twins(self, first: Row, second: Row) -> None:
        """Two cells are the same trial: they differ in names or in execution fields only."""
        pairs = [(d.name, a, b) for d, a, b in zip(self.resolver.dimensions, first, second, strict=True) if a is not b]
        axes = frozenset(name for name, _, _ in pairs)
        if any(told <= axes for told in self._twins):
            return
        self._twins.append(axes)
        words = ", ".join(f"{name} '{a.name}' and '{b.name}'" for name, a, b in pairs)
        self.document.add(
            pairs[0][2].path,
            f"two cells are the same trial: {words}",
            expected="values that change what is trained or evaluated",
            remedy="remove one of the values",
        )

    def _first(self, *key: Any) -> bool:
        new = key not in self._checked
        self._checked.add(key)
        return new

    def _legal(self, backbone: Resolved, formulation: Resolved, row: Row) -> None:
        reason = formulation.spec.conflicts(backbone.spec)
        if reason is None:
            return
        names = {
            dimension.name: value.name
            for dimension, value in zip(self.resolver.dimensions, row, strict=True)
            if dimension.target[0] in ("backbone", "formulation")
        }
        because = json.dumps(reason, ensure_ascii=False)
        coordinates = ", ".join(f"{axis}: {name}" for axis, name in names.items())
        remedy = (
            f"add under exclude:  - {{{coordinates}, because: {because}}}"
            if names
            else "choose another backbone or formulation"
        )
        self.document.add(
            formulation.path,
            f"{formulation.spec.kind} cannot be asked of {backbone.spec.kind}: {reason}",
            expected="the cell to be excluded" if names else "",
            remedy=remedy,
        )

    def _batch(self, training: Resolved, formulation: Resolved, row: Row) -> None:
        """global_batch / history windows must be a whole number, and divide among the ranks."""
        try:
            training.spec.micro_windows(formulation.spec.history, self.execution.ranks)
        except VlactlError as error:
            path = self._path_of("training", "global_batch", row) or formulation.path
            self.document.add(
                path,
                f"{error.what} (formulation {formulation.spec.kind})",
                expected=error.expected,
                remedy=error.remedy or "change training.global_batch or the formulation's history",
            )

    def _mix(
        self, strategy: Resolved, names: Mapping[str, tuple[str, ...]], training: Resolved, formulation: Resolved
    ) -> None:
        """A share of pictures with words must be whole pictures, and leave whole windows, on every rank."""
        history, ranks = formulation.spec.history, self.execution.ranks
        whole = training.spec.frames(history) % history == 0  # else it is told elsewhere
        for phase in (self._phases_of(strategy, names) or ()) if whole else ():
            try:
                if phase.vl_share:
                    split_frames(phase.vl_share, training.spec.frames(history), history=history, ranks=ranks)
            except VlactlError as error:
                what = f"{error.what} (formulation {formulation.spec.kind})"
                self.document.add(strategy.path, what, expected=error.expected, remedy=error.remedy)
                return

    def _path_of(self, section: str, name: str, row: Row) -> Path | None:
        """Where a field is written: on an axis, in a named value, in the base; None where it has its default."""
        for dimension, value in zip(self.resolver.dimensions, row, strict=True):
            if dimension.target == (section, name):
                return value.path
            if dimension.target == (section,) and name in value.content:
                return (*value.path, name)
        base = self.document.data.get(section)
        return (section, name) if isinstance(base, dict) and name in base else None

    def _names(self, sources: Mapping[str, Mapping[str, Any]] | None) -> dict[str, tuple[str, ...]]:
        """role -> names of its sources; as written, where one of them is not valid."""
        written = self.document.data.get("sources") if sources is None else sources
        return {
            role: tuple(named)
            for role, named in (written or {}).items()
            if role in ROLES and isinstance(named, Mapping)
        }

    def _phases_of(self, strategy: Resolved, names: Mapping[str, tuple[str, ...]]) -> tuple[Phase, ...] | None:
        key = (strategy, *names.items())
        if key not in self._phases:
            try:
                self._phases[key] = strategy.spec.phases(names)
            except VlactlError as error:
                self._phases[key] = None
                self.document.add(
                    strategy.path,
                    f"{error.what} ({error.where})" if error.where else error.what,
                    expected=error.expected,
                    remedy=error.remedy,
                )
        return self._phases[key]

    def _split(self, strategy: Resolved, names: Mapping[str, tuple[str, ...]], training: Resolved) -> None:
        phases = self._phases_of(strategy, names)
        if phases is None:
            return
        try:
            split_updates(phases, training.spec.updates)
        except VlactlError as error:
            base = self.document.data.get("training") or {}
            path = ("training", "updates") if "updates" in base else strategy.path
            self.document.add(
                path, f"{error.what} (strategy {strategy.spec.kind})", expected=error.expected, remedy=error.remedy
            )

    def _cache(
        self, strategy: Resolved, names: Mapping[str, tuple[str, ...]], training: Resolved, backbone: Resolved
    ) -> None:
        """Features that are computed once must stay right in every phase."""
        for phase in self._phases_of(strategy, names) or ():
            tuning = {} if phase.tuning is None else {"tuning": phase.tuning}
            reason = training.spec.model_copy(update=tuning).cache_conflict(backbone.spec)
            if reason is not None:
                self.document.add(
                    training.path,
                    reason,
                    remedy="leave cache_vision out of these cells, or change what it needs",
                )
                return

    def _words(self, backbone: Resolved, sources: Mapping[str, Mapping[str, Resolved]]) -> None:
        """Pictures with words must be there for whom needs them, and must have words."""
        if backbone.spec.needs_vl_stage and not sources.get(VISION_LANGUAGE):
            self.document.add(
                backbone.path,
                f"{backbone.spec.kind} with vl_pretrain: true needs pictures with words to be pretrained on",
                expected=f"a source under sources.{VISION_LANGUAGE}",
                remedy=f"sources: {{{VISION_LANGUAGE}: {{desk: {{kind: tabletop, pairs_per_episode: 4}}}}}}",
            )
        for name, source in sources.get(VISION_LANGUAGE, {}).items():
            if source.spec.has_words is False:
                self.document.add(
                    source.path,
                    f"the source '{name}' has no words about its pictures",
                    expected="captions and questions",
                    remedy="set its pairs_per_episode to 1 or more",
                )

    def _align(
        self, strategy: Resolved, sources: Mapping[str, Mapping[str, Resolved]], evaluation: Resolved
    ) -> None:
        """Actions that are to be converted must have units that can be."""
        if strategy.spec.align != "physical":
            return
        for name, source in sources.get(CROSS, {}).items():
            reason = align_conflict(evaluation.spec.spaces(), source.spec.spaces())
            if reason is not None:
                self.document.add(
                    source.path,
                    f"the actions of source '{name}' cannot be converted: {reason}",
                    remedy="align: statistics lets every embodiment keep its own scale",
                )

    def _actions(self, formulation: Resolved, evaluation: Resolved) -> None:
        """Some parameterisations of actions need to know where the hand is."""
        reason = formulation.spec.space_conflict(evaluation.spec.spaces())
        if reason is not None:
            self.document.add(
                formulation.path,
                f"{formulation.spec.kind}: {reason}",
                remedy="choose another parameterisation of the actions",
            )

    def _spaces(
        self, sources: Mapping[str, Mapping[str, Resolved]], evaluation: Resolved, formulation: Resolved
    ) -> None:
        """Sources must speak the benchmark's language; other embodiments may differ in scale and name, in what the
        formulation does not look at, and in how another house makes its pictures."""
        try:
            wanted = evaluation.spec.spaces()
        except VlactlError as error:
            self.document.add(evaluation.path, error.what, expected=error.expected, remedy=error.remedy)
            return
        houses = {source.spec.kind for source in sources.get(IN_DOMAIN, {}).values()}
        for role, named in sources.items():
            for name, source in named.items() if role != VISION_LANGUAGE else ():  # pictures and words only
                foreign = () if source.spec.kind in houses else ("observation.pictures",)
                try:
                    offered = source.spec.spaces()
                    found = (
                        differences(wanted, offered)
                        if role == IN_DOMAIN
                        else differences(
                            looked_at(wanted, formulation.spec),
                            looked_at(offered, formulation.spec),
                            ignore=OTHER_EMBODIMENT + foreign,
                        )
                    )
                except VlactlError as error:
                    self.document.add(source.path, error.what, expected=error.expected, remedy=error.remedy)
                    continue
                if found:
                    rule = (
                        "equal spaces"
                        if role == IN_DOMAIN
                        else f"spaces that differ in {', '.join(OTHER_EMBODIMENT)} at most"
                    )
                    self._tell_spaces(name, source, evaluation, found, rule)

    def _tell_spaces(self, name: str, source: Resolved, evaluation: Resolved, found: list[str], rule: str) -> None:
        if not self._first("told", source, evaluation, *found):
            return
        self.document.add(
            source.path,
            f"the spaces of source '{name}' and of the benchmark "
            f"({dotted(evaluation.path)}) differ in: {'; '.join(found)}",
            expected=f"{rule} (benchmark != source)",
            remedy="choose a source and a benchmark of the same embodiment, cameras and renderer",
        )


def looked_at(spaces: Spaces, formulation: FormulationSpec) -> Spaces:
    """The part of ``spaces`` that a policy of this formulation sees and commands."""
    seen = spaces.observation
    cameras = seen.cameras[: formulation.camera_count(len(seen.cameras))]
    state = () if getattr(formulation, "state", "") == "none" else seen.state
    return replace(spaces, observation=replace(seen, cameras=cameras, state=state))
