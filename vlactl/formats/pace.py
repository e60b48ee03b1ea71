"""How far a recording or a conversion is: episodes, frames per second, seconds left."""

from __future__ import annotations

import time

from vlactl.formats import Progress


class Pace:
    """Counts what is done and tells it on; ``done`` episodes were there before and take no time."""

    def __init__(self, progress: Progress, total: int, done: int = 0) -> None:
        self._progress, self._total = progress, total
        self._begun, self._done, self._frames, self._started = done, done, 0, time.perf_counter()

    def __call__(self, episodes: int, frames: int) -> None:
        """So many more are done."""
        self._done, self._frames = self._done + episodes, self._frames + frames
        spent_s = time.perf_counter() - self._started
        eta_s = spent_s * (self._total - self._done) / (self._done - self._begun)
        self._progress(self._done, self._total, unit="episodes", frames_per_s=self.frames_per_s, eta_s=round(eta_s, 1))

    @property
    def frames_per_s(self) -> float:
        """Since the beginning."""
        return round(self._frames / (time.perf_counter() - self._started), 1)
