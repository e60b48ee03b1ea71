"""A commit that is killed at any of its steps: the artifact is there wholly or not at all, and the work is not lost."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.plans import stage
from vlactl.store import Store

STEPS = ("link", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")
"""Every call of ``os`` through which a commit changes the disk."""


def work(store: Store) -> Path:
    folder = store.work_dir(stage("s"))
    for name in ("out/a.bin", "out/deep/b.bin", "logs/rank-0.log", "outcomes/rank-0.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def commit_and_die(store: Store, folder: Path, at: int, *, before: bool) -> bool:
    """Commit in a child that kills itself before or after its ``at``-th change of the disk; True if it ends well."""
    child = os.fork()
    if child == 0:
        count = 0

        def deadly(real: Any) -> Any:
            def call(*arguments: Any, **fields: Any) -> Any:
                nonlocal count
                count += 1
                mine = count
                if before and mine == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                try:
                    return real(*arguments, **fields)
                finally:
                    if mine == at:
                        os.kill(os.getpid(), signal.SIGKILL)
            return call

        for name in STEPS:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            store.commit(stage("s"), folder, {"n": 1}, {})
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), "the commit itself failed"
    return code == 0


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("damaged", [False, True])
def test_no_step_of_a_commit_leaves_a_partial_artifact(tmp_path, before, damaged):
    survived, steps, wholes = False, 0, set()
    while not survived:
        steps += 1
        store = Store(tmp_path / str(steps), free_floor_bytes=0)
        store.prepare()
        if damaged:  # an artifact that lost a file has to give way
            (store.commit(stage("s"), work(store), {"n": 0}, {}).path / "a.bin").unlink()
        survived = commit_and_die(store, work(store), steps, before=before)
        fresh = Store(store.root)
        whole = fresh.has(stage("s").digest)
        wholes.add(whole)
        if whole:
            assert fresh.verify(stage("s").digest) == []
            assert fresh.artifact(stage("s").digest).result == {"n": 1}
        else:
            left = store.root / "work" / f"data-{stage('s').digest}" / "out" / "deep" / "b.bin"
            assert left.exists(), "work was lost"
            assert fresh.manifests() == [] or damaged
            fresh.commit(stage("s"), fresh.work_dir(stage("s")), {"n": 1}, {})
            assert fresh.verify(stage("s").digest) == []
        assert len(list((store.root / "store" / "data").iterdir())) == 1
    assert steps > 15
    assert wholes == {True, False}
