"""Writing so that a crash loses nothing, and errors of the disk that say what to do."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlactl.errors import StoreError

MORE_SPACE = "free some space (vlactl gc), or set VLACTL_HOME to a larger disk, and run the same command again"


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a :class:`StoreError` that says which disk or permission to mend."""
    try:
        yield
    except OSError as error:
        remedy = "set VLACTL_HOME to a folder on a working disk"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = MORE_SPACE
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "make it writable for you, or set VLACTL_HOME to a folder that is"
        raise StoreError(f"cannot {action}: {error.strerror or error}", where=str(error.filename or path),
                         remedy=remedy) from error


def link_durably(source: Path, target: Path) -> dict[str, Any]:
    """Put the file's bytes at ``target`` and on the disk; returns its size and SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        shutil.copyfile(source, target)
    with open(target, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def write_durably(path: Path, document: Mapping[str, Any]) -> None:
    """JSON that is either wholly there or not at all."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w") as file:
        json.dump(document, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def replace_text(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one, never a part; a power cut may lose it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    os.replace(draft, path)


def fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether some process holds an exclusive ``flock`` on the file; the kernel lets go of it however that one dies."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
