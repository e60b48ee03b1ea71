"""YAML text -> plain data in which every key and every value knows its file, line and column.

Scalars follow YAML 1.2's core schema, not YAML 1.1 as PyYAML would: ``1e-3`` is a number, ``no`` and ``1:30`` are
texts.  Duplicate keys, tags and a second document are mistakes; anchors, aliases and ``<<`` work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from vlactl.errors import Problem

Path = tuple["str | int", ...]
"""Where something stands in a document: keys of mappings and indices of lists."""

NODE_LIMIT = 200_000
"""Values in one file after aliases are expanded; a document of nested aliases can otherwise grow without bound."""

TAG = "tag:yaml.org,2002:"


class CoreLoader(yaml.SafeLoader):
    """PyYAML's parser with the scalar rules of YAML 1.2 (yaml.org/spec/1.2.2, section 10.3.2) and ``<<``."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012  (PyYAML's own class attribute; add_implicit_resolver fills it)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    CoreLoader.add_implicit_resolver(
        TAG + _tag, re.compile(rf"^(?:{_pattern})$"), [*_first, *([""] * (_tag == "null"))]
    )


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, counted from one."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(slots=True)
class Document:
    """Plain data and where each piece of it was written."""

    file: str
    data: Any = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    """Where the key of a mapping stands, by the path of its value."""
    values: dict[Path, Mark] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    """Scalars as they were written: ``1e-3``, not ``0.001``."""
    problems: list[Problem] = field(default_factory=list)
    noted: set[tuple[Mark, str]] = field(default_factory=set)
    unread: set[Mark] = field(default_factory=set)
    """Where a value could not be read: what else is wrong with it is not known."""

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """The place of the value (or key) at ``path``, or of the nearest thing around it that has one."""
        for size in range(len(path), -1, -1):
            for table in (self.keys, self.values) if key else (self.values, self.keys):
                if path[:size] in table:
                    return table[path[:size]]
        return Mark(self.file, 1, 1)

    def add(
        self,
        path: Path,
        what: str,
        *,
        expected: str = "",
        remedy: str = "",
        key: bool = False,
        mark: Mark | None = None,
    ) -> None:
        """Note one mistake; the same words at the same place are noted once."""
        at = mark or self.mark(path, key=key)
        if (at, what) not in self.noted and at not in self.unread:
            self.noted.add((at, what))
            self.problems.append(Problem(at.file, at.line, at.column, dotted(path), what, expected, remedy))

    def text(self, path: Path) -> str:
        """The scalar at ``path`` as it was written."""
        return self.texts.get(path, "")

    def graft(self, path: Path, branch: Document) -> None:
        """Put ``branch`` at ``path``, whose parent exists, with its marks, in place of what was there."""
        for table in (self.keys, self.values, self.texts):
            for old in [p for p in table if p[: len(path)] == path]:
                del table[old]
        parent = self.data
        for part in path[:-1]:
            parent = parent[part]
        parent[path[-1]] = branch.data
        self.keys[path] = branch.mark(())
        self.keys.update({path + p: mark for p, mark in branch.keys.items()})
        self.values.update({path + p: mark for p, mark in branch.values.items()})
        self.texts.update({path + p: text for p, text in branch.texts.items()})


def dotted(path: Path) -> str:
    """``("axes", "backbone", 1)`` -> ``axes.backbone[1]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read(text: str, file: str) -> Document:
    """Parse ``text``; what is wrong with it as YAML is in the document's ``problems``."""
    document = Document(file)
    try:
        node = yaml.compose(text, CoreLoader)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        mark = Mark(file, at.line + 1, at.column + 1) if at else Mark(file, 1, 1)
        remedy = "indent with spaces" if "\\t" in what else "quote texts that hold : # { } [ ] , & * or !"
        document.add((), f"not valid YAML: {what}", remedy=remedy, mark=mark)
        return document
    except yaml.YAMLError as error:
        document.add((), f"not valid YAML: {' '.join(str(error).split())}", remedy="save the file as UTF-8 text")
        return document
    except RecursionError:
        document.add((), "nested too deeply", expected="a recipe")
        return document
    if node is not None:
        document.data = _Reader(document).value(node, ())
    return document


@dataclass(slots=True)
class _Reader:
    """Turns composed nodes into plain data and marks."""

    document: Document
    active: set[int] = field(default_factory=set)
    count: int = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.document.values[path] = self._mark(node)
        self.count += 1
        if self.count > NODE_LIMIT:
            self.document.add((), f"more than {NODE_LIMIT} values once aliases are expanded", expected="a recipe")
            return None
        if id(node) in self.active:
            self.document.add(path, "an alias that contains itself", remedy="write the value out")
            return None
        self.active.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == f"{TAG}map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{TAG}seq":
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self.active.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.document.add(path, "a key must be a text", mark=self._mark(key))
            elif key.tag == f"{TAG}merge":
                merged = {**self._merged(item, path), **merged}
            elif key.value in own:
                first = self._mark(own[key.value][0])
                self.document.add(
                    (*path, key.value),
                    f"the key '{key.value}' is already given on line {first.line}",
                    expected="every key once",
                    remedy="keep one of the two",
                    mark=self._mark(key),
                )
            else:
                own[key.value] = (key, item)
        out: dict[str, Any] = {}
        for name, (key, item) in {**merged, **own}.items():
            self.document.keys[(*path, name)] = self._mark(key)
            out[name] = self.value(item, (*path, name))
        return out

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The pairs that ``<<: *anchor`` or ``<<: [*a, *b]`` brings; the first anchor that has a key wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        self.count += 1
        if id(node) in self.active or self.count > NODE_LIMIT:
            self.document.add(path, "an alias that contains itself", mark=self._mark(node))
            return pairs
        self.active.add(id(node))
        for source in reversed(list(sources)):
            if not isinstance(source, yaml.MappingNode):
                self.document.add(
                    path,
                    "'<<' takes mappings",
                    remedy="give it the alias of a mapping: <<: *name",
                    mark=self._mark(source),
                )
                continue
            for key, item in source.value:
                if isinstance(key, yaml.ScalarNode) and key.tag == f"{TAG}merge":
                    pairs = {**pairs, **self._merged(item, path)}
            pairs.update(
                {
                    key.value: (key, item)
                    for key, item in source.value
                    if isinstance(key, yaml.ScalarNode) and key.tag != f"{TAG}merge"
                }
            )
        self.active.discard(id(node))
        return pairs

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        kind = node.tag.removeprefix(TAG)
        if not isinstance(node, yaml.ScalarNode) or kind not in ("null", "bool", "int", "float", "str", "merge"):
            self.document.add(
                path,
                f"the tag '{node.tag.replace(TAG, '!!')}' is not allowed",
                expected="plain data",
                remedy="remove the tag",
                mark=self._mark(node),
            )
            self.document.unread.add(self._mark(node))
            return None
        self.document.texts[path] = node.value
        try:
            return scalar(kind, node.value)
        except ValueError:
            self.document.add(path, f"'{node.value}' is not a finite {kind}", expected="a finite number")
            self.document.unread.add(self._mark(node))
            return None

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self.document.file, node.start_mark.line + 1, node.start_mark.column + 1)


def scalar(kind: str, text: str) -> Any:
    """The value of a scalar of the core schema; raises ``ValueError`` for what is not finite or not of its kind."""
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if kind == "float":
        if text.lower().lstrip("+-") in (".inf", ".nan"):
            raise ValueError(text)
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError(text)
        return number
    return text
