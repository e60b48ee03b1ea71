"""Canonical JSON, digests and differences of identities."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from vlactl.identity import DIGEST_CHARS, canonical, difference, digest, flatten, identity_of, plain
from vlactl.registry import Spec

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


class Colour(StrEnum):
    RED = "red"


class Tuned(Spec):
    kind: ClassVar[str] = "tuned"
    rate: float = 1e-3
    workers: int = Field(default=1, json_schema_extra={"execution": True})
    dropout: float = Field(default=0.0, json_schema_extra={"added": 0.0})


@given(documents)
def test_canonical_text_survives_a_round_trip_through_json(document) -> None:
    text = canonical(document)
    assert canonical(json.loads(text)) == text


@given(documents, documents)
def test_digests_are_equal_exactly_when_there_is_no_difference(left, right) -> None:
    assert (digest(left) == digest(right)) == (difference(left, right) == [])


@given(documents)
def test_a_document_does_not_differ_from_itself(document) -> None:
    assert difference(document, json.loads(canonical(document))) == []


@given(st.dictionaries(st.text(max_size=3), scalars, max_size=5), st.randoms())
def test_the_order_of_keys_does_not_count(document, random) -> None:
    keys = list(document)
    random.shuffle(keys)
    assert digest({key: document[key] for key in keys}) == digest(document)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (True, 1),
        (0, False),
        ("1", 1),
        (None, ""),
        ([], {}),
        ("", []),
        ({"a": {"b": 1}}, {"a.b": 1}),
        ({"a": [1]}, {"a[0]": 1}),
        ({"": 1}, 1),
    ],
)
def test_values_that_python_or_a_dotted_path_confuses_are_told_apart(left, right) -> None:
    assert digest(left) != digest(right)
    assert difference({"x": left}, {"x": right})


@pytest.mark.parametrize(
    ("left", "right"),
    [(1.0, 1), (-0.0, 0), (Colour.RED, "red"), ((1, 2), [1, 2]), (np.float64(0.5), 0.5), (2.0**60, 2.0**60)],
)
def test_values_that_mean_the_same_have_one_text(left, right) -> None:
    assert canonical(left) == canonical(right)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        {1, 2},
        b"x",
        object(),
        {1: 2},
        Path("x"),
        "\ud800",
        np.int64(3),
        np.zeros(2),
        [{"a": {"b": {3}}}],
    ],
)
def test_what_has_no_stable_text_is_refused(value) -> None:
    with pytest.raises(TypeError, match=r"^\$"):
        canonical(value)


def test_the_refusal_says_where() -> None:
    with pytest.raises(TypeError, match=r"\$\.a\[1\]\.b"):
        plain({"a": [0, {"b": float("nan")}]})


def test_difference_names_every_leaf_and_marks_absent_ones() -> None:
    old = {"a": 1, "b": {"c": [1, 2]}, "gone": "x"}
    new = {"a": 2, "b": {"c": [1, 2, 3]}, "new": True}
    assert difference(old, new) == [("a", 1, 2), ("b.c[2]", ..., 3), ("gone", "x", ...), ("new", ..., True)]


def test_flatten_quotes_keys_that_look_like_paths() -> None:
    assert flatten({"a.b": {"c": 1}, "d": {}}) == {'["a.b"].c': 1, "d": {}}


def test_a_digest_is_the_same_in_a_fresh_process() -> None:
    document = {"b": [1, 2.5, None], "a": "é", "n": {"z": 1e-9, "y": 1e22}}
    assert len(digest(document)) == DIGEST_CHARS
    code = f"from vlactl.identity import digest; print(digest({document!r}))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PATH": ""},
    )
    assert run.stdout.strip() == digest(document)


def test_the_digest_of_a_known_document_never_changes() -> None:
    assert digest({"kind": "finetune", "rate": 1e-3, "seed": 0}) == "441d8ea58f1ef54a"


def test_execution_fields_never_count_and_others_do() -> None:
    assert identity_of(Tuned(workers=8)) == identity_of(Tuned())
    assert digest(identity_of(Tuned(rate=2e-3))) != digest(identity_of(Tuned()))


def test_a_field_added_later_counts_only_once_it_changes_something() -> None:
    assert identity_of(Tuned()) == {"kind": "tuned", "rate": 0.001}
    assert identity_of(Tuned(dropout=0.1)) == {"kind": "tuned", "rate": 0.001, "dropout": 0.1}


def test_an_added_value_other_than_the_default_is_refused() -> None:
    class Drifted(Spec):
        kind: ClassVar[str] = "drifted"
        dropout: float = Field(default=0.2, json_schema_extra={"added": 0.0})

    with pytest.raises(TypeError, match=r"Drifted\.dropout"):
        identity_of(Drifted())
