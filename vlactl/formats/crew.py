"""Pieces of work done by several processes, none of which outlives this one.

Each worker is a fresh interpreter with one thread that is given a piece, does it, and is given the next.  What a worker
raises is raised here, and the others are ended.  A worker whose parent dies, by whatever signal, ends itself.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from vlactl.errors import FailureClass, StageFailed, VlactlError

Tell = Callable[[int, int], None]
"""``tell(episodes, frames)``: so many more are done."""
Work = Callable[[Any, Tell], None]
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def work_through(work: Work, pieces: Sequence[Any], workers: int, tell: Tell) -> None:
    """Call ``work(piece, tell)`` for all ``pieces``, in this process or in ``workers`` others.

    Work and pieces must be picklable when there are several workers.
    Raises what ``work`` raises, and :class:`StageFailed` (an infrastructure failure) when a worker is killed.
    """
    if workers <= 1 or len(pieces) <= 1:
        for piece in pieces:
            work(piece, tell)
        return
    waiting, crew = list(reversed(pieces)), _Crew(work, min(workers, len(pieces)))
    try:
        crew.employ(waiting, tell)
    finally:
        crew.dismiss()


class _Crew:
    """The processes, each with the pipe to it."""

    def __init__(self, work: Work, count: int) -> None:
        context = multiprocessing.get_context("spawn")  # forking a process with numba's and MuJoCo's locks is unsafe
        self._processes: dict[Connection, Any] = {}
        try:
            with one_thread_each():
                for _ in range(count):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
                    process.start()
                    theirs.close()
                    self._processes[ours] = process
        except BaseException:
            self.dismiss()
            raise

    def employ(self, waiting: list[Any], tell: Tell) -> None:
        """Give out what is ``waiting``, the last piece first, until all are done."""
        for connection in self._processes:
            self._give(connection, waiting.pop())
        busy = set(self._processes)
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                kind, value = self._hear(connection)
                if kind == "told":
                    tell(*value)
                elif kind == "raised":
                    raise value
                elif waiting:
                    self._give(connection, waiting.pop())
                else:
                    busy.remove(connection)

    def _give(self, connection: Connection, piece: Any) -> None:
        try:
            connection.send(piece)
        except OSError:
            raise self._lost(connection) from None

    def _hear(self, connection: Connection) -> tuple[str, Any]:
        try:
            return connection.recv()
        except (EOFError, OSError):
            raise self._lost(connection) from None

    def _lost(self, connection: Connection) -> StageFailed:
        process = self._processes[connection]
        process.join()
        return StageFailed(f"a recording process ended with code {process.exitcode}",
                           failure=FailureClass.INFRASTRUCTURE,
                           remedy="run the same command again; with fewer workers if memory was short")

    def dismiss(self) -> None:
        """End all of them now."""
        for process in self._processes.values():
            process.kill()
        for connection, process in self._processes.items():
            process.join()
            connection.close()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started in the body have one thread: libraries read these variables when they are imported."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(work: Work, connection: Connection) -> None:
    """The life of a worker: pieces come in; what was told, raised or done goes out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        piece = connection.recv()
        try:
            work(piece, lambda *done: connection.send(("told", done)))
        except Exception as error:
            connection.send(("raised", _portable(error)))
            return
        connection.send(("done", None))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the journey, or what it says; with its traceback unless it is for users."""
    if not isinstance(error, VlactlError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
