"""The exception family.  Every error says where it is, what was expected and what to do; a kind has one exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What the shell sees; any other code is a failure of vlactl itself."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    REGRESSION = 3
    NOTHING_SUCCEEDED = 4
    LOCKED = 75
    INTERRUPTED = 130
    TERMINATED = 143


class FailureClass(StrEnum):
    """Why a stage failed; each class has its own retry budget (see :mod:`vlactl.runner`)."""

    USER_ERROR = "user_error"
    OUT_OF_MEMORY = "oom"
    NAN = "nan"
    INFRASTRUCTURE = "infra"
    PREEMPTED = "preempted"
    TIMEOUT = "timeout"
    HANG = "hang"
    CANCELLED = "cancelled"


class VlactlError(ValueError):
    """A problem that the user can understand and mend.  ``str()`` is the whole message, without a traceback."""

    exit_code: ExitCode = ExitCode.SOME_FAILED

    def __init__(self, what: str, *, where: str = "", expected: str = "", remedy: str = "") -> None:
        self.what, self.where, self.expected, self.remedy = what, where, expected, remedy
        lines = [f"{where}: {what}" if where else what]
        if expected:
            lines.append(f"  expected: {expected}")
        if remedy:
            lines.append(f"  do this:  {remedy}")
        super().__init__("\n".join(lines))


class UsageError(VlactlError):
    """A command was given something that cannot be done."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Problem:
    """One located mistake in a file of the user's."""

    file: str
    line: int
    column: int
    path: str
    what: str
    expected: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return str(VlactlError(f"{self.path}: {self.what}" if self.path else self.what, where=where,
                               expected=self.expected, remedy=self.remedy))


class RecipeError(UsageError):
    """Every mistake of a recipe at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnknownName(UsageError):
    """A name that no registry entry has."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        super().__init__(f"unknown {kind} '{name}'", where=where, remedy=did_you_mean(name, self.known),
                         expected=" | ".join(self.known) or "(none registered)")


class IncompatibleSpaces(UsageError):
    """A policy, a dataset and a benchmark do not speak the same observations or actions."""


class CheckpointMismatch(UsageError):
    """Weights that do not fit the model they are loaded into; partial loads are never silent."""

    @classmethod
    def check(cls, differences: Mapping[str, Sequence[str]], *, where: str, remedy: str) -> None:
        """Raise, naming the first ten keys of each kind of difference, unless there is none."""
        said = [f"{kind}: {', '.join(keys[:10])}" + (f" and {len(keys) - 10} more" if len(keys) > 10 else "")
                for kind, keys in differences.items() if keys]
        if said:
            raise cls("the weights do not fit the architecture; " + "; ".join(said), where=where, remedy=remedy)


class StoreError(VlactlError):
    """The store cannot be used (unwritable, full, or an artifact does not match its manifest)."""

    exit_code = ExitCode.NOTHING_SUCCEEDED


class StoreConflict(StoreError):
    """Somebody else holds what we need."""

    exit_code = ExitCode.LOCKED


class StageFailed(VlactlError):
    """A stage body ended badly; ``failure`` decides whether it is tried again."""

    def __init__(self, what: str, *, failure: FailureClass = FailureClass.USER_ERROR, where: str = "",
                 expected: str = "", remedy: str = "") -> None:
        self.failure = failure
        super().__init__(what, where=where, expected=expected, remedy=remedy)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else ""
