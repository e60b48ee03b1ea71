"""A number carries its protocol: one table, one protocol, unless told which fields may differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlactl.errors import UsageError
from vlactl.identity import difference, flatten

if TYPE_CHECKING:
    from vlactl.recipe import Recipe
    from vlactl.store import Artifact


EPISODES = ("kind", "benchmark", "tasks", "suite", "chain_list", "episode_list")
"""Fields that decide which episodes a key means: where they differ, equal keys are different episodes."""


def fields_of_axes(recipe: Recipe) -> frozenset[str]:
    """Protocol fields that the recipe's own axes vary: its question, so its rows may differ in exactly these."""
    if not any(axis.name.split(".")[0] == "evaluation" for axis in recipe.axes):
        return frozenset()
    specs = {id(trial.evaluation): trial.evaluation for trial in recipe.trials}
    first, *others = [spec.protocol() for spec in specs.values()]
    return frozenset(field for other in others for field, *_ in difference(first, other))


def same_episodes(evaluations: Sequence[Artifact]) -> bool:
    """Whether equal keys of episodes mean equal episodes in all of them."""
    protocols = [artifact.manifest["result"]["protocol"] for artifact in evaluations]
    return len({tuple(repr(protocol.get(field)) for field in EPISODES) for protocol in protocols}) <= 1


def the_protocol(
    evaluations: Sequence[tuple[str, Artifact]], ignore: Sequence[str], own: Collection[str] = ()
) -> tuple[Mapping[str, Any], str, tuple[str, ...]]:
    """``(fields, digest, notes)`` of the protocol that all evaluations share.

    Raises :class:`UsageError` that names the differing fields, unless each is one of ``own`` (what the recipe's axes
    vary) or ``ignore`` covers it (a field, a prefix of dotted fields, or ``*``); then the notes say so and the digest
    is empty.
    """
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name, artifact in evaluations:
        result = artifact.manifest["result"]
        found.setdefault(result["protocol_digest"], (name, result["protocol"]))
    if not found:
        return {}, "", ()
    if len(found) == 1:
        digest, (_, fields) = next(iter(found.items()))
        return fields, digest, ()
    (first_digest, (first_name, first)), *others = found.items()
    fields, problems = set(), []
    for digest, (name, fields_of) in others:
        for field, ours, theirs in difference(first, fields_of):
            fields.add(field)
            if field not in own and not any(
                allowed == "*" or field == allowed or field.startswith((f"{allowed}.", f"{allowed}["))
                for allowed in ignore
            ):
                problems.append(
                    f"{field}: {shown(ours)} ({first_name}, {first_digest}) against {shown(theirs)} ({name}, {digest})"
                )
    if problems:
        raise UsageError(
            "these scores come from different protocols:\n    " + "\n    ".join(problems),
            expected="one protocol for all rows",
            remedy="evaluate again under one protocol, or name the fields that may differ "
            f"({', '.join(sorted(fields))})",
        )
    common = {key: value for key, value in flatten(first).items() if key not in fields}
    notes = []
    if asked := sorted(fields - set(own)):
        notes.append(f"Rows differ in their protocol: {', '.join(asked)} (ignored as asked). "
                     "Differences between them are not those of the policies alone.")
    if varied := sorted(fields & set(own)):
        notes.append(f"Rows differ in their protocol by the recipe's own axis: {', '.join(varied)}. "
                     "Between values of that axis a difference is one of the test, not of the policies alone.")
    return common, "", tuple(notes)


def shown(value: Any) -> str:
    return "(absent)" if value is ... else repr(value)


FIRST = (
    "kind",
    "benchmark",
    "name",
    "scene",
    "embodiment",
    "tasks",
    "suite",
    "chains",
    "episodes",
    "steps_per_task",
    "instructions",
    "shift",
    "shift_variant",
    "renderer",
    "image_px",
    "physics",
)
"""Fields that a reader looks for, in this order; the others follow by name."""
LONGEST = 6
"""Lists longer than this are counted, not spelled out."""


def protocol_line(fields: Mapping[str, Any], digest: str) -> str:
    """The protocol on one line, ``tabletop (3f2a…), scene D, tasks core, chains 50, ...``; empty without scores."""
    if not fields:
        return ""
    short = {key: brief(value) for key, value in sorted(fields.items(), key=lambda item: rank(item[0]))}
    name = next((short.pop(key) for key in ("kind", "benchmark", "name") if key in short), "protocol")
    return ", ".join(
        [
            f"{name} ({digest})" if digest else f"{name} (several)",
            *(f"{key} {value}" for key, value in short.items() if value),
        ]
    )


def rank(key: str) -> tuple[int, str]:
    return (FIRST.index(key) if key in FIRST else len(FIRST), key)


def brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {brief(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"{len(value)} of them" if len(value) > LONGEST else " ".join(brief(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
