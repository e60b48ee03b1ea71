"""Runs every stage of a plan one after another in this process, without store, runner or launcher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlactl import stages
from vlactl.plan import Plan, Stage


class Chain:
    """What the stages of plans left behind: digest -> artifact and result.  A stage is run once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, plan: Plan) -> None:
        for stage in plan.stages.values():
            if not (self.folder(stage.digest) / "result.json").exists():
                stages.main(self.write(stage))

    def write(self, stage: Stage) -> Path:
        """The stage's work directory with its ``stage.json``, as the runner writes it."""
        folder = self.folder(stage.digest)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = {role: str(self.artifact(digest)) for role, digest in stage.inputs.items()}
        (folder / "stage.json").write_text(json.dumps({
            "kind": stage.kind, "digest": stage.digest, "label": stage.label, "identity": stage.identity,
            "inputs": inputs, "execution": stage.execution}))
        return folder

    def folder(self, digest: str) -> Path:
        return self.root / digest

    def artifact(self, digest: str) -> Path:
        return self.folder(digest) / "out"

    def result(self, digest: str) -> dict[str, Any]:
        return json.loads((self.folder(digest) / "result.json").read_text())

    def curve(self, digest: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.artifact(digest) / "metrics.jsonl").read_text().splitlines()]
