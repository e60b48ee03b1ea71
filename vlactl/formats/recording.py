"""The folder of a recording that may be interrupted at any line and gone on with.

    recording.json    whose recording it is: the source's identity; written first
    units/00012/      a finished part: an episode directory and unit.json; it appears whole, by renaming
    (then)            the dataset itself, put together from the units in their order, its index last; units/ goes

One process at a time: the folder is locked while it lasts.
"""

from __future__ import annotations

import fcntl
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vlactl.errors import StoreConflict, StoreError, UsageError
from vlactl.formats import Progress
from vlactl.formats.crew import Tell, work_through
from vlactl.formats.pace import Pace
from vlactl.formats.quotas import Unit
from vlactl.formats.recorded import (
    ARRAYS,
    SIMULATED,
    EpisodeWriter,
    array_shapes,
    read_document,
    read_index,
    summary,
    write_document,
)
from vlactl.identity import difference, digest, plain
from vlactl.spaces import Spaces

CLAIM, LOCK, UNITS, STAMP = "recording.json", "recording.lock", "units", "unit.json"
SECONDS_EXPECTED = 2.0
"""Of an episode, when the disk's free space is checked; the scripted expert's last 1.3 s on average."""
AGAIN = "choose another folder, or give the same options again"


class Recording:
    """A folder that holds, or will hold, what ``identity`` records."""

    def __init__(self, path: Path, identity: Mapping[str, Any], spaces: Spaces) -> None:
        self.path, self.spaces = path, spaces
        self.identity = plain(identity)
        self.digest = digest(self.identity)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder; what an interrupted process left half done is removed.

        Raises :class:`UsageError` where something else is in the folder, and :class:`StoreConflict` while another
        process records there.
        """
        require_own(self.path, self.identity)
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / LOCK, "w") as lock:  # the kernel unlocks it, however we die
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreConflict("another process is recording into this folder", where=str(self.path),
                                    remedy="wait for it, or choose another folder") from error
            write_document(self.path / CLAIM, self.identity)
            (self.path / UNITS).mkdir(exist_ok=True)
            for left_over in (self.path / UNITS).glob("*.partial"):
                shutil.rmtree(left_over)
            yield

    def folder(self, unit: Unit) -> Path:
        return self.path / UNITS / f"{unit.number:05d}"

    @contextmanager
    def writing(self, unit: Unit) -> Iterator[Path]:
        """Where a unit is to be written; it is a finished one if and when the body ends well."""
        folder = self.folder(unit)
        partial = folder.with_name(f"{folder.name}.partial")
        yield partial
        partial.rename(folder)

    def stamp(self, unit: Unit, facts: Mapping[str, Any]) -> None:
        """Say, beside a unit that is being written, what it is part of, and how it went."""
        write_document(self.folder(unit).with_name(f"{unit.number:05d}.partial") / STAMP,
                       {"recording": self.digest, "unit": unit.number, **facts})

    def facts(self, unit: Unit) -> dict[str, Any]:
        """What was stamped on a finished unit; raises :class:`UsageError` unless it is whole and the one it should
        be."""
        folder = self.folder(unit)
        with remaking(folder):
            stamped = read_document(folder / STAMP, "the stamp of a unit")
            if (stamped.get("recording"), stamped.get("unit")) != (self.digest, unit.number):
                raise UsageError("the unit belongs to another recording", where=str(folder))
            rows = read_document(folder / "episodes.json", "the episodes of a unit")
            found = Counter((row["scene"], row["task"]) for row in rows)
            if read_index(folder).episodes != len(rows) or found != {(unit.scene, t): n for t, n in unit.quota.items()}:
                raise UsageError("the unit does not hold the episodes that it should", where=str(folder))
        return stamped

    def finished(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of ``units`` that need not be made again; each is checked."""
        found = [unit for unit in units if self.folder(unit).exists()]
        for unit in found:
            self.facts(unit)
        return found

    def require_space(self, missing: int, episodes: int) -> None:
        """Raise :class:`StoreError` unless the disk has room for ``missing`` episodes to record and for the whole
        dataset of ``episodes`` beside the units."""
        shapes = array_shapes(self.spaces, math.ceil(SECONDS_EXPECTED * self.spaces.action.rate_hz), tuple(SIMULATED))
        each = sum(math.prod(shape) * (1 if ARRAYS.get(name) == "uint8" else 4) for name, shape in shapes.items())
        needed, free = (missing + episodes) * each, shutil.disk_usage(self.path).free
        if free < needed:
            raise StoreError(f"recording {episodes} episodes may need {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free",
                             where=str(self.path), remedy="free some space, record fewer episodes or smaller images")

    def carried_out(self, units: Sequence[Unit], work: Callable[[Unit, Tell], None], *, workers: int,
                    progress: Progress, prepare: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Have ``work`` make every unit that is not there yet, in ``workers`` processes, and put the dataset together.

        ``prepare`` runs before the first of them.  Returns the summary with what was ``dropped`` by task, ``cpu_s`` of
        all units and ``frames_per_s`` of this call; only counts and digest where the recording was complete already.
        """
        if (complete := self.result()) is not None:
            return complete
        with self.claimed():
            if (complete := self.result()) is not None:  # another process finished while this one came
                return complete
            finished = self.finished(units)
            done = {unit.number for unit in finished}
            missing = [unit for unit in units if unit.number not in done]
            total, begun = (sum(unit.episodes for unit in some) for some in (units, finished))
            self.require_space(total - begun, total)
            prepare()
            progress(begun, total, unit="episodes")
            pace = Pace(progress, total, begun)
            work_through(work, missing, workers, pace)
            result = self.assemble(units, progress)
        return {**result, "frames_per_s": pace.frames_per_s}

    def assemble(self, units: Sequence[Unit], progress: Progress) -> dict[str, Any]:
        """Put the dataset together; every byte is checked on the way.

        Returns its summary, what was ``dropped`` by task, and ``cpu_s``, the processor time of all units.
        """
        dropped, cpu_s = Counter[str](), 0.0
        total = sum(file.stat().st_size for unit in units for file in self.folder(unit).glob("*.npy"))
        done = 0
        with EpisodeWriter(self.path, self.spaces) as writer:
            for unit in units:
                facts = self.facts(unit)
                dropped.update(facts["dropped"])
                cpu_s += facts["cpu_s"]
                with remaking(self.folder(unit)):
                    done = writer.append(self.folder(unit), progress, done=done, total=total)
            result = writer.close()
        progress(total / 1e6, total / 1e6, unit="MB")
        self._tidy()
        return {**result, "dropped": dict(sorted(dropped.items())), "cpu_s": round(cpu_s, 3)}

    def result(self) -> dict[str, Any] | None:
        """The summary of the dataset if it is complete; raises :class:`UsageError` where it is another one."""
        require_own(self.path, self.identity)
        if not (self.path / "index.json").exists():
            return None
        index = read_index(self.path)
        self._tidy()  # a process may have died between the index and this
        return summary(read_document(self.path / "episodes.json", "the list of episodes"), index)

    def _tidy(self) -> None:
        shutil.rmtree(self.path / UNITS, ignore_errors=True)
        with suppress(OSError):
            (self.path / LOCK).unlink(missing_ok=True)


def require_own(path: Path, identity: Mapping[str, Any]) -> None:
    """Raise :class:`UsageError` unless ``path`` is absent, empty, or holds this very recording or its beginning."""
    found = {file.name for file in path.iterdir()} - {LOCK, f"{CLAIM}.partial"} if path.exists() else set()
    if not found:
        return
    if CLAIM not in found:
        raise UsageError("the folder is not empty", where=str(path), remedy="choose an empty or new one")
    if changed := difference(read_document(path / CLAIM, "whose recording it is"), identity):
        listed = "; ".join(f"{field}: {old} there, {new} now" for field, old, new in changed)
        raise UsageError(f"another recording was begun in this folder ({listed})", where=str(path), remedy=AGAIN)


@contextmanager
def remaking(folder: Path) -> Iterator[None]:
    """Whatever is wrong with a unit, the remedy is to remove it: it is made again, the same."""
    try:
        yield
    except UsageError as error:
        remedy = f"remove {folder} and run the same command again: only this unit is recorded anew"
        raise UsageError(error.what, where=error.where, expected=error.expected, remedy=remedy) from error
