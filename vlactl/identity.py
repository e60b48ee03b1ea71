"""Canonical JSON, digests, and the difference of two identities.

A digest covers exactly what a result depends on.  The encoder refuses everything whose text could differ between two
processes (sets, NaN, objects), because a digest that guesses serves stale results.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

DIGEST_CHARS = 16
"""64 bits: a collision among a million stages has probability 3e-8."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; raises ``TypeError`` for anything that is not plain, finite data."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def plain(value: Any, path: str = "$") -> Any:
    """``value`` as dicts with string keys, lists, and finite scalars.  Integral floats become ints: 1.0 and 1 are one."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path}: {value} has no canonical form; leave the field out or use null")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path}: the key {key!r} is not a string")
        return {key: plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{path}: {type(value).__name__} has no canonical form")


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of ``canonical(value)``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:DIGEST_CHARS]


def flatten(document: Any, path: str = "") -> dict[str, Any]:
    """``{"a": {"b": [1]}}`` -> ``{"a.b[0]": 1}``; empty containers stay as they are."""
    if isinstance(document, Mapping) and document:
        return {k: v for key, item in document.items() for k, v in flatten(item, f"{path}.{key}" if path else key).items()}
    if isinstance(document, (list, tuple)) and document:
        return {k: v for index, item in enumerate(document) for k, v in flatten(item, f"{path}[{index}]").items()}
    return {path: document}


def difference(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """``(dotted path, old value, new value)`` for every leaf that differs; ``...`` stands for an absent one."""
    left, right = flatten(plain(old)), flatten(plain(new))
    return [(key, left.get(key, ...), right.get(key, ...)) for key in sorted(left.keys() | right.keys())
            if left.get(key, ...) != right.get(key, ...)]
