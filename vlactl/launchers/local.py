"""Processes on this machine: one warm worker per slot, started when first needed; GPUs are leased machine-wide."""

from __future__ import annotations

import math
import select
import time
from dataclasses import dataclass
from pathlib import Path

from vlactl.launchers import Command, LauncherSpec, Notice, Outcome
from vlactl.launchers.leases import EPSILON, GpuLeases, visible_gpus
from vlactl.launchers.processes import usable_cpus
from vlactl.launchers.worker import Worker, make_order, outcome_of


@dataclass(frozen=True, slots=True)
class Room:
    """What one command occupies."""

    cpus: float
    gpus: int
    share: float
    """Of each of those GPUs."""

    @classmethod
    def of(cls, command: Command) -> Room:
        total = command.ranks * command.gpus_per_rank
        whole = command.gpus_per_rank >= 1
        return cls(cpus=command.ranks * command.cpus_per_rank, gpus=math.ceil(total - EPSILON),
                   share=1.0 if whole or total > 1 else total or 1.0)


class LocalHandle:
    """A command on a worker of ours."""

    def __init__(self, launcher: LocalLauncher, command: Command, worker: Worker, room: Room,
                 gpus: tuple[str, ...]) -> None:
        self.log_path = command.work_dir / "logs" / "rank-0.log"
        self.worker, self.room, self.gpus = worker, room, gpus
        self._launcher = launcher
        self._outcome: Outcome | None = None

    @property
    def is_started(self) -> bool:
        return self.worker.ready is not None or not self.worker.alive

    def poll(self) -> Outcome | None:
        if self._outcome is None:
            was_ready = self.worker.ready is not None
            self.worker.listen()
            if self.worker.ready and not was_ready:
                self._launcher.report_ready(self.worker)
            if self.worker.outcome is not None:
                self._outcome = outcome_of(self.worker.outcome)
                self._launcher.give_back(self)
        return self._outcome

    def cancel(self, grace_s: float, *, stacks: bool = False) -> None:
        if self._outcome is None:
            self.worker.cancel(grace_s, stacks=stacks)


class LocalLauncher:
    """As many commands at once as ``jobs`` says, or as the CPUs allow."""

    def __init__(self, spec: LauncherSpec, home: Path, sweep: str) -> None:
        self.spec, self.home, self.sweep = spec, home, sweep
        self.notice: Notice = lambda event: None
        self.cpus = spec.cpus or usable_cpus()
        visible = visible_gpus()
        self.leases = GpuLeases(visible if spec.gpus is None else visible[:spec.gpus])
        self._running: list[LocalHandle] = []
        self._idle: dict[str, list[Worker]] = {"cpu": [], "cuda": []}
        self._orders = 0

    def refuses(self, command: Command) -> str | None:
        room = Room.of(command)
        if wrong := command.misshapen():
            return wrong
        if command.nodes > 1:
            return f"{command.needs}: the local launcher has one node; use --launcher ray, or nodes: 1"
        if room.gpus > len(self.leases.gpus):
            return f"{command.needs}: this machine has {len(self.leases.gpus)} GPUs; ask for at most that many"
        if room.cpus > self.cpus + EPSILON:
            return f"{command.needs}: this machine has {self.cpus} CPUs; ask for at most that many"
        return None

    def can_start(self, command: Command) -> bool:
        room = Room.of(command)
        if self.spec.jobs is not None and len(self._running) >= self.spec.jobs:
            return False
        busy = sum(handle.room.cpus for handle in self._running)
        if self.spec.jobs is None and busy + room.cpus > self.cpus + EPSILON:
            return False
        return not room.gpus or self.leases.could(room.gpus, room.share)

    def submit(self, command: Command) -> LocalHandle:
        """Raises ``RuntimeError`` when :meth:`can_start` is false."""
        room = Room.of(command)
        gpus = self.leases.acquire(room.gpus, room.share)
        if gpus is None:
            raise RuntimeError(f"{command.label}: submitted while its GPUs were taken")
        worker = self._worker("cuda" if gpus else "cpu", command.warm)
        self._orders += 1
        worker.run(make_order(command, order_id=str(self._orders), gpus=gpus))
        handle = LocalHandle(self, command, worker, room, gpus)
        self._running.append(handle)
        return handle

    def wait(self, timeout_s: float) -> None:
        workers = [handle.worker for handle in self._running if handle.worker.alive]
        if workers:
            select.select(workers, [], [], timeout_s)
        else:
            time.sleep(timeout_s)

    def close(self) -> None:
        for worker in [handle.worker for handle in self._running] + self._idle["cpu"] + self._idle["cuda"]:
            worker.close()
        self._running.clear()
        self._idle = {"cpu": [], "cuda": []}

    def give_back(self, handle: LocalHandle) -> None:
        """A handle's command has ended: its room is free and its worker idle (the ranks are gone, so it is as good
        as new)."""
        self._running.remove(handle)
        self.leases.release(handle.gpus, handle.room.share)
        if handle.worker.alive:
            self._idle["cuda" if handle.gpus else "cpu"].append(handle.worker)
        else:
            handle.worker.close()

    def report_ready(self, worker: Worker) -> None:
        """Say how a worker's warm-up went."""
        ready = worker.ready or {}
        if ready["loaded"]:
            self.notice({"event": "notice", "message": f"worker ready in {ready['seconds']:.1f} s", "worker": ready})
        for module, problem in ready["problems"].items():
            self.notice({"event": "notice", "level": "warning",
                         "message": f"workers cannot import {module}: {problem}"})
        if ready["threads"] > 1:
            self.notice({"event": "notice", "level": "warning",
                         "message": f"an import started a thread ({ready['threads']}): ranks start cold, so slower"})

    def _worker(self, accelerator: str, warm: bool) -> Worker:
        while self._idle[accelerator]:
            worker = self._idle[accelerator].pop()
            worker.listen()
            if worker.alive:
                worker.outcome = None
                return worker
            worker.close()
        imports = self.spec.warm_imports if warm else ()
        if imports:
            self.notice({"event": "notice", "message": f"warming up a worker ({', '.join(imports)})"})
        return Worker(imports=imports, sweep=self.sweep, log=self.home / "logs" / "workers.log",
                      accelerator=accelerator)
