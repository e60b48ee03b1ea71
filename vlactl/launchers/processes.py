"""What Linux knows about processes: trees, marks, and how to end them all.  No state, no imports beyond the standard
library."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
"""From <linux/prctl.h>."""

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """SIGKILL this process when its parent dies; if that has already happened, now."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Grandchildren whose parent dies become our children, so that they stay in our tree whatever they call."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def name_process(name: str) -> None:
    """What ``ps`` and ``top`` show, at most 15 characters."""
    _libc.prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def threads() -> int:
    """Of this process."""
    return len(os.listdir("/proc/self/task"))


def _stat(pid: str) -> tuple[str, int] | None:
    """``(state letter, parent)``."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, *_ = file.read().rpartition(b") ")[2].split(maxsplit=2)
    except (OSError, ValueError):
        return None
    return state.decode(), int(parent)


def is_running(pid: int) -> bool:
    """Alive and not a zombie."""
    found = _stat(str(pid))
    return found is not None and found[0] not in "ZX"


def descendants(root: int) -> list[int]:
    """Every process below ``root`` that is alive, zombies left out."""
    children: dict[int, list[int]] = {}
    running = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if found := _stat(pid):
            children.setdefault(found[1], []).append(int(pid))
            if found[0] not in "ZX":
                running.add(int(pid))
    below, queue = [], list(children.get(root, ()))
    while queue:
        pid = queue.pop()
        queue += children.get(pid, ())
        below.append(pid)
    return [pid for pid in below if pid in running]


def marked(name: str, value: str) -> list[int]:
    """Every running process (but this one) that was started with ``name=value`` in its environment."""
    mark, found = f"{name}={value}".encode(), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            environment = Path("/proc", pid, "environ").read_bytes().split(b"\0")
            if mark in environment and int(pid) != os.getpid() and is_running(int(pid)):
                found.append(int(pid))
    return found


def holding(folder: Path) -> list[int]:
    """Every running process (but this one) that has a file below ``folder`` open."""
    prefix, found = f"{folder}/", []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            links = (os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
            if int(pid) != os.getpid() and any(link.startswith(prefix) for link in links) and is_running(int(pid)):
                found.append(int(pid))
    return found


def send(pids: Iterable[int], number: int) -> None:
    """Signal each; those that are gone already are no error."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def reap(find: Callable[[], list[int]], patience_s: float = 5.0) -> int:
    """SIGKILL what ``find`` finds until it finds nothing; returns how many there were at first."""
    left = first = find()
    until = time.monotonic() + patience_s
    while left and time.monotonic() < until:
        send(left, signal.SIGKILL)
        time.sleep(0.02)
        left = find()
    return len(first)


def oom_kills() -> int:
    """How often the kernel has killed for memory in our control group; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                folder = Path("/sys/fs/cgroup") / line[3:].lstrip("/")
                for events in (folder / "memory.events", Path("/sys/fs/cgroup/memory.events")):
                    if events.exists():
                        counts = dict(entry.split() for entry in events.read_text().splitlines())
                        return int(counts.get("oom_kill", 0))
    return 0


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, and its control group's quota if that is smaller."""
    count = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count
