"""Objects in npy files: numpy writes and reads them too, and nothing that is read is ever run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlactl.errors import UsageError
from vlactl.formats.pickled import read_object, write_object

VALUE = {"language": {"ann": ["a", "“b”"], "task": ["t", "u"], "emb": np.full((2, 1, 4), np.nan, np.float32)},
         "info": {"episodes": [], "indx": [(0, 3), (4, 9)]}, "n": np.int64(7), "none": None, "yes": True,
         "names": np.array(["x", "yz"]), "mixed": np.array([1, "two", (3,)], object),
         "columns": np.asfortranarray(np.arange(6).reshape(2, 3)), "big": np.arange(3, dtype=">i4"), "raw": b"\xff\x00"}


def assert_same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, np.ndarray):
        assert found.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")  # numpy swaps bytes when it reads
        np.testing.assert_array_equal(found, wanted)
    else:
        assert found == wanted


def saved(file: Path, data: bytes) -> Path:
    """An npy file around any pickle."""
    with open(file, "wb") as writing:
        np.lib.format.write_array_header_1_0(writing, {"descr": "|O", "fortran_order": False, "shape": ()})
        writing.write(data)
    return file


def test_what_is_written_comes_back_and_numpy_reads_it(tmp_path: Path):
    write_object(tmp_path / "a.npy", VALUE)
    assert_same(read_object(tmp_path / "a.npy", "anything"), VALUE)
    assert_same(np.load(tmp_path / "a.npy", allow_pickle=True).item(), VALUE)


@pytest.mark.parametrize("protocol", range(5))  # np.save takes 4, older versions 3
def test_what_numpy_wrote_is_read(tmp_path: Path, protocol: int):
    holder = np.empty((), object)
    holder[()] = VALUE
    assert_same(read_object(saved(tmp_path / "a.npy", pickle.dumps(holder, protocol)), "anything"), VALUE)


def test_old_versions_of_numpy_find_the_names_that_we_write(tmp_path: Path):
    write_object(tmp_path / "a.npy", VALUE)
    data = (tmp_path / "a.npy").read_bytes()
    assert b"numpy._core" not in data
    assert b"numpy.core.multiarray" in data


class Hostile:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("value", [
    Hostile(exec, "open('ran', 'w')"), {"deep": [Hostile(eval, "open('ran', 'w')")]}, Hostile(print, "hello"),
    Path("x"), {1, 2}, pickle.Pickler, np.frombuffer, Hostile(np.ndarray, (3,), "O"),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), np.array(["2024-01-01"], dtype="M8[D]"),
    Hostile(np.dtype, "i4,O"),
], ids=lambda value: type(value).__name__)
def test_anything_but_arrays_and_containers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any):
    monkeypatch.chdir(tmp_path)
    file = saved(tmp_path / "a.npy", pickle.dumps(value, 4))
    with pytest.raises(UsageError, match=r"admitted|never called"):
        read_object(file, "annotations")
    assert not (tmp_path / "ran").exists()


def test_an_array_that_lies_about_its_bytes_is_refused(tmp_path: Path):
    """The trick: raw bytes given to an array of objects, which numpy itself would take for addresses."""
    array = Hostile(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b")  # type: ignore[attr-defined]
    for state in ((1, (2,), np.dtype("O"), False, b"\x41" * 16), (1, (1 << 60,), np.dtype("O"), False, []),
                  (1, (9,), np.dtype("f8"), False, b"\x00" * 8), (1,), None):
        call = (*array.call, state)
        lying = type("Lying", (), {"__reduce__": lambda self, call=call: call})()
        with pytest.raises(UsageError):
            read_object(saved(tmp_path / "a.npy", pickle.dumps(lying, 4)), "annotations")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut short", "another array", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str):
    file = tmp_path / "a.npy"
    write_object(file, VALUE)
    if damage == "missing":
        file.unlink()
    elif damage == "cut short":
        file.write_bytes(file.read_bytes()[:-20])
    elif damage == "another array":
        np.save(file, np.arange(3))
    else:
        file.write_bytes(b"" if damage == "empty" else b"hello")
    with pytest.raises(UsageError, match=r"a\.npy") as caught:
        read_object(file, "annotations")
    assert caught.value.expected == "annotations"
    assert caught.value.remedy
