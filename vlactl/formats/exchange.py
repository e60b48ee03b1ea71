"""Between formats: which one a folder is in, how it is read, and a conversion that is whole or absent.

Formats: ``vlactl`` (the episode directory, :mod:`vlactl.formats.recorded`), ``calvin`` and ``lerobot``.  What is read
from an export equals what was exported, except images that were asked to be a film.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vlactl.episodes import Episode
from vlactl.errors import UnknownName, UsageError
from vlactl.formats import Progress
from vlactl.formats.pace import Pace
from vlactl.spaces import Spaces

if TYPE_CHECKING:
    from vlactl.formats.recorded import PairRow

FORMATS = ("calvin", "lerobot", "vlactl")
SIGNS = {"vlactl": ("index.json",), "lerobot": ("meta/info.json",),
         "calvin": ("training", "validation", "lang_annotations", "ep_start_end_ids.npy")}
"""A folder is in the first format of which it has one of these."""


class Episodes(Protocol):
    """A dataset to read, episode by episode: :class:`vlactl.formats.recorded.RecordedEpisodes` or a foreign one."""

    spaces: Spaces
    tasks: list[str]
    instructions: list[str]
    scenes: list[str]
    """Letter of each episode's desk, empty where there is none."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Episode: ...

    def pairs(self) -> list[PairRow]:
        """What is true of single frames, which are counted through the dataset."""
        ...


def detect(path: Path) -> str:
    """The format of the dataset in ``path``; raises :class:`UsageError` where it is in none."""
    for kind, signs in SIGNS.items():
        if any((path / sign).exists() for sign in signs):
            return kind
    raise UsageError("it is in none of the known formats", where=str(path),
                     expected="; ".join(f"{kind}: {' or '.join(signs)}" for kind, signs in SIGNS.items()),
                     remedy="correct the path; if a conversion or recording was interrupted, run it again")


def open_episodes(path: Path, kind: str = "auto", *, image_px: int | None = None,
                  spaces: Spaces | None = None) -> Episodes:
    """The dataset in ``path``, read as ``kind`` (or as what it looks like).

    ``image_px``: for CALVIN's own dataset, whose cameras differ in size; ``spaces``: for a LeRobot dataset of somebody
    else's, which does not say what its actions mean.  Raises :class:`UsageError` where the folder is not whole.
    """
    kind = detect(path) if kind == "auto" else _known(kind)
    for given, name, taker in ((image_px, "--image-px", "calvin"), (spaces, "--spaces", "lerobot")):
        if given is not None and kind != taker:
            raise UsageError(f"only a {taker} folder is read with {name}, this one is {kind}", where=str(path),
                             remedy="leave the option out")
    if kind == "calvin":
        from vlactl.formats.calvin import CalvinEpisodes
        return CalvinEpisodes(path, image_px=image_px)
    if kind == "lerobot":
        from vlactl.formats.lerobot import LeRobotEpisodes
        return LeRobotEpisodes(path, spaces=spaces)
    from vlactl.formats.recorded import RecordedEpisodes
    return RecordedEpisodes(path)


def convert(episodes: Episodes, out: Path, kind: str, progress: Progress, *, split: str = "",
            video: bool = False) -> dict[str, Any]:
    """Write ``episodes`` into the folder ``out`` (absent or empty) as ``kind``; returns a summary.

    ``split``: for calvin, see :func:`vlactl.formats.calvin.write`; ``video``: for lerobot, mp4 files, which lose a
    little.  However a conversion ends, ``out`` holds all of it or nothing.
    """
    for given, name, taker in ((split, "--split", "calvin"), (video, "--video", "lerobot")):
        if _known(kind) != taker and given:
            raise UsageError(f"only {taker} is written with {name}", where=f"--to {kind}",
                             remedy="leave the option out")
    if len(episodes) == 0:
        raise UsageError("the dataset has no episodes", where=f"--to {kind}", remedy="record some first")
    with whole_or_absent(out) as draft:
        if kind == "calvin":
            from vlactl.formats import calvin
            summary = calvin.write(episodes, draft, progress, split=split)
        elif kind == "lerobot":
            from vlactl.formats import lerobot
            summary = lerobot.write(episodes, draft, progress, video=video)
        else:
            summary = _write_recorded(episodes, draft, progress)
        size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
    return {**summary, "format": kind, "bytes": size}


def _write_recorded(episodes: Episodes, out: Path, progress: Progress) -> dict[str, Any]:
    from vlactl.formats.recorded import EpisodeWriter

    pace, pairs = Pace(progress, len(episodes)), deque(episodes.pairs())
    with EpisodeWriter(out, episodes.spaces) as writer:
        for position in range(len(episodes)):
            episode, first = episodes[position], writer.frames
            here = []
            while pairs and pairs[0]["frame"] < first + len(episode):  # pairs come episode after episode
                here.append({**pairs[0], "frame": pairs.popleft()["frame"] - first})
            writer.add(episode, here)
            pace(1, len(episode))
        if pairs:
            raise UsageError(f"{len(pairs)} pairs are about frames that do not exist", where="pairs.json",
                             expected=f"frames 0 .. {writer.frames - 1}", remedy="convert the dataset again")
        return writer.close()


@contextmanager
def whole_or_absent(out: Path) -> Iterator[Path]:
    """A hidden folder beside ``out`` to write into; it gets the name when the body ends well, and else is removed.

    What a killed conversion left there is cleared away.  Raises :class:`UsageError` where ``out`` holds anything, or
    another process is writing it.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("there is something already", where=str(out), expected="an empty folder, or none",
                         remedy="choose another name; nothing is ever written over")
    draft = out.with_name(f".{out.name}.converting")
    draft.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however this process dies
        if not draft.exists() or os.stat(draft).st_ino != os.fstat(descriptor).st_ino:
            raise BlockingIOError  # the other one finished between the two lines above
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError("another conversion is writing it", where=str(out),
                         remedy="wait for it, or choose another name") from None
    try:
        for left in draft.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield draft
        os.sync()  # one for thousands of small files: the name must not reach the disk before they do
        draft.replace(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _known(kind: str) -> str:
    if kind not in FORMATS:
        raise UnknownName("format", kind, FORMATS)
    return kind
