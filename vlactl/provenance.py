"""Where and with what a result was computed.  Recorded beside it, never part of a digest.  Imports none of what it
names."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("vlactl", "torch", "transformers", "deepspeed", "ray", "mujoco", "numba", "numpy", "safetensors")


def provenance(project: Path) -> dict[str, Any]:
    """Host, interpreter, package versions and the commit of the project folder."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"host": socket.gethostname(), "python": platform.python_version(), "executable": sys.executable,
            "platform": platform.platform(), "cpus": os.cpu_count(), "versions": versions, "git": git_state(project)}


def git_state(project: Path) -> dict[str, Any] | None:
    """``{"commit", "dirty"}``, or None where there is no repository, no commit or no git."""
    try:
        head = subprocess.run(["git", "-C", project, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changes = subprocess.run(["git", "-C", project, "status", "--porcelain", "--untracked-files=no"],
                                 capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": head.stdout.strip(), "dirty": bool(changes.stdout.strip())} if head.returncode == 0 else None
