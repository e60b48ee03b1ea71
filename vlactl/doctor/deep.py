"""Checks that try things out: torch computes, Ray starts, the renderer draws."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from vlactl.doctor.check import Check, Health


def torch_computes() -> Check:
    import torch

    begun = time.perf_counter()
    cuda = torch.cuda.is_available()
    x = torch.ones(256, 256, device="cuda" if cuda else "cpu")
    total = float((x @ x).sum())
    right = total == 256.0**3
    return Check(
        name="torch",
        health=Health.OK if right else Health.FAIL,
        found=f"{torch.__version__} on "
        f"{torch.cuda.get_device_name() if cuda else 'cpu'}, {torch.get_num_threads()} threads, "
        f"{(time.perf_counter() - begun) * 1000:.0f} ms",
        remedy="" if right else "a matrix product is wrong: reinstall torch",
    )


def ray_starts() -> Check:
    """In a process of its own, so that whatever goes wrong there cannot take the doctor along."""
    begun = time.perf_counter()
    script = "import ray; ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False); ray.shutdown()"
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled"),
    }
    environment.pop("RAY_ADDRESS", None)
    try:
        answer = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment
        )
    except subprocess.TimeoutExpired:
        return Check(
            name="ray start", health=Health.FAIL, found="no answer in 120 s", remedy="sweep with --launcher local"
        )
    if answer.returncode:
        return Check(
            name="ray start",
            health=Health.FAIL,
            found=(answer.stderr.strip().splitlines() or ["no message"])[-1],
            remedy="sweep with --launcher local",
        )
    return Check(name="ray start", health=Health.OK, found=f"started and ended in {time.perf_counter() - begun:.0f} s")


def renderer_draws() -> Check:
    from vlactl.benchmarks import BENCHMARKS

    begun = time.perf_counter()
    world = BENCHMARKS.parse({"kind": "tabletop", "chains": 1}).build()
    simulation = world.simulation()
    simulation.reset(world.episodes()[0])
    images_KYXC = world.look([simulation])[0].images_KYXC
    blank = int(images_KYXC.max()) - int(images_KYXC.min()) < 32
    return Check(
        name="render",
        health=Health.FAIL if blank else Health.OK,
        found=f"a picture of the tabletop in {time.perf_counter() - begun:.1f} s",
        remedy="the picture is blank: delete the numba cache" if blank else "",
    )
