"""Menu: how a stage becomes processes.

The runner hands a :class:`Command` to a :class:`Launcher` and polls the :class:`Handle` until it has an
:class:`Outcome`. Whatever the launcher, the ranks of a command are children of a *shepherd*
(:mod:`vlactl.launchers.shepherd`), so none of them outlives its owner.  A launcher knows nothing of stages: it runs
``target(work_dir)`` in every rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import Field

from vlactl.errors import ExitCode, FailureClass, VlactlError
from vlactl.registry import Registry, Spec

WARM_IMPORTS = ("vlactl.training.warm", "transformers", "safetensors.torch", "numba", "mujoco", "vlactl.policy",
                "vlactl.rollout", "vlactl.tabletop.world", "vlactl.tabletop.rendering.raycast")
"""What a warm worker imports once, before the ranks are forked from it; names only, never imported here."""

SWEEP_MARK = "VLACTL_SWEEP"
"""Environment variable that every process of a sweep carries; leftovers are found by it."""


class LauncherError(VlactlError):
    """The launcher itself cannot work: no cluster, no worker."""

    exit_code = ExitCode.NOTHING_SUCCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One attempt at one stage, as a launcher sees it."""

    label: str
    digest: str
    work_dir: Path
    """Absolute; on several nodes it must be on a shared file system."""
    target: str = "vlactl.stages:main"
    """``module:function``, called as ``function(work_dir)`` in every rank."""
    nodes: int = 1
    ranks: int = 1
    """Over all nodes; each node runs ``ranks / nodes`` of them."""
    cpus_per_rank: float = 1.0
    gpus_per_rank: float = 0.0
    """Below 1 several commands share a GPU (their memory is not isolated)."""
    env: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    warm: bool = True
    """Fork from the preloaded worker; False starts a fresh interpreter per rank."""

    @property
    def shape(self) -> tuple[int, int, float, float]:
        """Commands of one shape can use one another's workers."""
        return (self.nodes, self.ranks, self.cpus_per_rank, self.gpus_per_rank)

    @property
    def needs(self) -> str:
        """The resources in words."""
        gpus = f", {self.gpus_per_rank:g} GPU each" if self.gpus_per_rank else ""
        nodes = f" on {self.nodes} nodes" if self.nodes > 1 else ""
        return f"{self.ranks} rank{'s' if self.ranks > 1 else ''} with {self.cpus_per_rank:g} CPU each{gpus}{nodes}"

    def misshapen(self) -> str | None:
        """Why no launcher can ever run this, or None."""
        if min(self.nodes, self.ranks) < 1 or self.cpus_per_rank <= 0 or self.gpus_per_rank < 0:
            return f"{self.needs}: nodes and ranks must be at least 1, CPUs above 0"
        if self.ranks % self.nodes:
            return f"{self.ranks} ranks cannot be spread evenly over {self.nodes} nodes"
        if self.gpus_per_rank > 1 and self.gpus_per_rank % 1:
            return f"{self.gpus_per_rank:g} GPUs per rank: above 1 it must be a whole number"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    ok: bool
    failure: FailureClass | None = None
    message: str = ""
    rank: int | None = None
    """The first rank that failed; the others are collateral."""


Notice = Callable[[dict[str, Any]], None]
"""Called with ``{"event": "notice", "message": ...}`` for what a person should know: starting Ray, waiting for a
GPU."""


class Handle(Protocol):
    """A running attempt."""

    log_path: Path

    @property
    def is_started(self) -> bool:
        """Whether its ranks have their resources; waiting for them is neither work nor a hang."""
        ...

    def poll(self) -> Outcome | None:
        """The outcome, or None while it runs; never blocks."""
        ...

    def cancel(self, grace_s: float, *, stacks: bool = False) -> None:
        """SIGTERM to the ranks, SIGKILL to everything of theirs after ``grace_s``; ``stacks`` first dumps theirs to
        the log."""
        ...


class Launcher(Protocol):
    """Where commands run.  Not thread-safe; every method but ``wait`` and a first ``submit`` returns at once."""

    notice: Notice

    def refuses(self, command: Command) -> str | None:
        """Why this command can never start here, saying what would fit; None when it can."""
        ...

    def can_start(self, command: Command) -> bool:
        """Whether ``submit`` would start it now rather than queue it."""
        ...

    def submit(self, command: Command) -> Handle: ...

    def wait(self, timeout_s: float) -> None:
        """Sleep until a handle may have news, at most ``timeout_s``."""
        ...

    def close(self) -> None:
        """End everything that is still running and every worker; idempotent."""
        ...


class LauncherSpec(Spec):
    """What is common to all launchers.  All of it is execution: no field changes a result."""

    jobs: int | None = Field(default=None, ge=1)
    """At most this many stages at once; null: as many as the CPUs and GPUs allow."""
    cpus: int | None = Field(default=None, ge=1)
    """CPUs to count on; null: what this process may use."""
    gpus: int | None = Field(default=None, ge=0)
    """GPUs to count on; null: those that are visible."""
    warm_imports: tuple[str, ...] = WARM_IMPORTS
    """Modules that each worker imports once; empty: workers start cold."""

    def build(self, home: Path, sweep: str) -> Launcher:
        """The launcher; nothing is started before the first command.  ``sweep`` marks the processes it starts."""
        raise NotImplementedError


LAUNCHERS: Registry[LauncherSpec] = Registry("launchers", "launcher")


class Ray(LauncherSpec):
    """Placement groups on a Ray cluster: the one at ``address`` (or ``RAY_ADDRESS``), else one of our own on this
    machine."""

    kind: ClassVar[str] = "ray"
    address: str | None = None
    """``host:port`` or ``auto`` of a running cluster; it is used, never changed or stopped."""
    wait_timeout_s: float = Field(default=1800.0, gt=0)
    """How long a command may wait for resources that other users of the cluster hold."""

    def build(self, home: Path, sweep: str) -> Launcher:
        from vlactl.launchers.ray import RayLauncher

        return RayLauncher(self, home, sweep)


class Local(LauncherSpec):
    """Processes on this machine, without Ray."""

    kind: ClassVar[str] = "local"

    def build(self, home: Path, sweep: str) -> Launcher:
        from vlactl.launchers.local import LocalLauncher

        return LocalLauncher(self, home, sweep)


LAUNCHERS.add(Ray)
LAUNCHERS.add(Local)
