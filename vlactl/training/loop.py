"""The one training loop: windows in, weights out, on a DeepSpeed engine; resumes exactly where it was killed.

Everything random is a function of (seed, update, window), so a run that was interrupted has the curve of one that was
not, and ranks and micro-batches change rounding only.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlactl.errors import FailureClass, StageFailed
from vlactl.training import TrainingSettings
from vlactl.training.augment import augment
from vlactl.training.checkpoint import Checkpoints, allocate_moments, load_moments, load_weights
from vlactl.training.engine import Gang, freeze, join, settle, start
from vlactl.windows import Batch, MixtureStream

PROGRESS_EVERY_S = 0.5
LOG = logging.getLogger(__name__)


def train(policy: Any, stream: MixtureStream, settings: TrainingSettings, work_dir: Path, *, updates: int,
          progress: Callable[..., None], log: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train ``policy`` in place for ``updates`` updates, going on from the newest whole checkpoint in ``work_dir``.

    Every rank calls it with the same arguments (``stream`` knows the rank); rank 0 calls ``progress`` and ``log``.
    Afterwards ``policy`` is a plain module on the CPU again, whole at least on rank 0, and ready to be saved.

    Returns:
        loss (mean over the last row of the curve), updates, seconds (over all attempts), updates_per_s, samples (frames
        supervised), epochs per source, parameters, trained_parameters, resumed_at, ranks, micro_batch, device.

    Raises:
        StageFailed: NAN (loss or gradient), OUT_OF_MEMORY, PREEMPTED (SIGTERM; the state was saved first).
    """
    gang = join()
    freeze(policy, settings.freeze)
    parameters = list(policy.parameters())
    counts = {"parameters": sum(p.numel() for p in parameters),
              "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad)}
    frames = settings.micro_windows(stream.history, gang.world) * stream.history
    with memory_failures(frames), preemption() as preempted:
        run = begin(policy, stream, settings, work_dir, gang, updates, preempted)
        resumed_at = run.done
        try:
            run.to_the_end(progress, log)
        finally:
            run.feed.close()
        settle(run.engine, policy, gang)
    seconds = run.meter.seconds()
    return {"loss": run.meter.last, "updates": updates, "seconds": round(seconds, 3),
            "updates_per_s": round(updates / seconds, 3) if seconds else None,
            "samples": updates * stream.batch_windows * stream.history,
            "epochs": [round(epochs, 3) for epochs in stream.epochs(updates)], **counts,
            "resumed_at": resumed_at, "ranks": gang.world, "micro_batch": frames, "device": gang.device.type}


def begin(policy: Any, stream: MixtureStream, settings: TrainingSettings, work_dir: Path, gang: Gang,
          updates: int, preempted: threading.Event) -> Run:
    """A run at the point where the work directory's newest checkpoint stands, or at its start."""
    micro_windows = settings.micro_windows(stream.history, gang.world)
    checkpoints = Checkpoints(work_dir / "checkpoints", gang)
    resume = checkpoints.newest()
    if resume:
        load_weights(resume, policy)
    engine = start(policy, settings, gang, windows=stream.batch_windows, micro_windows=micro_windows)
    allocate_moments(engine, resume.update if resume else 0)
    meter = Meter()
    if resume:
        load_moments(resume, engine, policy)
        meter.restore(resume.notes)
        LOG.info("going on after %d updates from %s", resume.update, resume.path)
    ahead = settings.prefetch if gang.device.type != "cpu" else 0
    return Run(policy=policy, stream=stream, settings=settings, gang=gang, engine=engine, checkpoints=checkpoints,
               meter=meter, updates=updates, done=resume.update if resume else 0, micro_windows=micro_windows,
               feed=Feed(stream, ahead), preempted=preempted)


@dataclass(slots=True, kw_only=True)
class Run:
    """One phase of training under way."""

    policy: Any
    stream: MixtureStream
    settings: TrainingSettings
    gang: Gang
    engine: Any
    checkpoints: Checkpoints
    meter: Meter
    feed: Feed
    updates: int
    done: int
    micro_windows: int
    preempted: threading.Event
    trained: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.trained = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]

    def to_the_end(self, progress: Callable[..., None], log: Callable[[dict[str, Any]], None]) -> None:
        """Every update that is left, with rows of the curve, heartbeats and checkpoints on the way.

        Raises:
            StageFailed: PREEMPTED, after the state was saved; NAN.
        """
        saved = beaten = began = time.monotonic()
        first = self.done
        while self.done < self.updates:
            due = time.monotonic() - saved >= self.settings.checkpoint_every_s
            loss, save_now, stop_now = self.one_update(due)
            self.done += 1
            now, last = time.monotonic(), self.done == self.updates
            if self.done % self.settings.log_every == 0 or last:
                row = self.meter.row(self.done, self.settings.rate(self.done - 1, self.updates))
                if self.gang.rank == 0:
                    log(row)
            if self.gang.rank == 0 and (now - beaten >= PROGRESS_EVERY_S or last):
                beaten, speed = now, (self.done - first) / (now - began)
                progress(self.done, self.updates, unit="updates", loss=round(loss, 5), updates_per_s=round(speed, 2),
                         eta_s=round((self.updates - self.done) / speed, 1))
            if (save_now or stop_now) and not last:
                path = self.checkpoints.save(self.done, self.engine, self.policy, self.meter.notes())
                saved = time.monotonic()
                if stop_now:
                    raise StageFailed(f"stopped after {self.done} of {self.updates} updates; saved to {path}",
                                      failure=FailureClass.PREEMPTED, where="training")

    def one_update(self, due: bool) -> tuple[float, bool, bool]:
        """One optimiser update: its loss over all ranks, and whether any rank wants to save, or must stop, after it."""
        update = self.done
        for group in self.engine.basic_optimizer.param_groups:
            group["lr"] = self.settings.rate(update, self.updates)
        torch.manual_seed(seed_of(self.stream.seed, update, self.gang.rank))
        losses: list[Tensor] = []
        parts: dict[str, float] = {}
        batches = self.micro_batches(update)
        for batch, scale in batches:
            if losses:
                self.engine.step()   # in between this only counts the micro-batch
            loss, seen = self.engine(batch, scale)
            self.engine.backward(loss)
            losses.append(loss.detach())
            for name, part in seen.items():
                parts[name] = parts.get(name, 0.0) + scale * float(part)
        share = 1 / (len(batches) * self.gang.world)
        loss_now, save_now, stop_now, *seen_now = self.gang.sum(
            [float(torch.stack(losses).sum()) * share, float(due and self.gang.rank == 0),
             float(self.preempted.is_set()), *(part * share for part in parts.values())])
        self.require_finite("loss", loss_now)
        self.meter.add(loss_now, dict(zip(parts, seen_now, strict=True)), self.step())
        return loss_now, bool(save_now), bool(stop_now)

    def step(self) -> float:
        """Clip the gradient, apply it, and return its norm before clipping."""
        if self.settings.zero_stage:
            self.engine.step()
            return self.require_finite("gradient norm", float(self.engine.get_global_grad_norm()))
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm or math.inf)
        self.require_finite("gradient norm", float(norm))
        self.engine.step()
        return float(norm)

    def micro_batches(self, update: int) -> list[tuple[Batch, float]]:
        """This rank's windows of ``update`` in micro-batches, each with the factor that its loss counts by.

        A loss is the mean over the mask of one micro-batch, and the engine takes the plain mean of them; with a factor
        of (mask here) / (mean mask of all micro-batches of all ranks) that is the mean over the global batch's mask.
        """
        stream, size = self.stream, self.micro_windows
        batch = self.feed.at(update).to(self.gang.device)
        batch.images_BHKYXC = augment(batch.images_BHKYXC, self.settings, seed=stream.seed, update=update,
                                      first=self.gang.rank * len(batch), windows=stream.batch_windows)
        count = stream.batch_windows // size
        if count == 1:
            return [(batch, 1.0)]
        each = stream.supervised(update) / count
        rows = [batch.rows(start, start + size) for start in range(0, len(batch), size)]
        return [(part, float(part.mask_BHL.sum()) / each) for part in rows]

    def require_finite(self, what: str, value: float) -> float:
        if not math.isfinite(value):
            raise StageFailed(f"the {what} of update {self.done} is {value}", failure=FailureClass.NAN,
                              where="training", remedy="lower training.learning_rate or set training.clip_norm")
        return value


class Meter:
    """Means since the last row of the curve, and the time spent; survives a restart, so that the curve does too."""

    def __init__(self) -> None:
        self._count, self._loss, self._norm = 0, 0.0, 0.0
        self._parts: dict[str, float] = {}
        self._before_s = 0.0
        self._began = self._row_began = time.monotonic()
        self.last = math.nan
        """Mean loss in the last row."""

    def add(self, loss: float, parts: Mapping[str, float], norm: float) -> None:
        self._count += 1
        self._loss += loss
        self._norm += norm
        for name, part in parts.items():
            self._parts[name] = self._parts.get(name, 0.0) + part

    def row(self, update: int, rate: float) -> dict[str, Any]:
        """The row of the curve that ends with ``update`` updates done; starts the next one."""
        count, now = max(1, self._count), time.monotonic()
        self.last = self._loss / count
        row = {"update": update, "loss": self.last, "parts": {k: v / count for k, v in self._parts.items()}, "lr": rate,
               "grad_norm": self._norm / count, "updates_per_s": round(count / max(now - self._row_began, 1e-9), 3)}
        self._count, self._loss, self._norm, self._parts, self._row_began = 0, 0.0, 0.0, {}, now
        return row

    def seconds(self) -> float:
        """Time in this loop over all attempts that led here."""
        return self._before_s + time.monotonic() - self._began

    def notes(self) -> dict[str, Any]:
        return {"count": self._count, "loss": self._loss, "norm": self._norm, "parts": self._parts,
                "seconds": self.seconds()}

    def restore(self, notes: Mapping[str, Any]) -> None:
        self._count, self._loss, self._norm = notes["count"], notes["loss"], notes["norm"]
        self._parts, self._before_s = dict(notes["parts"]), notes["seconds"]


class Feed:
    """A stream's batches; ``ahead`` of them are prepared by a thread, in the order in which they will be asked for."""

    def __init__(self, stream: MixtureStream, ahead: int) -> None:
        self._stream, self._ahead = stream, ahead
        self._pool = ThreadPoolExecutor(1, "windows") if ahead else None
        self._ready: dict[int, Future[Batch]] = {}

    def at(self, update: int) -> Batch:
        if self._pool is None:
            return self._stream.at(update)
        for number in range(update, update + 1 + self._ahead):
            if number not in self._ready:
                self._ready[number] = self._pool.submit(self._stream.at, number)
        return self._ready.pop(update).result()

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


def seed_of(seed: int, update: int, rank: int) -> int:
    """Seed of torch's random numbers (dropout, noise) in one update of one rank."""
    return int(np.random.SeedSequence((seed, 4, update, rank)).generate_state(1, np.uint64)[0])


@contextmanager
def preemption() -> Iterator[threading.Event]:
    """An event that SIGTERM sets: the loop acts on it between updates, never inside the handler."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def memory_failures(frames: int) -> Iterator[None]:
    """Turn an allocator's complaint into StageFailed(OUT_OF_MEMORY); ``frames`` is the micro-batch that did not fit."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # torch's allocator for the CPU raises a plain RuntimeError.
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error):
            raise StageFailed(f"out of memory with a micro_batch of {frames}: {str(error).partition(chr(10))[0]}",
                              failure=FailureClass.OUT_OF_MEMORY, where="training",
                              remedy="a smaller micro_batch or a higher zero_stage") from error
        raise
