"""Where MLflow's data are, and who may write there."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vlactl.disk import is_locked
from vlactl.errors import StoreConflict, UsageError


@dataclass(frozen=True, slots=True)
class Address:
    """A tracking URI."""

    uri: str
    home: Path
    database: Path | None
    """The sqlite file, for a database that is ours to create."""

    @property
    def remote(self) -> bool:
        """Whether a server keeps the runs, and so decides where artifacts go."""
        return self.uri.startswith(("http://", "https://"))

    def __str__(self) -> str:
        head, at, tail = self.uri.rpartition("@")  # a password in the URI is not for messages
        return f"{head.partition('://')[0]}://...@{tail}" if at and "://" in head else self.uri


def address_of(home: Path, uri: str | None = None) -> Address:
    """``uri``, else ``$MLFLOW_TRACKING_URI``, else the database in ``home``; sqlite paths become absolute.

    Raises :class:`UsageError` for a folder of files, which MLflow no longer writes.
    """
    home = home.absolute()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///")).absolute()
        return Address(f"sqlite:///{database}", home, database)
    if "://" not in uri or uri.startswith("file:"):
        raise UsageError(
            "MLflow no longer keeps runs in folders",
            where=uri,
            expected="sqlite:///FILE or http(s)://HOST",
            remedy=f"set MLFLOW_TRACKING_URI=sqlite:///{home / 'mlflow.db'}, or unset it",
        )
    return Address(uri, home, None)


def writer_lock(home: Path, sweep: str) -> Path:
    return home / "locks" / f"mlflow-{sweep}.lock"


def hold_writer(home: Path, sweep: str) -> IO[bytes]:
    """Be the only writer of this sweep's runs until the file is closed; raises :class:`StoreConflict`."""
    path = writer_lock(home, sweep)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "ab")  # noqa: SIM115  held by the caller
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise StoreConflict(
            "another process writes the runs of this sweep",
            where=str(path),
            expected="one writer",
            remedy="wait until the sweep has ended",
        ) from None
    return file


def has_writer(home: Path, sweep: str) -> bool:
    """Whether some process holds :func:`hold_writer` for the sweep."""
    return is_locked(writer_lock(home, sweep))
