"""The embedded world as a benchmark: frozen chains, worlds, batched pictures, the scripted expert."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vlactl.benchmarks import Tabletop
from vlactl.benchmarks.chains import frozen
from vlactl.episodes import EpisodeSpec, Observation
from vlactl.identity import digest
from vlactl.tabletop import rendering, world
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.perturbations import colour_words, full_name
from vlactl.tabletop.phrasings import PHRASINGS, recoloured
from vlactl.tabletop.readout import readout
from vlactl.tabletop.rendering import Renderer, open_renderer
from vlactl.tabletop.world import World


class TabletopSimulation:
    """One world at work on one chain; pictures and captions read ``world``, ``task`` and ``instruction``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.task = ""
        """The task begun last."""
        self.instruction = ""
        """What it was asked for in."""
        self._spec: EpisodeSpec | None = None

    def reset(self, spec: EpisodeSpec) -> None:
        """Go to the start of ``spec``, free of history."""
        self.world.reset(spec.start, spec.seed)
        self._spec = spec

    def begin(self, task_index: int) -> str:
        """Remember the state of now as the task's start; returns the instruction."""
        assert self._spec is not None, "reset comes before begin"
        self.task, self.instruction = self._spec.tasks[task_index], self._spec.instructions[task_index]
        self._before = self.world.snapshot()
        return self.instruction

    def step(self, action_A: np.ndarray) -> bool:
        """One control step; True when the task is done."""
        self.world.step(action_A)
        return self.world.succeeded(self.task, self._before)

    def remarks(self) -> tuple[tuple[str, str], ...]:
        """The state of now in words, (name, value) each: what a film writes beside the pictures."""
        return readout(self.world)


class TabletopBenchmark:
    """See :class:`vlactl.benchmarks.Tabletop` for the settings."""

    def __init__(self, spec: Tabletop) -> None:
        self.spec, self.spaces = spec, spec.spaces()
        self.shift = full_name(spec.shift, spec.shift_variant)
        self._words = colour_words(self.shift)
        self._renderer: Renderer | None = None

    def episodes(self) -> tuple[EpisodeSpec, ...]:
        """The first ``spec.chains`` of the frozen list."""
        return tuple(self.episode(*chain) for chain in frozen(self.spec.tasks)[:self.spec.chains])

    def episode(self, start: dict, tasks: tuple[str, ...]) -> EpisodeSpec:
        """One thing to attempt, on the frozen list or not.  Its key is the same under every shift and embodiment, so
        that they are compared in pairs."""
        key = digest({"world": "tabletop", "scene": self.spec.scene, "start": start, "tasks": tasks})
        seed = int(key[:8], 16)
        return EpisodeSpec(key=key, scene=self.spec.scene, start=start, tasks=tasks, max_steps=self.spec.steps_per_task,
                           instructions=tuple(self._instruction(task, seed + i) for i, task in enumerate(tasks)),
                           seed=seed)

    def _instruction(self, task: str, seed: int) -> str:
        texts = PHRASINGS[task].texts(self.spec.instruction_set)
        return recoloured(texts[(seed + self.spec.shift_variant) % len(texts)], self._words)

    def warm_up(self, *, pictures: bool) -> None:
        """Compile the kernels: half a minute, once on a machine."""
        world.warm_up()
        if pictures and self.spec.renderer == "raycast":
            rendering.warm_up()

    def simulation(self) -> TabletopSimulation:
        """A new world; the model is shared."""
        return TabletopSimulation(World(self.spec.embodiment, self.spec.scene, shift=self.shift,
                                        action_repeat=self.spec.action_repeat))

    def look(self, simulations: Sequence[TabletopSimulation]) -> list[Observation]:
        """Both cameras and the proprioception of each simulation, drawn in one batch."""
        worlds = [simulation.world for simulation in simulations]
        if self._renderer is None:
            self._renderer = open_renderer(self.spec.renderer, worlds[0].model, image_px=self.spec.image_px,
                                           shadows=self.spec.shadows, antialias=self.spec.antialias,
                                           cameras=tuple(name for name, *_ in self.spaces.observation.cameras))
        images_NKYXC = self._renderer.render([world.data for world in worlds],
                                             colors=[world.colors() for world in worlds])
        return [Observation(images_KYXC=images_KYXC, state_S=world.state())
                for images_KYXC, world in zip(images_NKYXC, worlds, strict=True)]

    def expert(self, simulation: TabletopSimulation) -> Callable[[], np.ndarray]:
        """The scripted expert for the task begun last: the ceiling of the table."""
        return Expert(simulation.world, simulation.task).act
