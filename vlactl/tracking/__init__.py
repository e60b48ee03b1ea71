"""A sweep in MLflow: one parent run per sweep, one child per trial.  A mirror: the store is the truth.

One writer, the driver: events are only queued; a thread imports MLflow (seconds), looks at the store and makes MLflow
agree with it.  It may fail as long as it likes without disturbing the sweep; :func:`sync` makes the same runs from the
store at any later time, and neither ever writes a run, a parameter or a point twice.

A database in ``<home>/mlflow.db`` unless ``MLFLOW_TRACKING_URI`` names a server.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlactl.errors import UsageError, VlactlError
from vlactl.events import SweepState, fold, is_live, read, sweep_dir
from vlactl.tracking.address import Address, address_of, hold_writer

if TYPE_CHECKING:
    from vlactl.plan import Plan
    from vlactl.recipe import Recipe
    from vlactl.store import Store
    from vlactl.tracking.mirror import Mirror

LOG = logging.getLogger(__name__)
TICK_S = 2.0
"""How often running curves are looked at."""
TABLES_EVERY_S = 30.0
IDLE_SHARE = 20
"""The mirror rests so many times longer than its last look took: at most a twentieth of a core, at any size."""
RETRY_S = (15.0, 60.0, 300.0)
"""Waits after the first, second and every further failure in a row."""

Tables = Callable[["Store", SweepState], Mapping[str, str]]
"""File name -> text for the parent run: the comparative table, which ``vlactl.report`` makes, unknown to this room."""


class Tracker:
    """Mirrors a sweep while it runs.  Every method returns at once, except :meth:`close`."""

    def __init__(
        self,
        home: Path,
        recipe: Recipe,
        plan: Plan,
        *,
        tables: Tables | None = None,
        notice: Callable[[dict[str, Any]], None] | None = None,
        uri: str | None = None,
    ) -> None:
        """``notice`` is told once, from the tracking thread, when MLflow cannot be reached; else that is logged."""
        self.home, self.recipe, self.plan, self.tables = home, recipe, plan, tables
        self.notice = notice
        self.address = address_of(home, uri)
        self.folder = sweep_dir(home, recipe.name, Path(recipe.path))
        self.problem: str | None = "nothing was mirrored yet"
        """What went wrong last, in words; None when MLflow agrees with the store."""
        self._events: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="vlactl-tracking", daemon=True)

    def start(self) -> Tracker:
        """Begin to mirror in the background."""
        self._thread.start()
        return self

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take note of an event of the runner; costs a queue's ``put``."""
        self._events.put(event)

    def close(self, timeout: float = 30.0) -> bool:
        """Mirror the end of the sweep; True when MLflow agrees with the store, False (and :attr:`problem`) otherwise.

        After ``timeout`` seconds the thread is left behind; it dies with the process.
        """
        self._events.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self.problem = f"{self.address} did not take everything within {timeout:g} s"
        return self.problem is None

    def _work(self) -> None:
        from vlactl.store import Store

        work = _Work(self.address, self.folder.name, self.recipe, self.plan, Store(self.home), self.tables)
        work.state = fold(read(self.folder / "events.jsonl"))
        failures, wait_until, over = 0, 0.0, False
        while not over:
            over = self._take(work.state)
            if not over and time.monotonic() < wait_until:
                continue
            began = time.monotonic()
            try:
                work.once(over=over)
                failures, self.problem = 0, None
                wait_until = time.monotonic() + IDLE_SHARE * (time.monotonic() - began)
            except Exception as error:
                self.problem = describe(error)
                if not failures:
                    self._say(
                        f"MLflow ({self.address}): {self.problem}; the sweep goes on, 'vlactl mlflow sync' catches up"
                    )
                wait_until = time.monotonic() + RETRY_S[min(failures, len(RETRY_S) - 1)]
                failures += 1
        work.release()

    def _say(self, message: str) -> None:
        if self.notice is None:
            LOG.warning(message)
        else:
            self.notice({"event": "notice", "message": message})

    def _take(self, state: SweepState) -> bool:
        """Apply what is queued, waiting up to a tick for the first event; True when the sweep is over."""
        try:
            event = self._events.get(timeout=TICK_S)
            while event is not None:
                state.apply(event)
                event = self._events.get_nowait()
        except queue.Empty:
            return False
        return True


class _Work:
    """What one writer keeps between two looks at the store."""

    def __init__(
        self, address: Address, sweep: str, recipe: Recipe, plan: Plan, store: Store, tables: Tables | None
    ) -> None:
        self.address, self.sweep, self.recipe, self.plan, self.store, self.tables = (
            address,
            sweep,
            recipe,
            plan,
            store,
            tables,
        )
        self.state = SweepState()
        self._mirror: Mirror | None = None
        self._lock: Any = None
        self._evaluated = -1
        self._tables_at = 0.0

    def once(self, *, over: bool) -> dict[str, int]:
        """Make MLflow agree with the store as it is now; counts of what was written."""
        from vlactl.tracking.picture import picture_of

        if self._lock is None:
            self._lock = hold_writer(self.store.root, self.sweep)
        if self._mirror is None:
            from vlactl.tracking.mirror import Mirror

            self._mirror = Mirror(self.address, self.sweep, self.recipe.name)
        picture = picture_of(self.recipe, self.plan, self.store, self.state, over=over)
        self._mirror.show(picture)
        evaluated = sum(trial.evaluated is not None for trial in picture.trials)
        due = over or time.monotonic() - self._tables_at > TABLES_EVERY_S
        if self.tables is not None and evaluated and (over or (due and evaluated != self._evaluated)):
            self._mirror.show_tables(self._tables(self.tables))
            self._evaluated, self._tables_at = evaluated, time.monotonic()
        return self._mirror.written

    def _tables(self, tables: Tables) -> Mapping[str, str]:
        """The comparative table; where there can be none (two protocols in one sweep), the reason in its place."""
        try:
            return tables(self.store, self.state)
        except VlactlError as error:
            return {"report.md": f"No comparative table: {error}"}

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()


def sync(
    recipe: Recipe, plan: Plan, store: Store, *, tables: Tables | None = None, uri: str | None = None
) -> dict[str, int]:
    """Make MLflow agree with the store; returns how many runs, params, metrics and artifacts were written.

    Raises :class:`StoreConflict` while a driver mirrors this sweep, :class:`UsageError` when MLflow cannot be reached.
    """
    folder = sweep_dir(store.root, recipe.name, Path(recipe.path))
    address = address_of(store.root, uri)
    work = _Work(address, folder.name, recipe, plan, store, tables)
    work.state = fold(read(folder / "events.jsonl"))
    try:
        return work.once(over=not is_live(folder / "events.jsonl"))
    except VlactlError:
        raise
    except Exception as error:
        raise UsageError(
            f"MLflow did not answer: {describe(error)}",
            where=str(address),
            remedy="check MLFLOW_TRACKING_URI and that the server runs; nothing is lost, sync again later",
        ) from error
    finally:
        work.release()


def ui_command(home: Path, port: int = 5000, uri: str | None = None) -> list[str]:
    """The command that shows the local database in a browser, on the loopback address only.

    Raises :class:`UsageError` where ``MLFLOW_TRACKING_URI`` names a server, or nothing is there yet.
    """
    address = address_of(home, uri)
    if address.remote:
        raise UsageError(
            "the runs are on a server, which has its own page",
            where=str(address),
            remedy=f"open {address} in a browser",
        )
    if address.database is not None and not address.database.exists():
        raise UsageError(
            "no sweep was mirrored here yet",
            where=str(address.database),
            remedy="vlactl sweep RECIPE, or vlactl mlflow sync",
        )
    quiet_environment()
    return [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        address.uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]


def describe(error: Exception) -> str:
    """The first line of what went wrong."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def quiet_environment() -> None:
    """Short waits and no telemetry, unless the user set them; must run before MLflow is imported."""
    for name, value in {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of `mlflow ui`: a dozen idle processes
    }.items():
        os.environ.setdefault(name, value)
