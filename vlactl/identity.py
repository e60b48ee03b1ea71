"""Canonical JSON, digests, what of a spec counts towards them, and the difference of two identities.

A digest covers exactly what a result depends on.  The encoder refuses everything whose text could differ between two
processes (sets, NaN, objects), because a digest that guesses serves stale results.

Laws: equal digests mean an empty ``difference`` and the reverse; a field declared ``{"execution": True}`` never counts;
a field declared ``{"added": value}`` does not count while it has that value, so that a field which reproduces the old
behaviour by default can join a spec without forking every artifact made before it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

DIGEST_CHARS = 16
"""64 bits: a collision among a million stages has probability 3e-8."""


class HasIdentity(Protocol):
    """A :class:`vlactl.registry.Spec`."""

    def identity(self) -> dict[str, Any]: ...


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; raises ``TypeError`` for anything that is not plain, finite data."""
    return _encode(plain(value))


def _encode(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def plain(value: Any, path: str = "$") -> Any:
    """``value`` as dicts with string keys, lists and finite scalars.  1.0 becomes 1, because they are equal."""
    if value is None or isinstance(value, bool) or type(value) is int:
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path}: {value} has no canonical form; leave the field out or use null")
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
    if isinstance(value, Mapping):
        return {_text(key, path): plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{path}: {type(value).__name__} has no canonical form")


def _text(value: Any, path: str) -> str:
    """The characters alone (an enum's name must not count); raises for keys of other types and for half characters."""
    if type(value) is str and value.isascii():
        return value
    if not isinstance(value, str):
        raise TypeError(f"{path}: the key {value!r} is not a string")
    text = str.__str__(value)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise TypeError(f"{path}: {text!r} is not Unicode text")
    return text


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of ``canonical(value)``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:DIGEST_CHARS]


def identity_of(spec: HasIdentity) -> dict[str, Any]:
    """``spec.identity()`` without the ``added`` fields that still have the value which reproduces the old behaviour.

    Raises ``TypeError`` when an ``added`` value is not the field's default: an identity without the field is read back
    with the default, so another value would run something else than what the digest says.
    """
    document = dict(spec.identity())
    for name, field in getattr(type(spec), "model_fields", {}).items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "added" in extra and name in document:
            if canonical(extra["added"]) != canonical(field.default):
                raise TypeError(
                    f"{type(spec).__name__}.{name}: added ({extra['added']!r}) must equal the default "
                    f"({field.default!r}); drop 'added' when the default changes"
                )
            if canonical(document[name]) == canonical(extra["added"]):
                del document[name]
    return document


def flatten(document: Any, path: str = "") -> dict[str, Any]:
    """``{"a": {"b": [1]}}`` -> ``{"a.b[0]": 1}``; empty containers stay, keys with dots or brackets are quoted."""
    if isinstance(document, Mapping) and document:
        return {name: leaf for key, item in document.items() for name, leaf in flatten(item, _join(path, key)).items()}
    if isinstance(document, (list, tuple)) and document:
        return {
            name: leaf
            for index, item in enumerate(document)
            for name, leaf in flatten(item, f"{path}[{index}]").items()
        }
    return {path: document}


def _join(path: str, key: str) -> str:
    if not key or any(letter in key for letter in '.[]"'):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


def difference(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """``(dotted path, old value, new value)`` for every leaf that differs; ``...`` stands for an absent one."""
    left, right = flatten(plain(old)), flatten(plain(new))
    return [
        (key, left.get(key, ...), right.get(key, ...))
        for key in sorted(left.keys() | right.keys())
        if key not in left or key not in right or _encode(left[key]) != _encode(right[key])
    ]
