"""Bodies of data stages: recordings of a source, and features that a frozen vision tower makes of them."""

from __future__ import annotations

import shutil
import time

from vlactl.stages.work import Heartbeat, Work, spec_of


def record(work: Work, beat: Heartbeat) -> None:
    """Write a source's episodes to ``out/``; what an attempt before this one recorded is used where the source can."""
    from vlactl.formats import SOURCES

    source = SOURCES.parse(spec_of(work, "source"))
    if not source.goes_on:
        shutil.rmtree(work.out)
        work.out.mkdir()
    started = time.monotonic()
    summary = source.record(work.out, beat)
    work.finish({**summary, "seconds": round(time.monotonic() - started, 3)})
