"""The embedded world as a benchmark: frozen chains, worlds, batched pictures, the scripted expert."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vlactl.benchmarks import Tabletop
from vlactl.benchmarks.chains import frozen
from vlactl.episodes import EpisodeSpec, Observation
from vlactl.identity import digest
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.renderer import Renderer
from vlactl.tabletop.scene import model
from vlactl.tabletop.tasks import TASKS
from vlactl.tabletop.world import World


class TabletopSimulation:
    """One world at work on one chain."""

    def __init__(self, embodiment: str, scene: str) -> None:
        self.world = World(embodiment, scene)
        self._spec: EpisodeSpec | None = None

    @property
    def task(self) -> str:
        """The task begun last."""
        return self._task

    def reset(self, spec: EpisodeSpec) -> None:
        """Go to the start of ``spec``, free of history."""
        self.world.reset(spec.start, spec.seed)
        self._spec = spec

    def begin(self, task_index: int) -> str:
        """Remember the state of now as the task's start; returns the instruction."""
        assert self._spec is not None, "reset comes before begin"
        self._task = self._spec.tasks[task_index]
        self._before = self.world.snapshot()
        return self._spec.instructions[task_index]

    def step(self, action_A: np.ndarray) -> bool:
        """One control step; True when the task is done."""
        self.world.step(action_A)
        return self.world.succeeded(self._task, self._before)


class TabletopBenchmark:
    """See :class:`vlactl.benchmarks.Tabletop` for the settings."""

    def __init__(self, spec: Tabletop) -> None:
        self.spec, self.spaces = spec, spec.spaces()
        self._renderer: Renderer | None = None

    def episodes(self) -> tuple[EpisodeSpec, ...]:
        """The first ``spec.chains`` of the frozen list."""
        return tuple(self._episode(*chain) for chain in frozen(self.spec.tasks)[:self.spec.chains])

    def _episode(self, start: dict, tasks: tuple[str, ...]) -> EpisodeSpec:
        key = digest({"world": "tabletop", "scene": self.spec.scene, "start": start, "tasks": tasks})
        seed = int(key[:8], 16)
        return EpisodeSpec(key=key, scene=self.spec.scene, start=start, tasks=tasks, max_steps=self.spec.steps_per_task,
                           instructions=tuple(self._instruction(task, seed + i) for i, task in enumerate(tasks)),
                           seed=seed)

    def _instruction(self, task: str, seed: int) -> str:
        phrasings = TASKS[task].train
        return TASKS[task].validation if self.spec.instructions == "validation" else phrasings[seed % len(phrasings)]

    def simulation(self) -> TabletopSimulation:
        """A new world; the model is shared."""
        return TabletopSimulation(self.spec.embodiment, self.spec.scene)

    def look(self, simulations: Sequence[TabletopSimulation]) -> list[Observation]:
        """Both cameras and the proprioception of each simulation, drawn in one batch."""
        if self._renderer is None:
            self._renderer = Renderer(model(self.spec.embodiment, self.spec.scene), image_px=self.spec.image_px,
                                      shadows=self.spec.shadows, antialias=self.spec.antialias,
                                      cameras=tuple(name for name, *_ in self.spaces.observation.cameras))
        worlds = [simulation.world for simulation in simulations]
        images_NKYXC = self._renderer.render([world.data for world in worlds],
                                             colors=[world.colors() for world in worlds])
        return [Observation(images_KYXC=images_KYXC, state_S=world.state())
                for images_KYXC, world in zip(images_NKYXC, worlds, strict=True)]

    def expert(self, simulation: TabletopSimulation) -> Callable[[], np.ndarray]:
        """The scripted expert for the task begun last: the ceiling of the table."""
        return Expert(simulation.world, simulation.task).act
