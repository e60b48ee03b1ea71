"""Gymnasium environments of the tabletop: ``vlactl/Tabletop-v0``, one task per episode, alone and vectorised.

    import gymnasium, vlactl.tabletop.gym        # importing this module registers it; or, without an import of ours:
    env = gymnasium.make("vlactl.tabletop.gym:vlactl/Tabletop-v0", tasks="open_drawer", image_px=96)
    envs = gymnasium.make_vec("vlactl/Tabletop-v0", num_envs=64, threads=8)     # by the vector entry point

Observations are a dictionary: a uint8 image for each camera (``static``, ``wrist``), and ``state``, the proprioception
that :mod:`vlactl.tabletop.interface` names.  What to do is text: ``info["instruction"]`` of ``reset`` and ``step``, so
that observations stay arrays that batch and learn as they are; ``info`` also has ``task`` and ``success``.  The reward
is 1 for the step that does the task and 0 before; success terminates, the step limit truncates.

``reset(options={"task": ..., "start": ...})`` chooses; see :meth:`Beginnings.begin`.  A vector environment gives the
same observations, rewards and infos as Gymnasium's ``SyncVectorEnv`` of single ones, many times faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gymnasium_spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from vlactl.errors import UsageError
from vlactl.spaces import Spaces
from vlactl.tabletop.beginnings import Beginning, Beginnings
from vlactl.tabletop.interface import ACTION_REPEAT, STATE_NAMES, SUBSTEP_HZ, pictures, spaces
from vlactl.tabletop.rehearsal import TASK_S
from vlactl.tabletop.rendering import Poses, Renderer, open_renderer
from vlactl.tabletop.world import World
from vlactl.tabletop.worlds import Worlds

ID = "vlactl/Tabletop-v0"
RENDER_MODES = ("rgb_array",)
STATE_LIMITS = {"_m": 2.0, "_cos": 1.0, "_sin": 1.0, "_x": 1.0, "_y": 1.0, "_command": 1.0}
"""Largest magnitude in the observation space, by how a name of STATE_NAMES ends."""


class Settings:
    """What single and vector environments share: their keywords, and what these make of spaces and pictures.

    ``tasks``: a suite, a task or several; ``instructions``: ``training``, ``validation`` or ``paraphrased``;
    ``image_px``: one side, or one for each camera; ``render_px``: of ``render()``; ``max_steps``: 12 simulated seconds
    where it is None; ``threads``: for many worlds.
    """

    def __init__(self, *, embodiment: str = "panda", scene: str = "D", tasks: str | Sequence[str] = "full",
                 instructions: str = "training", shift: str = "none", image_px: int | Sequence[int] = 64,
                 renderer: str = "raycast", shadows: bool = True, antialias: int = 1, render_px: int = 256,
                 action_repeat: int = ACTION_REPEAT, max_steps: int | None = None, threads: int = 1,
                 render_mode: str | None = None) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise UsageError(f"cannot render as {render_mode!r}", where=ID, expected="None | rgb_array")
        if max_steps is not None and max_steps < 1:
            raise UsageError(f"episodes of {max_steps} steps", where=ID, expected="1 or more")
        sides = image_px if isinstance(image_px, int) else tuple(image_px)
        self.spaces: Spaces = spaces(embodiment, sides, pictures=pictures(renderer, shadows, antialias),
                                     action_repeat=action_repeat)
        self.world = {"embodiment_name": embodiment, "scene": scene, "shift": shift, "action_repeat": action_repeat}
        self.beginnings = Beginnings(tasks, instructions, shift)
        self.max_steps = max_steps or round(TASK_S * SUBSTEP_HZ / action_repeat)
        self.threads, self.render_px = threads, render_px
        self._drawing = {"kind": renderer, "shadows": shadows, "antialias": antialias, "threads": threads}
        self._cameras = tuple(name for name, *_ in self.spaces.observation.cameras)
        self._renderers: dict[str, Renderer] = {}

    def metadata(self) -> dict[str, Any]:
        return {"render_modes": list(RENDER_MODES), "render_fps": self.spaces.action.rate_hz}

    def observation_space(self) -> gymnasium_spaces.Dict:
        limits = [next(limit for end, limit in STATE_LIMITS.items() if name.endswith(end)) for name in STATE_NAMES]
        high = np.array(limits, np.float32)
        images = {name: gymnasium_spaces.Box(0, 255, (height, width, 3), np.uint8)
                  for name, height, width in self.spaces.observation.cameras}
        return gymnasium_spaces.Dict({**images, "state": gymnasium_spaces.Box(-high, high, dtype=np.float32)})

    def action_space(self) -> gymnasium_spaces.Box:
        return gymnasium_spaces.Box(-1.0, 1.0, (self.spaces.action.size,), np.float32)

    def look(self, model: Any, poses: Poses, states_NS: np.ndarray) -> dict[str, np.ndarray]:
        """Observations of N worlds, in new arrays."""
        if "look" not in self._renderers:
            self._renderers["look"] = open_renderer(model=model, cameras=self._cameras, **self._drawing, image_px=[
                px for _, px, _ in self.spaces.observation.cameras])
        images = self._renderers["look"].draw(poses)
        return {**dict(zip(self._cameras, images, strict=True)), "state": states_NS}

    def frames(self, model: Any, poses: Poses) -> np.ndarray:
        """Pictures for people (N, Y, X, 3), from the static camera."""
        if "frames" not in self._renderers:
            self._renderers["frames"] = open_renderer(model=model, cameras=self._cameras[:1], **self._drawing,
                                                      image_px=self.render_px)
        return self._renderers["frames"].draw(poses)[0]

    def close(self) -> None:
        self._renderers.clear()


class TabletopEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """One world; ``env.unwrapped.world`` is the :class:`World`, which the scripted expert can drive."""

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": SUBSTEP_HZ / ACTION_REPEAT}  # noqa: RUF012
    observation_space: gymnasium_spaces.Dict
    action_space: gymnasium_spaces.Box

    def __init__(self, **settings: Any) -> None:
        """Keywords and their defaults: see :class:`Settings`.  Raises :class:`UsageError` and its kinds."""
        self._settings = Settings(**settings)
        self.metadata, self.render_mode = self._settings.metadata(), settings.get("render_mode")
        self.spaces = self._settings.spaces
        self.observation_space, self.action_space = self._settings.observation_space(), self._settings.action_space()
        self.world = World(**self._settings.world)
        self._begun: Beginning | None = None
        self._steps = 0

    @property
    def task(self) -> str:
        """The name of the task of now, empty before the first reset."""
        return self._begun.task if self._begun else ""

    @property
    def task_description(self) -> str:
        """The instruction of now, under the name that LeRobot asks for."""
        return self._begun.instruction if self._begun else ""

    def reset(self, *, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a task; see :meth:`Beginnings.begin` for the options and what they raise."""
        super().reset(seed=seed)
        self._begun, self._steps = self._settings.beginnings.begin(self.world, self.np_random, options), 0
        return self._look(), _info(self._begun, False)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One control step.  Raises :class:`UsageError` for an illegal action."""
        begun = self._begun
        if begun is None:
            raise UsageError("step before reset", where=ID, remedy="call reset first")
        self.world.step(action)
        self._steps += 1
        success = self.world.succeeded(begun.task, begun.before)
        truncated = not success and self._steps >= self._settings.max_steps
        return self._look(), float(success), success, truncated, _info(begun, success)

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What the static camera sees (Y, X, 3), or None without a render mode."""
        return self._settings.frames(self.world.model, self.world.poses())[0] if self.render_mode else None

    def close(self) -> None:
        self._settings.close()

    def _look(self) -> dict[str, np.ndarray]:
        seen = self._settings.look(self.world.model, self.world.poses(), self.world.state()[None])
        return {name: values[0] for name, values in seen.items()}


class TabletopVectorEnv(VectorEnv[dict[str, np.ndarray], np.ndarray, np.ndarray]):
    """Many worlds on several ``threads``; what ended is reset by the next step (``AutoresetMode.NEXT_STEP``)."""

    def __init__(self, num_envs: int = 1, *, max_episode_steps: int | None = None, **settings: Any) -> None:
        """Keywords as of :class:`TabletopEnv`; ``max_episode_steps`` is Gymnasium's word for ``max_steps``."""
        if max_episode_steps is not None:
            settings["max_steps"] = max_episode_steps
        self._settings = Settings(**settings)
        self.num_envs, self.render_mode = num_envs, settings.get("render_mode")
        self.metadata = {**self._settings.metadata(), "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.spaces = self._settings.spaces
        self.single_observation_space = self._settings.observation_space()
        self.single_action_space = self._settings.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.worlds = Worlds(count=num_envs, threads=self._settings.threads, **self._settings.world)
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._begun: list[Beginning | None] = [None] * num_envs
        self._steps_N, self._ended_N = np.zeros(num_envs, np.int64), np.zeros(num_envs, bool)

    def reset(self, *, seed: int | Sequence[int | None] | None = None,  # pyright: ignore[reportIncompatibleMethodOverride]
              options: Mapping[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a task everywhere; world ``i`` gets ``seed + i``, or its own of several seeds."""
        if seed is None or isinstance(seed, (int, np.integer)):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise UsageError(f"{len(seeds)} seeds for {self.num_envs} worlds", where=ID)
        for index, own in enumerate(seeds):
            if own is not None or self._generators[index] is None:
                self._generators[index] = seeding.np_random(own)[0]
            self._begin(index, options)
        self._ended_N[:] = False
        return self._look(), self._infos(np.zeros(self.num_envs, bool))

    def step(self, actions: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray,
                                                 dict[str, Any]]:
        """One control step everywhere, but a reset where an episode ended in the last one: its action is ignored.

        Raises :class:`UsageError` for an illegal action: then nothing changes anywhere.
        """
        again_N = self._ended_N
        if again_N.any() and np.shape(actions) == self.action_space.shape:
            actions = np.where(again_N[:, None], 0.0, actions)
        self.worlds.step(actions)
        self._steps_N += 1
        success_N = np.zeros(self.num_envs, bool)
        for index, begun in enumerate(self._begun):
            if again_N[index]:
                self._begin(index, None)
            elif begun is not None:
                success_N[index] = self.worlds[index].succeeded(begun.task, begun.before)
        truncated_N = ~success_N & (self._steps_N >= self._settings.max_steps)
        self._ended_N = success_N | truncated_N
        return self._look(), success_N.astype(np.float64), success_N, truncated_N, self._infos(success_N)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """What each static camera sees, or None without a render mode."""
        return tuple(self._settings.frames(self.worlds.model, self.worlds.poses)) if self.render_mode else None

    def close_extras(self) -> None:
        self._settings.close()

    def _begin(self, index: int, options: Mapping[str, Any] | None) -> None:
        generator = self._generators[index]
        assert generator is not None, "reset comes before step"
        self._begun[index] = self._settings.beginnings.begin(self.worlds.nursery, generator, options)
        self.worlds.adopt(index)
        self._steps_N[index] = 0

    def _look(self) -> dict[str, np.ndarray]:
        return self._settings.look(self.worlds.model, self.worlds.poses, self.worlds.states())

    def _infos(self, success_N: np.ndarray) -> dict[str, Any]:
        """Gymnasium's form: an array for each key, and a mask that says where it is set."""
        infos: dict[str, Any] = {"success": success_N.copy()}
        for key in ("task", "instruction"):
            infos[key] = np.array([getattr(begun, key) for begun in self._begun], dtype=object)
        return infos | {f"_{key}": np.ones(self.num_envs, bool) for key in infos}


def _info(begun: Beginning, success: bool) -> dict[str, Any]:
    return {"task": begun.task, "instruction": begun.instruction, "success": success}


if ID not in gymnasium.registry:
    gymnasium.register(ID, entry_point=f"{__name__}:TabletopEnv", vector_entry_point=f"{__name__}:TabletopVectorEnv")
