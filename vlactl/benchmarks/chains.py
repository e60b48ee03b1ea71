"""CALVIN's chains of five tasks, for any table of symbolic tasks, and the frozen lists made with them.

The rule (mees/calvin, ``multistep_sequences.py``): a chain is five tasks of five different categories, each with
exactly one applicable variant in the symbolic state that the earlier ones left; the start states share the chains
evenly; the list is shuffled. CALVIN draws five tasks until they happen to be legal; here all legal chains of a start
state are enumerated and drawn without replacement, which is the same distribution with no repetition, some hundred
times faster.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from vlactl.benchmarks import CHAIN_LISTS
from vlactl.errors import UsageError
from vlactl.identity import canonical
from vlactl.tabletop.tasks import START_SYMBOLS, SUITES, TASKS, Task, after, start_states

LENGTH = 5
COUNT = 1000

Chain = tuple[dict, tuple[str, ...]]
"""Symbolic start state and task names."""


def legal_chains(state: dict, tasks: Mapping[str, Task], length: int = LENGTH) -> Iterator[tuple[str, ...]]:
    """Every chain that can be asked in ``state``, in the order of the table."""
    def extend(state: dict, chain: tuple[str, ...], used: frozenset[int]) -> Iterator[tuple[str, ...]]:
        if len(chain) == length:
            yield chain
            return
        for name, task in tasks.items():
            if task.category not in used and (left := after(state, task)) is not None:
                yield from extend(left, (*chain, name), used | {task.category})
    yield from extend(state, (), frozenset())


def generate(tasks: Mapping[str, Task], count: int = COUNT) -> list[Chain]:
    """``count`` chains by the rule above; the same table and count give the same list.

    Always make COUNT and slice: the list of a smaller count is not a prefix.  Raises :class:`UsageError` where a start
    state has too few legal chains.
    """
    states = start_states()
    each, extra = divmod(count, len(states))
    chains: list[Chain] = []
    for index, state in enumerate(states):
        legal, wanted = list(legal_chains(state, tasks)), each + (index < extra)
        if len(legal) < wanted:
            raise UsageError(f"{len(legal)} legal chains of {LENGTH} start from {state}", expected=f"{wanted} or more",
                             remedy=f"add tasks: a chain needs {LENGTH} different categories")
        # RandomState and not Generator: numpy promises that its streams never change
        drawn = np.random.RandomState(index).permutation(len(legal))[:wanted]
        chains += [(state, legal[choice]) for choice in drawn]
    order = np.random.RandomState(0).permutation(len(chains))
    return [chains[index] for index in order]


def content_hash(chains: list[Chain]) -> str:
    """SHA-256 of a list in canonical JSON: what a protocol names."""
    return hashlib.sha256(canonical([[state, list(tasks)] for state, tasks in chains]).encode()).hexdigest()


def path(suite: str) -> Path:
    """The file of a suite's frozen list."""
    return Path(__file__).parent / CHAIN_LISTS[suite][0]


def write(suite: str) -> str:
    """Freeze the list of a suite and return its hash, to be entered in ``CHAIN_LISTS``."""
    chains = generate({name: TASKS[name] for name in SUITES[suite]})
    lines = (json.dumps([[state[symbol] for symbol in START_SYMBOLS], list(tasks)]) for state, tasks in chains)
    path(suite).write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return content_hash(chains)


@cache
def frozen(suite: str) -> tuple[Chain, ...]:
    """The 1000 chains of a suite; raises :class:`UsageError` if the file is not the one that protocols name."""
    rows = json.loads(path(suite).read_text())
    chains = [(dict(zip(START_SYMBOLS, symbols, strict=True)), tuple(tasks)) for symbols, tasks in rows]
    if (found := content_hash(chains)) != CHAIN_LISTS[suite][1]:
        raise UsageError(f"the chain list has the hash {found}", where=str(path(suite)), expected=CHAIN_LISTS[suite][1],
                         remedy="restore the file; a changed list is another benchmark and needs another name")
    return tuple(chains)
