"""The desks: where the furniture stands, how it looks, and where things are at the start of a chain.

Coordinates are metres in the world: x to the right, y away from the front of the desk, z up; the desk top is at 0.46.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlactl.errors import UnknownName

TABLE_Z_M = 0.46
DESK_FRONT_M, BAY_FRONT_M = -0.28, 0.085
"""Where the desk top begins and where the bays begin, along y."""
SLIDER_SIDE_M = {"left": -0.14, "right": 0.14}
"""Joint position of the sliding door at its two sides; the range is 0.15 either way (CALVIN: 0.28 in all)."""
DRAWER_OPEN_M = 0.18
"""Of a range of 0.20 (CALVIN: 0.22)."""
BUTTON_TRAVEL_M = 0.02
SWITCH_ON_RAD = 0.45
"""The lever leans away from the front when the bulb is lit, and towards the front when it is not."""
BLOCK_HALF_M = {"red": (0.025, 0.025, 0.025), "blue": (0.025, 0.04, 0.025), "pink": (0.03, 0.025, 0.03)}
BLOCK_RGB = {"red": (0.85, 0.08, 0.08), "blue": (0.08, 0.22, 0.92), "pink": (0.98, 0.52, 0.74)}
SLOT_JITTER_M = (0.035, 0.025)
"""Blocks on the table stand within this of their slot, in x and y."""
YAW_JITTER_RAD = 0.39
"""CALVIN: pi / 8."""
LAMP_RGB = {"led": ((0.22, 0.30, 0.22), (0.10, 1.0, 0.25)), "lightbulb": ((0.42, 0.40, 0.34), (1.0, 0.92, 0.25))}
"""Colour of a lamp that is off and on."""


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
    wood_rgb: tuple[float, float, float]
    door_rgb: tuple[float, float, float]
    drawer_rgb: tuple[float, float, float]
    handle_rgb: tuple[float, float, float]
    button_rgb: tuple[float, float, float]


LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (
    Layout(name="D", drawer_x_m=0.0, door_x_m=0.0, button_xy_m=(-0.36, -0.11), switch_xy_m=(0.325, -0.10),
           slots_xy_m=((-0.12, -0.17), (0.055, -0.07)), wood_rgb=(0.72, 0.53, 0.34), door_rgb=(0.36, 0.46, 0.40),
           drawer_rgb=(0.50, 0.36, 0.24), handle_rgb=(0.12, 0.12, 0.14), button_rgb=(0.75, 0.12, 0.55)),
)}
"""Scenes by CALVIN's letters."""


def layout(name: str) -> Layout:
    """The layout called ``name``; raises :class:`UnknownName`."""
    if name not in LAYOUTS:
        raise UnknownName("scene", name, LAYOUTS)
    return LAYOUTS[name]
