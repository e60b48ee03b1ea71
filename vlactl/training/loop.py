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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlactl.errors import FailureClass, StageFailed
from vlactl.training import TrainingSettings
from vlactl.training.augment import augmented
from vlactl.training.checkpoint import Checkpoints, allocate_moments, follow, load_moments, load_weights
from vlactl.training.engine import join, settle, start
from vlactl.training.feed import Feed, Stream, drawn
from vlactl.training.gang import Gang
from vlactl.training.meter import SUM, Meter
from vlactl.training.scaling import LossScale
from vlactl.training.tuning import counted, tuned

PROGRESS_EVERY_S = 0.5
WORDS = "vl_"
"""How parts of a loss begin that are means over pictures with words, of which a micro-batch has a share of its own."""
LOG = logging.getLogger(__name__)


def train(policy: Any, stream: Stream, settings: TrainingSettings, work_dir: Path, *, updates: int,
          progress: Callable[..., None], log: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train ``policy`` in place for ``updates`` updates, going on from the newest whole checkpoint in ``work_dir``.

    ``policy`` is any module with ``loss(batch, scale)`` and ``backbone.subtrees()``.  Every rank calls it with the same
    arguments (``stream`` knows the rank); rank 0 calls ``progress`` and ``log``.  Afterwards ``policy`` is a plain
    module on the CPU again, without adapters, whole at least on rank 0, and ready to be saved.

    Returns:
        loss (mean over the last row of the curve), updates, skipped_updates (not finite), overflows (of fp16), seconds
        (over all attempts), updates_per_s, samples (frames supervised), epochs per source, sources (windows and share
        of each, where there are several), tuning, precision, ema, zero_stage, offload, parameters, trained_parameters,
        trained (by part of the backbone, and the rest), resumed_at, ranks, micro_batch, device.

    Raises:
        StageFailed: NAN (loss or gradient), OUT_OF_MEMORY, PREEMPTED (SIGTERM; the state was saved first).
        UsageError: ``settings.tuning`` does not fit the backbone, or the ranks do not divide the windows.
    """
    gang = join()
    frames = settings.micro_windows(stream.history, gang.world, stream.batch_windows) * stream.history
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    with memory_failures(frames), preemption() as preempted, tuned(policy, settings, seed=stream.seed):
        trained = counted(policy)
        run = begin(policy, stream, settings, work_dir, gang, updates, preempted)
        resumed_at = run.done
        try:
            run.to_the_end(progress, log)
        finally:
            run.feed.close()
        settle(run.engine, policy, gang, average=settings.ema is not None)
    seconds = run.meter.seconds()
    return {"loss": run.meter.last, "updates": updates, "skipped_updates": run.skipped,
            "overflows": run.scale.overflows, "seconds": round(seconds, 3),
            "updates_per_s": round(updates / seconds, 3) if seconds else None,
            "samples": updates * stream.batch_windows * stream.history,
            "epochs": [round(epochs, 3) for epochs in stream.epochs(updates)], "sources": run.meter.sources(),
            "tuning": settings.tuning, "precision": settings.precision, "ema": settings.ema,
            "zero_stage": settings.zero_stage, "offload": settings.offload, "parameters": parameters,
            "trained_parameters": sum(trained.values()), "trained": trained,
            "resumed_at": resumed_at, "ranks": gang.world, "micro_batch": frames, "device": gang.device.type}


def begin(policy: Any, stream: Stream, settings: TrainingSettings, work_dir: Path, gang: Gang,
          updates: int, preempted: threading.Event) -> Run:
    """A run at the point where the work directory's newest checkpoint stands, or at its start."""
    micro_windows = settings.micro_windows(stream.history, gang.world, stream.batch_windows)
    checkpoints = Checkpoints(work_dir / "checkpoints", gang)
    resume = checkpoints.newest()
    if resume:
        load_weights(resume, policy)
    engine = start(policy, settings, gang, windows=stream.batch_windows, micro_windows=micro_windows)
    allocate_moments(engine, resume.notes["applied"] if resume else 0, average=settings.ema is not None)
    ahead = settings.prefetch if gang.device.type != "cpu" else 0
    run = Run(policy=policy, stream=stream, settings=settings, gang=gang, engine=engine, checkpoints=checkpoints,
              meter=Meter(), scale=LossScale(settings.precision == "fp16"), updates=updates, done=0,
              micro_windows=micro_windows, feed=Feed(stream, ahead), preempted=preempted)
    if resume:
        load_moments(resume, engine, policy)
        run.restore(resume.update, resume.notes)
        LOG.info("going on after %d updates from %s", resume.update, resume.path)
    return run


@dataclass(slots=True, kw_only=True)
class Run:
    """One phase of training under way."""

    policy: Any
    stream: Stream
    settings: TrainingSettings
    gang: Gang
    engine: Any
    checkpoints: Checkpoints
    meter: Meter
    scale: LossScale
    feed: Feed
    updates: int
    done: int
    micro_windows: int
    preempted: threading.Event
    applied: int = 0
    """Updates that changed the weights."""
    skipped: int = 0
    """Updates that were left out because a loss or gradient was not finite."""
    in_a_row: int = 0
    """How many of the last updates were."""
    trained: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.trained = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]

    def notes(self) -> dict[str, Any]:
        """What a checkpoint must hold beside tensors."""
        return {"applied": self.applied, "skipped": self.skipped, "in_a_row": self.in_a_row,
                "scale": self.scale.notes(), "meter": self.meter.notes()}

    def restore(self, done: int, notes: dict[str, Any]) -> None:
        self.done, self.applied = done, notes["applied"]
        self.skipped, self.in_a_row = notes["skipped"], notes["in_a_row"]
        self.scale.restore(notes["scale"])
        self.meter.restore(notes["meter"])

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
                if self.gang.rank == 0 and row:
                    log(row)
            if self.gang.rank == 0 and (now - beaten >= PROGRESS_EVERY_S or last):
                beaten, speed = now, (self.done - first) / (now - began)
                progress(self.done, self.updates, unit="updates", updates_per_s=round(speed, 2),
                         eta_s=round((self.updates - self.done) / speed, 1),
                         **({"loss": round(loss, 5)} if math.isfinite(loss) else {}))
            if (save_now or stop_now) and not last:
                path = self.checkpoints.save(self.done, self.engine, self.policy, self.notes())
                saved = time.monotonic()
                if stop_now:
                    raise StageFailed(f"stopped after {self.done} of {self.updates} updates; saved to {path}",
                                      failure=FailureClass.PREEMPTED, where="training")

    def one_update(self, due: bool) -> tuple[float, bool, bool]:
        """One optimiser update: its loss over all ranks, and whether any rank wants to save, or must stop, after it."""
        update = self.done
        rate = self.settings.rate(update, self.updates)
        for group in self.engine.basic_optimizer.param_groups:
            group["lr"] = rate * group["multiplier"]
        torch.manual_seed(seed_of(self.stream.seed, update, self.gang.rank))
        losses: list[Tensor] = []
        batches, parts = self.micro_batches(update)
        share = 1 / (len(batches) * self.gang.world)
        for batch, scale in batches:
            if losses:
                self.engine.step()   # in between this only counts the micro-batch
            loss, seen = self.engine(batch, scale)
            self.backward(loss)
            losses.append(loss.detach())
            for name, part in seen.items():
                parts[name] = parts.get(name, 0.0) + part * (1.0 if name.startswith(SUM) else share * (
                    batch.pairs.scale if name.startswith(WORDS) else scale))
        names = sorted(parts)   # the ranks' numbers are added up by their place
        loss_now, save_now, stop_now, *seen_now = self.gang.sum(
            [torch.stack(losses).sum() * share, float(due and self.gang.rank == 0), float(self.preempted.is_set()),
             *(parts[name] for name in names)])
        if self.settings.nan == "fail" and not math.isfinite(loss_now):
            raise self.not_finite("loss", loss_now)
        self.judge(loss_now, self.step(), dict(zip(names, seen_now, strict=True)))
        return loss_now, bool(save_now), bool(stop_now)

    def backward(self, loss: Tensor) -> None:
        """Add a micro-batch's gradient."""
        if self.settings.nan == "skip":
            # A loss that is not finite may have a finite gradient, on one rank of many: make it one that all will see.
            loss = loss * torch.where(loss.detach().isfinite(), 1.0, math.nan)
        if self.scale.active and self.settings.zero_stage:
            self.engine.optimizer.override_loss_scale(self.scale.value)
        self.engine.backward(loss if self.settings.zero_stage or not self.scale.active else loss * self.scale.value)

    def step(self) -> float:
        """Clip the gradient and apply it, unless it is not finite; returns its norm before clipping."""
        if self.settings.zero_stage:
            self.engine.step()
            return float(self.engine.get_global_grad_norm())
        if self.scale.active:
            for parameter in self.trained:
                if parameter.grad is not None:
                    parameter.grad.mul_(1 / self.scale.value)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm or math.inf))
        if not math.isfinite(norm):
            for parameter in self.trained:
                parameter.grad = None   # the optimiser passes over it
        self.engine.step()
        return norm

    def judge(self, loss: float, norm: float, parts: dict[str, float]) -> None:
        """Count an update that was made, or left out because something was not finite.

        Raises:
            StageFailed: NAN, where the settings do not allow to leave it out.
        """
        settings = self.settings
        if math.isfinite(loss) and math.isfinite(norm):
            self.applied, self.in_a_row = self.applied + 1, 0
            self.scale.good()
            if settings.ema is not None:
                follow(self.engine, settings.ema, self.applied)
            self.meter.add(loss, parts, norm)
            return
        if math.isfinite(loss) and self.scale.overflow():
            LOG.info("update %d overflowed: the loss is scaled by %g from now on", self.done, self.scale.value)
            return
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if settings.nan == "fail" or self.in_a_row > settings.nan_limit:
            raise self.not_finite(*(("gradient norm", norm) if math.isfinite(loss) else ("loss", loss)))
        LOG.warning("update %d is left out: loss %s, gradient norm %s", self.done, loss, norm)

    def micro_batches(self, update: int) -> tuple[list[tuple[Any, float]], dict[str, Any]]:
        """This rank's windows of ``update`` in micro-batches, each with the factor that its loss counts by, and sums
        for the log.

        A loss is the mean over the mask of one micro-batch, and the engine takes the plain mean of them; with a factor
        of (mask here) / (mean mask of all micro-batches of all ranks) that is the mean over the global batch's mask.
        """
        stream, size = self.stream, self.micro_windows
        batch = self.feed.at(update)
        starts, sums = range(0, len(batch), size), drawn(batch)
        count = stream.batch_windows // size
        if count > 1:   # before the batch is on an accelerator, which would have to be waited for
            each = stream.supervised(update) / count
            factors = [batch.rows(start, start + size).supervised / each for start in starts]
        batch = augmented(batch.to(self.gang.device), self.settings, seed=stream.seed, update=update,
                          rank=self.gang.rank, world=self.gang.world)
        if count == 1:
            return [(batch, 1.0)], sums
        rows = [batch.rows(start, start + size) for start in starts]
        return list(zip(rows, factors, strict=True)), sums

    def not_finite(self, what: str, value: float) -> StageFailed:
        again = f", the {self.in_a_row}th update in a row" if self.in_a_row > 1 else ""
        return StageFailed(f"the {what} of update {self.done} is {value}{again}", failure=FailureClass.NAN,
                           where="training", remedy="lower training.learning_rate or set training.clip_norm")


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
