"""``--set a.b=c``: change a recipe from the command line, with the value read as YAML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vlactl.recipe.axes import Dimension
from vlactl.recipe.marks import Document, Mark, Path, dotted, read
from vlactl.recipe.menus import SECTIONS


def apply(document: Document, override: str) -> None:
    """Change ``document`` in place; a mistake is noted at ``--set a.b``."""
    name, equals, text = override.partition("=")
    file = f"--set {name}"
    parts = name.strip().split(".")
    if not equals or not all(parts):
        document.add((), f"cannot read '{override}'", expected="--set training.updates=200", mark=Mark(file, 1, 1))
        return
    path = _path(document.data, parts)
    if path is None or not _make_room(document, path, Mark(file, 1, 1)):
        document.add(
            (),
            f"there is nothing to set at '{name}'",
            expected="a path into the recipe, such as training.updates",
            mark=Mark(file, 1, 1),
        )
        return
    branch = read(text, file)
    if branch.problems:
        document.problems.extend(replace(problem, path=dotted(path)) for problem in branch.problems)
    else:
        document.graft(path, branch)


def _path(data: Any, parts: list[str]) -> Path | None:
    """The document's path; the name of an axis may hold dots, and a part of digits is an index of a list."""
    if parts[0] == "axes" and len(parts) > 1:
        known = data.get("axes") if isinstance(data.get("axes"), dict) else {}
        for size in range(len(parts), 1, -1):
            name = ".".join(parts[1:size])
            if name in known:
                rest = _path(known[name], parts[size:]) if size < len(parts) else ()
                return None if rest is None else ("axes", name, *rest)
        return ("axes", ".".join(parts[1:]))
    path: list[str | int] = []
    for part in parts:
        if isinstance(data, list):
            if not part.isdigit() or int(part) >= len(data):
                return None
            path.append(int(part))
            data = data[int(part)]
        else:
            path.append(part)
            data = data.get(part) if isinstance(data, dict) else None
    return tuple(path)


def _make_room(document: Document, path: Path, mark: Mark) -> bool:
    """Make the mappings above ``path``; a kind written short (``backbone: smolvlm``) becomes a mapping."""
    here: Any = document.data
    for index, part in enumerate(path[:-1]):
        below = _below(here, part)
        is_kind = (index == 0 and part in SECTIONS) or (index == 2 and path[0] in ("axes", "sources"))
        if below is None or (isinstance(below, str) and is_kind):
            here[part] = {} if below is None else {"kind": below}
            document.values.setdefault(path[: index + 1], mark)
        elif not isinstance(below, (dict, list)):
            return False
        here = here[part]
    return True


def _below(here: Any, part: str | int) -> Any:
    """What stands at ``part`` of a list, whose index is known to exist, or of a mapping."""
    return here.get(part) if isinstance(here, dict) else here[int(part)]


def refuse_shadowed(document: Document, dimensions: list[Dimension]) -> None:
    """A ``--set`` of something that an axis sets in every or some cells would silently do nothing there."""
    for path, mark in list(document.keys.items()):
        if not mark.file.startswith("--set ") or path[0] not in (*SECTIONS, "sources"):
            continue
        for dimension in dimensions:
            shared = min(len(dimension.target), len(path))
            if dimension.target[:shared] != path[:shared]:
                continue
            values = (
                dimension.names
                if len(dimension.target) > 1 or len(path) == 1
                else [value.name for value in dimension.values if path[1] in value.content]
            )
            if values:
                document.add(
                    path,
                    f"axis '{dimension.name}' sets {dotted(path)} itself, in: {', '.join(values)}",
                    mark=mark,
                    expected="a path that no axis sets",
                    remedy=f"choose values with --only {dimension.name}=..., or --set axes.{dimension.name}=[...]",
                )
