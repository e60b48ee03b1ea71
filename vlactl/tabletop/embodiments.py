"""The robots: arm, gripper, cameras and action scale of each, as plain numbers.

Every arm has seven joints in the order of a Panda (z, y, z, y, z, y, z), so that one builder
(:mod:`vlactl.tabletop.scene`) makes them all; what differs is written here.  ``spaces`` declares what a policy for one
of them sees and commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from vlactl.errors import UnknownName
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces

Vector = tuple[float, float, float]

SUBSTEP_HZ = 30.0
"""Rate at which targets are tracked; a control step repeats its action ``action_repeat`` times at this rate
(CALVIN)."""
ACTION_REPEAT = 3
"""Default: 10 Hz control, short episodes that a small policy learns faster."""
STATE_NAMES = ("eef_x_m", "eef_y_m", "eef_z_m", "eef_yaw_cos", "eef_yaw_sin", "approach_x", "approach_y",
               "gripper_width_m", "gripper_command")
"""Proprioception: end-effector position in the world, heading of the fingers, horizontal components of the unit
approach axis (both 0 when the hand points straight down), distance between the fingers, last command (-1 close, +1
open)."""
ACTION_NAMES = ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z", "gripper")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """Lengths between the axes of a 7-joint arm; the names follow the Panda's parts."""

    base_xyz_m: Vector
    base_yaw_rad: float
    shoulder_m: float
    upper_m: float
    elbow_m: float
    """Sideways offset of the elbow axis from the upper arm and from the forearm."""
    forearm_m: float
    wrist_m: float
    """Offset of the last axis from the one before."""
    flange_m: float
    radius_m: float
    home_rad: tuple[float, ...]
    rgb: Vector


@dataclass(frozen=True, kw_only=True, slots=True)
class Gripper:
    """A parallel gripper: a palm and two box fingers that slide along the palm's y axis."""

    palm_m: Vector
    """Half sizes; its lower face is ``2 * palm_m[2]`` below the flange."""
    finger_m: Vector
    """Half sizes of one finger: width across the motion, thickness along it, half length."""
    opening_m: float
    """Largest travel of one finger from the middle."""
    force_n: float
    rgb: Vector

    @property
    def grasp_m(self) -> float:
        """Distance from the flange to the grasp point, 1 cm above the fingertips."""
        return 2 * self.palm_m[2] + 2 * self.finger_m[2] - 0.010


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A pinhole camera that looks from ``eye_m`` at ``target_m`` (world, or the flange's frame for the wrist)."""

    name: str
    eye_m: Vector
    target_m: Vector
    up: Vector
    fovy_deg: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Embodiment:
    """One robot with its cameras and its action scale."""

    name: str
    arm: Arm
    gripper: Gripper
    static: Camera
    wrist: Camera
    position_scale_m: float
    """Translation that 1.0 commands in one substep of 1/30 s (CALVIN: 0.02)."""
    rotation_scale_rad: float
    """Rotation that 1.0 commands in one substep (CALVIN: 0.05)."""
    ready_xyz_m: Vector
    """Where the grasp point waits at the start of a chain, before the seeded offset."""
    ready_yaw_rad: float
    """Heading of the hand then, and the middle of what the wrist can turn; a quarter turn either way from 0 lays the
    fingers along x."""


PANDA = Embodiment(
    name="panda",
    arm=Arm(base_xyz_m=(-0.26, -0.51, 0.35), base_yaw_rad=0.9, shoulder_m=0.333, upper_m=0.316, elbow_m=0.0825,
            forearm_m=0.384, wrist_m=0.088, flange_m=0.107, radius_m=0.055,
            home_rad=(0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.785),
            rgb=(0.92, 0.92, 0.92)),
    gripper=Gripper(palm_m=(0.03, 0.085, 0.03), finger_m=(0.0125, 0.007, 0.040), opening_m=0.042, force_n=60.0,
                    rgb=(0.3, 0.3, 0.3)),
    static=Camera(name="static", eye_m=(0.55, -1.10, 1.45), target_m=(0.0, -0.08, 0.46), up=(0, 0, 1), fovy_deg=35.0),
    wrist=Camera(name="wrist", eye_m=(-0.07, 0.0, 0.045), target_m=(-0.025, 0.0, 0.137), up=(1, 0, 0), fovy_deg=75.0),
    position_scale_m=0.02, rotation_scale_rad=0.05, ready_xyz_m=(0.0, -0.16, 0.62), ready_yaw_rad=1.5708)

STUBBY = Embodiment(
    name="stubby",
    arm=Arm(base_xyz_m=(0.29, -0.47, 0.42), base_yaw_rad=2.2, shoulder_m=0.26, upper_m=0.37, elbow_m=0.05,
            forearm_m=0.37, wrist_m=0.06, flange_m=0.09, radius_m=0.068,
            home_rad=(0.0, -0.5, 0.0, -2.2, 0.0, 1.7, 0.785),
            rgb=(0.95, 0.55, 0.15)),
    gripper=Gripper(palm_m=(0.035, 0.06, 0.025), finger_m=(0.016, 0.009, 0.034), opening_m=0.05, force_n=80.0,
                    rgb=(0.15, 0.2, 0.35)),
    static=Camera(name="static", eye_m=(-0.70, -0.95, 1.50), target_m=(0.0, -0.08, 0.46), up=(0, 0, 1), fovy_deg=37.0),
    wrist=Camera(name="wrist", eye_m=(-0.08, 0.0, 0.035), target_m=(-0.03, 0.0, 0.12), up=(1, 0, 0), fovy_deg=85.0),
    position_scale_m=0.015, rotation_scale_rad=0.07, ready_xyz_m=(0.02, -0.17, 0.64), ready_yaw_rad=-1.5708)

EMBODIMENTS: dict[str, Embodiment] = {robot.name: robot for robot in (PANDA, STUBBY)}


def embodiment(name: str) -> Embodiment:
    """The embodiment called ``name``; raises :class:`UnknownName`."""
    if name not in EMBODIMENTS:
        raise UnknownName("embodiment", name, EMBODIMENTS)
    return EMBODIMENTS[name]


@cache
def spaces(name: str, image_px: int, action_repeat: int = ACTION_REPEAT) -> Spaces:
    """What a policy for this embodiment sees and commands at ``30 / action_repeat`` Hz."""
    robot = embodiment(name)
    return Spaces(
        observation=ObservationSpace(cameras=tuple((c.name, image_px, image_px) for c in (robot.static, robot.wrist)),
                                     state=STATE_NAMES),
        action=ActionSpace(names=ACTION_NAMES, control="relative-eef-pose", frame="world",
                           position_scale_m=round(robot.position_scale_m * action_repeat, 9),
                           rotation_scale_rad=round(robot.rotation_scale_rad * action_repeat, 9),
                           rate_hz=SUBSTEP_HZ / action_repeat),
        embodiment=name)
