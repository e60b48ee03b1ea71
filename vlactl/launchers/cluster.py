"""The Ray cluster: join the one that is named, else start a small quiet one of our own on this machine.

A cluster that we joined is never configured, stopped or written to.  Ours listens on loopback, wants a token that
exists only in this process tree, has no dashboard and sends no statistics; its folder has a short path (a socket
address holds 107 bytes), is locked while we live, and what a killed run left behind is removed by the next.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from vlactl.launchers import SWEEP_MARK, LauncherError, Notice
from vlactl.launchers.guard import CLUSTER_MARK, members
from vlactl.launchers.processes import reap
from vlactl.launchers.worker import import_path

OBJECT_STORE_BYTES = 80 << 20
"""Ray's minimum is 75 MiB; commands and outcomes are all that goes through it."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
         "RAY_BACKEND_LOG_LEVEL": "error"}
FOLDER_PREFIX = "vlr-"
ROOM_FOR_SOCKETS = 64
"""Characters that Ray appends to its folder for a socket:
session_<date>_<time>_<micros>_<pid>/sockets/plasma_store."""


@dataclass(slots=True, kw_only=True)
class Cluster:
    """A Ray cluster that this process is connected to."""

    own: bool
    log: Path
    mark: str = ""
    """What every process of a cluster of ours carries as ``VLACTL_CLUSTER``."""
    folder: Path | None = None
    _lock: IO[bytes] | None = None
    _guard: subprocess.Popen[bytes] | None = None
    _environment: dict[str, str | None] = field(default_factory=dict)

    def nodes(self) -> list[dict[str, float]]:
        """CPU and GPU of every node that is alive."""
        import ray

        return [{"CPU": node["Resources"].get("CPU", 0.0), "GPU": node["Resources"].get("GPU", 0.0)}
                for node in ray.nodes() if node["Alive"]]

    def close(self) -> None:
        """Disconnect; a cluster of our own ends with all its processes."""
        import ray

        with quiet_stderr(self.log):
            ray.shutdown()
        restore_environment(self._environment)
        if self._guard is not None and self.folder is not None:
            mark, folder = self.mark, self.folder
            until = time.monotonic() + 0.5
            while members(mark, folder) and time.monotonic() < until:
                time.sleep(0.05)
            reap(lambda: members(mark, folder))
            self._guard.communicate()  # closes its stdin: it removes the folder
        if self._lock is not None:
            self._lock.close()


def connect(*, address: str | None, cpus: int, gpus: int, sweep: str, home: Path, notice: Notice) -> Cluster:
    """Join ``address`` or ``RAY_ADDRESS``, else start a cluster.  Raises :class:`LauncherError` with the remedy."""
    address = address or os.environ.get("RAY_ADDRESS")
    log = home / "logs" / "ray.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    notice({"event": "notice", "message": f"joining the Ray cluster at {address}" if address
            else "starting Ray (10 to 20 seconds on two cores)"})
    began = time.monotonic()
    if address:
        cluster = Cluster(own=False, log=log)
        cluster._environment = set_environment(QUIET)
        join(address, log)
    else:
        cluster = start(cpus=cpus, gpus=gpus, sweep=sweep, log=log, notice=notice)
    notice({"event": "notice", "message": f"Ray is up ({time.monotonic() - began:.1f} s)",
            "address": address or "local"})
    return cluster


def join(address: str, log: Path) -> None:
    try:
        with quiet_stderr(log), kept_signals():
            import ray

            read_authentication()
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise LauncherError(f"cannot join the Ray cluster at {address}: {error}", where="--address / RAY_ADDRESS",
                            expected="host:port of a running head node, with the same Ray version and RAY_AUTH_MODE",
                            remedy=f"check 'ray status --address {address}', unset RAY_ADDRESS, or use --launcher local"
                            ) from error


def start(*, cpus: int, gpus: int, sweep: str, log: Path, notice: Notice) -> Cluster:
    """A cluster of our own; tried twice, because a loaded machine can be too slow for Ray's patience the first
    time."""
    sweep_stale_folders()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    token = {} if os.environ.get("RAY_AUTH_MODE") else token
    for attempt in (1, 2):
        folder, lock = short_folder()
        mark = uuid.uuid4().hex
        environment = {**set_environment({**QUIET, **token}),
                       **set_environment({SWEEP_MARK: sweep, CLUSTER_MARK: mark}, force=True)}
        cluster = Cluster(own=True, log=log, mark=mark, folder=folder, _lock=lock, _guard=start_guard(mark, folder),
                          _environment=environment)
        try:
            with quiet_stderr(log), kept_signals():
                import ray

                read_authentication()
                stay_on_loopback()
                ray.init(address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, log_to_driver=False,
                         logging_level=logging.ERROR, object_store_memory=OBJECT_STORE_BYTES,
                         _temp_dir=str(folder), _node_ip_address="127.0.0.1")
            return cluster
        except Exception as error:
            cluster.close()
            if attempt == 2:
                remedy = "use --launcher local, which needs no Ray; or see 'vlactl doctor'"
                raise LauncherError(f"Ray does not start: {error}", where=str(log), remedy=remedy) from error
            notice({"event": "notice", "level": "warning",
                    "message": f"Ray did not start ({error}); trying once more"})
    raise AssertionError("unreachable")


def start_guard(mark: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-P", "-m", "vlactl.launchers.guard", mark, folder], stdin=subprocess.PIPE,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                            env={**os.environ, "PYTHONPATH": import_path()})


def stay_on_loopback() -> None:
    """Make Ray take 127.0.0.1 at its word, as it does on macOS and Windows.

    Elsewhere it puts an address that others can reach in its place, and its servers listen on all interfaces.
    """
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False


def read_authentication() -> None:
    """Ray reads RAY_AUTH_MODE and the token once, on import, which may have been long ago: let it look again."""
    with suppress(ImportError, AttributeError):
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def set_environment(values: dict[str, str], *, force: bool = False) -> dict[str, str | None]:
    """Set variables, those already set only with ``force``; returns what :func:`restore_environment` needs."""
    former = {name: os.environ.get(name) for name in values if force or name not in os.environ}
    os.environ.update({name: values[name] for name in former})
    return former


def restore_environment(former: dict[str, str | None]) -> None:
    for name, value in former.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def short_folder() -> tuple[Path, IO[bytes]]:
    """A fresh folder with a short path, and its lock."""
    base = tempfile.gettempdir()
    if len(base) + len(FOLDER_PREFIX) + 8 + ROOM_FOR_SOCKETS > 107:
        base = "/tmp"
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=base))
    lock = open(folder / "owner.lock", "ab")  # noqa: SIM115  held until the cluster is closed
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def sweep_stale_folders() -> None:
    """Remove folders of runs that were killed: those of ours that nobody holds."""
    for base in {tempfile.gettempdir(), "/tmp"}:
        for folder in Path(base).glob(f"{FOLDER_PREFIX}*"):
            with suppress(OSError), open(folder / "owner.lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.stat().st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def quiet_stderr(log: Path) -> Iterator[None]:
    """What C++ and child processes write to descriptor 2 meanwhile goes to the log; Python's own stderr stays."""
    sys.stderr.flush()
    saved = os.dup(2)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def kept_signals() -> Iterator[None]:
    """ray.init replaces the SIGTERM handler; put ours back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def fits(nodes: Sequence[dict[str, float]], taken: Sequence[dict[str, float]],
         wanted: Sequence[dict[str, float]]) -> bool:
    """Whether the bundles ``wanted`` (each on a node of its own) find room beside ``taken``, packed first-fit,
    largest first."""
    free = [dict(node) for node in nodes]
    for bundle in sorted(taken, key=lambda bundle: (-bundle["GPU"], -bundle["CPU"])):
        for node in free:
            if all(node[name] + 1e-6 >= bundle[name] for name in bundle):
                for name in bundle:
                    node[name] -= bundle[name]
                break
    able = [node for node in free if all(node[name] + 1e-6 >= wanted[0][name] for name in wanted[0])]
    return len(able) >= len(wanted)
