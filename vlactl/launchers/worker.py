"""The owner's end of one shepherd: start it, give it orders, hear from it without ever blocking.

Used by the local launcher in the driver and by the Ray launcher's node actors.  The owner's death closes the pipe,
which is all that the shepherd needs to know; the shepherd's death is noticed here, and what it may have left is reaped
by its mark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlactl.errors import FailureClass
from vlactl.launchers import SWEEP_MARK, Command, Outcome
from vlactl.launchers.processes import marked, reap

WORKER_MARK = "VLACTL_WORKER"
SECRETS = ("RAY_AUTH_TOKEN",)
"""Of the launcher's, none of the ranks' business."""


def import_path() -> str:
    """``PYTHONPATH`` that lets another interpreter import what this one can, installed packages aside."""
    installed = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    mine = [os.path.realpath(path or os.getcwd()) for path in sys.path]
    added = [path for path in mine if os.path.isdir(path) and path not in installed
             and not any(path.startswith(folder + os.sep) for folder in installed)]
    return os.pathsep.join(dict.fromkeys(added))


def make_order(command: Command, *, order_id: str, node: int = 0, gpus: Sequence[str] = (),
               master: tuple[str, int] | None = None) -> dict[str, Any]:
    """What a shepherd needs to know to run this node's ranks of a command.  ``master`` None: it picks a port
    itself."""
    here = command.ranks // command.nodes
    return {"id": order_id, "label": command.label, "work_dir": str(command.work_dir), "target": command.target,
            "attempt": command.attempt, "nodes": command.nodes, "node": node, "world": command.ranks,
            "local": list(range(node * here, (node + 1) * here)), "env": dict(command.env), "master": master,
            "cpus_per_rank": command.cpus_per_rank, "gpus": list(gpus), "warm": command.warm}


class Worker:
    """One shepherd.  ``accelerator`` is DeepSpeed's name of the device that its ranks will use: it is chosen on
    import."""

    def __init__(self, *, imports: Sequence[str], sweep: str, log: Path, accelerator: str = "cpu",
                 python_path: str | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.ready: dict[str, Any] | None = None
        """What it said when it had warmed up: pid, seconds, threads, loaded, problems."""
        self.outcome: dict[str, Any] | None = None
        """The ``finished`` message of the newest order."""
        self.order_id: str | None = None
        self.alive = True
        self._waiting: list[bytes] = []
        self._received = b""
        path = import_path() if python_path is None else python_path
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        environment |= {SWEEP_MARK: sweep, WORKER_MARK: self.mark, "PYTHONPATH": path, "OMP_NUM_THREADS": "1",
                        "MKL_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "DS_ACCELERATOR": accelerator}
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "vlactl.launchers.shepherd", "--imports", ",".join(imports)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, env=environment)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._inlet, self._outlet = self._process.stdin, self._process.stdout
        os.set_blocking(self._outlet.fileno(), False)

    def fileno(self) -> int:
        """For ``select``: readable when there is news."""
        return self._outlet.fileno()

    def run(self, order: Mapping[str, Any]) -> None:
        """Give it an order; kept until it has warmed up."""
        self.order_id, self.outcome = order["id"], None
        self._send({"op": "run", "order": dict(order)})

    def cancel(self, grace_s: float, *, stacks: bool = False) -> None:
        self._send({"op": "cancel", "id": self.order_id, "grace_s": grace_s, "stacks": stacks})

    def _send(self, message: Mapping[str, Any]) -> None:
        self._waiting.append(json.dumps(message).encode() + b"\n")
        self._flush()

    def _flush(self) -> None:
        """It takes nothing before it is ready: until then any byte would look like the owner's death to it."""
        if self.ready is None or not self.alive:
            return
        while self._waiting:
            try:
                self._inlet.write(self._waiting[0])
                self._inlet.flush()
            except OSError:
                self._lose()
                return
            del self._waiting[0]

    def listen(self) -> None:
        """Take in what it has said; afterwards look at ``ready``, ``outcome`` and ``alive``."""
        while self.alive:
            try:
                data = os.read(self._outlet.fileno(), 65536)
            except BlockingIOError:
                break
            if not data:
                self._lose()
                break
            *lines, self._received = (self._received + data).split(b"\n")
            for message in map(json.loads, lines):
                if message["event"] == "ready":
                    self.ready = message
                    self._flush()
                elif message["event"] == "finished" and message["id"] == self.order_id:
                    self.outcome = message
        self._process.poll()  # the process that we started ends at once; do not leave it a zombie

    def _lose(self) -> None:
        self.alive = False
        self._waiting.clear()
        reap(lambda: marked(WORKER_MARK, self.mark))
        if self.outcome is None:
            self.outcome = {"ok": False, "failure": FailureClass.INFRASTRUCTURE, "rank": None,
                            "message": "the worker process died (see logs/workers.log)"}

    def close(self) -> None:
        """End it and all its ranks now.  Idempotent; returns when none of them runs."""
        with suppress(OSError):
            self._inlet.close()
        self._outlet.close()
        self._process.wait()
        if self.alive:
            self.alive = False
            reap(lambda: marked(WORKER_MARK, self.mark))


def outcome_of(message: Mapping[str, Any]) -> Outcome:
    """A shepherd's ``finished`` message as an outcome."""
    return Outcome(ok=message["ok"], failure=None if message["ok"] else FailureClass(message["failure"]),
                   message=message.get("message", ""), rank=message.get("rank"))
