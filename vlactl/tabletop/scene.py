"""Embodiment + layout -> MuJoCo model, made of primitives only (box, capsule, cylinder, sphere, ellipsoid, plane).

All that a renderer needs is in the model: the first ``user`` number of a geom is its texture's index in
:data:`vlactl.tabletop.rendering.textures.TEXTURES`, light and ambient are the model's, the sky is the custom numeric
``sky_rgb``.  Lamps (``LAMP_GROUP``) stand still but change colour, so they are never part of a picture that is drawn
once; their colour is per world, in ``World.colors()``, never in the shared model.

Collision bits: 1 desk, 2 robot, 4 drawer, door, button and switch, 8 blocks.  The robot meets everything but itself,
blocks meet everything, furniture does not meet furniture (its joints hold it).
"""
# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from functools import cache

import mujoco

from vlactl.tabletop.embodiments import Embodiment, embodiment
from vlactl.tabletop.layouts import (
    BAY_BACK_M,
    BAY_FRONT_M,
    BAYS_HALF_M,
    BLOCK_HALF_M,
    BUTTON_TRAVEL_M,
    CABINET_HEIGHT_M,
    DESK_FRONT_M,
    DOOR_HALF_M,
    DRAWER_FLOOR_M,
    DRAWER_HALF_M,
    DRAWER_INSIDE_M,
    DRAWER_RANGE_M,
    LAMP_RGB,
    SLIDER_RANGE_M,
    SWITCH_ON_RAD,
    TABLE_Z_M,
    Layout,
    Paint,
    Vector,
    layout,
)
from vlactl.tabletop.mjcf import camera, element, geom
from vlactl.tabletop.perturbations import shifted
from vlactl.tabletop.rendering.textures import LAMP_GROUP, SKY_NUMERIC
from vlactl.tabletop.robot import bare_arm, couplings, defaults, robot

PHYSICS_HZ = 240
"""CALVIN's rate: eight steps for each substep of 1/30 s."""
DARK = Paint((0.25, 0.25, 0.27))
SLIPPERY = (0.6, 0.01, 0.001)
"""Of blocks and desk; fingers have 1.  With more, a finger that sinks while it pushes jams the block on the desk."""
NO_CONTACT = {"contype": 0, "conaffinity": 0}
GLIDING = {"door": {"damping": 0.5, "frictionloss": 0.2}, "drawer": {"damping": 2.0, "frictionloss": 0.6}}
"""Both run on after a push, nearly to their ends: their tasks are done halfway (CALVIN's thresholds), but what comes
next needs a bay that is free and a drawer that is open."""


@cache
def model(embodiment_name: str, scene: str, shift: str = "none") -> mujoco.MjModel:
    """The model of one robot at one desk under a domain shift; every world of a process shares it, so nobody may change
    it.  Raises :class:`UnknownName`."""
    desk, machine = shifted(layout(scene), embodiment(embodiment_name), shift)
    return mujoco.MjModel.from_xml_string(mjcf(machine, desk))


@cache
def arm_model(embodiment_name: str) -> mujoco.MjModel:
    """The same arm alone, for inverse kinematics: the site ``tcp`` and seven joints."""
    return mujoco.MjModel.from_xml_string(element(
        "mujoco", element("compiler", angle="radian", autolimits="true"), element("size", nuser_geom=1),
        element("default", defaults()), element("worldbody", bare_arm(embodiment(embodiment_name)))))


def mjcf(machine: Embodiment, desk: Layout) -> str:
    """The whole scene as MJCF."""
    static, look = machine.static, desk.look
    return element(
        "mujoco",
        element("compiler", angle="radian", autolimits="true"),
        # the arena is 30 times what is used; MuJoCo's own choice is 16 MB for each world
        element("size", nuser_geom=1, memory="2M"),
        # 50 solver iterations: with 10 and elliptic cones, grasps slip
        element("option", timestep=1 / PHYSICS_HZ, integrator="implicitfast", cone="elliptic", impratio=10,
                iterations=50, ls_iterations=50),
        element("visual", element("headlight", ambient=look.ambient_rgb, diffuse=(0.25,) * 3, specular=(0, 0, 0))),
        element("custom", element("numeric", name=SKY_NUMERIC, data=look.sky_rgb)),
        element("default", defaults(), _defaults()),
        element(
            "worldbody",
            element("light", pos=(0.3, -0.6, 2.2), dir=look.light_dir, directional="true", castshadow="true",
                    diffuse=look.light_rgb),
            geom("floor", "plane", (3, 3, 0.1), look.floor, contype=1, conaffinity=2),
            camera(static.name, static.eye_m, static.target_m, static.up, static.fovy_deg),
            _desk(desk), _slider(desk), _drawer(desk), _button(desk), _switch(desk), _lamps(desk), _distractors(desk),
            *(_block(colour, rgb) for colour, rgb in zip(BLOCK_HALF_M, look.block_rgb, strict=True)), robot(machine)),
        couplings(machine.gripper),
        model=f"{machine.name}-{desk.name}")


def _defaults() -> str:
    return "".join((
        element("default", element("geom", contype=1, conaffinity=0, friction=SLIPPERY), class_="desk"),
        element("default", element("geom", contype=4, conaffinity=0), class_="moving"),
        element("default", element("geom", type="box", contype=8, conaffinity=15, friction=SLIPPERY, condim=3,
                                   mass=0.1, solref=(0.01, 1)), class_="block"),
    ))


def _desk(desk: Layout) -> str:
    top, wall = TABLE_Z_M, CABINET_HEIGHT_M / 2
    side_y, side_half = (BAY_FRONT_M + BAY_BACK_M) / 2, (BAY_BACK_M - BAY_FRONT_M) / 2
    boxes = {
        "desk_top": ((0.46, 0.28, 0.015), (0, 0, top - 0.015)),
        "desk_back": ((0.46, 0.0225, wall), (0, BAY_BACK_M + 0.0225, top + wall)),
        **{f"desk_{side}": ((0.006, side_half, wall), (desk.door_x_m + x, side_y, top + wall))
           for side, x in (("left", -BAYS_HALF_M - 0.006), ("right", BAYS_HALF_M + 0.006))},
        **{f"desk_leg_{i}": ((0.03, 0.03, 0.215), (x, y, 0.215)) for i, (x, y) in enumerate(
            ((0.42, 0.24), (-0.42, 0.24), (0.42, -0.24), (-0.42, -0.24)))},
    }
    return element("body", *(geom(name, "box", half, desk.look.desk, pos=at) for name, (half, at) in boxes.items()),
                   name="desk", childclass="desk")


def _distractors(desk: Layout) -> str:
    return element("body", *(geom(f"distractor_{index}", thing.kind, thing.size_m, thing.paint, pos=thing.position_m)
                             for index, thing in enumerate(desk.look.distractors)),
                   name="distractors", childclass="desk")


def _slider(desk: Layout) -> str:
    """A door with a lid, so that the bay behind it is covered."""
    paint, grip, depth = desk.look.door, desk.look.handle, (BAY_BACK_M - BAY_FRONT_M) / 2
    return element(
        "body",
        element("joint", name="slider", type="slide", axis=(1, 0, 0), range=(-SLIDER_RANGE_M, SLIDER_RANGE_M),
                **GLIDING["door"]),
        geom("slider_door", "box", (DOOR_HALF_M, 0.008, 0.049), paint, pos=(0, 0, 0.003), mass=0.3),
        geom("slider_lid", "box", (DOOR_HALF_M, depth, 0.005), paint, pos=(0, depth - 0.002, 0.057), mass=0.2),
        geom("slider_handle", "capsule", (0.014,), grip, fromto=(0, -0.06, -0.01, 0, -0.06, 0.06), mass=0.05),
        geom("slider_stem", "box", (0.008, 0.022, 0.008), grip, pos=(0, -0.03, 0.025), mass=0.02),
        name="slider", pos=(desk.door_x_m, BAY_FRONT_M, TABLE_Z_M + 0.05), childclass="moving")


def _drawer(desk: Layout) -> str:
    """Just so long that all of its inside lies in front of the desk when it is open."""
    paint, grip, (front, back) = desk.look.drawer, desk.look.handle, DRAWER_INSIDE_M
    wall = 0.008
    half_y, side = (back - front) / 2 + wall, DRAWER_HALF_M + wall
    bottom, top = DRAWER_FLOOR_M - 0.012, TABLE_Z_M - 0.035
    half_z = (top - bottom) / 2
    return element(
        "body",
        element("joint", name="drawer", type="slide", axis=(0, -1, 0), range=(0, DRAWER_RANGE_M),
                **GLIDING["drawer"]),
        geom("drawer_bottom", "box", (side + wall, half_y, 0.006), paint, pos=(0, half_y, 0.006 - half_z), mass=0.2),
        geom("drawer_front", "box", (side + wall, wall, half_z), paint, mass=0.15),
        geom("drawer_back", "box", (side + wall, wall, half_z), paint, pos=(0, 2 * half_y, 0), mass=0.1),
        geom("drawer_left", "box", (wall, half_y, half_z), paint, pos=(-side, half_y, 0), mass=0.05),
        geom("drawer_right", "box", (wall, half_y, half_z), paint, pos=(side, half_y, 0), mass=0.05),
        geom("drawer_handle", "capsule", (0.013,), grip, fromto=(-0.06, -0.105, 0.01, 0.06, -0.105, 0.01), mass=0.05),
        *(geom(f"drawer_stem_{name}", "box", (0.006, 0.0525, 0.006), grip, pos=(x, -0.0575, 0.01), mass=0.01)
          for name, x in (("left", -0.06), ("right", 0.06))),
        name="drawer", pos=(desk.drawer_x_m, DESK_FRONT_M + front - wall, bottom + half_z), childclass="moving")


def _button(desk: Layout) -> str:
    x, y = desk.button_xy_m
    return element(
        "body",
        element("joint", name="button", type="slide", axis=(0, 0, -1), range=(0, BUTTON_TRAVEL_M), damping=20,
                stiffness=200),
        geom("button", "cylinder", (0.034, 0.012), desk.look.button, mass=0.05),
        name="button", pos=(x, y, TABLE_Z_M + BUTTON_TRAVEL_M + 0.008), gravcomp=1, childclass="moving",
    ) + element("body", geom("button_base", "cylinder", (0.046, 0.004), DARK, **NO_CONTACT),
                name="button_base", pos=(x, y, TABLE_Z_M))


def _switch(desk: Layout) -> str:
    x, y = desk.switch_xy_m
    return element(
        "body",
        element("joint", name="switch", type="hinge", axis=(-1, 0, 0), range=(-SWITCH_ON_RAD, SWITCH_ON_RAD),
                damping=0.004, frictionloss=0.002),
        geom("switch_lever", "capsule", (0.013,), desk.look.lever, fromto=(0, 0, 0, 0, 0, 0.075), mass=0.03),
        geom("switch_knob", "sphere", (0.022,), desk.look.knob, pos=(0, 0, 0.085), mass=0.02),
        name="switch", pos=(x, y, TABLE_Z_M + 0.01), childclass="moving",
    ) + element("body", geom("switch_base", "box", (0.03, 0.055, 0.004), DARK, **NO_CONTACT),
                name="switch_base", pos=(x, y, TABLE_Z_M))


def _lamps(desk: Layout) -> str:
    ledge, y = TABLE_Z_M + CABINET_HEIGHT_M, BAY_BACK_M + 0.0225
    return element(
        "body",
        geom("led", "cylinder", (0.042, 0.022), Paint(LAMP_RGB["led"][0]),
             pos=(desk.button_xy_m[0], y, ledge + 0.022), group=LAMP_GROUP, **NO_CONTACT),
        geom("lightbulb", "sphere", (0.045,), Paint(LAMP_RGB["lightbulb"][0]),
             pos=(desk.switch_xy_m[0], y, ledge + 0.04), group=LAMP_GROUP, **NO_CONTACT),
        name="lamps")


def _block(colour: str, rgb: Vector) -> str:
    half = BLOCK_HALF_M[colour]
    return element("body", element("freejoint", name=f"{colour}_block"),
                   geom(f"{colour}_block", "box", half, Paint(rgb)),
                   name=f"{colour}_block", pos=(0, 0, TABLE_Z_M + half[2]), childclass="block")
