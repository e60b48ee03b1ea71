"""Pictures with words for people: camera views side by side, captions under them, pages of many.

Functions from uint8 arrays (Y, X, 3) to uint8 arrays, with Pillow's own font, so that films, single pictures and
contact sheets look alike and look the same on every machine.  Nothing here knows a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vlactl.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Mark = Literal["open", "now", "done", "failed"]
Fact = tuple[str, str]
"""A name and a value: ``("drawer", "open, 18 cm")``."""

MIN_VIEW_PX = 320
"""A smaller first view is enlarged by a whole factor to at least this, so that its pixels stay what they were."""
MIN_TEXT_PX, MAX_TEXT_PX = 13, 22
GAP_PX = 12
"""Between the pictures of a page, and between those of a row a third of it."""
BACKGROUND, PAGE, TEXT, DIM = (24, 26, 31), (12, 13, 16), (236, 238, 240), (150, 156, 166)
COLOURS: dict[Mark, tuple[int, int, int]] = {
    "open": (92, 97, 107), "now": (235, 178, 60), "done": (84, 200, 110), "failed": (236, 86, 78)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """What stands under a picture."""

    title: str
    subtitle: str = ""
    marks: tuple[Mark, ...] = ()
    """One square for each task of a chain."""
    verdict: Mark = "open"
    """``done`` and ``failed`` are written out, in their colours."""


def beside(images: Sequence[np.ndarray], facts: Sequence[Fact] = ()) -> np.ndarray:
    """The first image large, the others half as wide in a column beside it, ``facts`` in what is left of the column.

    Images are (Y, X, 3) uint8; the sides of what is returned are even.  Two or more others leave no room for facts.
    """
    from PIL import Image, ImageDraw

    side = _even(_enlarged_px(images[0].shape[0]))
    first = fitted(images[0], side, _even(side * images[0].shape[1] // images[0].shape[0]))
    column = side // 4 * 2 if len(images) > 1 or facts else 0
    canvas = Image.new("RGB", (first.shape[1] + column, side), BACKGROUND)
    canvas.paste(Image.fromarray(first), (0, 0))
    others, small = images[1:], min(column, side // max(len(images) - 1, 1))
    for index, image in enumerate(others):
        canvas.paste(Image.fromarray(fitted(image, small, small)), (first.shape[1], index * small))
    room = (first.shape[1], len(others) * small, canvas.width, side)
    if facts and room[3] - room[1] > len(facts) * MIN_TEXT_PX:
        _write_facts(ImageDraw.Draw(canvas), facts, room)
    return np.asarray(canvas)


def row(images: Sequence[np.ndarray], labels: Sequence[str] = ()) -> np.ndarray:
    """Images of one size in a row, each with a short label in its upper left corner."""
    from PIL import Image, ImageDraw

    height, width = images[0].shape[:2]
    gap = GAP_PX // 3
    canvas = Image.new("RGB", (_even(len(images) * (width + gap) - gap), _even(height)), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for index, image in enumerate(images):
        canvas.paste(Image.fromarray(image), (index * (width + gap), 0))
    for index, label in enumerate(labels):
        left, letters = index * (width + gap), _font(MIN_TEXT_PX)
        draw.rectangle((left, 0, left + letters.getlength(label) + 11, MIN_TEXT_PX + 7), BACKGROUND)
        draw.text((left + 6, 3 + MIN_TEXT_PX // 2), label, TEXT, letters, anchor="lm")
    return np.asarray(canvas)


def captioned(picture_YXC: np.ndarray, caption: Caption) -> np.ndarray:
    """``picture_YXC`` with a band of words under it; the height of the band depends on the width alone."""
    from PIL import Image, ImageDraw

    height, width = picture_YXC.shape[:2]
    size = min(max(width // 36, MIN_TEXT_PX), MAX_TEXT_PX)
    pad = size // 2
    canvas = Image.new("RGB", (width, height + _even(4 * size)), BACKGROUND)
    canvas.paste(Image.fromarray(picture_YXC), (0, 0))
    draw = ImageDraw.Draw(canvas)
    if caption.verdict in ("done", "failed"):
        draw.rectangle((0, height, width, height + 3), COLOURS[caption.verdict])
    _write_title(draw, caption.title, (pad, height + size // 3), width - 2 * pad, size)
    middle, right = height + 3 * size, width - pad
    if caption.verdict in ("done", "failed"):
        draw.text((right, middle), caption.verdict, COLOURS[caption.verdict], _font(size), anchor="rm")
        right -= round(_font(size).getlength(caption.verdict)) + pad
    right = _draw_marks(draw, caption.marks, right, middle, size)
    small = _font(max(MIN_TEXT_PX - 1, size * 4 // 5))
    draw.text((pad, middle), _shortened(caption.subtitle, small, right - 2 * pad), DIM, small, anchor="lm")
    return np.asarray(canvas)


def tiled(pictures: Sequence[np.ndarray], columns: int, title: str = "") -> np.ndarray:
    """A page: pictures in rows of ``columns``, the title above them.  Smaller pictures are centred in their places."""
    from PIL import Image, ImageDraw

    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    columns = min(columns, len(pictures))
    head = 2 * MAX_TEXT_PX if title else 0
    rows = -(-len(pictures) // columns)
    canvas = Image.new("RGB", (_even(GAP_PX + columns * (width + GAP_PX)),
                               _even(GAP_PX + head + rows * (height + GAP_PX))), PAGE)
    letters = _font(MAX_TEXT_PX)
    ImageDraw.Draw(canvas).text((GAP_PX, (GAP_PX + head) // 2), _shortened(title, letters, canvas.width - 2 * GAP_PX),
                                TEXT, letters, anchor="lm")
    for index, picture in enumerate(pictures):
        left = GAP_PX + index % columns * (width + GAP_PX) + (width - picture.shape[1]) // 2
        top = GAP_PX + head + index // columns * (height + GAP_PX) + (height - picture.shape[0]) // 2
        canvas.paste(Image.fromarray(picture), (left, top))
    return np.asarray(canvas)


def fitted(image_YXC: np.ndarray, height: int, width: int) -> np.ndarray:
    """``image_YXC`` at another size: enlarged without smoothing, shrunk with it."""
    from PIL import Image

    if image_YXC.shape[:2] == (height, width):
        return image_YXC
    filter_ = Image.Resampling.NEAREST if height >= image_YXC.shape[0] else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image_YXC).resize((width, height), filter_))


def write(path: Path, picture_YXC: np.ndarray, *, small: bool = False) -> None:
    """Write a PNG; a ``small`` one has a palette of 256 colours and a third of the size.

    Raises :class:`UsageError` for a file of another kind.
    """
    from PIL import Image

    if path.suffix.lower() != ".png":
        raise UsageError("pictures are PNG files", where=str(path), expected="a name that ends in .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(picture_YXC)
    (quantized(image) if small else image).save(path, optimize=True)


def quantized(image: Picture) -> Picture:
    """The image with a palette of 256 colours.

    An octree keeps colours that are rare, those of lamps and verdicts; Pillow's other ways lose them.
    """
    from PIL import Image

    return image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def wrapped(text: str, letters: FreeTypeFont, width_px: float) -> list[str]:
    """``text`` in lines that are not wider than ``width_px``; a word that is stands alone."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and letters.getlength(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _write_title(draw: ImageDraw, title: str, place: tuple[int, int], width: int, size: int) -> None:
    """One line where it fits, else two lines of smaller letters in the same place, the end cut with dots."""
    left, top = place
    lines = [title] if _font(size).getlength(title) <= width else []
    letters = _font(size if lines else max(MIN_TEXT_PX - 2, size * 4 // 5))
    if not lines:
        lines = wrapped(title, letters, width)
        lines = [*lines[:1], _shortened(" ".join(lines[1:]), letters, width)]
    height = 2 * size / len(lines)
    for index, line in enumerate(lines):
        draw.text((left, top + height * (index + 0.5)), _shortened(line, letters, width), TEXT, letters, anchor="lm")


def _draw_marks(draw: ImageDraw, marks: Sequence[Mark], right: int, middle: int, size: int) -> int:
    """Squares that end at ``right``, filled where the task is over; returns where they begin."""
    side = size * 2 // 3
    for mark in reversed(marks):
        box = (right - side, middle - side // 2, right, middle - side // 2 + side)
        draw.rectangle(box, COLOURS[mark] if mark in ("done", "failed") else None, COLOURS[mark],
                       2 if mark == "now" else 1)
        right -= side + size // 3
    return right


def _write_facts(draw: ImageDraw, facts: Sequence[Fact], room: tuple[int, int, int, int]) -> None:
    """Names in one column, values in another, in letters that fit the room (left, top, right, bottom)."""
    left, top, right, bottom = room
    pad = (right - left) // 20
    size = min(max((right - left) // 12, 9), MAX_TEXT_PX, round((bottom - top - 2 * pad) / len(facts) / 1.35))

    def tab(size: int) -> int:
        return round(max((_font(size).getlength(name) for name, value in facts if value), default=0) + 0.7 * size)

    while size > 9 and any(tab(size) * bool(value) + _font(size).getlength(value or name) > right - left - 2 * pad
                           for name, value in facts):
        size -= 1
    letters = _font(size)
    for index, (name, value) in enumerate(facts):
        middle = top + pad + 1.35 * size * (index + 0.5)
        width = right - left - 2 * pad
        draw.text((left + pad, middle), _shortened(name, letters, width), DIM if value else TEXT, letters, anchor="lm")
        draw.text((left + pad + tab(size), middle), _shortened(value, letters, width - tab(size)), TEXT, letters,
                  anchor="lm")


def _shortened(text: str, letters: FreeTypeFont, width_px: float) -> str:
    """``text`` or as much of its beginning as fits, with dots."""
    if letters.getlength(text) <= width_px:
        return text
    while text and letters.getlength(text + "...") > width_px:
        text = text[:-1]
    return text.rstrip() + "..."


def _enlarged_px(side: int) -> int:
    return side * -(-MIN_VIEW_PX // side)


def _even(pixels: int) -> int:
    """The next even number: video encoders halve the colour's resolution."""
    return pixels + pixels % 2


@cache
def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    letters = ImageFont.load_default(size)
    if not isinstance(letters, ImageFont.FreeTypeFont):
        raise UsageError("this Pillow was built without FreeType and cannot write readable text",
                         remedy="install Pillow from a wheel: pip install --force-reinstall pillow")
    return letters
