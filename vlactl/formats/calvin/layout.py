"""Names, shapes and conventions of CALVIN's directory format, shared by its reader and its writer.

Source: github.com/mees/calvin at fa03f01, ``dataset/README.md`` and its data loaders.
"""

from __future__ import annotations

import numpy as np

from vlactl.errors import IncompatibleSpaces
from vlactl.spaces import Spaces

HALVES = ("training", "validation")
FRAME = "episode_{:07d}.npz"
FIRST_FRAME = 1000
"""Number of the first frame: CALVIN's loaders refuse a range whose last number is below their window's length."""
ANNOTATIONS = "lang_annotations/auto_lang_ann.npy"
EMBEDDING = 384
"""Width of the sentence embeddings that CALVIN's annotations carry."""
ROBOT, SCENE = 15, 24
"""Widths of ``robot_obs`` and ``scene_obs``."""
ACTION = 7
STATE = "vlactl_state"
"""Our key for the proprioception that a policy sees; CALVIN's own loaders do not look at it."""
CAMERA_KEYS = {"static": "rgb_static", "wrist": "rgb_gripper"}
SCENE_PREFIX = "tabletop_scene_"
"""Before the desk's letter in ``scene_info.npy``; CALVIN's own begin with ``calvin_scene_``."""


def camera_keys(spaces: Spaces) -> tuple[str, ...]:
    """The npz key of each camera, in the order of the observation space."""
    return tuple(CAMERA_KEYS.get(name, f"rgb_{name}") for name, *_ in spaces.observation.cameras)


def check_exportable(spaces: Spaces, where: str) -> None:
    """Raise :class:`IncompatibleSpaces` unless the format's meaning of cameras and actions holds for ``spaces``."""
    names = {name for name, *_ in spaces.observation.cameras}
    action = spaces.action
    if not names >= CAMERA_KEYS.keys():
        raise IncompatibleSpaces(f"the cameras are {', '.join(sorted(names))}", where=where,
                                 expected="'static' and 'wrist', which become CALVIN's rgb_static and rgb_gripper",
                                 remedy="convert to lerobot instead, which takes any cameras")
    if (action.size, action.control, action.frame) != (ACTION, "relative-eef-pose", "world"):
        raise IncompatibleSpaces(f"the actions are {action.size}-D {action.control} in {action.frame} axes",
                                 where=where, expected="7-D relative-eef-pose in world axes, as CALVIN's rel_actions",
                                 remedy="convert to lerobot instead, which takes any actions")


def differs(spaces: Spaces) -> tuple[str, ...]:
    """What a user of CALVIN's format must know about an export, one sentence each."""
    action = spaces.action
    sizes = ", ".join(f"{key} {height}x{width}" for key, (_, height, width)
                      in zip(camera_keys(spaces), spaces.observation.cameras, strict=True))
    return (
        "This is not the CALVIN dataset. The demonstrations are a scripted expert's, recorded in vlactl's tabletop "
        "world, whose desk, robot, blocks and pictures are its own. Numbers from it never stand beside numbers from "
        "CALVIN.",
        f"Images are {sizes} (height x width; CALVIN: 200x200 and 84x84), drawn by: "
        f"{spaces.observation.pictures or 'not declared'}. There are no depth and no tactile images.",
        f"Control runs at {action.rate_hz:g} Hz (CALVIN: 30 Hz).",
        f"rel_actions are shares of {action.position_scale_m:g} m and {action.rotation_scale_rad:g} rad in one control "
        "step (CALVIN: 0.02 m and 0.05 rad in 1/30 s). Their turn is a rotation vector in world axes (CALVIN: "
        "increments of Euler angles).",
        "actions are the robot's pose at the next frame and the gripper's command; at the last frame of a "
        "demonstration, the pose at that frame moved by rel_actions. rel_actions are what the expert wanted; a "
        "recording disturbs what is executed in one frame of five, so there actions are where the disturbed command "
        "led: learn from rel_actions.",
        "Every annotation is one whole demonstration and no two overlap (CALVIN: windows of up to 64 frames cut out "
        "of play). CALVIN's loaders skip, without a word, demonstrations that are shorter than their min_window_size. "
        "Frames are ordered by scene, so that scene_info.npy can name ranges.",
        "scene_obs has CALVIN's fields in this world's units: the sliding door is at 0 m in the middle of its way, "
        "-0.13 m on the left and +0.13 m on the right, the switch is in radians; the blocks are red, blue, pink at "
        f"every desk (CALVIN orders them otherwise in A and C). Scenes are called {SCENE_PREFIX}A to {SCENE_PREFIX}D.",
        "Sentence embeddings (emb) are NaN, because no language model has read the instructions: compute your own.",
        f"Each frame has an array more, {STATE}: the proprioception that vlactl's policies see.",
    )


def absolute_actions(robot_TR: np.ndarray, actions_TA: np.ndarray, spaces: Spaces) -> np.ndarray:
    """CALVIN's ``actions`` (T, 7) float64: pose of the next frame (m, Euler angles in rad), gripper command."""
    from scipy.spatial.transform import Rotation

    last_R, action_A = robot_TR[-1].astype(np.float64), actions_TA[-1].astype(np.float64)
    moved = last_R[:3] + action_A[:3] * spaces.action.position_scale_m
    turn = Rotation.from_rotvec(action_A[3:6] * spaces.action.rotation_scale_rad)
    turned = (turn * Rotation.from_euler("xyz", last_R[3:6])).as_euler("xyz")
    poses_TP = np.concatenate([robot_TR[1:, :6].astype(np.float64), [np.concatenate([moved, turned])]])
    return np.concatenate([poses_TP, actions_TA[:, 6:7].astype(np.float64)], 1)
