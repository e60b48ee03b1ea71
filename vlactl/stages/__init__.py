"""THE SEAM: what a stage process does.  The only place where orchestration calls the science.

A launcher starts ``main(work_dir)`` in every rank of a stage.  ``stage.json`` says what to do; the body writes the
artifact's files to ``out/``, its heartbeat to ``progress.json``, its curve to ``out/metrics.jsonl`` and, on rank 0, a
short ``result.json``.  Committing all this to the store is the runner's business.  A body must be able to start again
in a work directory where an earlier attempt was killed at any line: recordings keep their finished units, training
resumes from its newest whole checkpoint, evaluation runs only the episodes that it has no record of.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vlactl.stages.evaluation import attempt
from vlactl.stages.recording import record, see
from vlactl.stages.training import learn, speak
from vlactl.stages.work import Curve, Heartbeat, Work, place, spec_of

__all__ = ["Curve", "Heartbeat", "Work", "attempt", "learn", "main", "record", "see", "speak", "spec_of"]

Body = Callable[[Work, Heartbeat], None]


def main(work_dir: Path) -> None:
    """Run the stage whose ``stage.json`` lies in ``work_dir``; called once in every rank."""
    work = Work.open(Path(work_dir))
    beat = Heartbeat(work.path / "progress.json", writes=place("RANK", 0) == 0)
    work.out.mkdir(exist_ok=True)
    body_of(work)(work, beat)


def body_of(work: Work) -> Body:
    """Which body a stage's identity asks for; :mod:`vlactl.plan` lists the identities."""
    if work.kind == "data":
        return see if "features" in work.identity else record
    if work.kind == "evaluate":
        return attempt
    return learn if "formulation" in work.identity else speak
