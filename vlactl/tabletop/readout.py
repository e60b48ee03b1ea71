"""The state of a desk in words: what films and pictures for people write beside the camera views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlactl.tabletop import layouts
from vlactl.tabletop.captions import door_side, drawer_word
from vlactl.tabletop.goals import on_table
from vlactl.tabletop.perturbations import colour_words
from vlactl.tabletop.tasks import COLOURS

if TYPE_CHECKING:
    from vlactl.tabletop.world import Snapshot, World

AJAR_M = 0.06
"""A drawer that is out by less is called closed; one that lacks less than this is called open."""
FLOOR_M = 0.10
"""A block whose centre is lower has fallen off the desk."""
RAISED_M = 0.065
"""A block that touches another and whose centre is this far above the desk top stands on it."""


def readout(world: World) -> tuple[tuple[str, str], ...]:
    """``(name, value)`` of everything that a task can change, as it is now; blocks by the colours they are seen in."""
    now = world.snapshot()
    drawer_m, slider_m = now.joints["drawer"], now.joints["slider"]
    words = colour_words(world.shift)
    held = [name for name, touching in now.touching.items() if world.gripper_command < 0 and touching == {"robot"}]
    return (
        ("door", f"{door_side(now) or 'middle'}, {slider_m:+.2f} m"),
        ("drawer", f"{drawer_word(now, AJAR_M)}, {100 * max(drawer_m, 0.0):.0f} cm"),
        ("led", "on" if now.lamps["led"] else "off"),
        ("bulb", "on" if now.lamps["lightbulb"] else "off"),
        ("gripper", f"{'open' if world.gripper_command > 0 else 'shut'}, {100 * world.gripper_width_m:.1f} cm"),
        ("holds", ", ".join(words.get(c, c) for c in COLOURS if f"{c}_block" in held) or "nothing"),
        *((words.get(c, c), whereabouts(now, f"{c}_block", world.layout.door_x_m) if f"{c}_block" not in held
           else "in the hand") for c in COLOURS),
    )


def whereabouts(now: Snapshot, block: str, door_x_m: float) -> str:
    """Where a block is that nobody holds, in the words of a person who looks at the desk; ``door_x_m`` parts the
    bays."""
    at, touching = now.blocks_m[block], now.touching[block]
    height_m = at[2] - layouts.TABLE_Z_M
    if at[2] < FLOOR_M:
        return "on the floor"
    if height_m < 0 and "drawer" in touching:
        return "in the drawer"
    if height_m > RAISED_M and "block" in touching:
        return "on a block"
    if at[1] > layouts.BAY_FRONT_M:
        return f"in the {'left' if at[0] < door_x_m else 'right'} bay"
    return "on the desk" if on_table(at) else "in the air"
