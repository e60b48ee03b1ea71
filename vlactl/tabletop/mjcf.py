"""The few MJCF elements that scenes are written with, as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vlactl.errors import UnknownName
from vlactl.tabletop.layouts import Paint
from vlactl.tabletop.rendering.textures import TEXTURES


def numbers(*values: float) -> str:
    """Numbers as MJCF wants them, with nine digits."""
    return " ".join(f"{value:.9g}" for value in values)


def element(tag: str, *content: str, **attributes: str | float | Sequence[float]) -> str:
    """``<tag key="value">content</tag>``; sequences become numbers, ``class_`` becomes ``class``."""
    pairs = "".join(f' {key.rstrip("_")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{tag}{pairs}>{''.join(content)}</{tag}>" if content else f"<{tag}{pairs}/>"


def geom(name: str, kind: str, size: Sequence[float], paint: Paint,
         **attributes: str | float | Sequence[float]) -> str:
    """An opaque primitive; ``fromto`` or ``pos`` place it.  Raises :class:`UnknownName` for a texture that there is
    not."""
    if paint.texture not in TEXTURES:
        raise UnknownName("texture", paint.texture, TEXTURES)
    return element("geom", name=name, type=kind, size=size, rgba=(*paint.rgb, 1.0),
                   user=float(TEXTURES.index(paint.texture)), **attributes)


def camera(name: str, eye_m: Sequence[float], target_m: Sequence[float], up: Sequence[float], fovy_deg: float) -> str:
    """A camera that looks from ``eye_m`` at ``target_m``; MuJoCo's look along their negative z, with y up."""
    back = _unit([eye - target for eye, target in zip(eye_m, target_m, strict=True)])
    right = _unit(_cross(up, back))
    return element("camera", name=name, pos=eye_m, xyaxes=(*right, *_cross(back, right)), fovy=fovy_deg)


def _value(value: str | float | Sequence[float]) -> str:
    if isinstance(value, str):
        return value
    return numbers(value) if isinstance(value, (int, float)) else numbers(*value)


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def _cross(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
