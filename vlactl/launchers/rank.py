"""The life of one rank: environment, log, target, outcome.  It ends the process and never returns.

Warm, it runs in a child that a shepherd forked; cold, as ``python -m vlactl.launchers.rank ORDER RANK LOCAL_RANK``. The
rank itself writes ``outcomes/rank-K.json``, because only it still has the exception; a rank that was killed leaves
none.
"""

from __future__ import annotations

import atexit
import errno
import faulthandler
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from vlactl.errors import FailureClass, StageFailed, StoreError, VlactlError
from vlactl.launchers.processes import name_process

EXIT_CODES = {FailureClass.USER_ERROR: 64, FailureClass.OUT_OF_MEMORY: 71, FailureClass.NAN: 72,
              FailureClass.INFRASTRUCTURE: 74, FailureClass.PREEMPTED: 75}
"""How a rank ends whose outcome file may get lost; 75 is EX_TEMPFAIL: saved a checkpoint, run me again."""
TEARDOWN_S = 20
"""An exit handler that takes longer is cut off; the outcome is on the disk by then."""


def environment(order: Mapping[str, Any], rank: int, local_rank: int) -> dict[str, str]:
    """What a rank finds in ``os.environ`` on top of its worker's: the names DeepSpeed and torch.distributed
    expect."""
    address, port = order["master"]
    cpus = str(max(1, int(order["cpus_per_rank"])))
    local = {"GLOO_SOCKET_IFNAME": "lo"} if order["nodes"] == 1 else {}
    return {"TOKENIZERS_PARALLELISM": "false", **local, **order["env"],
            "RANK": str(rank), "LOCAL_RANK": str(local_rank), "WORLD_SIZE": str(order["world"]),
            "LOCAL_WORLD_SIZE": str(len(order["local"])), "MASTER_ADDR": address, "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": cpus, "MKL_NUM_THREADS": cpus, "NUMBA_NUM_THREADS": cpus,
            "CUDA_VISIBLE_DEVICES": ",".join(order["gpus"])}


def open_streams(order: Mapping[str, Any], rank: int) -> None:
    """stdin from /dev/null; stdout and stderr appended to ``logs/rank-K.log`` behind a header for this attempt."""
    log = Path(order["work_dir"], "logs", f"rank-{rank}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nothing, 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.close(nothing)
    os.close(written)
    header = (f"==== {order['label']} · attempt {order['attempt']} · rank {rank} of {order['world']} · "
              f"{time.strftime('%Y-%m-%d %H:%M:%S')} · {socket.gethostname()} · pid {os.getpid()} ====\n")
    os.write(1, header.encode())


def limit_threads(cpus: int) -> None:
    """Tell libraries that the worker imported with one thread how many this rank may have.  Imports nothing."""
    torch, numba = sys.modules.get("torch"), sys.modules.get("numba")
    if torch is not None:
        torch.set_num_threads(cpus)
    if numba is not None:
        numba.core.config.reload_config()  # reads NUMBA_NUM_THREADS
        if pool := sys.modules.get("numba.np.ufunc.parallel"):
            pool.NUM_THREADS = cpus  # type: ignore[attr-defined]  read on import, used when the pool is launched


def live(order: Mapping[str, Any], rank: int) -> NoReturn:
    """Run the target and end.  Streams, environment and signals have been set."""
    name_process(f"vlactl-rank{rank}")
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR2, file=2, all_threads=True)
    sys.stdout = open(1, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    sys.argv = ["vlactl-rank", order["work_dir"]]
    limit_threads(max(1, int(order["cpus_per_rank"])))
    outcome: dict[str, Any] = {"status": "ok"}
    try:
        module, _, function = order["target"].partition(":")
        getattr(importlib.import_module(module), function)(Path(order["work_dir"]))
    except BaseException as error:  # whatever it is, it must reach the outcome file
        outcome = describe(error)
    write_outcome(order, rank, outcome)
    failure = outcome.get("class")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(TEARDOWN_S)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODES.get(FailureClass(failure), 70) if failure else 0)


def describe(error: BaseException) -> dict[str, Any]:
    """The outcome of a rank that raised; the traceback goes to the log too, unless it would tell a user nothing."""
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return {"status": "ok"}
    failure = classify(error)
    text = "".join(traceback.format_exception(error))
    expected = isinstance(error, VlactlError) or failure is FailureClass.PREEMPTED
    sys.stderr.write(f"{error}\n" if expected else text)
    return {"status": "failed", "class": failure.value, "type": type(error).__name__,
            "message": str(error) or type(error).__name__, "traceback": text}


def classify(error: BaseException) -> FailureClass:
    """The failure class of an exception, without importing the library it comes from."""
    if isinstance(error, StageFailed):
        return error.failure
    if isinstance(error, StoreError):
        return FailureClass.INFRASTRUCTURE
    if isinstance(error, VlactlError):
        return FailureClass.USER_ERROR
    if isinstance(error, SystemExit):
        return next((failure for failure, code in EXIT_CODES.items() if code == error.code), FailureClass.USER_ERROR)
    if isinstance(error, KeyboardInterrupt):
        return FailureClass.CANCELLED
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error)
    if names & {"MemoryError", "OutOfMemoryError"} or "out of memory" in text or "can't allocate memory" in text:
        return FailureClass.OUT_OF_MEMORY
    if names & {"DistBackendError", "DistNetworkError", "DistStoreError", "AcceleratorError", "ConnectionError"}:
        return FailureClass.INFRASTRUCTURE
    if any(sign in text for sign in ("CUDA error", "NCCL", "Connection closed by peer", "Connection reset by peer")):
        return FailureClass.INFRASTRUCTURE
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE,
                                                      errno.EADDRINUSE, errno.ENOMEM):
        return FailureClass.OUT_OF_MEMORY if error.errno == errno.ENOMEM else FailureClass.INFRASTRUCTURE
    return FailureClass.USER_ERROR


def outcome_path(work_dir: Path, rank: int) -> Path:
    return work_dir / "outcomes" / f"rank-{rank}.json"


def write_outcome(order: Mapping[str, Any], rank: int, outcome: Mapping[str, Any]) -> None:
    """Atomic.  On a full disk the exit code has to do."""
    path = outcome_path(Path(order["work_dir"]), rank)
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(exist_ok=True)
        partial.write_text(json.dumps({**outcome, "rank": rank, "ranks": order["world"], "attempt": order["attempt"],
                                       "at": time.time()}))
        os.replace(partial, path)
    except OSError as error:
        sys.stderr.write(f"cannot write {path}: {error}\n")


def main() -> NoReturn:
    """A cold rank: the shepherd has already set streams and environment."""
    order, rank = json.loads(sys.argv[1]), int(sys.argv[2])
    live(order, rank)


if __name__ == "__main__":
    main()
