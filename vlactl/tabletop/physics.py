"""Physics of N simulations of one model on several threads: MuJoCo's own batch where there is one, else a thread pool.

Both give the states that ``mj_step`` gives one by one, bit for bit, whatever the count and the threads.
"""
# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import mujoco
import numpy as np

from vlactl.tabletop.readings import POSES

STATE = ("qpos", "qvel", "ctrl", "qacc_warmstart", "time")
"""Fields of MjData that decide what happens next in a tabletop world."""


class Physics(Protocol):
    """N simulations.  The arrays are live: they stay the same objects and follow every call."""

    qpos: np.ndarray
    """(N, nq), to read."""
    ctrl: np.ndarray
    """(N, nu), to write."""
    poses: dict[str, np.ndarray]
    """The fields of POSES, each (N, things, ...), float64 and contiguous, those of ``qpos`` after a ``look``."""

    def step(self, physics_steps: int, *, look: bool) -> None:
        """Step every simulation; with ``look``, bring the poses up to date."""
        ...

    def load(self, index: int, data: mujoco.MjData) -> None:
        """Give one simulation the state of ``data``, and look."""
        ...

    def contacts(self, index: int) -> np.ndarray:
        """(contacts, 2) geoms that touch in one simulation now."""
        ...


class BatchPhysics:
    """By ``mujoco.batch`` (4.0 and later): no Python in the loop, poses are copied out by MuJoCo itself."""

    def __init__(self, model: mujoco.MjModel, count: int, threads: int) -> None:
        self._model, self._spare = model, mujoco.MjData(model)
        self._batch: Any = import_module("mujoco.batch").Batch(model, count, nthread=threads)
        self._state = {name: self._batch.bind(name) for name in STATE}
        self.qpos, self.ctrl = self._state["qpos"], self._state["ctrl"]
        self.poses = {name: self._batch.bind(name) for name in POSES}
        self._looking = int(mujoco.mjtStage.mjSTAGE_POS)

    def step(self, physics_steps: int, *, look: bool) -> None:
        self._batch.step(nstep=physics_steps, stage=self._looking if look else int(mujoco.mjtStage.mjSTAGE_NONE))

    def load(self, index: int, data: mujoco.MjData) -> None:
        for name, values in self._state.items():
            values[index] = getattr(data, name)
        self._batch.forward(ids=[index], stage=self._looking)

    def contacts(self, index: int) -> np.ndarray:
        # a batch keeps no contacts; they are a function of the positions
        self._batch.get_data(index, self._spare)
        mujoco.mj_fwdPosition(self._model, self._spare)
        return self._spare.contact.geom


class PoolPhysics:
    """By one MjData for each simulation and ``mj_step``, which lets other threads run."""

    def __init__(self, model: mujoco.MjModel, count: int, threads: int) -> None:
        self._model, self._datas = model, [mujoco.MjData(model) for _ in range(count)]
        self._spare = mujoco.MjData(model)
        self.qpos, self.ctrl = np.empty((count, model.nq)), np.zeros((count, model.nu))
        self.poses = {name: np.empty((count, *getattr(self._spare, name).shape)) for name in POSES}
        self._parts = [range(part, count, threads) for part in range(min(threads, count))]
        self._pool = ThreadPoolExecutor(threads, "physics") if threads > 1 else None

    def step(self, physics_steps: int, *, look: bool) -> None:
        def run(part: range) -> None:
            for index in part:
                self._datas[index].ctrl[:] = self.ctrl[index]
                mujoco.mj_step(self._model, self._datas[index], physics_steps)
                self._publish(index, look)

        list((self._pool.map if self._pool else map)(run, self._parts))

    def load(self, index: int, data: mujoco.MjData) -> None:
        for name in STATE[:-1]:
            getattr(self._datas[index], name)[:] = getattr(data, name)
        self._datas[index].time = data.time
        self.ctrl[index] = data.ctrl
        self._publish(index, True)

    def contacts(self, index: int) -> np.ndarray:
        self._spare.qpos[:] = self.qpos[index]
        mujoco.mj_fwdPosition(self._model, self._spare)
        return self._spare.contact.geom

    def _publish(self, index: int, look: bool) -> None:
        data = self._datas[index]
        self.qpos[index] = data.qpos
        if look:
            mujoco.mj_kinematics(self._model, data)
            mujoco.mj_camlight(self._model, data)
            for name, values in self.poses.items():
                values[index] = getattr(data, name)


def open_physics(model: mujoco.MjModel, count: int, threads: int) -> Physics:
    """The faster of the two that this MuJoCo has."""
    return (BatchPhysics if find_spec("mujoco.batch") else PoolPhysics)(model, count, threads)
