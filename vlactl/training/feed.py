"""Where batches come from: what the loop asks of a stream, and a thread that prepares them ahead."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol


class Stream(Protocol):
    """What :func:`vlactl.training.loop.train` asks of windows, or of pictures with words: a function of the update."""

    seed: int
    history: int
    """Frames of one window."""
    batch_windows: int
    """Windows per update over all ranks."""

    def at(self, update: int) -> Any:
        """This rank's :class:`vlactl.windows.Batch` or :class:`vlactl.windows.PairBatch`."""

    def supervised(self, update: int) -> int:
        """What a mean over the whole global batch of ``update`` divides by; a batch's own part is ``supervised``."""
        ...

    def epochs(self, updates: int) -> list[float]:
        """How often each source is seen in ``updates`` updates."""
        ...


def drawn(batch: Any) -> dict[str, float]:
    """Windows that a rank's batch has from each source, as sums for the log; nothing where there is one source only."""
    names = getattr(batch, "sources", ())
    if len(names) < 2:
        return {}
    counts = batch.source_B.bincount(minlength=len(names)).tolist()
    return {f"sum/windows/{name}": float(count) for name, count in zip(names, counts, strict=True)}


class Feed:
    """A stream's batches; ``ahead`` of them are prepared by a thread, in the order in which they will be asked for."""

    def __init__(self, stream: Stream, ahead: int) -> None:
        self._stream, self._ahead = stream, ahead
        self._pool = ThreadPoolExecutor(1, "windows") if ahead else None
        self._ready: dict[int, Future[Any]] = {}

    def at(self, update: int) -> Any:
        if self._pool is None:
            return self._stream.at(update)
        for number in range(update, update + 1 + self._ahead):
            if number not in self._ready:
                self._ready[number] = self._pool.submit(self._stream.at, number)
        return self._ready.pop(update).result()

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
