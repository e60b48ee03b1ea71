"""Names and shapes of the LeRobot v3.0 format, shared by its reader and its writer.

Source: github.com/huggingface/lerobot 0.4.4, ``lerobot/datasets``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vlactl.errors import IncompatibleSpaces
from vlactl.spaces import Spaces
from vlactl.tabletop.embodiments import EMBODIMENTS
from vlactl.tabletop.interface import ROBOT_STATE_NAMES, SCENE_STATE_NAMES

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK, DATA_FILE_MB, VIDEO_FILE_MB = 1000, 100, 200
"""LeRobot's defaults, which ``info.json`` repeats."""
STATE, ACTION = "observation.state", "action"
ROBOT, SCENE = "observation.robot_state", "observation.environment_state"
TASK_NAME, SCENE_LETTER = "vlactl/task", "vlactl/scene"
"""Our columns of ``meta/episodes``."""
INDEX = "__index_level_0__"
"""What pandas calls an index without a name; LeRobot keeps the instructions in one."""
CAMERA_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def camera_key(name: str) -> str:
    """The column of a camera, and the name of its folder; raises :class:`IncompatibleSpaces` for one that is none."""
    if not CAMERA_NAME.fullmatch(name):
        raise IncompatibleSpaces(f"a camera is called {name!r}", where="converting from or to lerobot",
                                 expected="letters, digits, '_', '-' and '.'", remedy="rename it")
    return f"observation.images.{name}"


def vector_names(spaces: Spaces, *, robot: bool, scene: bool) -> dict[str, tuple[str, ...]]:
    """Feature -> names of its dimensions, for everything but images and counters."""
    return {STATE: spaces.observation.state, ACTION: spaces.action.names,
            **({ROBOT: ROBOT_STATE_NAMES} if robot else {}), **({SCENE: _scene_names(spaces)} if scene else {})}


def _scene_names(spaces: Spaces) -> tuple[str, ...]:
    """CALVIN's own dataset has its blocks in another order at some desks: only our own are named."""
    return SCENE_STATE_NAMES if spaces.embodiment in EMBODIMENTS else tuple(
        f"scene_obs_{i}" for i in range(len(SCENE_STATE_NAMES)))


def features(spaces: Spaces, vectors: dict[str, tuple[str, ...]], video: dict[str, Any] | None) -> dict[str, Any]:
    """``info.json``'s description of every column; ``video``: codec facts where the images are films."""
    images = {camera_key(name): {"dtype": "image" if video is None else "video", "shape": [height, width, 3],
                                 "names": ["height", "width", "channels"]}
              for name, height, width in spaces.observation.cameras}
    for key, (_, height, width) in zip(images, spaces.observation.cameras, strict=True):
        if video is not None:
            images[key]["info"] = {**video, "video.height": height, "video.width": width}
    counters = {name: {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None}
                for name in COUNTERS}
    return {**images, **{key: {"dtype": "float32", "shape": [len(names)], "names": list(names)}
                         for key, names in vectors.items()}, **counters}


def differs(spaces: Spaces, vectors: Sequence[str], video: str) -> tuple[str, ...]:
    """What a user of an export must know, one sentence each; ``video``: the codec, empty for lossless images."""
    action = spaces.action
    turn = "increments of Euler angles" if action.control.endswith("-euler") else "a rotation vector"
    ours = spaces.embodiment in EMBODIMENTS
    origin = ["Demonstrations of vlactl's tabletop world are a scripted expert's; what was executed may have been "
              "disturbed where action says what the expert wanted. That world has CALVIN's tasks and is not CALVIN: "
              "numbers from it never stand beside numbers from CALVIN."] if ours else []
    extra = [f"{ROBOT} and {SCENE} have the order of CALVIN's robot_obs and scene_obs in this world's units."
             ] if ours and ROBOT in vectors else []
    return (
        *origin,
        f"action is {action.control} in {action.frame} axes, in [-1, 1]: shares of {action.position_scale_m:g} m and "
        f"{action.rotation_scale_rad:g} rad ({turn}) in one step of 1/{action.rate_hz:g} s; the last value is "
        "the gripper, -1 closed and +1 open.",
        f"Images are drawn by: {spaces.observation.pictures or 'not declared'}; stored "
        + (f"with loss as {video}." if video else "without loss as PNG."),
        f"LeRobot's task is the instruction; the task's name is in meta/episodes, column {TASK_NAME}, the desk's "
        f"letter in {SCENE_LETTER}.",
        *extra,
    )
