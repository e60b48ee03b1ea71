"""What this machine has and lacks: one :class:`Check` per thing, each with the remedy.

Nothing is changed and, unless ``deep``, nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vlactl.doctor import deep as trials
from vlactl.doctor import machine, software
from vlactl.doctor.check import Check, Health

__all__ = ["Check", "Health", "examine"]


def examine(home: Path, *, deep: bool = False) -> Iterator[Check]:
    """Every check in order; one that itself breaks is reported as failed, so that the rest is still seen.

    ``deep`` also imports torch, starts a Ray of its own and renders a picture (a minute where kernels are compiled
    first).
    """
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", software.python),
        ("packages", software.packages),
        ("platform", machine.system),
        ("cores", machine.cores),
        ("memory", machine.memory),
        ("open files", machine.open_files),
        ("/dev/shm", machine.shared_memory),
        ("home", lambda: machine.state_folder(home)),
        ("gpu", software.gpu),
        ("compiler", software.compiler),
        ("renderer", software.renderer),
        ("ray", software.ray),
        ("mlflow", lambda: software.mlflow(home)),
    ]
    if deep:
        checks += [
            ("torch", trials.torch_computes),
            ("ray start", trials.ray_starts),
            ("render", trials.renderer_draws),
        ]
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # a broken driver or package may raise anything
            yield Check(
                name=name,
                health=Health.FAIL,
                found=f"{type(error).__name__}: {error}",
                remedy="this check itself broke: reinstall the package that it names",
            )
