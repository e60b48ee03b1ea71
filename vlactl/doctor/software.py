"""What is installed and whether it answers: versions, GPU, compiler, kernels, Ray, MLflow.

Asks package metadata, short commands and sockets; imports nothing heavy.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from vlactl.doctor.check import Check, Health

SOCKET_PATH_MAX = 107
"""Bytes of an AF_UNIX path; Ray's are up to about 60 characters below its temporary directory."""


def python() -> Check:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check(
        name="python",
        health=Health.OK if fits else Health.FAIL,
        found=f"{platform.python_version()} at {sys.executable}",
        remedy="" if fits else "make the environment with Python 3.11, 3.12 or 3.13",
    )


def packages() -> Check:
    """Installed versions against those that vlactl declares."""
    from packaging.requirements import Requirement

    wrong, found = [], []
    for line in requires("vlactl") or []:
        need = Requirement(line)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(need.name)
        except PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(have, prereleases=True):
            wrong.append(f"{need.name} {have} is not {need.specifier}")
        if need.name in {"torch", "transformers", "deepspeed", "ray", "mlflow", "mujoco", "numba"}:
            found.append(f"{need.name} {have}")
    return Check(
        name="packages",
        health=Health.FAIL if wrong else Health.OK,
        found="; ".join(wrong) or ", ".join(found),
        remedy="make install (or: pip install -e .)" if wrong else "",
    )


def gpu() -> Check:
    if not shutil.which("nvidia-smi"):
        return Check(name="gpu", health=Health.OK, found="none: stages run on the CPU")
    answer = run(
        "nvidia-smi", "--query-gpu=index,name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits"
    )
    if answer.returncode or not answer.stdout.strip():
        return Check(
            name="gpu",
            health=Health.FAIL,
            found=(answer.stderr or answer.stdout).strip().splitlines()[0],
            remedy="nvidia-smi is here but does not answer: check the driver, or start the container with --gpus all",
        )
    cards = [[word.strip() for word in line.split(",")] for line in answer.stdout.strip().splitlines()]
    found = "; ".join(
        f"{index}: {name}, {int(free) / 1024:.0f} of {int(total) / 1024:.0f} GiB free"
        for index, name, total, free, _ in cards
    )
    build = torch_build()
    if "+cpu" in build:
        return Check(
            name="gpu",
            health=Health.WARN,
            found=f"{found}; but torch {build} cannot use it",
            remedy="install the CUDA build of torch (README, 'Install on a GPU machine')",
        )
    return Check(name="gpu", health=Health.OK, found=f"{found}; driver {cards[0][-1]}; torch {build}")


def torch_build() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return "missing"


def compiler() -> Check:
    """DeepSpeed's optional operators are compiled at first use; vlactl's training asks for none of them."""
    found = next(
        (name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and shutil.which(name)), None
    )
    if found is None:
        return Check(name="compiler", health=Health.OK, found="none, and none is needed")
    said = run(found, "--version").stdout.splitlines()
    return Check(name="compiler", health=Health.OK, found=f"{said[0] if said else found}; nothing needs compiling")


def renderer() -> Check:
    """The ray caster's kernels are compiled once and kept; where they cannot be kept every process compiles again."""
    from vlactl.tabletop.kernel_cache import cache_directory

    if not find_spec("numba"):
        return Check(name="renderer", health=Health.FAIL, found="numba is missing", remedy="make install")
    cache = cache_directory()
    if str(cache).startswith(tempfile.gettempdir()):
        return Check(
            name="renderer",
            health=Health.WARN,
            found=f"numba {version('numba')}, kernels are kept in {cache}, which does not last",
            remedy="export NUMBA_CACHE_DIR=/a/folder/of/yours, or kernels are compiled again and again",
        )
    compiled = any(cache.rglob("*.nbi"))
    state = "kernels compiled and kept" if compiled else "kernels not compiled yet: the first picture takes 10 to 30 s"
    return Check(name="renderer", health=Health.OK, found=f"numba {version('numba')}, {state} (in {cache})")


def ray() -> Check:
    if not find_spec("ray"):
        return Check(
            name="ray", health=Health.FAIL, found="missing", remedy="make install, or sweep with --launcher local"
        )
    temporary = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(temporary) + 60 > SOCKET_PATH_MAX:
        return Check(
            name="ray",
            health=Health.WARN,
            found=f"{version('ray')}; the temporary directory's path is long: {temporary}",
            remedy="export RAY_TMPDIR=/tmp (socket paths end at 107 bytes)",
        )
    address = os.environ.get("RAY_ADDRESS", "")
    if not address or address in {"local", "auto"}:
        return Check(
            name="ray",
            health=Health.OK,
            found=f"{version('ray')}; RAY_ADDRESS is {address or 'not set'}: "
            + ("a running cluster of this machine is used" if address == "auto" else "sweeps start their own"),
        )
    host, port = socket_of(address, 6379)
    trouble = unreachable(host, port)
    return Check(
        name="ray",
        health=Health.FAIL if trouble else Health.OK,
        found=f"{version('ray')}; RAY_ADDRESS={address} " + (trouble or "answers"),
        remedy="ray start --head there, or unset RAY_ADDRESS" if trouble else "",
    )


def mlflow(home: Path) -> Check:
    if not find_spec("mlflow"):
        return Check(name="mlflow", health=Health.FAIL, found="missing", remedy="make install")
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
    if uri.startswith(("http://", "https://")):
        host, port = socket_of(uri, 443 if uri.startswith("https") else 80)
        trouble = unreachable(host, port)
        return Check(
            name="mlflow",
            health=Health.WARN if trouble else Health.OK,
            found=f"{version('mlflow')}; {without_password(uri)} " + (trouble or "answers"),
            remedy="sweeps go on without it; afterwards: vlactl mlflow sync" if trouble else "",
        )
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///"))
        state = f"{database.stat().st_size / 2**20:.1f} MiB" if database.exists() else "not made yet"
        relative = not database.is_absolute()
        return Check(
            name="mlflow",
            health=Health.WARN if relative else Health.OK,
            found=f"{version('mlflow')}; {uri} ({state})",
            remedy="a relative sqlite path means another file in each folder: use four slashes" if relative else "",
        )
    return Check(name="mlflow", health=Health.OK, found=f"{version('mlflow')}; {without_password(uri)}")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=15)


def socket_of(address: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    return parts.hostname or "localhost", parts.port or default_port


def unreachable(host: str, port: int) -> str:
    """Why ``host:port`` takes no connection within two seconds; empty when it does."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return ""
    except OSError as error:
        return f"does not answer ({error})"


def without_password(uri: str) -> str:
    """``uri`` fit to be shown: what stands before an @ is dropped."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
