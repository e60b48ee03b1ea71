"""What runs on each node of a Ray cluster: a small object that owns one shepherd.  Ray makes an actor of it; it
knows no Ray.

Its process does nothing else, so its death (by whatever cause: cancelled, killed, driver gone, node drained) closes the
shepherd's pipe, and the ranks are gone.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlactl.errors import FailureClass
from vlactl.launchers.leases import GpuLeases
from vlactl.launchers.shepherd import free_port
from vlactl.launchers.worker import Worker


def own_address() -> str:
    """The address by which other machines reach this one; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def failed(failure: FailureClass, message: str) -> dict[str, Any]:
    """What a shepherd would say, of a command that none was given."""
    return {"ok": False, "failure": failure.value, "rank": None, "at": 0.0, "message": message}


class NodeRunner:
    """Runs this node's ranks of one command after another."""

    def __init__(self, *, imports: Sequence[str], sweep: str, log: str, python_path: str, gpus: float) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus else ""
        self._gpus = tuple(name for name in visible.split(",") if name)
        self._leases = GpuLeases(self._gpus, exclusive=gpus >= 1)
        self._leased = False
        self._order: dict[str, Any] | None = None
        self._told_ready = False
        self._make = lambda: Worker(imports=imports, sweep=sweep, log=Path(log), python_path=python_path,
                                    accelerator="cuda" if gpus else "cpu")
        self._worker: Worker | None = None

    def port(self) -> tuple[str, int]:
        """Where rank 0 will listen, if it is on this node: ``(address, port)``."""
        return own_address(), free_port("")

    def start(self, order: dict[str, Any], master: tuple[str, int] | None) -> None:
        """Take an order; :meth:`step` carries it on.  ``master`` None: all ranks are here, and the shepherd picks a
        port."""
        self._order = {**order, "master": master, "gpus": list(self._gpus)}
        if not Path(order["work_dir"]).is_dir():
            return
        if self._worker is None or not self._worker.alive:
            self._worker, self._told_ready = self._make(), False
        self._worker.outcome, self._worker.order_id = None, None

    def step(self, patience_s: float) -> dict[str, Any]:
        """Wait up to ``patience_s`` for news.  ``finished``: the shepherd's last message; ``ready``: how a warm-up
        went."""
        news: dict[str, Any] = {"host": socket.gethostname()}
        order, worker = self._order, self._worker
        assert order is not None
        if worker is None or not Path(order["work_dir"]).is_dir():
            return {**news, "finished": failed(FailureClass.USER_ERROR, f"node {news['host']} does not see "
                                               f"{order['work_dir']}: put VLACTL_HOME on a shared file system")}
        if worker.order_id is None:
            if not self._lease():
                select.select([], [], [], min(patience_s, 0.5))
                return {**news, "waiting": f"GPU {','.join(self._gpus)} of {news['host']} is leased by another vlactl"}
            worker.run(order)
        if worker.outcome is None and worker.alive:
            select.select([worker], [], [], patience_s)
        worker.listen()
        if worker.ready and not self._told_ready:
            self._told_ready = True
            news["ready"] = worker.ready
        if worker.outcome is not None:
            self._release()
            news["finished"] = worker.outcome
        return news

    def cancel(self, grace_s: float, stacks: bool) -> None:
        if self._worker is None:
            return
        if self._worker.order_id is None:  # still waiting for its GPU
            self._worker.outcome = failed(FailureClass.CANCELLED, "cancelled before it started")
            self._worker.order_id = "none"
        else:
            self._worker.cancel(grace_s, stacks=stacks)

    def close(self) -> None:
        """End every rank; returns when none runs."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._release()

    def _lease(self) -> bool:
        if not self._leased and self._gpus:
            self._leased = self._leases.acquire(len(self._gpus), 1.0) is not None
        return self._leased or not self._gpus

    def _release(self) -> None:
        if self._leased:
            self._leases.release(self._gpus, 1.0)
            self._leased = False
