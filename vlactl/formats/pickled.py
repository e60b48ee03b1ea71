"""npy files that hold one Python object, as CALVIN's format demands, written and read without trusting anyone.

The object is pickled inside the file.  Unpickling can run any program, so :func:`read_object` does not unpickle: the
names that numpy pickles by are answered with stand-ins that only record what they are given, every other name is
refused, and the arrays are then rebuilt from their bytes.  Containers, text, numbers and numpy arrays come back; an
object of any other class is an error.
"""

from __future__ import annotations

import pickle
import re
import tokenize
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vlactl.errors import UsageError
from vlactl.formats.recorded import array_header

PROTOCOL = 3
"""Has module names in lines of text, so that they can be corrected; numpy reads every protocol."""
PLAIN_DTYPE = re.compile(r"[<>=|]?([biufcSU]\d+|[?bBhHiIlLqQefdg])")


def write_object(file: Path, value: Any) -> None:
    """Write ``value`` (containers, text, numbers, arrays) as ``np.save`` does, for old and new versions of numpy."""
    holder = np.empty((), object)
    holder[()] = value
    with open(file, "wb") as writing:
        np.lib.format.write_array_header_1_0(writing, {"descr": "|O", "fortran_order": False, "shape": ()})
        # numpy 2 calls its module numpy._core, which numpy 1 (and so CALVIN's own code) cannot import; both know this
        text = pickle.dumps(holder, PROTOCOL).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        writing.write(text)


def read_object(file: Path, what: str) -> Any:
    """The object in ``file``; raises :class:`UsageError` where it is missing, cut short or holds anything else than
    ``what`` (for people) can consist of."""
    try:
        with open(file, "rb") as reading:
            header = array_header(reading)
            if header[0] != () or header[2] != np.dtype(object):
                raise ValueError(f"it is an array of {header[2]} {header[0]}, not one object")
            value = _rebuilt(_Stranger(reading).load(), {})
        return value[()] if isinstance(value, np.ndarray) and value.shape == () else value
    except _READING_ERRORS as error:
        raise UsageError(f"cannot be read ({type(error).__name__}: {error})", where=str(file), expected=what,
                         remedy="restore the file from where the dataset came from") from error


HEADER_ERRORS = (ValueError, TypeError, SyntaxError, tokenize.TokenError)
"""What numpy raises for a damaged header of an npy file."""
_READING_ERRORS = (*HEADER_ERRORS, OSError, KeyError, IndexError, AttributeError, EOFError, MemoryError, RecursionError,
                   OverflowError, pickle.UnpicklingError)
"""What damaged or hostile pickles raise, here or in the standard library's unpickler."""


class _Stranger(pickle.Unpickler):
    """Answers the names by which numpy pickles arrays, dtypes and scalars, and refuses every other.

    The answers are bound methods: a hostile pickle can set attributes of classes and functions, but not of these.
    """

    def find_class(self, module: str, name: str) -> Any:
        known = {("numpy", "ndarray"): self._ndarray, ("numpy", "dtype"): self._dtype,
                 ("numpy.core.multiarray", "_reconstruct"): self._array,
                 ("numpy.core.multiarray", "scalar"): self._scalar, ("_codecs", "encode"): self._encoded}
        found = known.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; only numpy arrays and containers are admitted")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")

    def _ndarray(self, *_: Any) -> Any:
        raise pickle.UnpicklingError("an array is rebuilt, never called")

    def _array(self, kind: Any, shape: Any, code: Any) -> _Array:
        return _Array()

    def _dtype(self, code: str, align: Any = False, copy: Any = False) -> _Dtype:
        return _Dtype(code)

    def _scalar(self, dtype: _Dtype, data: bytes) -> _Scalar:
        return _Scalar(dtype, data)

    def _encoded(self, text: str, codec: str) -> bytes:
        """How bytes are pickled below protocol 3."""
        if codec != "latin1":
            raise pickle.UnpicklingError(f"text in {codec} is not admitted")
        return text.encode("latin1")


class _Dtype:
    """Stands for ``numpy.dtype``: a code and a byte order, never fields or objects within."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order: Literal["<", ">", "="] = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array with fields is not admitted")

    def built(self) -> np.dtype:
        if not PLAIN_DTYPE.fullmatch(self.code):
            raise pickle.UnpicklingError(f"an array of '{self.code}' is not admitted")
        return np.dtype(self.code).newbyteorder(self.order)


class _Array:
    """Stands for an array: holds what ``ndarray.__setstate__`` would have been given."""

    state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def built(self, known: dict[int, Any]) -> np.ndarray:
        _, shape, dtype, by_column, data = self.state
        order = "F" if by_column else "C"
        if dtype.code not in ("O", "O8"):
            return np.frombuffer(data, dtype.built()).reshape(shape, order=order).copy()
        if not isinstance(data, list) or len(data) != np.prod(shape, dtype=int):
            raise pickle.UnpicklingError("an array of objects does not match its shape")
        made = np.empty(len(data), object)
        for place, item in enumerate(data):
            made[place] = _rebuilt(item, known)
        return made.reshape(shape, order=order)


class _Scalar:
    """Stands for a numpy scalar."""

    def __init__(self, dtype: _Dtype, data: bytes) -> None:
        self.dtype, self.data = dtype, data

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a number has no state")


def _rebuilt(value: Any, known: dict[int, Any]) -> Any:
    """``value`` with arrays for their stand-ins; ``known`` holds what is shared, so that each is rebuilt once."""
    if id(value) in known:
        return known[id(value)][1]
    if isinstance(value, _Array):
        made: Any = value.built(known)
    elif isinstance(value, _Scalar):
        made = np.frombuffer(value.data, value.dtype.built())[0]
    elif isinstance(value, dict):
        made = {_rebuilt(key, known): _rebuilt(item, known) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        made = type(value)(_rebuilt(item, known) for item in value)
    elif isinstance(value, (str, bytes, int, float, complex, type(None))):
        made = value
    else:
        raise pickle.UnpicklingError(f"a {type(value).__name__} is not admitted")
    known[id(value)] = (value, made)  # the original is kept alive, or its id could be given to another
    return made
