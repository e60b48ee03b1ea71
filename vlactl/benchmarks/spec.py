"""What the rollout loop asks of a benchmark, and what a recipe asks of a benchmark's spec.

This file imports nothing heavy.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from vlactl.registry import Registry, Spec
from vlactl.spaces import Spaces

if TYPE_CHECKING:
    import numpy as np

    from vlactl.episodes import EpisodeSpec, Observation


class Simulation(Protocol):
    """One world in which one episode at a time is attempted."""

    def reset(self, spec: EpisodeSpec) -> None:
        """Go to the start of ``spec``, whatever was done before: an episode is a function of its spec and actions."""

    def begin(self, task_index: int) -> str:
        """The state of now is the start of that task of the chain; returns its instruction."""
        ...

    def step(self, action_A: np.ndarray) -> bool:
        """One control step with an action in [-1, 1]; True when the task begun last is now done."""
        ...


class Benchmark(Protocol):
    """A frozen list of episodes and the means to attempt them."""

    spaces: Spaces

    def episodes(self) -> tuple[EpisodeSpec, ...]:
        """What to attempt; the first n of one frozen list, so that a larger n contains a smaller one."""
        ...

    def warm_up(self, *, pictures: bool) -> None:
        """Do now what the first step, and with ``pictures`` the first look, would otherwise keep everybody waiting
        for."""

    def simulation(self) -> Simulation:
        """A new world; the caller makes as many as it runs at once."""
        ...

    def look(self, simulations: Sequence[Any]) -> list[Observation]:
        """What the policy is shown in each, drawn in one batch; the pixels do not depend on the batch."""
        ...

    def expert(self, simulation: Any) -> Callable[[], np.ndarray]:
        """A privileged controller of the task begun last: call it for each control step's action (A,)."""
        ...


class BenchmarkSpec(Spec, abc.ABC):
    """A benchmark as a recipe names it."""

    execution: Literal["chunk", "first", "ensemble"] = "chunk"
    """What is done with a planned chunk: execute its first actions before planning again (as the formulation's
    ``execute`` says), plan at every control step and execute the first action, or plan at every step and execute the
    mean of all plans for it (temporal ensembling, ACT).  RoboVLMs v4: 3.68, 2.45 and 3.14 tasks for one policy."""
    ensemble_decay: float = Field(0.01, ge=0, le=10)
    """m of ACT's weights exp(-m i) of the plans for one step, i = 0 the oldest; 0 weighs all plans alike."""

    def identity(self) -> dict[str, Any]:
        """As :meth:`Spec.identity`; how an ensemble is weighted counts only where there is one."""
        identity = super().identity()
        if self.execution != "ensemble":
            del identity["ensemble_decay"]
        return identity

    @abc.abstractmethod
    def spaces(self) -> Spaces:
        """What a policy must see and command."""

    @abc.abstractmethod
    def protocol(self) -> dict[str, Any]:
        """Everything that a score depends on, as plain data."""

    @abc.abstractmethod
    def build(self) -> Benchmark:
        """The benchmark, with its simulator imported."""


BENCHMARKS: Registry[BenchmarkSpec] = Registry("benchmarks", "benchmark")
