"""How fast the embedded world is on this machine: ``python -m tests.bench.bench_tabletop [--seconds 3] [--worlds 32]``.

Every figure is measured in one run and given per second of processor time, which a busy machine changes little, and per
second of the clock.  A control step is one at 30 Hz (8 physics steps, as in CALVIN); the same at 10 Hz (24) stands
beside it.  Targets are for one core, both cameras at every control step, soft shadows.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop import gym, motion, rendering, world
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.rendering import open_renderer
from vlactl.tabletop.tasks import start_states
from vlactl.tabletop.world import World
from vlactl.tabletop.worlds import Worlds

TARGETS = {"state": 3000, "64": 1500, "96": 1000, "200/84": 300}
SIZES: dict[str, int | Sequence[int]] = {"64": 64, "96": 96, "200/84": (200, 84)}
SPEEDUP = 1.7
BUSY = 2.5
"""Load above which others must be at work: ours is at most 2."""
MEMORY_MB = 5.0
KINEMATICS_US = 5.0


def begun(count: int, action_repeat: int, threads: int = 1) -> Worlds:
    """Worlds at different starts."""
    worlds, starts = Worlds("panda", "D", count, action_repeat=action_repeat, threads=threads), start_states()
    for index in range(count):
        worlds.reset(index, starts[index * 7 % len(starts)], seed=index)
    return worlds


def played(count: int) -> np.ndarray:
    """(100, count, 7): what an expert does at a door, at another moment in each world; arms move and touch things."""
    single, start = World("panda", action_repeat=1), start_states()[0]
    single.reset(start, 0)
    expert, found = Expert(single, "move_slider_left"), []
    for _ in range(100):
        found.append(expert.act())
        single.step(found[-1])
    return np.stack([np.roll(found, 5 * index, axis=0) for index in range(count)], axis=1)


class Speed(NamedTuple):
    """Control steps per second: medians over five parts of a run."""

    cpu: float
    """Of processor time of the whole process."""
    wall: float
    """Of the clock."""


def rate(step: Callable[[int], object], per_call: int, seconds: float) -> Speed:
    clocks = time.process_time, time.perf_counter
    step(0)
    found, call = [], 1
    for _ in range(5):
        begun_at, calls = [clock() for clock in clocks], 0
        while time.perf_counter() - begun_at[1] < seconds / 5 or not calls:
            step(call)
            call, calls = call + 1, calls + 1
        found.append([calls * per_call / (clock() - start) for clock, start in zip(clocks, begun_at, strict=True)])
    return Speed(*np.median(found, axis=0).tolist())


def stepping(worlds: Worlds, size: str | None, renderer: str = "raycast", threads: int = 1) -> Callable[[int], object]:
    """One control step of all worlds, with the pictures of both cameras unless ``size`` is None."""
    actions = played(len(worlds))
    if size is None:
        return lambda call: worlds.step(actions[call % len(actions)])
    eyes = open_renderer(renderer, worlds.model, image_px=SIZES[size], threads=threads)
    out = None

    def step(call: int) -> None:
        nonlocal out
        worlds.step(actions[call % len(actions)])
        out = eyes.draw(worlds.poses, out)

    return step


def line(what: str, speed: Speed, target: float | None = None, note: str = "") -> None:
    verdict = "" if target is None else f"   target {target:>6,.0f}: {'ok' if speed.cpu >= target else 'MISSED'}"
    print(f"{what:<44} {speed.cpu:>8,.0f} /cpu-s {speed.wall:>8,.0f} /s{verdict}{note}", flush=True)


def one_core(count: int, seconds: float) -> dict[str, float]:
    """Speeds at 30 and 10 Hz; returns those at 30 Hz."""
    found = {}
    for action_repeat, name in ((1, "30 Hz"), (3, "10 Hz")):
        targets = TARGETS if action_repeat == 1 else {}
        for size in (None, *SIZES):
            what = f"{name}, state only" if size is None else f"{name}, both cameras at {size} px"
            speed = rate(stepping(begun(count, action_repeat), size), count, seconds)
            line(what, speed, target=targets.get(size or "state"))
            if action_repeat == 1:
                found[size or "state"] = speed.cpu
    single, actions = World("panda", action_repeat=1), played(1)
    single.reset(start_states()[0], 0)
    line("30 Hz, state only, one World", rate(lambda call: single.step(actions[call % 100, 0]), 1, seconds))
    return found


def interfaces(count: int, seconds: float) -> None:
    """What is reached through Gymnasium, resets and success checks included, and inverse kinematics alone."""
    envs = gymnasium.make_vec(gym.ID, num_envs=count, action_repeat=1, tasks="core")
    envs.reset(seed=0)
    actions = played(count)
    line("30 Hz, Gymnasium's vector form, 64 px", rate(lambda call: envs.step(actions[call % 100]), count, seconds))
    single = World("panda")
    arm, joints, pose = single.controls.kinematics, np.array(single.embodiment.arm.home_rad), np.zeros(12)
    motion.reach(arm.chain_JP, arm.tool_T3, 0, joints, pose)
    solves = rate(lambda _: motion.reach(arm.chain_JP, arm.tool_T3, 2, joints, pose), 1, seconds)
    each_us = 1e6 / solves.cpu
    print(f"inverse kinematics, two iterations, called from Python: {each_us:.1f} us   target {KINEMATICS_US}: "
          f"{'ok' if each_us < KINEMATICS_US else 'MISSED'}", flush=True)


def two_cores(count: int, seconds: float) -> None:
    """One core and two in turns, by the clock: on a machine that others use, that says nothing about us."""
    for size in (None, "64", "96"):
        one = stepping(begun(count, 1), size)
        two = stepping(begun(count, 1, threads=2), size, threads=2)
        pairs = [(rate(one, count, seconds / 3), rate(two, count, seconds / 3)) for _ in range(5)]
        ratio = float(np.median([both.wall / alone.wall for alone, both in pairs]))
        more = np.median([alone.cpu / both.cpu for alone, both in pairs]) - 1
        busy = os.getloadavg()[0] > BUSY
        verdict = f"not judged, load {os.getloadavg()[0]:.1f}" if busy else "ok" if ratio >= SPEEDUP else "MISSED"
        what = "state only" if size is None else f"both cameras at {size} px"
        print(f"two cores against one, {what:<26} {ratio:.2f} x by the clock, {more:+.0%} processor time   "
              f"target {SPEEDUP}: {verdict}", flush=True)


def memory(count: int) -> None:
    """Resident memory of each environment beyond the first, stepped and drawn, in a process of its own."""
    code = ("from tests.bench.bench_tabletop import begun, resident_mb, stepping\n"
            "import sys\n"
            "one = stepping(begun(1, 1), '96'); [one(call) for call in range(3)]\n"
            "before = resident_mb()\n"
            f"many = stepping(begun({count}, 1), '96'); [many(call) for call in range(3)]\n"
            f"print((resident_mb() - before) / {count - 1})\n")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    each_mb = float(run.stdout)
    print(f"memory of each of {count} environments beyond the first, 96 px: {each_mb:.2f} MB   target {MEMORY_MB}: "
          f"{'ok' if each_mb < MEMORY_MB else 'MISSED'}", flush=True)


def resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def opengl(found: dict[str, float], seconds: float) -> None:
    """MuJoCo's own pictures of the same scene, where a GL library is."""
    for size in SIZES:
        try:
            speed = rate(stepping(begun(2, 1), size, renderer="gl"), 2, seconds)
        except UsageError as absent:
            print(f"MuJoCo's own OpenGL pictures: absent here ({absent.what})")
            return
        line(f"30 Hz, both cameras at {size} px, MuJoCo's GL", speed, note=f"   ours {found[size] / speed.cpu:.0f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    parser.add_argument("--worlds", type=int, default=32)
    options = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mujoco", "numba", "numpy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}, "
          f"load {os.getloadavg()[0]:.1f} at the start")
    print(f"kernels ready after {world.warm_up() + rendering.warm_up():.1f} s; {options.worlds} worlds in a batch")
    found = one_core(options.worlds, options.seconds)
    interfaces(options.worlds, options.seconds)
    two_cores(options.worlds, options.seconds)
    memory(options.worlds)
    opengl(found, options.seconds)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
