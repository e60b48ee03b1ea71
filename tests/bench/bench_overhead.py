"""What vlactl itself costs per stage: ``python -m tests.bench.bench_overhead [--stages 100] [local-warm ray-warm]``.

Runs plans of stages that do nothing in two slots, each on a fresh store, and prints one JSON object per line: seconds
from the first call to the first finished stage (start of Ray, warm-up of the workers), then milliseconds per stage of
the last three quarters (so without start-up), and the memory of all processes of the sweep (proportional set size, so
shared pages count once).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tests.faults.plans import ROOT, plan_of, show_repository, stage
from vlactl.events import Journal
from vlactl.launchers import LAUNCHERS, SWEEP_MARK
from vlactl.launchers.processes import marked
from vlactl.runner import RunSettings, run
from vlactl.store import Store

SLOTS = 2
SETTINGS = {"local-warm": ("local", True), "local-cold": ("local", False), "ray-warm": ("ray", True),
            "ray-cold": ("ray", False)}


def memory_mb(pids: list[int]) -> float:
    """Proportional set size of these processes together."""
    total_kb = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kb += int(line.split()[1])
    return round(total_kb / 1024, 1)


def measure(name: str, count: int) -> dict[str, Any]:
    kind, warm = SETTINGS[name]
    stages = [stage(f"noop-{index}", warm=warm) for index in range(count)]
    moments: list[float] = []
    notices: dict[str, float] = {}
    most_mb = 0.0
    with tempfile.TemporaryDirectory(prefix="vlb-") as folder:
        home, sweep = Path(folder), f"bench-{os.getpid()}-{name}"
        began = time.monotonic()

        def note(event: dict[str, Any]) -> None:
            nonlocal most_mb
            if event["event"] == "done":
                moments.append(time.monotonic() - began)
                if len(moments) % 25 == 0:
                    most_mb = max(most_mb, memory_mb([os.getpid(), *marked(SWEEP_MARK, sweep)]))
            elif event["event"] == "notice" and len(notices) < 8:
                notices[event["message"]] = round(time.monotonic() - began, 2)

        spec = LAUNCHERS.get(kind)(jobs=SLOTS, **({} if warm else {"warm_imports": ()}))
        with Journal(home / "events.jsonl") as journal, closing(spec.build(home, sweep)) as launcher:
            result = run(plan_of(*stages), Store(home), launcher, journal,
                         RunSettings(sweep=sweep, target="tests.faults.bodies:main", project=ROOT), note)
            ended = time.monotonic()
        assert len(result.done) == count, result.failed
        # the second slot's worker warms up while the first already works: leave both starts out
        settled = moments[count // 4:]
        return {"setting": name, "stages": count, "first_done_s": round(moments[0], 2),
                "ms_per_stage": round(1000 * (settled[-1] - settled[0]) / (len(settled) - 1), 1),
                "total_s": round(ended - began, 2), "close_s": round(time.monotonic() - ended, 2),
                "memory_mb": most_mb, "load": os.getloadavg()[0], "notices": notices}


def main() -> None:
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", nargs="*", help=" | ".join(SETTINGS))
    parser.add_argument("--stages", type=int, default=100)
    options = parser.parse_args()
    show_repository()
    for name in options.settings or ["local-warm", "local-cold", "ray-warm"]:
        print(json.dumps(measure(name, options.stages)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
