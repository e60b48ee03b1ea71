"""Where the numbers come from: commits, machines and versions, as the manifests recorded them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlactl.store import Artifact


def describe_provenance(evaluations: Sequence[Artifact]) -> tuple[tuple[str, str], ...]:
    """``(("commit", ...), ("machine", ...), ("versions", ...))``; what no manifest knows is left out.

    Where evaluations differ, every value is named with the number of evaluations that have it.
    """
    records = [artifact.manifest.get("provenance") or {} for artifact in evaluations]
    facts = {
        "commit": [commit(record.get("git")) for record in records],
        "machine": [str(record.get("host") or "") for record in records],
        "versions": [versions(record) for record in records],
    }
    return tuple((fact, text) for fact, values in facts.items() if (text := listed(values)))


def commit(git: Any) -> str:
    if isinstance(git, Mapping):
        name = str(git.get("commit") or git.get("sha") or "")[:12]
        return f"{name} + changes" if name and git.get("dirty") else name
    return str(git or "")[:40]


def versions(record: Mapping[str, Any]) -> str:
    packages = {**({"python": record["python"]} if record.get("python") else {}), **(record.get("versions") or {})}
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version)


def listed(values: Sequence[str]) -> str:
    counts = Counter(value for value in values if value)
    if len(counts) <= 1:
        return next(iter(counts), "")
    return "; ".join(f"{value} ({count} evaluations)" for value, count in counts.most_common())
