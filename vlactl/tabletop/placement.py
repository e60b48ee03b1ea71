"""Where everything is at the start of a chain: a symbolic start state and a seed become joint positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop import layouts
from vlactl.tabletop.layouts import Layout
from vlactl.tabletop.tasks import BAYS, COLOURS

LEGAL: dict[str, tuple] = {
    "led": (0, 1), "lightbulb": (0, 1), "slider": ("left", "right"), "drawer": ("closed", "open"), "grasped": (0,),
    **{f"{colour}_block": ("table", *BAYS) for colour in COLOURS},
}
"""The symbols of a start state and their values."""


def initial(layout: Layout, start: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Positions of the joints ``slider``, ``drawer``, ``switch`` (1,) and of the three blocks' free joints (7,): metres
    or radians, and quaternions.

    ``rng`` decides slots, offsets and yaws.  Raises :class:`UsageError` for a state that this layout cannot have.
    """
    check_start(layout, start)
    bulb = layouts.SWITCH_ON_RAD if start["lightbulb"] else -layouts.SWITCH_ON_RAD
    found = {"slider": np.array([layouts.SLIDER_SIDE_M[start["slider"]]]), "switch": np.array([bulb]),
             "drawer": np.array([layouts.DRAWER_OPEN_M if start["drawer"] == "open" else 0.0])}
    slots = [np.array(slot) for slot in layout.slots_xy_m]
    rng.shuffle(slots)
    for colour in COLOURS:
        place = start[f"{colour}_block"]
        if place == "table":
            xy = slots.pop() + rng.uniform(-1, 1, 2) * layouts.SLOT_JITTER_M
        else:
            xy = np.array([layout.door_x_m + layouts.SLIDER_SIDE_M[place.removeprefix("slider_")], layouts.BAY_Y_M])
        yaw = rng.uniform(-1, 1) * layouts.YAW_JITTER_RAD
        height = layouts.TABLE_Z_M + layouts.BLOCK_HALF_M[colour][2]
        found[f"{colour}_block"] = np.array([*xy, height, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    return found


def check_start(layout: Layout, start: dict[str, Any]) -> None:
    """Raise :class:`UsageError` unless ``start`` has every symbol with a value that can be built."""
    if unknown := sorted(start.keys() ^ LEGAL.keys()):
        raise UsageError(f"a start state has just the keys {sorted(LEGAL)}; missing or unknown: {unknown}",
                         where="tabletop start state")
    for key, values in LEGAL.items():
        if start[key] not in values:
            raise UsageError(f"{key} = {start[key]!r}", where="tabletop start state",
                             expected=" | ".join(map(str, values)))
    places, slots = [start[f"{colour}_block"] for colour in COLOURS], len(layout.slots_xy_m)
    if places.count("table") > slots or any(places.count(bay) > 1 for bay in BAYS):
        raise UsageError(f"blocks at {places}", where="tabletop start state",
                         expected=f"at most {slots} on the table and one in each bay")
