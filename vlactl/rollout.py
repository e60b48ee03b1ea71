"""The one episode loop: many simulations, one batched policy, chunk execution, chains of tasks.

The protocol is CALVIN's LH-MTLC: a chain resets its world once; at every task start the queue of planned actions and
the policy's memory are emptied; the predicate is asked after every control step; the first failure ends the chain.

A rollout is a function of the policy, the protocol and its episode: not of the other episodes, their order or the
number of simulations.  Simulations run ahead until they all need a plan, so the policy always sees the largest possible
batch, and pictures are drawn only for it.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlactl.episodes import EpisodeSpec, Observation, Rollout, Verdict
from vlactl.errors import UsageError, VlactlError
from vlactl.video import Film, Watcher

if TYPE_CHECKING:
    from vlactl.benchmarks import Benchmark, Simulation
    from vlactl.formats import Progress

LOG = logging.getLogger(__name__)
MAX_INFRA_FRACTION = 0.02
"""More lost episodes than this and the evaluation is not valid (reference/evaluation.md 7.2)."""
TOLERANCE = 1e-5
"""An action may leave [-1, 1] by this much: float32 arithmetic of a correct policy does."""
CHAIN = 5
"""Tasks in a chain of CALVIN's protocol."""


class Actor(Protocol):
    """What is asked of a policy; :class:`vlactl.policy.Actor` is one."""

    def reset(self, key: Hashable, noise_seed: int) -> None:
        """Forget everything about ``key``: a task begins."""

    def act(self, requests: Sequence[Any]) -> Sequence[np.ndarray]:
        """One chunk of actions_EA for each ``vlactl.policy.Request``, in [-1, 1]."""
        ...


class SimulationLost(Exception):
    """The simulator of one attempt raised; the attempt is counted but never scored."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One simulation at work on one episode."""

    slot: int
    """The simulation's place, the policy's handle for this attempt."""
    spec: EpisodeSpec
    simulation: Simulation
    task: int = 0
    """Position in the chain of the task at hand."""
    instruction: str = ""
    steps: int = 0
    """Control steps used for the task at hand."""
    queue: deque[np.ndarray] = field(default_factory=deque)
    """Planned actions not yet executed."""
    verdicts: list[Verdict] = field(default_factory=list)
    replans: int = 0
    sent: Any = field(default_factory=hashlib.sha256)
    """Hash of all actions executed so far."""
    watcher: Watcher | None = None

    @property
    def noise_seed(self) -> int:
        """Equal for every policy, different for every task of every episode."""
        return int(np.random.SeedSequence([self.spec.seed, self.task]).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def finish(self, status: str = "ok", detail: str = "") -> Rollout:
        return Rollout(key=self.spec.key, verdicts=tuple(self.verdicts), status=status, replans=self.replans,
                       detail=detail, extras={"actions_sha256": self.sent.hexdigest()[:16]})


class Driver(Protocol):
    """Fills the queues of attempts."""

    def begin(self, attempt: Attempt) -> None:
        """A task begins."""

    def plan(self, attempts: Sequence[Attempt]) -> list[tuple[Attempt, SimulationLost]]:
        """Give every attempt at least one action; returns those whose simulation raised instead."""
        ...


class PolicyDriver:
    """Draws, asks the actor once for all attempts, and queues its chunks."""

    def __init__(self, benchmark: Benchmark, actor: Actor) -> None:
        self.benchmark, self.actor = benchmark, actor

    def begin(self, attempt: Attempt) -> None:
        self.actor.reset(attempt.slot, attempt.noise_seed)

    def plan(self, attempts: Sequence[Attempt]) -> list[tuple[Attempt, SimulationLost]]:
        from vlactl.policy import Request  # torch: only a real policy pays for it

        seen, lost = self._look(attempts)
        if not seen:
            return lost
        chunks = self.actor.act([Request(key=attempt.slot, observation=observation, instruction=attempt.instruction)
                                 for attempt, observation in seen])
        for (attempt, _), chunk_EA in zip(seen, chunks, strict=True):
            assert chunk_EA.shape[1:] == (self.benchmark.spaces.action.size,), chunk_EA.shape
            assert len(chunk_EA), "an empty chunk"
            attempt.queue.extend(np.asarray(chunk_EA, np.float32))
            attempt.replans += 1
        return lost

    def _look(self, attempts: Sequence[Attempt]
              ) -> tuple[list[tuple[Attempt, Observation]], list[tuple[Attempt, SimulationLost]]]:
        """What each attempt sees, drawn in one call; where that fails, one by one, to find who is to blame."""
        try:
            observations = _simulate(self.benchmark.look, [attempt.simulation for attempt in attempts])
            return list(zip(attempts, observations, strict=True)), []
        except SimulationLost:
            seen, lost = [], []
            for attempt in attempts:
                try:
                    seen.append((attempt, _simulate(self.benchmark.look, [attempt.simulation])[0]))
                except SimulationLost as error:
                    lost.append((attempt, error))
            return seen, lost


class ReferenceDriver:
    """A policy that sees no pictures: the scripted expert (a ceiling), random or zero actions (floors), or a function
    that is called for every action."""

    def __init__(self, benchmark: Benchmark, name: str | Callable[[], np.ndarray]) -> None:
        self.benchmark, self.name = benchmark, name
        self._next: dict[int, Callable[[], np.ndarray]] = {}

    def begin(self, attempt: Attempt) -> None:
        size = self.benchmark.spaces.action.size
        if callable(self.name):
            self._next[attempt.slot] = self.name
        elif self.name == "expert":
            self._next[attempt.slot] = _simulate(self.benchmark.expert, attempt.simulation)
        elif self.name == "random":
            generator = np.random.default_rng(attempt.noise_seed)
            self._next[attempt.slot] = lambda: generator.uniform(-1, 1, size)
        else:
            self._next[attempt.slot] = lambda: np.zeros(size)

    def plan(self, attempts: Sequence[Attempt]) -> list[tuple[Attempt, SimulationLost]]:
        lost = []
        for attempt in attempts:
            try:
                attempt.queue.append(np.asarray(_simulate(self._next[attempt.slot]), np.float32))
                attempt.replans += 1
            except SimulationLost as error:
                lost.append((attempt, error))
        return lost


class Relay:
    """One driver for the first ``tasks`` of every chain, another for the rest."""

    def __init__(self, first: Driver, then: Driver, tasks: int) -> None:
        self.first, self.then, self.tasks = first, then, tasks

    def begin(self, attempt: Attempt) -> None:
        (self.first if attempt.task < self.tasks else self.then).begin(attempt)

    def plan(self, attempts: Sequence[Attempt]) -> list[tuple[Attempt, SimulationLost]]:
        early = [attempt for attempt in attempts if attempt.task < self.tasks]
        late = [attempt for attempt in attempts if attempt.task >= self.tasks]
        return [*(self.first.plan(early) if early else ()), *(self.then.plan(late) if late else ())]


REFERENCES = {"expert": "expert", "scripted-expert": "expert", "random": "random", "zero": "zero"}
"""Every name that a reference policy goes by -> the one that :class:`ReferenceDriver` knows."""


def evaluate(benchmark: Benchmark, actor: Actor | Callable[[], np.ndarray] | str, episodes: Sequence[EpisodeSpec],
             *, batch: int, progress: Progress, on_rollout: Callable[[Rollout], None] | None = None,
             done: Mapping[str, Rollout] | None = None, video: Path | Watcher | None = None, rehearsed: int = 0
             ) -> tuple[Rollout, ...]:
    """Attempt every episode that is not in ``done``; returns the rollouts of all, in the order of ``episodes``.

    ``on_rollout`` is called as each ends, in no fixed order.  ``video`` films the first episode attempted,
    or watches it.  The expert does the first ``rehearsed`` tasks of every chain, to lead to the one that is to be seen.
    An exception of a simulator ends its rollout as ``infra_error``; one of the actor, and every ``VlactlError``, ends
    the evaluation.
    """
    keys = [spec.key for spec in episodes]
    if len(set(keys)) != len(keys):
        raise UsageError("two episodes have the same key", expected="a list of different episodes")
    rollouts = {key: rollout for key, rollout in (done or {}).items() if key in set(keys)}
    driver = _driver(benchmark, actor)
    if rehearsed:
        driver = Relay(ReferenceDriver(benchmark, "expert"), driver, rehearsed)
    progress(0, 1, unit="kernels")
    benchmark.warm_up(pictures=video is not None or isinstance(driver, PolicyDriver))
    progress(1, 1, unit="kernels")
    loop = _Loop(benchmark, driver, [s for s in episodes if s.key not in rollouts], batch, video)
    for rollout in loop.run():
        if rollout is not None:
            rollouts[rollout.key] = rollout
            if on_rollout is not None:
                on_rollout(rollout)
        progress(len(rollouts), len(keys), unit="rollouts", **_so_far(rollouts.values(), loop.steps))
    return tuple(rollouts[key] for key in keys)


def _driver(benchmark: Benchmark, actor: Actor | Callable[[], np.ndarray] | str) -> Driver:
    if callable(actor):
        return ReferenceDriver(benchmark, actor)
    if not isinstance(actor, str):
        return PolicyDriver(benchmark, actor)
    if actor not in REFERENCES:
        raise UsageError(f"unknown reference policy '{actor}'", expected=" | ".join(REFERENCES))
    return ReferenceDriver(benchmark, REFERENCES[actor])


def _so_far(rollouts: Any, steps: int) -> dict[str, float]:
    scored = [rollout.solved for rollout in rollouts if rollout.status != "infra_error"]
    return {"steps": steps, "infra_errors": len(rollouts) - len(scored),
            **({"avg_len": round(float(np.mean(scored)), 4)} if scored else {})}


class _Loop:
    """The simulations of one evaluation and the episodes that wait for them."""

    def __init__(self, benchmark: Benchmark, driver: Driver, waiting: Sequence[EpisodeSpec], batch: int,
                 video: Path | Watcher | None) -> None:
        assert batch >= 1, batch
        self.benchmark, self.driver, self.video = benchmark, driver, video
        self.waiting = deque(waiting)
        self.idle: dict[int, Simulation | None] = dict.fromkeys(range(min(batch, len(waiting))))
        self.running: dict[int, Attempt] = {}
        self.steps = 0

    def run(self) -> Iterator[Rollout | None]:
        """Every rollout as it ends, and None for each round of replanning."""
        while self.waiting or self.running:
            yield from self._start_waiting()
            for attempt, lost in self.driver.plan(list(self.running.values())):
                yield self._lose(attempt, lost)
            for attempt in list(self.running.values()):
                try:
                    rollout = self._run_ahead(attempt)
                except SimulationLost as lost:
                    yield self._lose(attempt, lost)
                else:
                    if rollout is not None:
                        self._release(attempt, attempt.simulation)
                        yield rollout
            yield None

    def _start_waiting(self) -> Iterator[Rollout]:
        while self.waiting and self.idle:
            slot, simulation = self.idle.popitem()
            spec = self.waiting.popleft()
            try:
                simulation = simulation or _simulate(self.benchmark.simulation)
            except SimulationLost as lost:
                self.idle[slot] = None
                yield Rollout(key=spec.key, verdicts=(), status="infra_error", detail=str(lost))
                continue
            attempt = self.running[slot] = Attempt(slot=slot, spec=spec, simulation=simulation)
            if self.video is not None:
                attempt.watcher, self.video = self._watcher(self.video), None
            try:
                _simulate(simulation.reset, spec)
                self._begin(attempt)
            except SimulationLost as lost:
                yield self._lose(attempt, lost)

    def _begin(self, attempt: Attempt) -> None:
        """Begin the attempt's task: nothing planned or remembered before survives."""
        attempt.instruction = _simulate(attempt.simulation.begin, attempt.task)
        attempt.steps = 0
        attempt.queue.clear()
        self.driver.begin(attempt)
        self._show(attempt)

    def _run_ahead(self, attempt: Attempt) -> Rollout | None:
        """Execute what is planned; the rollout if that ends the chain, None when a new plan is needed."""
        while attempt.queue:
            action_A = attempt.queue.popleft()
            if not (np.abs(action_A) <= 1 + TOLERANCE).all():  # true for NaN as well
                attempt.verdicts.append(Verdict(task=attempt.spec.tasks[attempt.task], success=False,
                                                steps=attempt.steps))
                return attempt.finish("invalid_action", f"step {attempt.steps} of task {attempt.task}: {action_A}")
            attempt.sent.update(action_A.tobytes())
            success = bool(_simulate(attempt.simulation.step, np.clip(action_A, -1, 1)))
            attempt.steps += 1
            self.steps += 1
            over = success or attempt.steps >= attempt.spec.max_steps
            self._show(attempt, success if over else None)
            if over:
                attempt.verdicts.append(Verdict(task=attempt.spec.tasks[attempt.task], success=success,
                                                steps=attempt.steps))
                attempt.task += 1
                if not success or attempt.task == len(attempt.spec.tasks):
                    return attempt.finish()
                self._begin(attempt)
        return None

    def _watcher(self, video: Path | Watcher) -> Watcher:
        if isinstance(video, Watcher):
            return video
        return Watcher(self.benchmark.look, [Film(video, rate_hz=self.benchmark.spaces.action.rate_hz)])

    def _show(self, attempt: Attempt, success: bool | None = None) -> None:
        if attempt.watcher is not None:
            self._watch(attempt, attempt.watcher.see, attempt, success)

    def _watch(self, attempt: Attempt, call: Callable[..., Any], *arguments: Any) -> None:
        """Show something, or end the show; a film that cannot be written is given up, and costs no score."""
        try:
            call(*arguments)
        except VlactlError:  # whoever watched has closed the window
            raise
        except Exception:
            LOG.warning("episode %s is filmed no further", attempt.spec.key, exc_info=True)
            attempt.watcher = None

    def _lose(self, attempt: Attempt, lost: SimulationLost) -> Rollout:
        LOG.warning("episode %s: the simulator raised", attempt.spec.key, exc_info=lost)
        self._release(attempt, None)  # a simulator that raised is not used again
        return attempt.finish("infra_error", str(lost))

    def _release(self, attempt: Attempt, simulation: Simulation | None) -> None:
        del self.running[attempt.slot]
        self.idle[attempt.slot] = simulation
        if attempt.watcher is not None:
            self._watch(attempt, attempt.watcher.close)


def _simulate(call: Callable[..., Any], *arguments: Any) -> Any:
    """Run a call into the simulator; turns what it raises into :class:`SimulationLost`."""
    try:
        return call(*arguments)
    except (VlactlError, MemoryError):
        raise
    except Exception as error:
        raise SimulationLost(f"{type(error).__name__}: {error}") from error


def summarise(rollouts: Sequence[Rollout], *, chain: int = CHAIN) -> dict[str, Any]:
    """The scores of an evaluation.  Invalid actions count as failures; lost episodes are left out, and counted.

    ``sr1`` .. ``sr<chain>``: fraction of episodes that solved at least so many tasks in a row; ``avg_len``: their sum.
    ``per_task``: task -> [successes, attempts], over the tasks that were begun.  ``valid`` is False when nothing could
    be scored or more than 2 % of the episodes were lost.
    """
    scored = [rollout for rollout in rollouts if rollout.status != "infra_error"]
    lost = len(rollouts) - len(scored)
    solved_N = np.array([rollout.solved for rollout in scored])
    per_task: dict[str, list[int]] = {}
    for verdict in (verdict for rollout in scored for verdict in rollout.verdicts):
        counts = per_task.setdefault(verdict.task, [0, 0])
        counts[0] += verdict.success
        counts[1] += 1
    rates = {f"sr{n}": float((solved_N >= n).mean()) if scored else None for n in range(1, chain + 1)}
    return {**rates, "avg_len": float(solved_N.mean()) if scored else None, "episodes": len(scored),
            "infra_errors": lost, "invalid_actions": sum(r.status == "invalid_action" for r in scored),
            "valid": bool(scored) and lost <= MAX_INFRA_FRACTION * len(rollouts),
            "per_task": dict(sorted(per_task.items())), "replans": sum(rollout.replans for rollout in scored),
            "steps": sum(verdict.steps for rollout in scored for verdict in rollout.verdicts)}


def to_json(rollout: Rollout) -> dict[str, Any]:
    """A rollout as plain data, one line of ``rollouts.jsonl``."""
    return asdict(rollout)


def from_json(document: Mapping[str, Any]) -> Rollout:
    """The inverse of :func:`to_json`."""
    return Rollout(**{**document, "verdicts": tuple(Verdict(**verdict) for verdict in document["verdicts"])})
