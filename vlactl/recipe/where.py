"""``where:`` expressions over axes and fields, parsed with ``ast`` and walked; nothing is ever evaluated as Python.

Allowed: names of axes (``training.learning_rate`` too) and fields of a section (``formulation.history``), numbers,
quoted texts, true/false/null, lists, ``== != < <= > >= in, not in``, ``and or not``, and ``+ - * %`` on numbers.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vlactl.errors import UsageError, did_you_mean

COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}
COMPUTE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Mod: operator.mod,
}
WORDS = {"true": True, "false": False, "null": None, "none": None}
LONGEST = 2000
"""Characters; Python's parser is not made for longer expressions from strangers."""

Look = Callable[[tuple[str, ...]], Any]
"""``("formulation", "history")`` -> its value in the cell at hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """What an expression may talk about."""

    axes: Mapping[str, Collection[str]]
    """Axis -> names of its values."""
    fields: Mapping[str, Collection[str]]
    """Section -> fields that at least one of its kinds has."""

    def check(self, path: tuple[str, ...]) -> None:
        """Raise :class:`UsageError` unless ``path`` is an axis, a section or a field of a section."""
        name = ".".join(path)
        if name in self.axes or (len(path) == 1 and name in self.fields):
            return
        if len(path) == 2 and path[0] in self.fields:
            if path[1] in self.fields[path[0]]:
                return
            raise UsageError(
                f"{path[0]} has no field '{path[1]}'",
                expected=" | ".join(sorted(self.fields[path[0]])),
                remedy=did_you_mean(path[1], self.fields[path[0]]),
            )
        known = sorted({*self.axes, *self.fields})
        raise UsageError(
            f"unknown name '{name}'",
            expected=" | ".join(known),
            remedy=did_you_mean(name, known) or "put texts in quotes: backbone == 'smolvlm'",
        )


@dataclass(frozen=True, slots=True)
class Where:
    """A checked expression."""

    text: str
    tree: ast.expr

    def holds(self, look: Look) -> bool:
        """Whether a cell satisfies it; raises :class:`UsageError` when two values cannot be compared."""
        return bool(_value(self.tree, look))


def parse(text: str, names: Names) -> Where:
    """Check ``text``; raises :class:`UsageError` that says what is not allowed."""
    try:
        if len(text) > LONGEST:
            raise UsageError(f"an expression of {len(text)} characters", expected=f"at most {LONGEST}")
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree, names)
    except SyntaxError as error:
        raise UsageError(
            f"cannot read the expression{f' at character {error.offset}' if error.offset else ''}: {error.msg}",
            expected="for example: formulation.history > 1 or backbone == 'smolvlm'",
        ) from None
    except (RecursionError, MemoryError, OverflowError) as error:
        raise UsageError(f"cannot read the expression: {type(error).__name__}", remedy="make it shorter") from None
    return Where(text.strip(), tree)


def _check(node: ast.expr, names: Names) -> None:
    if isinstance(node, (ast.Name, ast.Attribute)):
        path = _path(node)
        if path not in {(word,) for word in WORDS}:
            names.check(path)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, bool, type(None))):
        return
    if isinstance(node, ast.BinOp) and type(node.op) in COMPUTE:
        parts = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        parts = [node.operand]
    elif isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, (ast.List, ast.Tuple)):
        parts = node.elts
    elif isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
        _check_texts(parts, names)
    else:
        raise UsageError(
            f"'{ast.unparse(node)}' is not allowed in an expression",
            expected="names, numbers, 'texts', lists, comparisons, in, and, or, not, + - * %",
        )
    for part in parts:
        _check(part, names)


def _check_texts(parts: list[ast.expr], names: Names) -> None:
    """An axis compared with a text that none of its values is called would be false everywhere: a typo."""
    for axis in {
        ".".join(_path(part)) for part in parts if isinstance(part, (ast.Name, ast.Attribute))
    } & names.axes.keys():
        texts = [
            leaf.value
            for part in parts
            for leaf in ([part] if isinstance(part, ast.Constant) else getattr(part, "elts", []))
            if isinstance(leaf, ast.Constant)
        ]
        for text in texts:
            if isinstance(text, str) and text not in names.axes[axis]:
                raise UsageError(
                    f"axis '{axis}' has no value '{text}'",
                    expected=" | ".join(names.axes[axis]),
                    remedy=did_you_mean(text, names.axes[axis]),
                )


def _path(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.Attribute):
        return (*_path(node.value), node.attr)
    if isinstance(node, ast.Name):
        return (node.id,)
    raise UsageError(
        f"'{ast.unparse(node)}' is not allowed in an expression", expected="a name such as formulation.history"
    )


def _value(node: ast.expr, look: Look) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.Name, ast.Attribute)):
        path = _path(node)
        return WORDS[path[0]] if len(path) == 1 and path[0] in WORDS else look(path)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item, look) for item in node.elts]
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, look)
        return not inner if isinstance(node.op, ast.Not) else -_number(inner, node)
    if isinstance(node, ast.BinOp):
        left, right = _number(_value(node.left, look), node), _number(_value(node.right, look), node)
        if isinstance(node.op, ast.Mod) and right == 0:
            raise UsageError(f"'{ast.unparse(node)}' divides by zero")
        return COMPUTE[type(node.op)](left, right)
    if isinstance(node, ast.BoolOp):
        results = (bool(_value(item, look)) for item in node.values)
        return all(results) if isinstance(node.op, ast.And) else any(results)
    assert isinstance(node, ast.Compare)
    left = _value(node.left, look)
    for how, item in zip(node.ops, node.comparators, strict=True):
        right = _value(item, look)
        try:
            if not COMPARE[type(how)](left, right):
                return False
        except TypeError:
            raise UsageError(
                f"'{ast.unparse(node)}' compares {left!r} with {right!r}",
                remedy="compare numbers with numbers and texts with texts",
            ) from None
        left = right
    return True


def _number(value: Any, node: ast.expr) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"'{ast.unparse(node)}' calculates with {value!r}", expected="numbers")
    return value
