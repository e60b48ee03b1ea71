"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Health(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One finding."""

    name: str
    health: Health
    found: str
    remedy: str = ""

    def to_json(self) -> dict:
        return {"type": "check", **asdict(self)}
