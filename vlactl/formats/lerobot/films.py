"""The mp4 files of a LeRobot dataset: many episodes after one another in one film per camera."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vlactl.errors import UsageError
from vlactl.formats.lerobot import layout

if TYPE_CHECKING:
    from av import VideoStream

CODEC, PIXELS = "libx264", "yuv444p"
"""Colours at full resolution: at 64 px, half of it (LeRobot's yuv420p) costs 5 dB and saves 8 % (measured)."""
OPTIONS = {"crf": "18", "preset": "veryfast", "g": "2", "bf": "0"}
"""A whole picture every second frame, as LeRobot writes them, so that any frame is found quickly."""


class Film:
    """One camera's films, encoded as the episodes come."""

    def __init__(self, out: Path, key: str, rate_hz: float, size: tuple[int, int]) -> None:
        """``size``: (height, width) in pixels; raises :class:`UsageError` where there is no encoder."""
        import av

        if CODEC not in av.codecs_available:
            raise UsageError(f"PyAV was built without {CODEC}", where="--video", remedy="convert without --video")
        self.out, self.key, self.size = out, key, size
        self.rate = Fraction(rate_hz).limit_denominator(1000)
        self.file, self.frames = -1, 0
        """Number of the current file, and the frames in it."""
        self._bytes = 0
        self._av: Any = av
        self._container: Any = None
        self._stream: Any = None

    def add(self, images_TYXC: np.ndarray) -> dict[str, Any]:
        """Append an episode; returns its columns of ``meta/episodes``."""
        if self._container is None or self._bytes > layout.VIDEO_FILE_MB << 20:
            self._next_file()
        first = self.frames
        for image_YXC in images_TYXC:
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image_YXC), format="rgb24")
            frame.pts, frame.time_base = self.frames, 1 / self.rate
            self._encode(frame)
            self.frames += 1
        chunk, file = divmod(self.file, layout.FILES_PER_CHUNK)
        return {f"videos/{self.key}/chunk_index": chunk, f"videos/{self.key}/file_index": file,
                f"videos/{self.key}/from_timestamp": float(first / self.rate),
                f"videos/{self.key}/to_timestamp": float(self.frames / self.rate)}

    def close(self) -> None:
        """Finish the current file."""
        if self._container is not None:
            self._encode(None)
            self._container.close()
        self._container = None

    def _encode(self, frame: Any) -> None:
        """None empties the encoder."""
        packets = self._stream.encode(frame)
        self._bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)

    def _path(self) -> Path:
        chunk, file = divmod(self.file, layout.FILES_PER_CHUNK)
        return self.out / layout.VIDEO.format(video_key=self.key, chunk_index=chunk, file_index=file)

    def _next_file(self) -> None:
        self.close()
        self.file, self.frames, self._bytes = self.file + 1, 0, 0
        self._path().parent.mkdir(parents=True, exist_ok=True)
        self._container = self._av.open(str(self._path()), "w", format="mp4")
        stream = cast("VideoStream", self._container.add_stream(CODEC, self.rate, options=OPTIONS))
        stream.height, stream.width = self.size
        stream.pix_fmt, stream.codec_context.thread_count = PIXELS, 1
        self._stream = stream


def info(rate_hz: float) -> dict[str, Any]:
    """``info.json``'s facts of a film, but for its size."""
    return {"video.codec": "h264", "video.pix_fmt": PIXELS, "video.is_depth_map": False, "video.fps": rate_hz,
            "video.channels": 3, "has_audio": False}


def frames(path: Path, start_s: float, count: int, rate_hz: float) -> list[np.ndarray]:
    """``count`` images_YXC from ``start_s`` on; raises :class:`UsageError` where the film is damaged or too short."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            container.seek(int(start_s / cast(Fraction, stream.time_base)), stream=stream)
            found = [frame.to_ndarray(format="rgb24") for frame in _from(container.decode(stream), start_s, rate_hz,
                                                                          count)]
    except (OSError, ValueError, IndexError, FFmpegError) as error:
        raise UsageError(f"the film cannot be read ({type(error).__name__}: {error})", where=str(path),
                         expected="an mp4 file", remedy="restore it from where the dataset came from") from error
    if len(found) != count:
        raise UsageError(f"the film ends early: {len(found)} frames from second {start_s:g} on", where=str(path),
                         expected=f"{count} frames", remedy="restore it from where the dataset came from")
    return found


def _from(decoded: Iterator[Any], start_s: float, rate_hz: float, count: int) -> Iterator[Any]:
    """The ``count`` frames from ``start_s`` on: seeking ends at a whole picture at or before it."""
    left = count
    for frame in decoded:
        if left and frame.time > start_s - 0.5 / rate_hz:
            left -= 1
            yield frame
        if not left:
            return


def psnr_db(original_TYXC: np.ndarray, found_TYXC: np.ndarray) -> float:
    """Peak signal to noise ratio over all pixels; infinite where they are equal."""
    error = float(np.mean((original_TYXC.astype(np.float32) - found_TYXC) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
