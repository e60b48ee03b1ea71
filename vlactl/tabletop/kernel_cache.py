"""Where compiled kernels are kept.  Imports nothing heavy: ``vlactl doctor`` looks here too."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

RENDERING = tuple(f"rendering/{name}.py" for name in ("raycaster", "shading", "visibility", "patterns", "textures"))
"""The ray caster's files, from this folder."""


def cache_directory(files: tuple[str, ...] = RENDERING) -> Path:
    """The folder of the machine code that ``files`` of this folder, as they stand, were compiled to."""
    content = hashlib.sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in files))
    return writable_root() / f"{Path(files[0]).stem}-{content.hexdigest()[:12]}"


def cached(*files: str) -> Callable[[Any], Any]:
    """Decorator of a numba entry: keep its machine code on disk, in a folder named by the content of ``files``.

    numba itself would notice a change of the entry's own file only, and run stale machine code of the others.
    """
    def keep(entry: Any) -> Any:
        import numba

        settings: Any = vars(numba)["config"]
        before = settings.CACHE_DIR
        settings.CACHE_DIR = str(cache_directory(files))
        try:
            entry.enable_caching()
        finally:
            settings.CACHE_DIR = before
        return entry

    return keep


def writable_root() -> Path:
    """Where compiled kernels are kept: NUMBA_CACHE_DIR, else the user's cache, else a private temporary directory."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    given = os.environ.get("NUMBA_CACHE_DIR")
    candidates = [Path(given)] if given else []
    candidates += [Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "vlactl-numba",
                   Path(tempfile.gettempdir()) / f"vlactl-numba-{user}"]
    for candidate in candidates:
        try:
            path = candidate.expanduser()
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(path, os.W_OK) and (given or path.stat().st_uid == user):  # machine code: nobody else's
                return path
        except (OSError, RuntimeError):  # a home that is absent, read-only or unknown
            continue
    return Path(tempfile.mkdtemp(prefix="vlactl-numba-"))
