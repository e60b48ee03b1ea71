"""A shepherd: one warm process per slot that forks the ranks of a stage and lets none of them outlive its owner.

``python -m vlactl.launchers.shepherd --imports torch,...`` is started by its owner (the driver, or a Ray actor), which
keeps the write end of its stdin.  It detaches (fork + setsid, so that clean-up that kills "my children" cannot take it
first), imports, and then serves JSON lines: ``{"op": "run", ...}`` and ``{"op": "cancel", ...}`` on stdin; ``ready``,
``started`` and ``finished`` on stdout.  One stage at a time.  End-of-file on stdin means that the owner is dead, by
whatever signal: everything below is killed.  Orphaned grandchildren are adopted (PR_SET_CHILD_SUBREAPER), so a walk
down from here finds them even after setsid; if the shepherd itself is killed, the ranks die with it
(PR_SET_PDEATHSIG) and the owner reaps the rest by mark.

The process must stay single-threaded, for it forks; when an import starts a thread, ranks are started cold instead.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from vlactl.errors import FailureClass
from vlactl.launchers import rank as ranks
from vlactl.launchers.processes import (
    adopt_orphans,
    descendants,
    die_with_parent,
    name_process,
    oom_kills,
    send,
    threads,
)

COLLATERAL_GRACE_S = 10.0
"""What the other ranks get to write their outcome once one has failed."""
FENCE_WAIT_S = 30.0
"""How long to wait for ranks of a former, killed driver to leave the work folder."""
UNWANTED = ("mlflow",)
"""Not to be imported by what is imported here: DeepSpeed's autotuner takes mlflow when it can, and with it pandas and
pyarrow, which costs 1.2 s, 116 MB and a jemalloc thread that forbids forking.  Ranks may still import it."""
EXIT_MEANINGS = {code: failure for failure, code in ranks.EXIT_CODES.items()}


@dataclass(slots=True)
class Flock:
    """The ranks of one stage on this node."""

    order: dict[str, Any]
    fence: int
    oom_before: int
    pids: dict[int, int] = field(default_factory=dict)
    """Process -> rank, those still running."""
    group: int = 0
    failed: dict[str, Any] | None = None
    """What the first failing rank said."""
    cancelled: bool = False
    kill_at: float | None = None

    @property
    def work_dir(self) -> Path:
        return Path(self.order["work_dir"])


def detach() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    adopt_orphans()


def preload(modules: list[str]) -> tuple[list[str], dict[str, str]]:
    """Import what can be imported; returns the names that could and the reasons of those that could not."""
    loaded, problems = [], {}
    hidden = [module for module in UNWANTED if module not in sys.modules]
    for module in hidden:
        sys.modules[module] = None  # type: ignore[assignment]  importing it then raises ImportError
    for module in modules:
        try:
            importlib.import_module(module)
            loaded.append(module)
        except BaseException as error:  # a broken optional dependency must not cost the worker
            problems[module] = f"{type(error).__name__}: {error}"
    for module in hidden:
        del sys.modules[module]
    return loaded, problems


class Shepherd:
    """The loop.  ``inlet`` and ``outlet`` are the owner's pipes, moved away from 0 and 1 so that no import prints on
    them."""

    def __init__(self, inlet: int, outlet: int) -> None:
        self.inlet, self.outlet, self.pid = inlet, outlet, os.getpid()
        self.flock: Flock | None = None
        self.can_fork = False
        self._received = b""
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)
        os.set_blocking(self._wake_r, False)

    # ---- owner -----------------------------------------------------------------------------------------------------
    def tell(self, **message: Any) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self.outlet, line):]
        except BrokenPipeError:
            self.end()

    def warm_up(self, modules: list[str]) -> None:
        """Import; until then the death of the owner kills us through SIGIO, for an import does not look at its
        stdin."""
        started = time.monotonic()
        fcntl.fcntl(self.inlet, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self.inlet, fcntl.F_GETFL)
        fcntl.fcntl(self.inlet, fcntl.F_SETFL, flags | os.O_ASYNC)
        if select.select([self.inlet], [], [], 0)[0]:
            os._exit(0)  # it died before the flag was set; it sends nothing until we are ready
        loaded, problems = preload(modules)
        gc.collect()
        gc.freeze()  # forked ranks then share these pages for longer
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        fcntl.fcntl(self.inlet, fcntl.F_SETFL, flags)
        self.can_fork = threads() == 1
        self.tell(event="ready", pid=os.getpid(), seconds=round(time.monotonic() - started, 3), threads=threads(),
                  loaded=loaded, problems=problems)

    def serve(self) -> NoReturn:
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.cancel(COLLATERAL_GRACE_S))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([self.inlet, self._wake_r], [], [], self._patience())
            if self._wake_r in ready:
                with suppress(BlockingIOError):
                    os.read(self._wake_r, 4096)
            if self.inlet in ready:
                self._listen()
            self._reap()
            if self.flock and self.flock.kill_at is not None and time.monotonic() >= self.flock.kill_at:
                self._kill_below()

    def _patience(self) -> float | None:
        if self.flock is None or self.flock.kill_at is None:
            return None
        return max(0.0, self.flock.kill_at - time.monotonic())

    def _listen(self) -> None:
        data = os.read(self.inlet, 65536)
        if not data:
            self.end()
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message["op"] == "run":
                self._start(message["order"])
            elif message["op"] == "cancel" and self.flock and self.flock.order["id"] == message["id"]:
                if message["stacks"]:
                    send(self.flock.pids, signal.SIGUSR2)
                    time.sleep(0.2)  # the handler writes to the log before SIGTERM is delivered
                self.cancel(message["grace_s"])

    def end(self) -> NoReturn:
        """The owner is gone: so is everything below."""
        self._kill_below()
        os._exit(0)

    # ---- ranks -----------------------------------------------------------------------------------------------------
    def _start(self, order: dict[str, Any]) -> None:
        try:
            fence = self._enter(Path(order["work_dir"], f".ranks-{order['node']}.lock"))
            order["master"] = order["master"] or ["127.0.0.1", free_port()]
        except OSError as error:
            self.tell(event="finished", id=order["id"], ok=False, failure=FailureClass.INFRASTRUCTURE, rank=None,
                      message=f"cannot work in {order['work_dir']} on {socket.gethostname()}: {error}")
            return
        self.flock = flock = Flock(order=order, fence=fence, oom_before=oom_kills())
        sys.stdout.flush()
        sys.stderr.flush()
        for local_rank, rank in enumerate(order["local"]):
            pid = os.fork()
            if pid == 0:
                self._become_rank(flock, rank, local_rank)
            flock.pids[pid] = rank
            flock.group = flock.group or pid
            with suppress(OSError):  # the child does the same; whoever is first
                os.setpgid(pid, flock.group)
        self.tell(event="started", id=order["id"], pids=list(flock.pids))

    def _enter(self, lock: Path) -> int:
        """Lock the work folder for this node's ranks, who inherit the descriptor: no two attempts ever work in it at
        once.

        Waits for ranks of a driver that was killed a moment ago; raises ``OSError`` if they stay.
        """
        fence = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        until = time.monotonic() + FENCE_WAIT_S
        hangup = select.poll()
        hangup.register(self.inlet, 0)
        while True:
            try:
                fcntl.flock(fence, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fence
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(fence)
                    raise OSError("ranks of an earlier attempt are still running in it") from None
                if hangup.poll(100):
                    self.end()

    def _become_rank(self, flock: Flock, rank: int, local_rank: int) -> NoReturn:
        try:
            os.setpgid(0, flock.group)
            die_with_parent(self.pid)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGIO):
                signal.signal(number, signal.SIG_DFL)
            for descriptor in (self.inlet, self.outlet, self._wake_r, self._wake_w):
                os.close(descriptor)
            with suppress(OSError):  # if memory runs out, let the kernel take a rank and not the driver
                Path("/proc/self/oom_score_adj").write_text("500")
            ranks.open_streams(flock.order, rank)
            os.environ.update(ranks.environment(flock.order, rank, local_rank))
            if flock.order["warm"] and self.can_fork:
                ranks.live(flock.order, rank)
            os.set_inheritable(flock.fence, True)
            os.execv(sys.executable, [sys.executable, "-P", "-m", ranks.__name__, json.dumps(flock.order), str(rank)])
        except BaseException as error:
            os.write(2, f"cannot become rank {rank}: {error!r}\n".encode())
        os._exit(ranks.EXIT_CODES[FailureClass.INFRASTRUCTURE])

    def cancel(self, grace_s: float) -> None:
        if self.flock:
            self.flock.cancelled = True
            self._ask_to_end(grace_s)

    def _ask_to_end(self, grace_s: float) -> None:
        """SIGTERM to the ranks alone (what they started belongs to them), SIGKILL to all when the grace is over."""
        flock, until = self.flock, time.monotonic() + grace_s
        if flock:
            send(flock.pids, signal.SIGTERM)
            flock.kill_at = until if flock.kill_at is None else min(flock.kill_at, until)

    def _reap(self) -> None:
        """Take in every child that has ended: ranks, and orphans that we adopted."""
        flock = self.flock
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if flock and pid in flock.pids:
                verdict = judge(flock, flock.pids.pop(pid), os.waitstatus_to_exitcode(status))
                if verdict and (flock.failed is None or before(verdict, flock.failed)):
                    flock.failed = verdict
        if flock is None:
            return
        if flock.failed and flock.pids and flock.kill_at is None:
            self._ask_to_end(COLLATERAL_GRACE_S)
        if not flock.pids:
            self._finish(flock)

    def _finish(self, flock: Flock) -> None:
        self._kill_below()  # data workers and simulators that a rank has left behind
        os.close(flock.fence)
        self.flock = None
        failed = flock.failed or {}
        self.tell(event="finished", id=flock.order["id"], ok=not failed, failure=failed.get("class"),
                  message=failed.get("message", ""), rank=failed.get("rank"), at=failed.get("at"))

    def _kill_below(self) -> None:
        """SIGKILL the whole tree below this process until nothing of it runs."""
        until = time.monotonic() + 10.0
        while (below := descendants(os.getpid())) and time.monotonic() < until:
            send(below, signal.SIGKILL)
            time.sleep(0.002)
            if self.flock is None or not self.flock.pids:  # else _reap must see how the ranks ended
                with suppress(ChildProcessError):
                    while os.waitpid(-1, os.WNOHANG)[0]:
                        pass


def judge(flock: Flock, rank: int, code: int) -> dict[str, Any] | None:
    """Why the rank failed, or None if it did not.  Its own words, if it could write them; else how it died."""
    try:
        said = json.loads(ranks.outcome_path(flock.work_dir, rank).read_bytes())
        if said.get("attempt") == flock.order["attempt"]:
            return None if said["status"] == "ok" else {**said, "rank": rank}
    except (OSError, ValueError):
        pass
    verdict: dict[str, Any] = {"rank": rank, "at": time.time(), "class": FailureClass.INFRASTRUCTURE}
    if code < 0 and flock.kill_at is not None:
        return {**verdict, "class": FailureClass.CANCELLED, "message": f"rank {rank} was ended with the others"}
    if code < 0:
        name = signal.Signals(-code).name
        if code == -signal.SIGKILL and oom_kills() > flock.oom_before:
            return {**verdict, "class": FailureClass.OUT_OF_MEMORY,
                    "message": f"rank {rank} was killed by the kernel: the host ran out of memory"}
        return {**verdict, "message": f"rank {rank} died of {name}"}
    failure = EXIT_MEANINGS.get(code, FailureClass.USER_ERROR)
    return {**verdict, "class": failure, "message": f"rank {rank} ended with exit code {code} and without a word"}


def before(verdict: dict[str, Any], other: dict[str, Any]) -> bool:
    """Which failure came first.  One that was only ended with the others never explains anything."""
    if (verdict["class"] == FailureClass.CANCELLED) != (other["class"] == FailureClass.CANCELLED):
        return other["class"] == FailureClass.CANCELLED
    return verdict["at"] < other["at"]


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on; somebody may take it before we do, which is an infrastructure failure."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description="Internal: serves a launcher.")
    parser.add_argument("--imports", default="")
    modules = [name for name in parser.parse_args().imports.split(",") if name]
    inlet, outlet = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what an import prints goes to the worker's log
    os.close(nothing)
    detach()
    name_process("vlactl-shepherd")
    shepherd = Shepherd(inlet, outlet)
    shepherd.warm_up(modules)
    shepherd.serve()


if __name__ == "__main__":
    main()
