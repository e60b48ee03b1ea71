"""A sweep's folder ``<home>/sweeps/<name>-<hash>/``: finding it, what it was started with, and who runs it.

The journal's ``flock`` is the lock of a sweep: the kernel lets go of it however the driver ends.  The journal also says
who writes it, and a process is signalled only while it really has that file open.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlactl.disk import replace_text
from vlactl.errors import UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """How a sweep was started last, so that other verbs can load the same trials."""

    recipe: str
    """Absolute path."""
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """Paths of one sweep."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def journal(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def log(self) -> Path:
        """What a detached driver prints."""
        return self.path / "driver.log"

    @property
    def stop_file(self) -> Path:
        """When it appears the driver starts nothing more."""
        return self.path / "stop"

    @property
    def mirrored(self) -> Path:
        """What MLflow had when it was last known to have everything."""
        return self.path / "mirrored"

    @property
    def expected_file(self) -> Path:
        return self.path / "expected.json"

    def expected_s(self) -> dict[str, float]:
        """Digest -> estimated seconds, as the newest run was planned; empty where that is not known."""
        try:
            return {
                str(digest): float(seconds) for digest, seconds in json.loads(self.expected_file.read_text()).items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    @property
    def launch_file(self) -> Path:
        return self.path / "launch.json"

    def launch(self) -> Launch:
        """How it was started last; raises :class:`UsageError` where that is not known."""
        try:
            document = json.loads(self.launch_file.read_text())
            return Launch(
                recipe=str(document["recipe"]),
                overrides=tuple(document["overrides"]),
                only=tuple(document["only"]),
                skip=tuple(document["skip"]),
                limit=document["limit"],
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(
                "it is not known from which recipe this sweep was started",
                where=str(self.launch_file),
                remedy="name the recipe instead of the sweep",
            ) from error

    def remember(self, launch: Launch) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        replace_text(self.launch_file, json.dumps(asdict(launch), indent=1) + "\n")

    def driver(self) -> int | None:
        """The process id of the driver that runs here now, if there is one on this machine."""
        from vlactl.events import fold, is_live, read

        if not is_live(self.journal):
            return None
        state = fold(read(self.journal))
        if state.pid is None or state.host != socket.gethostname() or not has_open(state.pid, self.journal):
            return None
        return state.pid

    def require_driver(self) -> int:
        """The driver's process id; raises :class:`UsageError` when nobody runs the sweep on this machine."""
        from vlactl.events import holder_of, is_live

        pid = self.driver()
        if pid is None and is_live(self.journal):
            raise UsageError(
                f"this sweep is run by another machine: {holder_of(self.journal)}", where=self.name, remedy="go there"
            )
        if pid is None:
            raise UsageError("nobody runs this sweep now", where=self.name, remedy=f"vlactl status {self.name}")
        return pid

    def signal_driver(self, number: signal.Signals) -> None:
        """Send a signal to the driver; raises as :meth:`require_driver` does."""
        os.kill(self.require_driver(), number)


def has_open(pid: int, path: Path) -> bool:
    """Whether that process has ``path`` open; believed where /proc cannot tell."""
    if not Path("/proc/self/fd").is_dir():
        return True
    try:
        return any(link.samefile(path) for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists())
    except OSError:
        return False


def find(root: Path, wanted: str) -> SweepFolder:
    """The sweep called ``wanted`` (a name, its beginning, or its recipe's path), or the newest one for ``""``."""
    folders = sorted((path for path in (root / "sweeps").glob("*") if path.is_dir()), key=last_change, reverse=True)
    if not folders:
        raise UsageError("no sweep was run here yet", where=str(root), remedy="vlactl sweep RECIPE")
    if not wanted:
        return SweepFolder(folders[0])
    if Path(wanted).is_file():
        matching = [path for path in folders if launched_from(path) == str(Path(wanted).resolve())]
        if not matching:
            raise UsageError("this recipe was not swept here yet", where=wanted, remedy=f"vlactl sweep {wanted}")
        return SweepFolder(matching[0])
    matching = [path for path in folders if path.name == wanted] or [
        path for path in folders if path.name.startswith(wanted)
    ]
    if len(matching) == 1:
        return SweepFolder(matching[0])
    names = [path.name for path in folders]
    raise UsageError(
        f"{'several sweeps begin' if matching else 'no sweep begins'} with '{wanted}'",
        where=str(root),
        expected=" | ".join(path.name for path in matching or folders),
        remedy=did_you_mean(wanted, names),
    )


def last_change(path: Path) -> float:
    journal = path / "events.jsonl"
    return (journal if journal.exists() else path).stat().st_mtime


def launched_from(path: Path) -> Any:
    try:
        return json.loads((path / "launch.json").read_text())["recipe"]
    except (OSError, ValueError, KeyError):
        return None
