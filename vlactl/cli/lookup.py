"""What a person means by a word on the command line: a stage, a cell, a trial, a policy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vlactl.errors import UsageError, did_you_mean

URGENCY = ("running", "failed", "cancelled", "done", "cached", "waiting", "upstream_failed", "skipped")
"""Of several stages with one label, the one that a person most likely asks about comes first."""
KINDS = ("evaluate", "finetune", "pretrain", "data")


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownStage:
    """A stage that a journal or the store speaks of."""

    digest: str
    kind: str
    label: str
    status: str = "done"

    def __str__(self) -> str:
        return f"{self.kind} {self.label} ({self.digest[:8]}, {self.status})"


def known_stages(root: Path) -> list[KnownStage]:
    """Stages of all sweeps, the newest sweep's first, then what else the store holds."""
    from vlactl.cli.sweeps import last_change
    from vlactl.events import fold, read
    from vlactl.store import Store

    found: dict[str, KnownStage] = {}
    for folder in sorted((root / "sweeps").glob("*"), key=last_change, reverse=True):
        for stage in fold(read(folder / "events.jsonl")).stages.values():
            found.setdefault(
                stage.digest, KnownStage(digest=stage.digest, kind=stage.kind, label=stage.label, status=stage.status)
            )
    for artifact in Store(root).manifests():
        label = artifact.manifest.get("label", artifact.path.name)
        found.setdefault(artifact.digest, KnownStage(digest=artifact.digest, kind=artifact.kind, label=label))
    return list(found.values())


def find_stage(stages: Iterable[KnownStage], wanted: str) -> KnownStage:
    """The stage meant by a digest's beginning, a trial's slug or a part of a label; ``kind:`` before it narrows the
    search.

    Raises :class:`UsageError` that lists what matches when that is not one label.
    """
    stages = list(stages)
    kind, colon, rest = wanted.partition(":")
    if colon and kind in KINDS:
        stages, wanted = [stage for stage in stages if stage.kind == kind], rest
    if re.fullmatch(r"[0-9a-f]{4,16}", wanted):
        matching = [stage for stage in stages if stage.digest.startswith(wanted)]
        if len(matching) == 1:
            return matching[0]
    matching = [stage for stage in stages if stage.label == wanted] or [
        stage for stage in stages if wanted in stage.label
    ]
    labels = list(dict.fromkeys(stage.label for stage in matching))
    if len(labels) == 1:
        return min(matching, key=lambda stage: (URGENCY.index(stage.status), KINDS.index(stage.kind)))
    if not labels:
        known = sorted({stage.label for stage in stages})
        raise UsageError(
            f"no trial and no stage is called '{wanted}'",
            expected="a digest's beginning, a trial, or a part of its name",
            remedy=did_you_mean(wanted, known) or "vlactl status",
        )
    shown = "\n            ".join(str(stage) for stage in matching[:10])
    more = f"\n            and {len(matching) - 10} more" if len(matching) > 10 else ""
    raise UsageError(
        f"'{wanted}' matches {len(labels)} labels",
        expected=f"one of\n            {shown}{more}",
        remedy="give more of the name, or the digest",
    )


def log_folder(root: Path, stage: KnownStage) -> Path | None:
    """Where the stage's log files are now: its working folder while it works, its artifact afterwards."""
    from vlactl.store import Store

    working = root / "work" / f"{stage.kind}-{stage.digest}" / "logs"
    if working.is_dir():
        return working
    store = Store(root)
    if store.has(stage.digest) and (folder := Path(store.artifact(stage.digest).path) / "logs").is_dir():
        return folder
    return None
