"""Embodiment + layout -> MuJoCo model, made of primitives only (box, capsule, cylinder, sphere, plane).

For a renderer: ``geom_group`` says what a geom looks like (the GROUP constants below).  Lamps stand still but change
colour, so they are never part of a picture that is drawn once; their colour is per world, in ``World.colors()``, never
in the shared model.

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
    BAY_FRONT_M,
    BLOCK_HALF_M,
    BLOCK_RGB,
    BUTTON_TRAVEL_M,
    LAMP_RGB,
    SWITCH_ON_RAD,
    TABLE_Z_M,
    Layout,
    layout,
)
from vlactl.tabletop.mjcf import camera, element, geom
from vlactl.tabletop.robot import bare_arm, couplings, defaults, robot

GROUP_PLAIN, GROUP_WOOD, GROUP_CHECKER, GROUP_LAMP = 0, 1, 2, 3
PHYSICS_HZ = 240
"""CALVIN's rate: eight steps for each substep of 1/30 s."""
DARK_RGB = (0.25, 0.25, 0.27)
NO_CONTACT = {"contype": 0, "conaffinity": 0}


@cache
def model(embodiment_name: str, scene: str) -> mujoco.MjModel:
    """The model of one robot at one desk; every world of a process shares it, so nobody may change it."""
    return mujoco.MjModel.from_xml_string(mjcf(embodiment(embodiment_name), layout(scene)))


@cache
def arm_model(embodiment_name: str) -> mujoco.MjModel:
    """The same arm alone, for inverse kinematics: the site ``tcp`` and seven joints."""
    return mujoco.MjModel.from_xml_string(element(
        "mujoco", element("compiler", angle="radian", autolimits="true"), element("default", defaults()),
        element("worldbody", bare_arm(embodiment(embodiment_name)))))


def mjcf(machine: Embodiment, desk: Layout) -> str:
    """The whole scene as MJCF."""
    static = machine.static
    return element(
        "mujoco",
        element("compiler", angle="radian", autolimits="true"),
        # 50 solver iterations: with 10 and elliptic cones, grasps slip
        element("option", timestep=1 / PHYSICS_HZ, integrator="implicitfast", cone="elliptic", impratio=10,
                iterations=50, ls_iterations=50),
        element("visual", element("headlight", ambient=(0.4,) * 3, diffuse=(0.5,) * 3, specular=(0, 0, 0))),
        element("default", defaults(), _defaults()),
        element(
            "worldbody",
            element("light", pos=(0.3, -0.6, 2.2), dir=(-0.1, 0.2, -1), directional="true", castshadow="true",
                    diffuse=(0.5,) * 3),
            geom("floor", "plane", (3, 3, 0.1), (0.55, 0.60, 0.65), contype=1, conaffinity=2, group=GROUP_CHECKER),
            camera(static.name, static.eye_m, static.target_m, static.up, static.fovy_deg),
            _desk(desk), _slider(desk), _drawer(desk), _button(desk), _switch(desk), _lamps(desk),
            *(_block(colour) for colour in BLOCK_HALF_M), robot(machine)),
        couplings(machine.gripper),
        model=f"{machine.name}-{desk.name}")


def _defaults() -> str:
    return "".join((
        element("default", element("geom", contype=1, conaffinity=0, group=GROUP_WOOD), class_="desk"),
        element("default", element("geom", contype=4, conaffinity=0), class_="moving"),
        element("default", element("geom", type="box", contype=8, conaffinity=15, friction=(0.8, 0.01, 0.001), condim=4,
                                   mass=0.1, solref=(0.01, 1)), class_="block"),
    ))


def _desk(desk: Layout) -> str:
    top = TABLE_Z_M
    boxes = {
        "desk_top": ((0.46, 0.28, 0.02), (0, 0, top - 0.02)),
        "desk_back": ((0.46, 0.02, 0.17), (0, 0.29, top + 0.17)),
        "desk_shelf": ((0.46, 0.085, 0.01), (0, 0.185, top + 0.16)),
        "desk_left": ((0.01, 0.085, 0.075), (-0.45, 0.185, top + 0.075)),
        "desk_right": ((0.01, 0.085, 0.075), (0.45, 0.185, top + 0.075)),
        **{f"desk_leg_{i}": ((0.03, 0.03, 0.21), (x, y, 0.21)) for i, (x, y) in enumerate(
            ((0.42, 0.24), (-0.42, 0.24), (0.42, -0.24), (-0.42, -0.24)))},
    }
    return element("body", *(geom(name, "box", half, desk.wood_rgb, pos=centre) for name,
                             (half, centre) in boxes.items()),
                   name="desk", childclass="desk")


def _slider(desk: Layout) -> str:
    grip = desk.handle_rgb
    return element(
        "body",
        element("joint", name="slider", type="slide", axis=(1, 0, 0), range=(-0.15, 0.15), damping=8, frictionloss=2),
        geom("slider_door", "box", (0.15, 0.008, 0.072), desk.door_rgb, mass=0.4),
        geom("slider_handle", "capsule", (0.014,), grip, fromto=(0, -0.06, -0.035, 0, -0.06, 0.04), mass=0.05),
        geom("slider_stem", "box", (0.008, 0.022, 0.008), grip, pos=(0, -0.03, 0), mass=0.02),
        name="slider", pos=(desk.door_x_m, BAY_FRONT_M, TABLE_Z_M + 0.076), childclass="moving")


def _drawer(desk: Layout) -> str:
    rgb, grip = desk.drawer_rgb, desk.handle_rgb
    # the bar stands out past the front of the desk, and high, so that the palm of a vertical hand clears the top
    return element(
        "body",
        element("joint", name="drawer", type="slide", axis=(0, -1, 0), range=(0, 0.20), damping=8, frictionloss=2),
        geom("drawer_bottom", "box", (0.13, 0.21, 0.006), (0.66, 0.50, 0.35), pos=(0, 0, -0.044), mass=0.3),
        geom("drawer_front", "box", (0.13, 0.008, 0.045), rgb, pos=(0, -0.215, 0), mass=0.2),
        geom("drawer_back", "box", (0.13, 0.008, 0.045), rgb, pos=(0, 0.20, 0), mass=0.1),
        geom("drawer_left", "box", (0.008, 0.21, 0.045), rgb, pos=(-0.122, 0, 0), mass=0.1),
        geom("drawer_right", "box", (0.008, 0.21, 0.045), rgb, pos=(0.122, 0, 0), mass=0.1),
        geom("drawer_handle", "capsule", (0.013,), grip, fromto=(-0.06, -0.325, 0.02, 0.06, -0.325, 0.02), mass=0.05),
        *(geom(f"drawer_stem_{side}", "box", (0.006, 0.045, 0.006), grip, pos=(x, -0.268, 0.02), mass=0.01)
          for side, x in (("left", -0.06), ("right", 0.06))),
        name="drawer", pos=(desk.drawer_x_m, -0.06, TABLE_Z_M - 0.09), childclass="moving")


def _button(desk: Layout) -> str:
    x, y = desk.button_xy_m
    return element(
        "body",
        element("joint", name="button", type="slide", axis=(0, 0, -1), range=(0, BUTTON_TRAVEL_M), damping=4,
                stiffness=200),
        geom("button", "cylinder", (0.034, 0.012), desk.button_rgb, mass=0.05),
        name="button", pos=(x, y, TABLE_Z_M + BUTTON_TRAVEL_M + 0.008), gravcomp=1, childclass="moving",
    ) + element("body", geom("button_base", "cylinder", (0.046, 0.004), DARK_RGB, **NO_CONTACT),
                name="button_base", pos=(x, y, TABLE_Z_M))


def _switch(desk: Layout) -> str:
    x, y = desk.switch_xy_m
    return element(
        "body",
        element("joint", name="switch", type="hinge", axis=(-1, 0, 0), range=(-SWITCH_ON_RAD, SWITCH_ON_RAD),
                damping=0.08, frictionloss=0.06),
        geom("switch_lever", "capsule", (0.013,), (0.15, 0.15, 0.16), fromto=(0, 0, 0, 0, 0, 0.075), mass=0.03),
        geom("switch_knob", "sphere", (0.022,), (0.90, 0.45, 0.10), pos=(0, 0, 0.085), mass=0.02),
        name="switch", pos=(x, y, TABLE_Z_M + 0.01), gravcomp=1, childclass="moving",
    ) + element("body", geom("switch_base", "box", (0.03, 0.055, 0.004), DARK_RGB, **NO_CONTACT),
                name="switch_base", pos=(x, y, TABLE_Z_M))


def _lamps(desk: Layout) -> str:
    shelf, y = TABLE_Z_M + 0.17, 0.17
    return element(
        "body",
        geom("led", "cylinder", (0.042, 0.022), LAMP_RGB["led"][0], pos=(desk.button_xy_m[0], y, shelf + 0.022),
             group=GROUP_LAMP, **NO_CONTACT),
        geom("lightbulb", "sphere", (0.045,), LAMP_RGB["lightbulb"][0], pos=(desk.switch_xy_m[0], y, shelf + 0.045),
             group=GROUP_LAMP, **NO_CONTACT),
        name="lamps")


def _block(colour: str) -> str:
    half = BLOCK_HALF_M[colour]
    return element("body", element("freejoint", name=f"{colour}_block"),
                   geom(f"{colour}_block", "box", half, BLOCK_RGB[colour]),
                   name=f"{colour}_block", pos=(0, 0, TABLE_Z_M + half[2]), childclass="block")
