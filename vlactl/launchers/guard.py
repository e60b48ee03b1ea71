"""Ends what is left of a Ray cluster of ours when its driver is gone: ``python -m vlactl.launchers.guard MARK FOLDER``.

A raylet whose driver was killed ends itself, but now and then leaves its agents behind (measured with Ray 2.60: after
one kill in two).  The driver keeps the write end of this process's stdin; end-of-file means that it is gone or has
closed the cluster.  Mark and folder are of one cluster, so a new run of the same sweep is not touched.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from vlactl.launchers.processes import holding, marked, name_process, reap

CLUSTER_MARK = "VLACTL_CLUSTER"


def members(mark: str, folder: Path) -> list[int]:
    """The processes of a cluster.  Those of Ray that set their title overwrite their environment with it, but they have
    their logs open."""
    return [*marked(CLUSTER_MARK, mark), *holding(folder)]


def main() -> None:
    name_process("vlactl-guard")
    mark, folder = sys.argv[1], Path(sys.argv[2])
    while os.read(0, 1):
        pass
    reap(lambda: members(mark, folder), patience_s=20.0)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
