"""The desks: where the furniture stands, how it looks, and where things are at the start of a chain.

Coordinates are metres in the world: x to the right, y away from the front of the desk, z up; the desk top is at 0.46.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlactl.errors import UnknownName

TABLE_Z_M = 0.46
DESK_FRONT_M, BAY_FRONT_M, BAY_Y_M, BAY_BACK_M = -0.28, 0.06, 0.15, 0.235
"""Along y: where the desk top begins, where the bays begin, the middle of a bay, and the front of the back wall."""
CABINET_HEIGHT_M = 0.10
"""Of the walls around the bays, above the desk top: lower than the palm of a vertical hand that holds a block there."""
SLIDER_SIDE_M = {"left": -0.13, "right": 0.13}
"""Joint position of the sliding door at its two sides, the middles of the bays."""
SLIDER_RANGE_M = 0.14
"""Either way from the middle (CALVIN: 0.28 in all)."""
DRAWER_OPEN_M, DRAWER_RANGE_M = 0.21, 0.22
"""CALVIN: 0.22."""
DRAWER_HALF_M, DRAWER_INSIDE_M = 0.114, (0.004, 0.188)
"""Of the inside of the drawer: half its width; its front and back when it is closed, from the front of the desk on."""
DOOR_HALF_M, BAYS_HALF_M = 0.14, 0.281
"""Half widths of the door with its lid and of both bays together."""
DRAWER_FLOOR_M = 0.352
"""Height of the drawer's floor; the desk top is 0.03 thick, and a block that stands on end passes below it."""
BUTTON_TRAVEL_M = 0.02
SWITCH_ON_RAD = 0.45
"""The lever leans away from the front when the bulb is lit, and towards the front when it is not; it falls to either
side by its own weight."""
BLOCK_HALF_M = {"red": (0.025, 0.025, 0.025), "blue": (0.025, 0.035, 0.025), "pink": (0.03, 0.025, 0.03)}
"""Every gripper gets around every side of each."""
BLOCK_RGB = {"red": (0.85, 0.08, 0.08), "blue": (0.08, 0.22, 0.92), "pink": (0.98, 0.52, 0.74)}
SLOT_JITTER_M = (0.035, 0.02)
"""Blocks on the table stand within this of their slot, in x and y."""
YAW_JITTER_RAD = 0.39
"""CALVIN: pi / 8."""
LAMP_RGB = {"led": ((0.22, 0.30, 0.22), (0.10, 1.0, 0.25)), "lightbulb": ((0.42, 0.40, 0.34), (1.0, 0.92, 0.25))}
"""Colour of a lamp that is off and on."""

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Paint:
    """How a surface looks."""

    rgb: Vector
    """Of 0..1."""
    texture: str = "plain"
    """A name of :data:`vlactl.tabletop.rendering.textures.TEXTURES`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Distractor:
    """A thing that stands on the desk, out of the way of every task; it collides as the desk does."""

    kind: str
    """``box`` | ``cylinder`` | ``sphere`` | ``capsule`` | ``ellipsoid``."""
    size_m: tuple[float, ...]
    """MuJoCo's half sizes: of a box or ellipsoid three, of a cylinder or capsule radius and half length, of a sphere
    the radius."""
    position_m: Vector
    """Of its centre, in the world."""
    paint: Paint


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """All that a policy sees of a scene beyond its shapes: what visual shifts change."""

    desk: Paint
    door: Paint
    drawer: Paint
    handle: Paint
    button: Paint
    lever: Paint
    knob: Paint
    floor: Paint
    block_rgb: tuple[Vector, Vector, Vector] = (BLOCK_RGB["red"], BLOCK_RGB["blue"], BLOCK_RGB["pink"])
    """Of the red, the blue and the pink block."""
    light_dir: Vector = (-0.1, 0.2, -1.0)
    """Where the light goes."""
    light_rgb: Vector = (0.55, 0.55, 0.55)
    ambient_rgb: Vector = (0.38, 0.38, 0.38)
    sky_rgb: Vector = (0.80, 0.86, 0.92)
    """Behind everything."""
    distractors: tuple[Distractor, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One scene."""

    name: str
    drawer_x_m: float
    door_x_m: float
    """Middle of the sliding door's range."""
    button_xy_m: tuple[float, float]
    switch_xy_m: tuple[float, float]
    slots_xy_m: tuple[tuple[float, float], ...]
    """Places for blocks on the table, far enough apart to push one past another."""
    look: Look


LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (
    Layout(name="A", drawer_x_m=0.05, door_x_m=0.02, button_xy_m=(0.345, -0.13), switch_xy_m=(-0.32, -0.03),
           slots_xy_m=((-0.09, -0.10), (0.09, -0.18)), look=Look(
               desk=Paint((0.80, 0.70, 0.54), "wood"), door=Paint((0.24, 0.42, 0.62), "stripes"),
               drawer=Paint((0.78, 0.72, 0.62)), handle=Paint((0.86, 0.86, 0.88)), button=Paint((0.90, 0.36, 0.10)),
               lever=Paint((0.32, 0.32, 0.35)), knob=Paint((0.15, 0.62, 0.55)),
               floor=Paint((0.50, 0.47, 0.44), "tiles"), light_dir=(0.25, 0.15, -1.0), sky_rgb=(0.88, 0.88, 0.84))),
    Layout(name="B", drawer_x_m=0.02, door_x_m=-0.04, button_xy_m=(-0.385, -0.06), switch_xy_m=(0.29, -0.09),
           slots_xy_m=((-0.10, -0.10), (0.07, -0.17)), look=Look(
               desk=Paint((0.46, 0.31, 0.20), "wood"), door=Paint((0.74, 0.66, 0.44)),
               drawer=Paint((0.30, 0.34, 0.30), "speckle"), handle=Paint((0.72, 0.58, 0.22)),
               button=Paint((0.20, 0.55, 0.20)), lever=Paint((0.75, 0.75, 0.72)), knob=Paint((0.55, 0.15, 0.45)),
               floor=Paint((0.42, 0.48, 0.42), "cloth"), light_dir=(-0.3, -0.05, -1.0), sky_rgb=(0.70, 0.76, 0.80))),
    Layout(name="C", drawer_x_m=0.04, door_x_m=-0.02, button_xy_m=(0.335, -0.12), switch_xy_m=(-0.32, -0.03),
           slots_xy_m=((-0.09, -0.10), (0.08, -0.19)), look=Look(
               desk=Paint((0.62, 0.60, 0.58), "marble"), door=Paint((0.45, 0.22, 0.18), "wood"),
               drawer=Paint((0.70, 0.68, 0.66)), handle=Paint((0.10, 0.10, 0.10)), button=Paint((0.12, 0.35, 0.75)),
               lever=Paint((0.10, 0.10, 0.12)), knob=Paint((0.85, 0.75, 0.15)),
               floor=Paint((0.60, 0.52, 0.44), "wood"), light_dir=(0.1, 0.35, -1.0), sky_rgb=(0.92, 0.86, 0.80))),
    Layout(name="D", drawer_x_m=0.0, door_x_m=0.0, button_xy_m=(-0.385, -0.09), switch_xy_m=(0.30, -0.09),
           slots_xy_m=((-0.09, -0.10), (0.08, -0.18)), look=Look(
               desk=Paint((0.72, 0.53, 0.34), "wood"), door=Paint((0.36, 0.46, 0.40)), drawer=Paint((0.50, 0.36, 0.24)),
               handle=Paint((0.12, 0.12, 0.14)), button=Paint((0.75, 0.12, 0.55)), lever=Paint((0.15, 0.15, 0.16)),
               knob=Paint((0.90, 0.45, 0.10)), floor=Paint((0.55, 0.60, 0.65), "checker"))),
)}
"""Scenes by CALVIN's letters: the furniture's places, which side button and switch are on, woods and colours differ."""


def layout(name: str) -> Layout:
    """The layout called ``name``; raises :class:`UnknownName`."""
    if name not in LAYOUTS:
        raise UnknownName("scene", name, LAYOUTS)
    return LAYOUTS[name]
