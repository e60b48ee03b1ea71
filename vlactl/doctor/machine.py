"""What the machine itself offers: platform, cores, memory, disk, limits.  Reads files; changes nothing."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from pathlib import Path

from vlactl.doctor.check import Check, Health

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup")
SWEEP_MEMORY = 8 * GIB
"""What the main recipe may use (issue 2)."""


def system() -> Check:
    linux = sys.platform.startswith("linux")
    return Check(
        name="platform",
        health=Health.OK if linux else Health.WARN,
        found=platform.platform(),
        remedy="" if linux else "the clean-up of killed runs relies on Linux (prctl, /proc): use a container or VM",
    )


def cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_number("cpu.max", "cpu/cpu.cfs_quota_us")
    limit = f", limited to {quota:g} by the container" if quota and quota < usable else ""
    few = min(usable, quota or usable) < 2
    return Check(
        name="cores",
        health=Health.WARN if few else Health.OK,
        found=f"{usable} usable{limit}",
        remedy="Ray and a stage share one core: expect more than twice the time" if few else "",
    )


def memory() -> Check:
    facts = {
        key: int(rest.split()[0]) * 1024
        for key, _, rest in (line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines())
        if rest.split()
    }
    available = facts["MemAvailable"]
    limit = cgroup_number("memory.max", "memory/memory.limit_in_bytes")
    if limit and limit < facts["MemTotal"]:
        available = min(available, int(limit))
    low = available < SWEEP_MEMORY
    return Check(
        name="memory",
        health=Health.WARN if low else Health.OK,
        found=f"{available / GIB:.1f} GiB free of {min(facts['MemTotal'], limit or facts['MemTotal']) / GIB:.1f}",
        remedy=f"the main recipe wants up to {SWEEP_MEMORY // GIB} GiB: end other programs or use --jobs 1"
        if low
        else "",
    )


def cgroup_number(new: str, old: str) -> float | None:
    """The container's limit: bytes, or cores for ``cpu.max``; None where there is none."""
    for path in (CGROUP / new, CGROUP / old):
        try:
            words = path.read_text().split()
        except OSError:
            continue
        if words[0] in {"max", "-1"}:
            return None
        value = float(words[0])
        if new == "cpu.max":
            return value / (float(words[1]) if len(words) > 1 else 100_000)
        return value
    return None


def open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = 0 < soft < 4096
    return Check(
        name="open files",
        health=Health.WARN if low else Health.OK,
        found=f"limit {soft} (may be raised to {hard})",
        remedy="Ray may run out of sockets: ulimit -n 65536" if low else "",
    )


def shared_memory() -> Check:
    path = Path("/dev/shm")
    if not path.is_dir():
        return Check(
            name="/dev/shm",
            health=Health.WARN,
            found="absent",
            remedy="mount a tmpfs there: Ray and data workers use it",
        )
    free = shutil.disk_usage(path).free
    small = free < GIB
    return Check(
        name="/dev/shm",
        health=Health.WARN if small else Health.OK,
        found=f"{free / GIB:.1f} GiB free",
        remedy="start the container with --shm-size=2g or more" if small else "",
    )


def state_folder(home: Path) -> Check:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    found = f"{home} ({free / GIB:.1f} GiB free{'' if home.exists() else ', not made yet'})"
    if not os.access(place, os.W_OK):
        return Check(
            name="home",
            health=Health.FAIL,
            found=found,
            remedy="it cannot be written: set VLACTL_HOME to a folder of yours",
        )
    if free < GIB:
        return Check(
            name="home",
            health=Health.FAIL,
            found=found,
            remedy="free some disk (vlactl gc), or set VLACTL_HOME to another disk",
        )
    low = free < 10 * GIB
    return Check(
        name="home",
        health=Health.WARN if low else Health.OK,
        found=found,
        remedy="a sweep with real weights needs tens of GiB" if low else "",
    )
