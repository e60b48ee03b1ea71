"""Domain shifts: the same desk and robot, seen or asked for in a way that no training episode was.

A shift changes what a policy sees (or reads), never what its actions do: layouts and cameras are replaced, goals, start
states and chains stay, so scores under a shift and without it are paired episode by episode.  *Distractors* are solid,
but stand where no task has to reach.  Each shift has ten variants, all decided by this file; several shifts are joined
by ``+``.  Four of them are the unseen settings of the paper's real-robot study (RoboVLMs: unseen distractor, unseen
background, unseen target object, novel skill description).

Pure: imports neither numpy nor mujoco.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop.embodiments import Camera, Embodiment, Vector
from vlactl.tabletop.layouts import BAY_FRONT_M, DESK_FRONT_M, TABLE_Z_M, Distractor, Layout, Look, Paint
from vlactl.tabletop.phrasings import COLOURS

VARIANTS = 10
NONE = "none"


@dataclass(frozen=True, slots=True)
class Shift:
    """One way in which a test can differ from training."""

    name: str
    description: str
    unseen: str | None = None
    """What the paper calls it, for the four settings that are the paper's."""


SHIFTS: dict[str, Shift] = {shift.name: shift for shift in (
    Shift(NONE, "the world as it was trained in"),
    Shift("distractors", "five things on the desk that no task is about", "unseen distractor"),
    Shift("background", "other colours and textures of desk, furniture, floor and sky", "unseen background"),
    Shift("light", "light from another side, of another strength and colour"),
    Shift("camera", "both cameras moved and turned by a little"),
    Shift("target", "blocks of three colours that no training block has; instructions name them",
          "unseen target object"),
    Shift("description", "instructions in words that no training instruction has", "novel skill description"),
)}
"""By name, in the order in which joined names are written."""


def parse(shift: str, variant: int = 0) -> tuple[tuple[str, ...], int]:
    """``camera+light#3`` -> ``(("light", "camera"), 3)``: names in the order of SHIFTS, and the variant.

    ``variant`` is for names without a ``#``; ``none`` gives no names.  Raises :class:`UnknownName` for a name that is
    not in SHIFTS, and :class:`UsageError` for one that stands twice and for a variant that is not 0..9.
    """
    joined, mark, number = shift.partition("#")
    names = joined.split("+")
    for name in names:
        if name not in SHIFTS:
            raise UnknownName("shift", name, SHIFTS)
    wanted = tuple(name for name in SHIFTS if name in names and name != NONE)
    if len(names) != max(len(wanted), 1):
        raise UsageError(f"'{joined}' joins a shift with itself or with '{NONE}'", expected="different shifts",
                         remedy=f"write {'+'.join(wanted) or NONE}")
    number = number if mark else str(variant)
    if not (number.isdecimal() and int(number) < VARIANTS):
        raise UsageError(f"'{number}' is not a variant of a shift", where=shift, expected=f"0 .. {VARIANTS - 1}")
    return wanted, int(number)


def full_name(shift: str, variant: int = 0) -> str:
    """The one way to write a shift with its variant: names in order, ``#0`` left out.  Raises as :func:`parse`."""
    names, variant = parse(shift, variant)
    return "+".join(names) + (f"#{variant}" if variant else "") if names else NONE


def shifted(desk: Layout, machine: Embodiment, shift: str, variant: int = 0) -> tuple[Layout, Embodiment]:
    """``desk`` and ``machine`` as ``shift`` makes them look.  Raises as :func:`parse`."""
    names, variant = parse(shift, variant)
    look = desk.look
    if "background" in names:
        look = _BACKGROUNDS[variant].over(look)
    if "light" in names:
        light = _LIGHTS[variant]
        look = replace(look, light_dir=light.dir, light_rgb=light.rgb, ambient_rgb=light.ambient_rgb)
    if "target" in names:
        red, blue, pink = _TARGETS[variant]
        look = replace(look, block_rgb=(_COLOUR_RGB[red], _COLOUR_RGB[blue], _COLOUR_RGB[pink]))
    if "distractors" in names:
        look = replace(look, distractors=_distractors(desk, variant))
    if "camera" in names:
        machine = replace(machine, static=_moved(machine.static, variant, STATIC_EYE_M, STATIC_TARGET_M),
                          wrist=_moved(machine.wrist, variant, WRIST_EYE_M, WRIST_TARGET_M))
    return replace(desk, look=look), machine


def colour_words(shift: str, variant: int = 0) -> Mapping[str, str]:
    """What the red, blue and pink block are called under a shift; empty where their colours are the usual ones.

    For :func:`vlactl.tabletop.phrasings.recoloured`.  Raises as :func:`parse`.
    """
    names, variant = parse(shift, variant)
    return MappingProxyType(dict(zip(COLOURS, _TARGETS[variant], strict=True)) if "target" in names else {})


def instruction_set(instructions: str, shift: str) -> str:
    """Which instructions are given where ``instructions`` were asked for: a shift may paraphrase them.

    Raises as :func:`parse`.
    """
    return "paraphrased" if "description" in parse(shift)[0] else instructions


# ---- background -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Background:
    desk: Paint
    furniture: Paint
    """Door and drawer."""
    floor: Paint
    sky_rgb: Vector

    def over(self, look: Look) -> Look:
        return replace(look, desk=self.desk, door=self.furniture, drawer=self.furniture, floor=self.floor,
                       sky_rgb=self.sky_rgb)


_BACKGROUNDS = (
    _Background(Paint((0.42, 0.52, 0.30), "cloth"), Paint((0.80, 0.76, 0.62)), Paint((0.30, 0.20, 0.30), "marble"),
                (0.95, 0.85, 0.70)),
    _Background(Paint((0.78, 0.78, 0.74), "stripes"), Paint((0.30, 0.34, 0.42)), Paint((0.45, 0.30, 0.20), "stripes"),
                (0.55, 0.62, 0.72)),
    _Background(Paint((0.28, 0.30, 0.36), "speckle"), Paint((0.62, 0.62, 0.58)), Paint((0.62, 0.66, 0.50)),
                (0.90, 0.90, 0.80)),
    _Background(Paint((0.55, 0.50, 0.24), "tiles"), Paint((0.85, 0.80, 0.82)), Paint((0.25, 0.35, 0.35), "marble"),
                (0.75, 0.90, 0.85)),
    _Background(Paint((0.88, 0.84, 0.62), "checker"), Paint((0.45, 0.50, 0.52)), Paint((0.35, 0.25, 0.40), "speckle"),
                (0.40, 0.45, 0.60)),
    _Background(Paint((0.30, 0.44, 0.44), "checker"), Paint((0.70, 0.62, 0.48)), Paint((0.70, 0.55, 0.45), "stripes"),
                (0.98, 0.92, 0.90)),
    _Background(Paint((0.54, 0.48, 0.52), "cloth"), Paint((0.28, 0.42, 0.40)), Paint((0.80, 0.78, 0.70), "speckle"),
                (0.60, 0.75, 0.65)),
    _Background(Paint((0.90, 0.90, 0.86), "tiles"), Paint((0.38, 0.30, 0.26)), Paint((0.30, 0.42, 0.28)),
                (0.85, 0.78, 0.90)),
    _Background(Paint((0.36, 0.24, 0.18), "stripes"), Paint((0.78, 0.84, 0.80)), Paint((0.50, 0.55, 0.68), "marble"),
                (0.70, 0.72, 0.60)),
    _Background(Paint((0.34, 0.42, 0.34), "speckle"), Paint((0.88, 0.84, 0.72)), Paint((0.68, 0.62, 0.55), "speckle"),
                (0.50, 0.55, 0.50)),
)
"""Textures that no layout has there, and no desk in the colour of a block."""


# ---- light ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Light:
    dir: Vector
    rgb: Vector
    ambient_rgb: Vector


_LIGHTS = (
    _Light((0.60, 0.10, -1.0), (0.62, 0.52, 0.38), (0.24, 0.22, 0.20)),
    _Light((-0.62, 0.15, -1.0), (0.40, 0.48, 0.60), (0.22, 0.24, 0.28)),
    _Light((0.10, -0.58, -1.0), (0.40, 0.40, 0.40), (0.22, 0.22, 0.22)),
    _Light((0.05, 0.62, -1.0), (0.28, 0.28, 0.28), (0.24, 0.24, 0.24)),
    _Light((-0.45, -0.42, -1.0), (0.62, 0.62, 0.62), (0.50, 0.50, 0.50)),
    _Light((0.46, -0.40, -1.0), (0.60, 0.44, 0.34), (0.34, 0.28, 0.22)),
    _Light((-0.46, 0.48, -1.0), (0.34, 0.48, 0.52), (0.26, 0.30, 0.30)),
    _Light((0.44, 0.50, -1.0), (0.75, 0.72, 0.65), (0.14, 0.14, 0.14)),
    _Light((-0.66, -0.10, -1.0), (0.30, 0.28, 0.25), (0.36, 0.33, 0.30)),
    _Light((0.66, -0.12, -1.0), (0.50, 0.55, 0.65), (0.18, 0.20, 0.26)),
)
"""More aslant than the light of any layout, dim and bright, warm and cold."""


# ---- target ---------------------------------------------------------------------------------------------------------
_COLOUR_RGB: dict[str, Vector] = {
    "purple": (0.45, 0.12, 0.68), "orange": (0.97, 0.48, 0.05), "green": (0.10, 0.55, 0.18),
    "yellow": (0.95, 0.83, 0.10), "black": (0.07, 0.07, 0.08), "white": (0.95, 0.95, 0.95),
    "turquoise": (0.10, 0.72, 0.70),
}
"""Names that anyone would give; none is that of a training block."""
_TARGETS = (
    ("purple", "green", "yellow"), ("orange", "black", "turquoise"), ("white", "purple", "green"),
    ("yellow", "turquoise", "black"), ("green", "orange", "white"), ("turquoise", "yellow", "purple"),
    ("black", "white", "orange"), ("purple", "turquoise", "white"), ("orange", "purple", "white"),
    ("turquoise", "orange", "green"),
)
"""What becomes of the red, the blue and the pink block."""


# ---- camera ---------------------------------------------------------------------------------------------------------
STATIC_EYE_M, STATIC_TARGET_M = 0.08, 0.02
"""How far the eye of the static camera and the point that it looks at are moved: about 3 degrees in all."""
WRIST_EYE_M, WRIST_TARGET_M = 0.008, 0.006


def _moved(camera: Camera, variant: int, eye_m: float, target_m: float) -> Camera:
    eye, target = _direction(variant), _direction(variant + VARIANTS // 2)
    return replace(camera, eye_m=_along(camera.eye_m, eye, eye_m), target_m=_along(camera.target_m, target, target_m))


def _direction(index: int) -> Vector:
    """Unit vectors spread over the sphere by the golden angle."""
    z = 1 - 2 * ((index % VARIANTS) + 0.5) / VARIANTS
    angle, flat = index * math.pi * (3 - math.sqrt(5)), math.sqrt(1 - z * z)
    return flat * math.cos(angle), flat * math.sin(angle), z


def _along(point_m: Vector, direction: Vector, distance_m: float) -> Vector:
    x, y, z = (round(at + distance_m * step, 6) for at, step in zip(point_m, direction, strict=True))
    return x, y, z


# ---- distractors ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Thing:
    kind: str
    size_m: tuple[float, ...]
    paint: Paint

    def at(self, spot_m: Vector) -> Distractor:
        """Standing on the spot."""
        half = {"sphere": self.size_m[0], "capsule": sum(self.size_m)}.get(self.kind, self.size_m[-1])
        x, y, z = spot_m
        return Distractor(kind=self.kind, size_m=self.size_m, position_m=(x, y, round(z + half, 4)), paint=self.paint)


_THINGS = (
    _Thing("cylinder", (0.024, 0.028), Paint((0.55, 0.75, 0.20))),
    _Thing("sphere", (0.026,), Paint((0.92, 0.86, 0.68), "stripes")),
    _Thing("box", (0.014, 0.026, 0.030), Paint((0.40, 0.10, 0.20))),
    _Thing("capsule", (0.016, 0.016), Paint((0.62, 0.86, 0.76))),
    _Thing("ellipsoid", (0.030, 0.022, 0.018), Paint((0.72, 0.58, 0.10))),
    _Thing("cylinder", (0.030, 0.010), Paint((0.25, 0.30, 0.45), "checker")),
    _Thing("box", (0.028, 0.012, 0.018), Paint((0.85, 0.70, 0.60), "stripes")),
    _Thing("cylinder", (0.014, 0.032), Paint((0.30, 0.45, 0.50))),
    _Thing("ellipsoid", (0.020, 0.020, 0.030), Paint((0.80, 0.62, 0.80), "speckle")),
    _Thing("sphere", (0.020,), Paint((0.15, 0.32, 0.25))),
    _Thing("box", (0.024, 0.024, 0.008), Paint((0.70, 0.72, 0.50), "checker")),
)
"""Low, so that the palm passes over them, in colours that no block has; eleven, so that strides meet all of them."""
THING_M = 0.032
"""No thing reaches further than this from the middle of its spot."""
THINGS, APART_M = 5, 0.08


def _distractors(desk: Layout, variant: int) -> tuple[Distractor, ...]:
    """Five things where the desk is free; which and where depends on the variant alone."""
    spots, chosen = _free(desk), list[Vector]()
    for step in range(len(spots)):
        spot = spots[(variant * 7 + step * 11) % len(spots)]
        if len(chosen) < THINGS and all(math.dist(spot, other) >= APART_M for other in chosen):
            chosen.append(spot)
    return tuple(_THINGS[(4 * variant + 3 * index) % len(_THINGS)].at(spot) for index, spot in enumerate(chosen))


def _free(desk: Layout) -> list[Vector]:
    """Spots on the desk where no hand, block or handle passes, on a grid of 2 cm."""
    busy = _busy(desk)
    return [(x / 100, y / 100, TABLE_Z_M) for x in range(-42, 43, 2) for y in range(-25, 20, 2)
            if not any(left - THING_M < x / 100 < right + THING_M and near - THING_M < y / 100 < far + THING_M
                       for left, near, right, far in busy)]


def _busy(desk: Layout) -> list[tuple[float, float, float, float]]:
    """Rectangles (left, near, right, far) in metres in which skills work: see :mod:`vlactl.tabletop.skills`."""
    def around(centre: tuple[float, float], half_x_m: float, near_m: float, far_m: float):
        return centre[0] - half_x_m, centre[1] - near_m, centre[0] + half_x_m, centre[1] + far_m
    return [
        # a block stands up to 3.5 cm beside its slot, is pushed 10 to 14 cm by fingers that start 6 cm beside it, and
        # may be pushed over the front edge into the drawer
        *(around(slot, 0.20, 0.40, 0.09) for slot in desk.slots_xy_m),
        around((desk.drawer_x_m, DESK_FRONT_M), 0.20, 0.20, 0.08),
        around(desk.button_xy_m, 0.07, 0.06, 0.06),
        around(desk.switch_xy_m, 0.05, 0.13, 0.13),
        # the cabinet, and the handle of its door, which hands go around
        around((desk.door_x_m, BAY_FRONT_M), 0.30, 0.12, 0.20),
    ]
