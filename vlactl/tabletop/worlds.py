"""Many worlds of one robot at one desk, stepped together: what a vector environment and a fast recorder drive.

Each of them is bit-identical to a :class:`World` with the same start, seed and actions, whatever the count and the
threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop.controls import Controls
from vlactl.tabletop.interface import ACTION_NAMES, ACTION_REPEAT
from vlactl.tabletop.motion import CONTROL_GRIPPER
from vlactl.tabletop.physics import open_physics
from vlactl.tabletop.readings import Anatomy, Lamps, Readings, read_only
from vlactl.tabletop.rendering import Poses
from vlactl.tabletop.world import PHYSICS_STEPS, World, limits


class Worlds:
    """``count`` worlds; ``worlds[i]`` is one of them to look at."""

    def __init__(self, embodiment_name: str, scene: str = "D", count: int = 1, *, shift: str = "none",
                 action_repeat: int = ACTION_REPEAT, threads: int = 1) -> None:
        """Raises :class:`UnknownName` for an embodiment, scene or shift that does not exist."""
        if count < 1 or threads < 1:
            raise UsageError(f"{count} worlds on {threads} threads", where="tabletop.Worlds", expected="1 or more")
        self.nursery = World(embodiment_name, scene, shift=shift, action_repeat=action_repeat)
        """Where worlds begin, so that they begin as a World does: see :meth:`adopt`."""
        self.embodiment, self.layout, self.model = self.nursery.embodiment, self.nursery.layout, self.nursery.model
        self.shift, self.action_repeat = shift, action_repeat
        self._physics = open_physics(self.model, count, threads)
        self._controls = Controls(self.embodiment, limits(self.embodiment), action_repeat=action_repeat, count=count)
        self._anatomy, self._lamps = Anatomy(self.model), [Lamps() for _ in range(count)]
        self._furniture = [self._anatomy.address[name] for name in ("button", "switch")]
        self._sites = read_only(self._physics.poses["site_xpos"]), read_only(self._physics.poses["site_xmat"])
        self._colors_NGC = np.repeat(self._anatomy.colors_GC[None], count, axis=0)
        poses = {name: read_only(self._physics.poses[name]) for name in Poses._fields if name != "colors"}
        self.poses = Poses(**poses, colors=read_only(self._colors_NGC))
        """For a renderer: live arrays, nothing is copied."""
        self._worlds = [self._look_at(index) for index in range(count)]
        self._begun = np.zeros(count, bool)

    def _look_at(self, index: int) -> Readings:
        return Readings(self._anatomy, self._physics.qpos[index],
                        {name: values[index] for name, values in self._physics.poses.items()},
                        self._controls.control_NC[index], self._lamps[index], lambda: self._physics.contacts(index))

    def __len__(self) -> int:
        return len(self._worlds)

    def __getitem__(self, index: int) -> Readings:
        return self._worlds[index]

    def __iter__(self) -> Iterator[Readings]:
        return iter(self._worlds)

    def reset(self, index: int, start: dict[str, Any], seed: int) -> None:
        """Reset one world, as :meth:`World.reset`; the others stay as they are."""
        self.nursery.reset(start, seed)
        self.adopt(index)

    def adopt(self, index: int) -> None:
        """Let one world go on from where the nursery is, which may have been stepped since its reset."""
        self._physics.load(index, self.nursery.data)
        self._controls.control_NC[index] = self.nursery.controls.control_NC[0]
        self._lamps[index].put(**self.nursery.lamps, button_down=self.nursery.button_down)
        self._worlds[index].paint(self._colors_NGC[index])
        self._begun[index] = True

    def step(self, actions_NA: np.ndarray) -> None:
        """One control step of every world, as :meth:`World.step`; ``actions_NA`` (count, 7).

        Raises :class:`UsageError` for an illegal action of any world: then nothing changes anywhere.
        """
        if not self._begun.all():
            raise UsageError(f"a step, but worlds {np.flatnonzero(~self._begun).tolist()} were never reset",
                             where="tabletop.Worlds.step", remedy="call reset for each of them first")
        joints_NRJ = self._controls.take(actions_NA, (len(self), len(ACTION_NAMES)))
        ctrl_NU, closed_N = self._physics.ctrl, self._controls.control_NC[:, CONTROL_GRIPPER] < 0
        ctrl_NU[:, 7] = np.where(closed_N, 0.0, self.embodiment.gripper.opening_m)
        for substep in range(self.action_repeat):
            ctrl_NU[:, :7] = joints_NRJ[:, substep]
            self._physics.step(PHYSICS_STEPS, look=substep == self.action_repeat - 1)
            self._follow_lamps()
        self._controls.shorten_leash(self._anatomy.tcp, *self._sites)

    def _follow_lamps(self) -> None:
        for index, (button_m, switch_rad) in enumerate(self._physics.qpos[:, self._furniture].tolist()):
            if self._lamps[index].follow(button_m, switch_rad):
                self._worlds[index].paint(self._colors_NGC[index])

    def states(self) -> np.ndarray:
        """Proprioception (count, 9) float32 of every world."""
        return np.stack([world.state() for world in self._worlds])
