"""CALVIN's chains of five tasks, for any table of symbolic tasks, and the frozen lists made with them.

The rule (mees/calvin, ``multistep_sequences.py``): a chain is five tasks of five different categories, each with
exactly one applicable variant in the symbolic state that the earlier ones left; the start states share the chains
evenly; the list is shuffled.  CALVIN draws five tasks until they happen to be legal; here the legal chains of a start
state are counted and drawn by their number without replacement, which is the same distribution with no repetition,
some thousand times faster: chains that lead to one state with the same categories used are counted once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from vlactl.benchmarks import CHAIN_LISTS
from vlactl.errors import UnknownName, UsageError
from vlactl.identity import canonical
from vlactl.tabletop.tasks import START_SYMBOLS, SUITES, TASKS, Task, after, start_states

LENGTH = 5
COUNT = 1000

Chain = tuple[dict, tuple[str, ...]]
"""Symbolic start state and task names."""
Symbols = tuple
"""A symbolic state as the values of START_SYMBOLS."""
Step = tuple[str, int, Symbols]
"""A task that can be asked, its category, and the state that it leaves."""


class LegalChains:
    """The legal chains of every start state, numbered in the order of the table."""

    def __init__(self, tasks: Mapping[str, Task], length: int = LENGTH) -> None:
        self.tasks, self.length = tasks, length
        self._steps: dict[Symbols, tuple[Step, ...]] = {}
        self._counts: dict[tuple[Symbols, frozenset[int], int], int] = {}

    def count(self, start: dict) -> int:
        """How many chains can be asked in ``start``."""
        return self._count(_symbols(start), frozenset(), self.length)

    def chain(self, start: dict, number: int) -> tuple[str, ...]:
        """The chain of that number, 0 .. ``count(start) - 1``."""
        assert 0 <= number < self.count(start), number
        state, used, chain = _symbols(start), frozenset[int](), ()
        while len(chain) < self.length:
            for name, category, left in self._next(state, used):
                below = self._count(left, used | {category}, self.length - len(chain) - 1)
                if number < below:
                    state, used, chain = left, used | {category}, (*chain, name)
                    break
                number -= below
        return chain

    def _count(self, state: Symbols, used: frozenset[int], length: int) -> int:
        if length == 0:
            return 1
        key = state, used, length
        if key not in self._counts:
            self._counts[key] = sum(self._count(left, used | {category}, length - 1)
                                    for _, category, left in self._next(state, used))
        return self._counts[key]

    def _next(self, state: Symbols, used: frozenset[int]) -> Iterator[Step]:
        if state not in self._steps:
            now = dict(zip(START_SYMBOLS, state, strict=True))
            found = ((name, task.category, after(now, task)) for name, task in self.tasks.items())
            self._steps[state] = tuple((name, category, _symbols(left)) for name, category, left in found
                                       if left is not None)
        return (step for step in self._steps[state] if step[1] not in used)


def _symbols(state: dict) -> Symbols:
    assert state.keys() == set(START_SYMBOLS), state
    return tuple(state[symbol] for symbol in START_SYMBOLS)


def generate(tasks: Mapping[str, Task], count: int = COUNT) -> list[Chain]:
    """``count`` chains by the rule above; the same table and count give the same list.

    Always make COUNT and slice: the list of a smaller count is not a prefix.  Raises :class:`UsageError` where a start
    state has too few legal chains.
    """
    states, legal = start_states(), LegalChains(tasks)
    each, extra = divmod(count, len(states))
    chains: list[Chain] = []
    for index, state in enumerate(states):
        found, wanted = legal.count(state), each + (index < extra)
        if found < wanted:
            raise UsageError(f"{found} legal chains of {LENGTH} start from {state}", expected=f"{wanted} or more",
                             remedy=f"add tasks: a chain needs {LENGTH} different categories")
        # RandomState and not Generator: numpy promises that its streams never change
        drawn = np.random.RandomState(index).permutation(found)[:wanted]
        chains += [(state, legal.chain(state, int(number))) for number in drawn]
    order = np.random.RandomState(0).permutation(len(chains))
    return [chains[index] for index in order]


def content_hash(chains: list[Chain]) -> str:
    """SHA-256 of a list in canonical JSON: what a protocol names."""
    return hashlib.sha256(canonical([[state, list(tasks)] for state, tasks in chains]).encode()).hexdigest()


def path(suite: str) -> Path:
    """The file of a suite's frozen list."""
    return Path(__file__).parent / f"tabletop_{suite}.json"


def write(suite: str) -> str:
    """Freeze the list of a suite and return its hash, to be entered in ``CHAIN_LISTS``.

    Raises :class:`UnknownName` for a suite that is not in SUITES, and as :func:`generate`.
    """
    if suite not in SUITES:
        raise UnknownName("suite of tasks", suite, SUITES)
    chains = generate({name: TASKS[name] for name in SUITES[suite]})
    lines = (json.dumps([[state[symbol] for symbol in START_SYMBOLS], list(tasks)]) for state, tasks in chains)
    path(suite).write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return content_hash(chains)


@cache
def frozen(suite: str) -> tuple[Chain, ...]:
    """The 1000 chains of a suite; raises :class:`UsageError` if the file is not the one that protocols name."""
    rows = json.loads(path(suite).read_text())
    chains = [(dict(zip(START_SYMBOLS, symbols, strict=True)), tuple(tasks)) for symbols, tasks in rows]
    if (found := content_hash(chains)) != CHAIN_LISTS[suite]:
        raise UsageError(f"the chain list has the hash {found}", where=str(path(suite)), expected=CHAIN_LISTS[suite],
                         remedy="restore the file; a changed list is another benchmark and needs another name")
    return tuple(chains)
