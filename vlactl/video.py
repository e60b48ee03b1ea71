"""Films of rollouts: every step of one attempt as a picture with words, onto a file or a window.

A :class:`Watcher` looks on while :mod:`vlactl.rollout` works, and changes nothing.  What it draws goes to screens: a
:class:`Film` is one, and so is a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from vlactl.errors import UsageError
from vlactl.panels import Caption, Mark, beside, captioned, quantized

if TYPE_CHECKING:
    from av import VideoStream

    from vlactl.episodes import Observation
    from vlactl.rollout import Attempt

HOLD_S = 0.8
"""How long the picture of an outcome is held."""
ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""The first that PyAV was built with is used; H.264 plays in browsers."""


class Screen(Protocol):
    """What pictures are shown on."""

    def show(self, picture_YXC: np.ndarray, *, hold: bool = False) -> None:
        """The next picture (Y, X, 3) uint8, of the same even size as the first; ``hold`` lingers on it."""

    def close(self) -> None:
        """Nothing more comes."""


class Watcher:
    """Draws the steps of one attempt: all cameras, instruction, task and step, the state, how far the chain is.

    ``look`` draws simulations, in any resolution; ``heading`` is one line above the state.  What a simulation says in
    ``remarks()`` (names and values) is written beside the pictures, where it has such a method.  Of a chain, the first
    ``skip`` tasks are not shown.
    """

    def __init__(self, look: Callable[[Sequence[Any]], Sequence[Observation]], screens: Sequence[Screen], *,
                 heading: str = "", skip: int = 0) -> None:
        self.look, self.screens, self.heading, self.skip = look, screens, heading, skip

    def see(self, attempt: Attempt, success: bool | None = None) -> None:
        """The attempt as it stands: at the start of a task or after a step; ``success`` once that is decided."""
        if attempt.task < self.skip:
            return
        picture_YXC = self.picture(attempt, success)
        for screen in self.screens:
            screen.show(picture_YXC, hold=success is not None)

    def picture(self, attempt: Attempt, success: bool | None) -> np.ndarray:
        """One picture (Y, X, 3) uint8 with even sides."""
        remarks: Callable[[], Sequence[tuple[str, str]]] = getattr(attempt.simulation, "remarks", tuple)
        facts = [*([(self.heading, "")] if self.heading else []), *remarks()]
        verdict: Mark = "now" if success is None else "done" if success else "failed"
        behind, ahead = attempt.task - self.skip, len(attempt.spec.tasks) - attempt.task - 1
        before: list[Mark] = ["done"] * behind
        after: list[Mark] = ["open"] * ahead
        marks = (*before, verdict, *after)
        subtitle = f"{attempt.spec.tasks[attempt.task]}   step {attempt.steps} of {attempt.spec.max_steps}"
        images_KYXC = self.look([attempt.simulation])[0].images_KYXC
        return captioned(beside(list(images_KYXC), facts),
                         Caption(title=attempt.instruction, subtitle=subtitle, verdict=verdict,
                                 marks=marks if len(marks) > 1 else ()))

    def close(self) -> None:
        """The attempt is over."""
        for screen in self.screens:
            screen.close()


class Film:
    """A file of pictures: ``.mp4`` or ``.gif``; it appears under its name when :meth:`close` is called.

    Raises :class:`UsageError` for a name that ends otherwise.
    """

    def __init__(self, path: Path, *, rate_hz: float) -> None:
        kinds = {".mp4": _Mp4, ".gif": _Gif}
        if path.suffix.lower() not in kinds:
            raise UsageError("no film can be written to a file of this kind", where=str(path),
                             expected="a name that ends in " + " or ".join(kinds))
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.rate_hz, self.pictures, self._closed = path, rate_hz, 0, False
        self._partial = path.with_name(f".{path.name}.partial")
        self._encoder = kinds[path.suffix.lower()](self._partial, rate_hz)

    def show(self, picture_YXC: np.ndarray, *, hold: bool = False) -> None:
        """Append a picture."""
        self.pictures += 1
        self._encoder.add(picture_YXC, 1 + round(HOLD_S * self.rate_hz) if hold else 1)

    def close(self) -> None:
        """Write what is left and give the file its name; without pictures there is no file.  Once is enough."""
        if self._closed:
            return
        self._closed = True
        self._encoder.close()
        if self.pictures:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)


class _Mp4:
    def __init__(self, path: Path, rate_hz: float) -> None:
        import av

        self._container = av.open(str(path), "w", format="mp4")
        codec = next(name for name in ENCODERS if name in av.codecs_available)
        self._stream = cast("VideoStream", self._container.add_stream(codec, Fraction(rate_hz).limit_denominator(1000)))
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.options = {"crf": "20"} if codec == "libx264" else {}
        self._sized = False

    def add(self, picture_YXC: np.ndarray, times: int) -> None:
        import av

        if not self._sized:
            self._stream.height, self._stream.width = picture_YXC.shape[:2]
            self._sized = True
        for _ in range(times):
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(picture_YXC, format="rgb24")))

    def close(self) -> None:
        if self._sized:
            self._container.mux(self._stream.encode())
        self._container.close()


class _Gif:
    """Kept in memory, a byte for each pixel, until it is closed: a GIF is for a short film."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._frame_ms = path, 1000 / rate_hz
        self._frames: list[Any] = []
        self._durations_ms: list[int] = []

    def add(self, picture_YXC: np.ndarray, times: int) -> None:
        from PIL import Image

        self._frames.append(quantized(Image.fromarray(picture_YXC)))
        self._durations_ms.append(round(times * self._frame_ms))

    def close(self) -> None:
        if self._frames:
            self._frames[0].save(self._path, "GIF", save_all=True, append_images=self._frames[1:], loop=0,
                                 duration=self._durations_ms)
