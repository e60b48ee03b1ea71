"""Which GPU is whose: one ``flock`` per GPU index and machine, which the kernel releases on any death.

Two sweeps, two local Ray clusters, an interactive run and the nightly one: all of them hand out "GPU 0" unless they ask
here. Within a process several commands may hold fractions of one GPU; processes that share GPUs by other means (Ray)
take shared locks, which keep out whoever wants a whole one.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

EPSILON = 1e-6


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; asks no driver."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip())
    devices = [name for name in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", name)]
    return tuple(str(index) for index in range(len(devices)))


def lease_folder() -> Path:
    """Of this user on this machine; the same for every store."""
    runtime = Path(f"/run/user/{os.getuid()}")
    base = runtime / "vlactl" if os.access(runtime, os.W_OK) else Path(tempfile.gettempdir()) / f"vlactl-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    return base


class GpuLeases:
    """What this process holds of the machine's GPUs."""

    def __init__(self, gpus: Sequence[str], folder: Path | None = None, *, exclusive: bool = True) -> None:
        self.gpus = tuple(gpus)
        self._mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        self._folder = folder
        self._locks: dict[str, IO[bytes]] = {}
        self._used: dict[str, float] = {}

    def acquire(self, count: int, share: float) -> tuple[str, ...] | None:
        """``count`` GPUs with ``share`` (0..1] of each, or None when they are not all free now."""
        taken: list[str] = []
        for gpu in sorted(self.gpus, key=lambda name: -self._used.get(name, 0.0)):  # fill a shared one first
            if len(taken) < count and self._used.get(gpu, 0.0) + share <= 1 + EPSILON and self._lock(gpu):
                self._used[gpu] = self._used.get(gpu, 0.0) + share
                taken.append(gpu)
        if len(taken) == count:
            return tuple(sorted(taken, key=self.gpus.index))
        self.release(taken, share)
        return None

    def could(self, count: int, share: float) -> bool:
        """Whether :meth:`acquire` would succeed now."""
        taken = self.acquire(count, share)
        if taken is not None:
            self.release(taken, share)
        return taken is not None

    def release(self, gpus: Sequence[str], share: float) -> None:
        for gpu in gpus:
            self._used[gpu] -= share
            if self._used[gpu] < EPSILON:
                del self._used[gpu]
                self._locks.pop(gpu).close()

    def _lock(self, gpu: str) -> bool:
        if gpu in self._locks:
            return True
        folder = self._folder or lease_folder()
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / f"gpu-{re.sub(r'[^A-Za-z0-9-]', '_', gpu)}.lock", "ab")  # noqa: SIM115  held until release()
        try:
            fcntl.flock(file, self._mode | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._locks[gpu] = file
        return True
