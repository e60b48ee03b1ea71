"""A film of one rollout: what the policy saw, what it was told, and how far it came."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from av import VideoStream

MIN_VIEW_PX = 256
"""Camera images are enlarged by a whole factor to at least this."""
BAND_PX = 40
"""Height of the band under the images, for the instruction and the marks."""
HOLD_S = 0.5
"""How long a picture of success is held."""
ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""The first that PyAV was built with is used; H.264 plays in browsers."""
BACKGROUND, TEXT, SOLVED, OPEN = (18, 18, 22), (235, 235, 235), (70, 190, 90), (90, 90, 96)


class Film:
    """Encodes frames as they come; the file appears under its name when :meth:`close` is called."""

    def __init__(self, path: Path, *, rate_hz: float) -> None:
        import av

        self.path, self.rate_hz = path, rate_hz
        path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = path.with_name(f".{path.name}.partial")
        self._container = av.open(str(self._partial), "w", format="mp4")
        codec = next(name for name in ENCODERS if name in av.codecs_available)
        self._stream = cast("VideoStream", self._container.add_stream(codec, Fraction(rate_hz).limit_denominator(1000)))
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._sized = False

    def add(self, images_KYXC: np.ndarray, instruction: str, *, solved: int, tasks: int, hold: bool = False) -> None:
        """Append the cameras' images side by side, with ``solved`` of ``tasks`` marks filled; ``hold`` lingers."""
        import av

        picture_YXC = compose(images_KYXC, instruction, solved=solved, tasks=tasks)
        if not self._sized:
            self._stream.height, self._stream.width = picture_YXC.shape[:2]
            self._sized = True
        for _ in range(1 + round(HOLD_S * self.rate_hz) if hold else 1):
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(picture_YXC, format="rgb24")))

    def close(self) -> None:
        """Write what is left and give the file its name; without frames there is no file."""
        if self._sized:
            self._container.mux(self._stream.encode())
        self._container.close()
        if self._sized:
            self._partial.replace(self.path)
        else:
            self._partial.unlink()


def compose(images_KYXC: np.ndarray, instruction: str, *, solved: int, tasks: int) -> np.ndarray:
    """One picture (Y, X, 3) uint8 with even sides: cameras side by side above a band of text and marks."""
    from PIL import Image, ImageDraw, ImageFont

    factor = -(-MIN_VIEW_PX // images_KYXC.shape[1])
    views_YXC = np.concatenate(list(images_KYXC.repeat(factor, 1).repeat(factor, 2)), 1)
    height, width = views_YXC.shape[:2]
    canvas = Image.new("RGB", (width + width % 2, height + height % 2 + BAND_PX), BACKGROUND)
    canvas.paste(Image.fromarray(views_YXC), (0, 0))
    draw = ImageDraw.Draw(canvas)
    side = BAND_PX // 4
    marks_px = tasks * (side + 4) + 8
    size = 16.0
    while size > 8 and draw.textlength(instruction, ImageFont.load_default(size)) > width - marks_px - 8:
        size -= 1
    draw.text((8, height + BAND_PX // 2), instruction, TEXT, ImageFont.load_default(size), anchor="lm")
    for mark in range(tasks):
        left, top = width - marks_px + mark * (side + 4), height + (BAND_PX - side) // 2
        draw.rectangle((left, top, left + side, top + side), SOLVED if mark < solved else None,
                       SOLVED if mark < solved else OPEN)
    return np.asarray(canvas)
