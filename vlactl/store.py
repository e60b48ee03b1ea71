"""The store: the only meaning of "done".

``<home>/store/<kind>/<slug>-<digest>/`` holds what one stage produced, beside a ``manifest.json`` that was written
last.  ``<home>/work/<kind>-<digest>/`` is where a stage works; it is kept from attempt to attempt (checkpoints) until
it is committed: its files are hard-linked into a staging folder and fsynced, the manifest follows, and one rename makes
the artifact.  So a crash at any instant leaves either the whole artifact or none, and the work to commit again.

A stage is claimed by ``flock``, which the kernel releases on any death.  Nothing here is ever unpickled, and names
become paths only after they were checked.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vlactl.disk import MORE_SPACE, fsync_folder, link_durably, storage_errors, write_durably
from vlactl.errors import StoreConflict, StoreError, UsageError
from vlactl.identity import DIGEST_CHARS

if TYPE_CHECKING:
    from vlactl.plan import Stage

FORMAT = 1
"""Of the manifest; a store of another format is refused, not guessed at."""
FREE_FLOOR_BYTES = 1 << 30
"""Below this much free space no stage is started."""
DIGEST = re.compile(f"[0-9a-f]{{{DIGEST_CHARS}}}")
KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
CLOCK_GRAIN_NS = 50_000_000
MANIFEST = "manifest.json"


def home(start: Path) -> Path:
    """``$VLACTL_HOME``, or ``.vlactl`` beside the project that ``start`` (a file or folder) belongs to."""
    chosen = os.environ.get("VLACTL_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    here = start.expanduser().absolute()
    folder = here.parent if here.is_file() else here
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists() or (candidate / "pyproject.toml").exists():
            return candidate / ".vlactl"
    return folder / ".vlactl"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a stage produced: a folder and its manifest."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return self.manifest["digest"]

    @property
    def kind(self) -> str:
        return self.manifest["kind"]

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.manifest["identity"]

    @property
    def inputs(self) -> Mapping[str, str]:
        """Role -> digest."""
        return self.manifest["inputs"]

    @property
    def result(self) -> Mapping[str, Any]:
        return self.manifest["result"]

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.manifest["provenance"]


class Claim:
    """The right to compute one stage, held until :meth:`release` or the death of this process."""

    def __init__(self, path: Path, note: str) -> None:
        self._path = path
        with storage_errors("write a lock", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._lock(note)
            lease = {"pid": os.getpid(), "host": socket.gethostname(), "started": round(time.time(), 3), "note": note}
            self._file.truncate(0)
            self._file.write(json.dumps(lease).encode())
            self._file.flush()

    def _lock(self, note: str) -> Any:
        while True:
            file = open(self._path, "a+b")  # noqa: SIM115  held until release()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise StoreConflict(f"{note or 'this stage'} is being computed by {holder(self._path)}",
                                    where=str(self._path), remedy="wait for it to finish") from None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
                    return file
            file.close()  # the former holder removed this file between our open and our lock

    def release(self) -> None:
        """Idempotent.  The file goes while it is still locked, so that nobody can lock a name that is about to
        vanish."""
        if not self._file.closed:
            with suppress(OSError):
                self._path.unlink()
            self._file.close()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(lock: Path) -> str:
    """Who wrote the lease in a lock file, in words."""
    try:
        lease = json.loads(lock.read_bytes())
        since = time.strftime("%H:%M:%S", time.localtime(lease["started"]))
        return f"pid {lease['pid']} on {lease['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


class Store:
    """All artifacts under ``root`` (see :func:`home`).  Reading never writes; :meth:`prepare` comes before
    writing."""

    def __init__(self, root: Path, *, free_floor_bytes: int = FREE_FLOOR_BYTES) -> None:
        self.root, self.free_floor_bytes = root, free_floor_bytes
        self._paths: dict[str, Path] = {}
        self._listed: dict[str, int] = {}
        self._names: dict[str, set[str]] = {}
        self._manifests: dict[Path, tuple[tuple[int, int, int], dict[str, Any]]] = {}

    # ---- reading ---------------------------------------------------------------------------------------------------
    def has(self, digest: str) -> bool:
        """Whether the artifact is there: its manifest is whole and every file has the size it says."""
        return self._find(digest) is not None

    def artifact(self, digest: str) -> Artifact:
        """Raises :class:`StoreError` when it is not (wholly) there."""
        found = self._find(digest)
        if found is None:
            raise StoreError(f"no whole artifact {checked_digest(digest)} in the store", where=str(self.root),
                             remedy="run the sweep that makes it")
        return found

    def manifests(self, kind: str | None = None) -> list[Artifact]:
        """Every artifact (of one kind) with a readable manifest, by name.  Its files are not looked at."""
        self._list()
        wanted = sorted(path for path in self._paths.values() if kind is None or path.parent.name == kind)
        return [Artifact(path, manifest) for path in wanted if (manifest := self._manifest(path)) is not None]

    def verify(self, digest: str) -> list[str]:
        """What is wrong with an artifact, by reading every byte: one line per file; empty when all is well."""
        artifact, wrong = self.artifact(digest), []
        for name, entry in artifact.manifest["files"].items():
            with storage_errors("read", artifact.path / name), open(artifact.path / name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    wrong.append(f"{artifact.path / name}: its bytes are not those that the manifest was written for")
        return wrong

    def _find(self, digest: str) -> Artifact | None:
        checked_digest(digest)
        if digest not in self._paths:
            self._list()
        path = self._paths.get(digest)
        manifest = self._manifest(path) if path else None
        if path is None or manifest is None or not files_whole(path, manifest):
            return None
        return Artifact(path, manifest)

    def _list(self) -> None:
        """Bring ``_paths`` up to date: only kinds whose folder has changed are read, and of them only what is new."""
        store = self.root / "store"
        if not store.is_dir():
            return
        with storage_errors("list the store", store):
            for kind in [entry.name for entry in os.scandir(store) if KIND.fullmatch(entry.name) and entry.is_dir()]:
                folder = store / kind
                changed = os.stat(folder).st_mtime_ns
                if self._listed.get(kind) == changed:
                    continue
                names, known = set(os.listdir(folder)), self._names.setdefault(kind, set())
                for name in known - names:
                    self._paths.pop(name[-DIGEST_CHARS:], None)
                for name in names - known:
                    if name[-DIGEST_CHARS - 1:-DIGEST_CHARS] == "-" and DIGEST.fullmatch(name[-DIGEST_CHARS:]):
                        self._paths[name[-DIGEST_CHARS:]] = folder / name
                self._names[kind] = names
                # a folder that changed within the clock's grain may change again unseen: look once more next time
                self._listed[kind] = changed if time.time_ns() - changed > CLOCK_GRAIN_NS else -1

    def _manifest(self, path: Path) -> dict[str, Any] | None:
        """The parsed manifest, kept until the file changes; None when absent, torn or of another artifact."""
        file = path / MANIFEST
        try:
            status = os.stat(file)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._manifests.get(path)
            if known and known[0] == stamp:
                return known[1]
            manifest = json.loads(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read the manifest: {error.strerror}", where=str(file),
                             remedy="make it readable for you") from error
        if not isinstance(manifest, dict) or manifest.get("digest") != path.name.rpartition("-")[2]:
            return None
        if manifest.get("format") != FORMAT:
            raise StoreError(f"manifest of format {manifest.get('format')}", where=str(file),
                             expected=f"format {FORMAT}",
                             remedy="use the vlactl that wrote it, or another VLACTL_HOME")
        self._manifests[path] = (stamp, manifest)
        return manifest

    # ---- writing ---------------------------------------------------------------------------------------------------
    def prepare(self) -> None:
        """Make the folders and check that they can be written and that the disk has room; raises
        :class:`StoreError`."""
        for name in ("store", "work", "locks", "logs", "sweeps"):
            with storage_errors("make a folder", self.root / name):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        probe = self.root / "work" / f".probe-{os.getpid()}"
        with storage_errors("write", probe):
            probe.write_bytes(b"x")
            probe.unlink()
        for damaged in (self.root / "work").glob(".damaged-*"):  # its removal was interrupted
            shutil.rmtree(damaged, ignore_errors=True)
        self.check_space()

    def check_space(self) -> None:
        """Raises :class:`StoreError` when less than the floor is free."""
        with storage_errors("look at the disk", self.root):
            free = shutil.disk_usage(self.root).free
        if free < self.free_floor_bytes:
            raise StoreError(f"only {free / 2**30:.2f} GiB free", where=str(self.root),
                             expected=f"at least {self.free_floor_bytes / 2**30:.2f} GiB",
                             remedy=MORE_SPACE)

    def work_dir(self, stage: Stage) -> Path:
        """Where this stage works; made if absent, kept over attempts."""
        path = self.root / "work" / f"{checked_kind(stage.kind)}-{checked_digest(stage.digest)}"
        with storage_errors("make a work folder", path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def claim(self, digest: str, note: str = "") -> Claim:
        """Take the stage, or raise :class:`StoreConflict` naming who has it."""
        return Claim(self.root / "locks" / f"stage-{checked_digest(digest)}.lock", note)

    def commit(self, stage: Stage, work_dir: Path, result: Mapping[str, Any],
               provenance: Mapping[str, Any]) -> Artifact:
        """Make the work folder's files an artifact and remove the folder.  Needs the claim; may be repeated after a
        crash.

        Raises :class:`StoreError` (nothing is lost: the work folder stays).
        """
        target = self.root / "store" / checked_kind(stage.kind) / f"{slug(stage.label)}-{checked_digest(stage.digest)}"
        staging = work_dir / "commit"
        with storage_errors("commit", work_dir):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            files = {name: link_durably(source, staging / name) for name, source in payload(work_dir)}
            manifest = {"format": FORMAT, "digest": stage.digest, "kind": stage.kind, "label": stage.label,
                        "identity": stage.identity, "inputs": dict(stage.inputs), "files": files,
                        "result": dict(result), "provenance": dict(provenance)}
            write_durably(staging / MANIFEST, manifest)
            for folder, _, _ in os.walk(staging):
                fsync_folder(Path(folder))
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self._gives_way(stage.digest, target):
                os.rename(staging, target)
                fsync_folder(target.parent)
                self._paths[stage.digest] = target
        shutil.rmtree(work_dir, ignore_errors=True)
        return self.artifact(stage.digest)

    def _gives_way(self, digest: str, target: Path) -> bool:
        """Whether a whole artifact is there already; what is left of a damaged one is moved out of the way."""
        for path in {path for path in (self._paths.get(digest), target) if path and path.exists()}:
            manifest = self._manifest(path)
            if manifest is not None and files_whole(path, manifest):
                self._paths[digest] = path
                return True
            trash = self.root / "work" / f".damaged-{digest}-{time.time_ns()}"
            os.rename(path, trash)
            shutil.rmtree(trash, ignore_errors=True)
        return False


def payload(work_dir: Path) -> list[tuple[str, Path]]:
    """``(name in the artifact, file)`` for what is committed: ``out/*`` at the top, ``metrics.jsonl`` and
    ``logs/``."""
    out, chosen = work_dir / "out", {}
    beside = [path for path in (work_dir / "metrics.jsonl", *sorted(work_dir.glob("logs/*"))) if path.is_file()]
    for base, paths in ((out, sorted(out.rglob("*"))), (work_dir, beside)):
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                continue
            name = path.relative_to(base).as_posix()
            if path.is_symlink() or not path.is_file() or name == MANIFEST or name in chosen:
                raise StoreError(f"a stage may not leave {name} in out/", where=str(path),
                                 expected=f"regular files, none called {MANIFEST}, metrics.jsonl or logs/rank-K.log "
                                          "beside the runner's own", remedy="fix the body of the stage")
            chosen[name] = path
    return list(chosen.items())


def files_whole(path: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether every file is there with its size.  A name that leaves the artifact is a damaged manifest."""
    try:
        for name, entry in manifest["files"].items():
            pure = PurePosixPath(name)
            if pure.is_absolute() or ".." in pure.parts or os.stat(path / name).st_size != entry["bytes"]:
                return False
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, AttributeError):
        return False
    return True


def slug(label: str) -> str:
    """A label as a folder name: letters, digits, '.', '_' and '-', never hidden, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", label).strip("-.")[:80] or "stage"


def checked_digest(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise UsageError(f"'{digest}' is no digest", expected="16 hexadecimal digits")
    return digest


def checked_kind(kind: str) -> str:
    if not KIND.fullmatch(kind):
        raise UsageError(f"'{kind}' is no kind of stage", expected="lower-case letters, digits and '-'")
    return kind
