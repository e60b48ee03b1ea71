"""The robots: arm, gripper, cameras and action scale of each, as plain numbers.

Every arm has seven joints in the order of a Panda (z, y, z, y, z, y, z), so that one builder
(:mod:`vlactl.tabletop.scene`) makes them all; what differs is written here.  What a policy for one of them sees and
commands is declared in :mod:`vlactl.tabletop.interface`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlactl.errors import UnknownName

Vector = tuple[float, float, float]


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
    link_kg: float
    """Of each link."""
    home_rad: tuple[float, ...]
    mount_rad: float
    """Turn of the hand against the last joint: such that the middle of its range is the ready heading."""
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
    arm=Arm(base_xyz_m=(-0.33, -0.43, 0.42), base_yaw_rad=0.6, shoulder_m=0.333, upper_m=0.316, elbow_m=0.0825,
            forearm_m=0.384, wrist_m=0.088, flange_m=0.107, radius_m=0.055, link_kg=1.0,
            home_rad=(0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.0), mount_rad=-0.965, rgb=(0.92, 0.92, 0.92)),
    gripper=Gripper(palm_m=(0.03, 0.07, 0.03), finger_m=(0.0125, 0.007, 0.060), opening_m=0.042, force_n=60.0,
                    rgb=(0.3, 0.3, 0.3)),
    static=Camera(name="static", eye_m=(0.55, -1.10, 1.45), target_m=(0.01, -0.07, 0.46), up=(0, 0, 1), fovy_deg=38.0),
    wrist=Camera(name="wrist", eye_m=(-0.07, 0.0, 0.045), target_m=(-0.02, 0.0, 0.177), up=(1, 0, 0), fovy_deg=75.0),
    position_scale_m=0.02, rotation_scale_rad=0.05, ready_xyz_m=(0.0, -0.16, 0.64), ready_yaw_rad=1.5708)

STUBBY = Embodiment(
    name="stubby",
    arm=Arm(base_xyz_m=(0.30, -0.42, 0.42), base_yaw_rad=2.4, shoulder_m=0.26, upper_m=0.38, elbow_m=0.05,
            forearm_m=0.38, wrist_m=0.06, flange_m=0.09, radius_m=0.068, link_kg=1.0,
            home_rad=(0.0, -0.5, 0.0, -2.2, 0.0, 1.7, 0.0), mount_rad=-2.16, rgb=(0.95, 0.55, 0.15)),
    gripper=Gripper(palm_m=(0.035, 0.07, 0.025), finger_m=(0.015, 0.008, 0.058), opening_m=0.046, force_n=80.0,
                    rgb=(0.15, 0.2, 0.35)),
    static=Camera(name="static", eye_m=(-0.70, -0.95, 1.50), target_m=(0.0, -0.07, 0.46), up=(0, 0, 1), fovy_deg=41.0),
    wrist=Camera(name="wrist", eye_m=(-0.08, 0.0, 0.035), target_m=(-0.025, 0.0, 0.16), up=(1, 0, 0), fovy_deg=85.0),
    position_scale_m=0.015, rotation_scale_rad=0.07, ready_xyz_m=(0.02, -0.17, 0.65), ready_yaw_rad=-1.5708)

HERON = Embodiment(
    name="heron",
    arm=Arm(base_xyz_m=(-0.62, 0.0, 0.40), base_yaw_rad=-0.3, shoulder_m=0.30, upper_m=0.48, elbow_m=0.05,
            forearm_m=0.48, wrist_m=0.05, flange_m=0.09, radius_m=0.042, link_kg=0.5,
            home_rad=(0.0, -0.3, 0.0, -2.3, 0.0, 2.0, 0.0), mount_rad=-1.77, rgb=(0.45, 0.62, 0.75)),
    gripper=Gripper(palm_m=(0.025, 0.065, 0.02), finger_m=(0.011, 0.006, 0.065), opening_m=0.044, force_n=50.0,
                    rgb=(0.85, 0.82, 0.70)),
    static=Camera(name="static", eye_m=(0.75, -0.55, 1.60), target_m=(0.0, -0.09, 0.46), up=(0, 0, 1), fovy_deg=43.0),
    wrist=Camera(name="wrist", eye_m=(-0.06, 0.0, 0.02), target_m=(-0.015, 0.0, 0.16), up=(1, 0, 0), fovy_deg=70.0),
    position_scale_m=0.025, rotation_scale_rad=0.06, ready_xyz_m=(0.0, -0.14, 0.66), ready_yaw_rad=1.5708)

EMBODIMENTS: dict[str, Embodiment] = {robot.name: robot for robot in (PANDA, STUBBY, HERON)}
"""Panda: slim, in the front at the left, CALVIN's action scale.  Stubby: thick, in the front at the right, slow, turns
fast.  Heron: long and thin, at the left end, fast.  Each is looked at from elsewhere."""


def embodiment(name: str) -> Embodiment:
    """The embodiment called ``name``; raises :class:`UnknownName`."""
    if name not in EMBODIMENTS:
        raise UnknownName("embodiment", name, EMBODIMENTS)
    return EMBODIMENTS[name]
