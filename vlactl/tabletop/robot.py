"""An embodiment's arm and gripper as MJCF: seven joints ``j1`` .. ``j7``, two coupled fingers, the site ``tcp``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vlactl.tabletop.embodiments import Arm, Embodiment, Gripper
from vlactl.tabletop.layouts import Paint
from vlactl.tabletop.mjcf import camera, element, geom

ARM_JOINTS = tuple(f"j{i}" for i in range(1, 8))
LIMITS_RAD = ((-2.89, 2.89), (-1.76, 1.76), (-2.89, 2.89), (-3.07, -0.07), (-2.89, 2.89), (-0.01, 3.75), (-2.89, 2.89))
"""Of a Franka Panda."""
GAINS = ((2500, 80), (2500, 80), (2000, 60), (2000, 60), (1000, 25), (1000, 25), (600, 15))
"""(kp, kv): stiff enough to track 0.6 m/s within 2 mm; at 800 the hand lags 15 mm and lands on the block."""
FINGER_GAINS = (1500, 60)
TURN, TURN_BACK = (math.sqrt(0.5), math.sqrt(0.5), 0, 0), (math.sqrt(0.5), -math.sqrt(0.5), 0, 0)
"""Quaternions of a quarter turn about x, either way."""


def robot(embodiment: Embodiment) -> str:
    """The body of arm and gripper, with the wrist camera."""
    gripper, wrist = embodiment.gripper, embodiment.wrist
    palm = geom("palm", "box", gripper.palm_m, Paint(gripper.rgb), pos=(0, 0, gripper.palm_m[2]))
    eye = camera(wrist.name, wrist.eye_m, wrist.target_m, wrist.up, wrist.fovy_deg)
    return arm(embodiment.arm, palm, eye, _tcp(gripper), *_fingers(gripper))


def bare_arm(embodiment: Embodiment) -> str:
    """The same kinematics with next to no geometry, for inverse kinematics."""
    return arm(embodiment.arm, geom("palm", "sphere", (0.01,), Paint(embodiment.gripper.rgb)), _tcp(embodiment.gripper))


def defaults() -> str:
    """Classes that arm and fingers use; for collision bits see :mod:`vlactl.tabletop.scene`."""
    return element(
        "default", element("geom", contype=2, conaffinity=5, mass=1), element("joint", damping=1, armature=0.1),
        class_="arm") + element(
        "default", element("geom", contype=2, conaffinity=5, friction=(1.0, 0.02, 0.001), condim=4, mass=0.02,
                           solref=(0.01, 1)),
        element("joint", type="slide", damping=60, armature=0.05), class_="finger")


def couplings(gripper: Gripper) -> str:
    """Contacts to ignore, the gear between the fingers, and the actuators: seven joints, then the gripper."""
    servos = [element("position", joint=joint, kp=kp, kv=kv) for joint, (kp, kv) in zip(ARM_JOINTS, GAINS, strict=True)]
    grip = element("position", joint="finger_left", kp=FINGER_GAINS[0], kv=FINGER_GAINS[1],
                   ctrlrange=(0, gripper.opening_m), forcerange=(-gripper.force_n, gripper.force_n))
    return (element("contact", element("exclude", body1="base", body2="link1"),
                    element("exclude", body1="base", body2="link2"))
            + element("equality", element("joint", joint1="finger_left", joint2="finger_right", solref=(0.005, 1)))
            + element("actuator", *servos, grip))


def arm(shape: Arm, *hand: str) -> str:
    """The chain of links from the pedestal to the hand, whose content is ``hand``."""
    r, paint = shape.radius_m, Paint(shape.rgb)

    def capsule(name: str, start: Sequence[float], end: Sequence[float], scale: float) -> str:
        return geom(name, "capsule", (scale * r,), paint, fromto=(*start, *end), mass=shape.link_kg)

    def link(index: int, pos: Sequence[float], quat: Sequence[float], *content: str) -> str:
        joint = element("joint", name=f"j{index}", axis=(0, 0, 1), range=LIMITS_RAD[index - 1])
        return element("body", joint, *content, name=f"link{index}", pos=pos, quat=quat, gravcomp=1)

    tool = element("body", *hand, name="hand", pos=(0, 0, shape.flange_m), euler=(0, 0, shape.mount_rad), gravcomp=1)
    flange = geom("link7", "cylinder", (0.75 * r,), paint, fromto=(0, 0, 0.02, 0, 0, 0.95 * shape.flange_m),
                  mass=shape.link_kg)
    link7 = link(7, (shape.wrist_m, 0, 0), TURN, flange, tool)
    link6 = link(6, (0, 0, 0), TURN, capsule("link6", (0, 0, -0.04), (shape.wrist_m / 2, 0, 0.02), 0.85), link7)
    link5 = link(5, (-shape.elbow_m, shape.forearm_m, 0), TURN_BACK,
                 capsule("link5", (0, 0.03, -0.66 * shape.forearm_m), (0, 0.01, -0.03), 0.9), link6)
    link4 = link(4, (shape.elbow_m, 0, 0), TURN, capsule("link4", (-0.02, 0, -0.04), (-0.02, 0, 0.04), 1.0), link5)
    link3 = link(3, (0, -shape.upper_m, 0), TURN,
                 capsule("link3", (0, 0, -0.7 * shape.upper_m), (0, 0, -0.03), 1.0), link4)
    link2 = link(2, (0, 0, 0), TURN_BACK, capsule("link2", (0, 0, -0.05), (0, 0, 0.05), 1.15), link3)
    link1 = link(1, (0, 0, shape.shoulder_m), (1, 0, 0, 0),
                 capsule("link1", (0, 0, -0.45 * shape.shoulder_m), (0, 0, 0), 1.15), link2)
    height = shape.base_xyz_m[2]
    pedestal = geom("pedestal", "cylinder", (1.5 * r, height / 2), Paint((0.3, 0.3, 0.33)), pos=(0, 0, -height / 2))
    return element("body", pedestal, capsule("link0", (0, 0, 0.03), (0, 0, 0.4 * shape.shoulder_m), 1.2), link1,
                   name="base", pos=shape.base_xyz_m, euler=(0, 0, shape.base_yaw_rad), childclass="arm", gravcomp=1)


def _tcp(gripper: Gripper) -> str:
    return element("site", name="tcp", pos=(0, 0, gripper.grasp_m), size=0.004)


def _fingers(gripper: Gripper) -> list[str]:
    _, thick, half = gripper.finger_m
    return [element(
        "body", element("joint", name=f"finger_{side}", axis=(0, sign, 0), range=(0, gripper.opening_m)),
        geom(f"finger_{side}", "box", gripper.finger_m, Paint(gripper.rgb), pos=(0, sign * thick, half)),
        name=f"finger_{side}", pos=(0, 0, 2 * gripper.palm_m[2]), childclass="finger", gravcomp=1,
    ) for side, sign in (("left", 1), ("right", -1))]
