"""What a policy is tested in: the menu of benchmarks, and what the rollout loop asks of one.

A benchmark's *protocol* is everything that a score depends on; it is hashed into the evaluate stage, so a number is
never compared across protocols by accident.  This file imports nothing heavy.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import Field, model_validator

from vlactl.errors import UnknownName, UsageError
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

CHAIN_LISTS = {"core": ("tabletop_core.json", "40ed4d994735da0a81b71f5718793a2ea8924f4f209fed567a9afa6cba5b6e9d")}
"""Suite of tasks -> file of 1000 chains beside this one, and the SHA-256 of its content (see
``chains.content_hash``)."""


class Tabletop(BenchmarkSpec):
    """Chains of five tasks in the embedded tabletop world, under CALVIN's rollout rule.

    It is a benchmark with CALVIN's protocol, not CALVIN: its numbers never stand beside published ones.
    """

    kind: ClassVar[str] = "tabletop"

    embodiment: str = "panda"
    """Which robot: its arm, gripper, cameras and action scale."""
    scene: str = "D"
    """Which arrangement and colours of the desk."""
    tasks: str = "core"
    """Which named suite of tasks the chains are made of."""
    chains: int = Field(default=50, ge=1, le=1000)
    """How many of the 1000 frozen chains to attempt: the first ones of the list."""
    steps_per_task: int = Field(default=120, ge=1)
    """Control steps allowed for each task (CALVIN: 360 at 30 Hz, the same 12 s)."""
    image_px: int = Field(default=64, ge=16, le=512)
    """Side of every camera image in pixels."""
    shadows: bool = True
    """Whether the light casts soft shadows."""
    antialias: Literal[1, 2] = 1
    """Rays per pixel and side."""
    instructions: Literal["validation", "training"] = "validation"
    """Held-out phrasings, one for each task as in CALVIN, or one of the phrasings of the demonstrations."""

    @model_validator(mode="after")
    def _names_exist(self) -> Tabletop:
        from vlactl.tabletop.embodiments import embodiment
        from vlactl.tabletop.layouts import layout
        from vlactl.tabletop.tasks import SUITES
        embodiment(self.embodiment)
        layout(self.scene)
        if self.tasks not in SUITES:
            raise UnknownName("suite of tasks", self.tasks, SUITES)
        if self.tasks not in CHAIN_LISTS:
            raise UsageError(f"the suite '{self.tasks}' has no chains of five different categories",
                             expected=" | ".join(CHAIN_LISTS))
        return self

    def spaces(self) -> Spaces:
        from vlactl.tabletop.embodiments import spaces
        return spaces(self.embodiment, self.image_px)

    def protocol(self) -> dict[str, Any]:
        """The fields, the chains, and the versions of all that moves and draws."""
        from vlactl.tabletop import RENDERER_VERSION, WORLD_VERSION, physics_version
        from vlactl.tabletop.embodiments import ACTION_REPEAT
        return {**self.identity(), "chain_list": CHAIN_LISTS[self.tasks][1], "action_repeat": ACTION_REPEAT,
                "world_version": WORLD_VERSION, "mujoco": physics_version(), "renderer": "raycaster",
                "renderer_version": RENDERER_VERSION, "reset": "once per chain, free of history",
                "success": "the predicate holds after a control step"}

    def build(self) -> Benchmark:
        from vlactl.benchmarks.tabletop import TabletopBenchmark
        return TabletopBenchmark(self)


BENCHMARKS.add(Tabletop)
