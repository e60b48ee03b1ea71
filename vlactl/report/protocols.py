"""A number carries its protocol: one table, one protocol, unless told which fields may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlactl.errors import UsageError
from vlactl.identity import difference, flatten

if TYPE_CHECKING:
    from vlactl.store import Artifact


def the_protocol(
    evaluations: Sequence[tuple[str, Artifact]], ignore: Sequence[str]
) -> tuple[Mapping[str, Any], str, tuple[str, ...]]:
    """``(fields, digest, notes)`` of the protocol that all evaluations share.

    Raises :class:`UsageError` that names the differing fields, unless ``ignore`` covers each of them (a field, a prefix
    of dotted fields, or ``*``); then the notes say so and the digest is empty.
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
            if not any(
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
    return (
        common,
        "",
        (
            f"Rows differ in their protocol: {', '.join(sorted(fields))} (ignored as asked). "
            "Differences between them are not those of the policies alone.",
        ),
    )


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
