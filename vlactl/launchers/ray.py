"""Ray: a gang (placement group + one node runner per bundle) per running command, kept warm for the next of its
shape.

Ray places and watches; it never sees a stage.  Each node runner is an actor that takes no CPU itself (the bundle holds
the command's) and owns a shepherd, so every death on the way from the driver to a rank ends the ranks.  The driver
keeps one long poll open per busy actor and waits for all of them in one call.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlactl.errors import FailureClass
from vlactl.launchers import Command, Notice, Outcome
from vlactl.launchers import Ray as RaySpec
from vlactl.launchers.cluster import Cluster, connect, fits
from vlactl.launchers.leases import visible_gpus
from vlactl.launchers.node import NodeRunner
from vlactl.launchers.processes import usable_cpus
from vlactl.launchers.worker import import_path, make_order, outcome_of

LONG_POLL_S = 1.0
TELL_AFTER_S = 15.0
"""A gang that has not got its resources by then is spoken of."""
COLLATERAL_GRACE_S = 10.0
SPOILT = (FailureClass.INFRASTRUCTURE, FailureClass.HANG)
"""After these a gang is discarded; after others its ranks are gone and its workers as good as new."""


@dataclass(slots=True, kw_only=True, eq=False)
class Gang:
    """A placement group and its actors."""

    shape: tuple[int, int, float, float]
    bundles: list[dict[str, float]]
    group: Any
    actors: list[Any]
    heard: set[int] = field(default_factory=set)
    """Actors that have spoken: they have their resources."""
    opened: float = field(default_factory=time.monotonic)
    told: bool = False


class RayHandle:
    """A command on a gang."""

    def __init__(self, launcher: RayLauncher, command: Command, gang: Gang) -> None:
        self.log_path = command.work_dir / "logs" / "rank-0.log"
        self.command, self.gang = command, gang
        self.finished: dict[int, dict[str, Any]] = {}
        self.outcome: Outcome | None = None
        self.cancelled = False
        self._launcher = launcher

    @property
    def is_started(self) -> bool:
        return len(self.gang.heard) == len(self.gang.actors)

    def poll(self) -> Outcome | None:
        if self.outcome is None:
            self._launcher.pump(0.0)
        return self.outcome

    def cancel(self, grace_s: float, *, stacks: bool = False) -> None:
        if self.outcome is not None:
            return
        self.cancelled = True
        if not self.is_started:  # it has no resources yet, or no worker: nothing to save
            self._launcher.give_up(self, FailureClass.CANCELLED, "cancelled before it started")
            return
        for actor in self.gang.actors:
            actor.cancel.remote(grace_s, stacks)


class RayLauncher:
    """Connects on first use."""

    def __init__(self, spec: RaySpec, home: Path, sweep: str) -> None:
        self.spec, self.home, self.sweep = spec, home, sweep
        self.notice: Notice = lambda event: None
        self.cpus = spec.cpus or usable_cpus()
        self.gpus = len(visible_gpus()) if spec.gpus is None else spec.gpus
        self._cluster: Cluster | None = None
        self._nodes: list[dict[str, float]] = []
        self._busy: list[RayHandle] = []
        self._idle: list[Gang] = []
        self._polls: dict[Any, tuple[RayHandle, int]] = {}
        self._orders = 0
        self._pumped = 0.0

    # ---- admission -------------------------------------------------------------------------------------------------
    def refuses(self, command: Command) -> str | None:
        if wrong := command.misshapen():
            return wrong
        nodes = self._known_nodes()
        bundles = bundles_of(command)
        able = sum(fits([node], [], bundles[:1]) for node in nodes)
        if able >= command.nodes:
            return None
        largest = max(nodes, key=lambda node: (node["GPU"], node["CPU"]), default={"CPU": 0.0, "GPU": 0.0})
        return (f"{command.needs}: each node must have {bundles[0]['CPU']:g} CPU and {bundles[0]['GPU']:g} GPU, and "
                f"{able} of {len(nodes)} nodes have (the largest: {largest['CPU']:g} CPU, {largest['GPU']:g} GPU)")

    def can_start(self, command: Command) -> bool:
        if self.spec.jobs is not None and len(self._busy) >= self.spec.jobs:
            return False
        self._connect()
        if any(gang.shape == command.shape for gang in self._idle):
            return True
        return fits(self._nodes, self._taken(), bundles_of(command))

    def _taken(self) -> list[dict[str, float]]:
        return [bundle for handle in self._busy for bundle in handle.gang.bundles]

    def _known_nodes(self) -> list[dict[str, float]]:
        """Those of a foreign cluster, or what one of ours would have (which need not run to refuse a command)."""
        if self._is_ours:
            return [{"CPU": float(self.cpus), "GPU": float(self.gpus)}]
        self._connect()
        return self._nodes

    @property
    def _is_ours(self) -> bool:
        return not (self.spec.address or os.environ.get("RAY_ADDRESS")) if self._cluster is None else self._cluster.own

    def _connect(self) -> None:
        if self._cluster is None:
            # with a fixed number of jobs it is that number which limits, as with the local launcher
            cpus = self.cpus * (self.spec.jobs or 1)
            self._cluster = connect(address=self.spec.address, cpus=cpus, gpus=self.gpus, sweep=self.sweep,
                                    home=self.home, notice=self.notice)
            self._nodes = self._cluster.nodes()

    # ---- running ---------------------------------------------------------------------------------------------------
    def submit(self, command: Command) -> RayHandle:
        self._connect()
        gang = self._gang(command)
        handle = RayHandle(self, command, gang)
        self._busy.append(handle)
        self._orders += 1
        master = gang.actors[0].port.remote() if command.nodes > 1 else None
        for node, actor in enumerate(gang.actors):
            actor.start.remote(make_order(command, order_id=str(self._orders), node=node), master)
            self._polls[actor.step.remote(LONG_POLL_S)] = (handle, node)
        return handle

    def _gang(self, command: Command) -> Gang:
        for gang in self._idle:
            if gang.shape == command.shape:
                self._idle.remove(gang)
                return gang
        bundles = bundles_of(command)
        kept = [bundle for gang in self._idle for bundle in gang.bundles]
        while self._idle and not fits(self._nodes, self._taken() + kept, bundles):
            self._discard(gang := self._idle.pop(0))
            kept = kept[len(gang.bundles):]
        return self._open(command, bundles)

    def _open(self, command: Command, bundles: list[dict[str, float]]) -> Gang:
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        reserved = [{name: amount for name, amount in bundle.items() if amount} for bundle in bundles]
        group = placement_group(reserved, strategy="STRICT_SPREAD" if command.nodes > 1 else "STRICT_PACK")
        imports = self.spec.warm_imports if command.warm else ()
        log = self.home / "logs" / "workers.log"
        actors = []
        for index, bundle in enumerate(bundles):
            where = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=index)
            actor = ray.remote(NodeRunner).options(num_cpus=0, num_gpus=bundle["GPU"], scheduling_strategy=where,
                                                   max_restarts=0)
            actors.append(actor.remote(imports=imports, sweep=self.sweep, log=str(log), python_path=import_path(),
                                       gpus=bundle["GPU"]))
        if imports:
            self.notice({"event": "notice", "message": f"warming up a worker ({', '.join(imports)})"})
        return Gang(shape=command.shape, bundles=bundles, group=group, actors=actors)

    def wait(self, timeout_s: float) -> None:
        if self._polls:
            self.pump(timeout_s)
        else:
            time.sleep(timeout_s)

    def pump(self, timeout_s: float) -> None:
        """Take in all that the actors have said: one call to Ray, however many they are."""
        import ray
        from ray.exceptions import RayError

        now = time.monotonic()
        if not self._polls or (not timeout_s and now - self._pumped < 0.01):
            return
        polls = list(self._polls)
        ready, _ = ray.wait(polls, num_returns=1, timeout=timeout_s)
        if ready and len(polls) > 1:
            ready, _ = ray.wait(polls, num_returns=len(polls), timeout=0)
        self._pumped = time.monotonic()
        for poll in ready:
            if poll not in self._polls:  # its handle has been given up meanwhile
                continue
            handle, node = self._polls.pop(poll)
            try:
                self._heard(handle, node, ray.get(poll))
            except RayError as error:
                why = str(error).strip().splitlines()
                self.give_up(handle, FailureClass.INFRASTRUCTURE,
                             f"a node runner died: {type(error).__name__}: {why[0]}")
        for handle in tuple(self._busy):
            self._mind_waiting(handle)

    def _heard(self, handle: RayHandle, node: int, news: dict[str, Any]) -> None:
        gang = handle.gang
        gang.heard.add(node)
        if "ready" in news:
            self._report_ready(news["host"], news["ready"])
        if "waiting" in news and not gang.told:
            gang.told = True
            self.notice({"event": "notice", "message": f"{handle.command.label}: {news['waiting']}"})
        if "finished" not in news:
            self._polls[gang.actors[node].step.remote(LONG_POLL_S)] = (handle, node)
            return
        handle.finished[node] = news["finished"]
        if not news["finished"]["ok"]:
            for other, actor in enumerate(gang.actors):
                if other not in handle.finished:
                    actor.cancel.remote(COLLATERAL_GRACE_S, False)
        if len(handle.finished) == len(gang.actors):
            failures = [message for message in handle.finished.values() if not message["ok"]]
            first = min(failures, key=lambda message: message.get("at") or 0.0, default=handle.finished[0])
            self._settle(handle, outcome_of(first))

    def _settle(self, handle: RayHandle, outcome: Outcome) -> None:
        handle.outcome = outcome
        self._busy.remove(handle)
        if outcome.failure in SPOILT:
            self._discard(handle.gang)
        else:
            self._idle.append(handle.gang)

    def give_up(self, handle: RayHandle, failure: FailureClass, message: str) -> None:
        """End the gang of a command whose actors are dead, or were never born."""
        self._polls = {poll: entry for poll, entry in self._polls.items() if entry[0] is not handle}
        failure = FailureClass.CANCELLED if handle.cancelled else failure
        handle.outcome = Outcome(ok=False, failure=failure, message=message)
        self._busy.remove(handle)
        self._discard(handle.gang)

    def _mind_waiting(self, handle: RayHandle) -> None:
        """A gang that gets no resources must not wait in silence, nor for ever."""
        gang = handle.gang
        waited = time.monotonic() - gang.opened
        if handle.is_started or waited < TELL_AFTER_S:
            return
        if gang.told and waited < self.spec.wait_timeout_s:
            return
        import ray

        free = ray.available_resources()
        text = (f"{handle.command.label} waits for {handle.command.needs}; the cluster has {free.get('CPU', 0):g} CPU "
                f"and {free.get('GPU', 0):g} GPU free")
        if waited >= self.spec.wait_timeout_s:
            self.give_up(handle, FailureClass.INFRASTRUCTURE, f"{text}, for {waited:.0f} s")
        else:
            gang.told = True
            self.notice({"event": "notice", "level": "warning", "message": text})

    def _report_ready(self, host: str, ready: dict[str, Any]) -> None:
        if ready["loaded"]:
            self.notice({"event": "notice", "message": f"worker on {host} ready in {ready['seconds']:.1f} s",
                         "worker": ready})
        for module, problem in ready["problems"].items():
            self.notice({"event": "notice", "level": "warning",
                         "message": f"{host} cannot import {module}: {problem}"})
        if ready["threads"] > 1:
            self.notice({"event": "notice", "level": "warning",
                         "message": f"an import started threads on {host}: ranks start cold, which is slower"})

    # ---- ending ----------------------------------------------------------------------------------------------------
    def _discard(self, gang: Gang) -> None:
        """Kill the actors (their shepherds see the pipes close) and free the resources."""
        import ray
        from ray.util.placement_group import remove_placement_group

        for actor in gang.actors:
            ray.kill(actor)
        remove_placement_group(gang.group)

    def close(self) -> None:
        if self._cluster is None:
            return
        for handle in tuple(self._busy):
            self.give_up(handle, FailureClass.CANCELLED, "the launcher was closed")
        while self._idle:
            self._discard(self._idle.pop())
        self._cluster.close()
        self._cluster = None


def bundles_of(command: Command) -> list[dict[str, float]]:
    """What each node must have for its share of the ranks."""
    here = command.ranks // command.nodes
    return [{"CPU": here * command.cpus_per_rank, "GPU": here * command.gpus_per_rank}] * command.nodes
