"""Where a task can be begun, and what leads there: searches in the symbolic states, without any simulator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from vlactl.tabletop.tasks import TASKS, Task, after, start_states

FURTHEST = 4
"""No task is further than so many others from a start state."""

_Key = tuple


def feasible(state: dict, tasks: Sequence[Task]) -> list[Task]:
    """Those of ``tasks`` that can be asked in a symbolic state."""
    return [task for task in tasks if after(state, task) is not None]


@cache
def beginnings(task: str) -> tuple[tuple[dict, tuple[tuple[str, ...], ...]], ...]:
    """The start states that are nearest to ``task``, each with the shortest ways on which it can be asked: names of
    other tasks, none where it can be asked at once.  Empty where there is no way."""
    for length in range(FURTHEST + 1):
        found = [(state, ways) for state in start_states() if (ways := _ways(_key(state), task, length))]
        if found:
            return tuple(found)
    return ()


@cache
def _ways(key: _Key, task: str, length: int) -> tuple[tuple[str, ...], ...]:
    """All ways of ``length`` tasks after which ``task`` can be asked, that do not come back to where they were."""
    if length == 0:
        return ((),) if any(name == task for name, _ in _moves(key)) else ()
    return tuple((name, *way) for name, later in _moves(key) if name != task and later != key
                 for way in _ways(later, task, length - 1))


@cache
def _moves(key: _Key) -> tuple[tuple[str, _Key], ...]:
    """(task, state after it) of everything that can be asked in a state."""
    state = dict(key)
    return tuple((name, _key(later)) for name, task in TASKS.items() if (later := after(state, task)) is not None)


def _key(state: dict) -> _Key:
    return tuple(sorted(state.items()))
