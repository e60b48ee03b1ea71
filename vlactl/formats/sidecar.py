"""``vlactl.json`` in an exported folder: what the other format has no place for, and what it must not be taken for.

Written last: an export without it was not finished.  A folder that never had one was made by somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlactl.errors import UsageError
from vlactl.spaces import Spaces

if TYPE_CHECKING:
    from vlactl.formats.recorded import PairRow

NAME = "vlactl.json"
PAIRS = "pairs.json"
"""What is true of single frames, as in an episode directory; frames are counted through the dataset's episodes."""
VERSION = 1
REMEDY = "convert the dataset again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """What ``vlactl.json`` holds."""

    kind: str
    """The format of the folder around it: ``calvin`` or ``lerobot``."""
    spaces: Spaces
    episodes: int
    frames: int
    differs: tuple[str, ...]
    """For people: how the data differ from what the format's name promises."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The format's own."""

    def write(self, folder: Path, pairs: Sequence[PairRow]) -> None:
        """Write ``vlactl.json``, a ``README.md`` that says the same in words, and ``pairs.json`` if there are any."""
        if pairs:
            (folder / PAIRS).write_text(json.dumps(pairs, indent=1, ensure_ascii=False) + "\n")
        (folder / "README.md").write_text(self._readme())
        document = {"version": VERSION, "kind": self.kind, "episodes": self.episodes, "frames": self.frames,
                    "spaces": self.spaces.to_json(), "differs": list(self.differs), **self.facts}
        (folder / NAME).write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def _readme(self) -> str:
        title = {"calvin": "in CALVIN's directory format", "lerobot": "in the LeRobot v3.0 format"}[self.kind]
        lines = [f"# Demonstrations {title}", "",
                 f"{self.episodes} episodes, {self.frames} frames, embodiment `{self.spaces.embodiment}`, "
                 "written by `vlactl data convert`.", "", "What to know before you use them:", "",
                 *(f"* {line}" for line in self.differs), "",
                 f"`{NAME}` holds the spaces (names, units, scales, rate) in full."]
        return "\n".join(lines) + "\n"


def read(folder: Path, kind: str) -> Sidecar | None:
    """The sidecar of an export of ours, None in a folder of somebody else's.

    Raises :class:`UsageError` where it is damaged or belongs to another format.
    """
    file = folder / NAME
    if not file.exists():
        return None
    try:
        document = json.loads(file.read_text())
        if document["version"] != VERSION or document["kind"] != kind:
            raise ValueError(f"version {document['version']} of kind '{document['kind']}'")
        known = {name: document.pop(name) for name in ("version", "kind", "episodes", "frames", "spaces", "differs")}
        return Sidecar(kind=kind, spaces=Spaces.from_json(known["spaces"]), episodes=known["episodes"],
                       frames=known["frames"], differs=tuple(known["differs"]), facts=document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"cannot be read ({type(error).__name__}: {error})", where=str(file),
                         expected=f"the description of an export, version {VERSION}, kind '{kind}'",
                         remedy=REMEDY) from error


def read_pairs(folder: Path) -> list[PairRow]:
    """The pairs of an export, empty where there are none; raises :class:`UsageError` where the file is damaged."""
    file = folder / PAIRS
    if not file.exists():
        return []
    try:
        return [{"frame": int(row["frame"]), "kind": str(row["kind"]), "question": str(row["question"]),
                 "answer": str(row["answer"])} for row in json.loads(file.read_text())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"cannot be read ({type(error).__name__}: {error})", where=str(file),
                         expected="captions and questions", remedy=REMEDY) from error
