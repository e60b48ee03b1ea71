"""A driver to be killed: ``python -m tests.faults.driver HOME LAUNCHER SWEEP PLAN`` runs the plan in a JSON file.

``{"stages": [{"name", "inputs": [names], "ranks", ...deeds}], "jobs": 2}``.  Prints one line per event.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults.plans import BODY, plan_of, stage
from vlactl.events import Journal
from vlactl.launchers import LAUNCHERS
from vlactl.runner import RunSettings, run
from vlactl.store import Store


def stages_of(document: dict[str, Any]) -> list:
    made: dict[str, Any] = {}
    for entry in document["stages"]:
        fields = dict(entry)
        name, inputs = fields.pop("name"), [made[source] for source in fields.pop("inputs", [])]
        made[name] = stage(name, *inputs, **fields)
    return list(made.values())


def main(home: Path, kind: str, sweep: str, document: dict[str, Any]) -> int:
    spec = LAUNCHERS.get(kind)(jobs=document.get("jobs", 2), warm_imports=())
    with (Journal(home / "sweeps" / sweep / "events.jsonl") as journal, closing(spec.build(home, sweep)) as launcher):
        result = run(plan_of(*stages_of(document)), Store(home, free_floor_bytes=0), launcher, journal,
                     RunSettings(sweep=sweep, target=BODY, grace_s=20.0),
                     lambda event: print(event["event"], event.get("label", ""), event.get("message", ""), flush=True))
    print(json.dumps({"done": len(result.done), "cached": len(result.cached)}), flush=True)
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(Path(sys.argv[4]).read_text())))
