"""What goes in and out of a tabletop world, index by index: actions, proprioception, the robot's and the scene's state.

Pure names and declarations, for data, policies and benchmarks alike; :mod:`vlactl.tabletop.world` fills the vectors.
Imports neither numpy nor mujoco.
"""

from __future__ import annotations

from functools import cache

from vlactl.errors import UsageError
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.tabletop import RENDERER_VERSION

SUBSTEP_HZ = 30.0
"""Rate at which targets are tracked; a control step repeats its action ``action_repeat`` times at this rate
(CALVIN)."""
ACTION_REPEAT = 3
"""Default: 10 Hz control, short episodes that a small policy learns faster."""

ACTION_NAMES = ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z", "gripper")
"""All in [-1, 1]: 0-2 translation and 3-5 rotation vector of the target pose in world axes, as shares of the
embodiment's scales; 6 the gripper, above 0 opens, anything else closes."""

STATE_NAMES = ("eef_x_m", "eef_y_m", "eef_z_m", "eef_yaw_cos", "eef_yaw_sin", "approach_x", "approach_y",
               "gripper_width_m", "gripper_command")
"""Proprioception, what policies see: 0-2 position of the grasp point in the world, 3-4 heading of the fingers, 5-6
horizontal components of the unit approach axis (both 0 when the hand points straight down), 7 distance between the
fingers, 8 last command (-1 close, +1 open)."""

ROBOT_STATE_NAMES = ("tcp_x_m", "tcp_y_m", "tcp_z_m", "tcp_roll_rad", "tcp_pitch_rad", "tcp_yaw_rad",
                     "gripper_width_m", *(f"joint_{i}_rad" for i in range(1, 8)), "gripper_command")
"""CALVIN's ``robot_obs``: 0-2 position of the grasp point in the world; 3-5 its rotation as Euler angles about the
world's x, then y, then z axis (PyBullet's convention, each in (-pi, pi], pitch in [-pi/2, pi/2]); 6 distance between
the fingers; 7-13 measured arm joints from the base on; 14 last command (-1 close, +1 open)."""

SCENE_STATE_NAMES = ("slider_m", "drawer_m", "button_m", "switch_rad", "lightbulb", "led",
                     *(f"{colour}_{axis}" for colour in ("red", "blue", "pink")
                       for axis in ("x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad")))
"""CALVIN's order of ``scene_obs`` in our units: 0 sliding door (negative is left), 1 drawer (0 is closed), 2 button (0
is up), 3 switch (positive is on), 4 light bulb and 5 LED (0 or 1); then for the red, blue and pink block, from 6, 12
and 18 on, its centre in the world and its rotation as in ``ROBOT_STATE_NAMES``."""


def pictures(renderer: str, shadows: bool, antialias: int) -> str:
    """How images are made, in the words of ``ObservationSpace.pictures``: ``raycast-2, soft shadows, 1x1``."""
    return f"{renderer}-{RENDERER_VERSION}, {'soft' if shadows else 'no'} shadows, {antialias}x{antialias}"


@cache
def spaces(embodiment_name: str, image_px: int | tuple[int, ...], *, pictures: str,
           action_repeat: int = ACTION_REPEAT) -> Spaces:
    """What a policy for this embodiment sees and commands at ``30 / action_repeat`` Hz.

    ``image_px``: side of all images, or one for each camera (static, wrist).  Raises :class:`UnknownName`, and
    :class:`UsageError` for another number of sides.
    """
    from vlactl.tabletop.embodiments import embodiment

    robot = embodiment(embodiment_name)
    names = (robot.static.name, robot.wrist.name)
    sides = (image_px,) * len(names) if isinstance(image_px, int) else image_px
    if len(sides) != len(names):
        raise UsageError(f"{len(sides)} sides of images for the cameras {names}", where="spaces",
                         expected="one side for all, or one for each")
    return Spaces(
        observation=ObservationSpace(cameras=tuple((name, px, px) for name, px in zip(names, sides, strict=True)),
                                     state=STATE_NAMES, pictures=pictures),
        action=ActionSpace(names=ACTION_NAMES, control="relative-eef-pose", frame="world",
                           position_scale_m=round(robot.position_scale_m * action_repeat, 9),
                           rotation_scale_rad=round(robot.rotation_scale_rad * action_repeat, 9),
                           rate_hz=SUBSTEP_HZ / action_repeat),
        embodiment=embodiment_name)
