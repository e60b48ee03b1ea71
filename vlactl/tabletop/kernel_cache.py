"""Where the ray caster's machine code is kept.  Imports nothing heavy: ``vlactl doctor`` looks here too."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

KERNELS = ("visibility.py", "shading.py")
"""Files whose content decides which machine code is right."""


def cache_directory() -> Path:
    """The folder of the kernels as they stand: numba itself would notice a change of the entry's own file only."""
    content = hashlib.sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in KERNELS))
    return writable_root() / f"tabletop-{content.hexdigest()[:12]}"


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
