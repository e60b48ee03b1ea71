"""Runs ``small.run`` in fresh processes, forked from one that has torch and DeepSpeed imported already.

Every run has the isolation of a process of its own (process groups, signal handlers, a death by SIGKILL) without
seconds of imports.  As a program: a JSON request per line of standard input, a list of exit codes per line of output.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


class Nursery:
    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            environment.pop(name, None)
        self._process = subprocess.Popen([sys.executable, str(TESTS / "nursery.py")], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, env=environment)

    def run(self, ranks: int = 1, **arguments: object) -> list[int]:
        """``small.run(**arguments)`` in ``ranks`` processes; their exit codes, -N for a death by signal N."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"ranks": ranks, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def serve() -> None:
    sys.path.insert(0, str(TESTS))
    import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401 - every ZeRO stage above 0 imports the compiler
    import small

    import vlactl.training.loop
    import vlactl.training.warm  # noqa: F401 - once, for all children
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        gang = {"WORLD_SIZE": str(request["ranks"]), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        children = []
        for rank in range(request["ranks"]):
            child = os.fork()
            if child == 0:
                os.environ.update({**gang, "RANK": str(rank), "LOCAL_RANK": str(rank)})
                code = 1
                try:
                    small.run(**request["arguments"])
                    code = 0
                except Exception as error:
                    print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    code = {"preempted": 75}.get(getattr(error, "failure", ""), 1)
                os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), file=answers, flush=True)


if __name__ == "__main__":
    serve()
