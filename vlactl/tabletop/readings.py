"""What can be read off one world: poses, vectors for policies and data, snapshots that goals compare.

Readings are views of arrays that physics writes, so they cost nothing until they are asked for, and serve a
:class:`World` and each of many :class:`Worlds` alike.
"""
# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from vlactl.tabletop import layouts
from vlactl.tabletop.goals import reached
from vlactl.tabletop.interface import ROBOT_STATE_NAMES, SCENE_STATE_NAMES, STATE_NAMES
from vlactl.tabletop.motion import CONTROL_GRIPPER, CONTROL_JOINTS, CONTROL_ROTATION
from vlactl.tabletop.robot import ARM_JOINTS
from vlactl.tabletop.tasks import BLOCKS, TASKS

TOUCH = ("robot", "desk", "drawer", "furniture", "block")
"""What a block can touch: the classes of ``Snapshot.touching``."""
FURNITURE = ("slider", "drawer", "button", "switch")
"""Joints of the furniture, in the order of ``SCENE_STATE_NAMES``."""
POSES = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "site_xpos", "site_xmat")
"""Fields of MjData that readings and renderers look at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What goals compare: the state of everything that a task can change."""

    joints: dict[str, float]
    """``slider`` (m, negative is left), ``drawer`` (m, 0 closed), ``button`` (m), ``switch`` (rad)."""
    lamps: dict[str, int]
    """``led`` and ``lightbulb``: 0 or 1."""
    blocks_m: dict[str, np.ndarray]
    """Centre (3,) of each block."""
    blocks_rotation: dict[str, np.ndarray]
    """Rotation (3, 3) of each block, from block to world."""
    touching: dict[str, frozenset[str]]
    """What each block is in contact with, of TOUCH."""
    touched_blocks: dict[str, frozenset[str]]
    """Which other blocks each block is in contact with."""
    door_x_m: float = 0.0
    """Middle of the two bays: they lie at different places on different desks."""


class _Glance(Snapshot):
    """A snapshot of now whose parts are read when a predicate first asks for them: most never are."""

    __slots__ = ("_readings",)

    def __init__(self, readings: Readings) -> None:
        object.__setattr__(self, "_readings", readings)

    def __getattr__(self, name: str) -> object:
        for part, value in self._readings.parts(name).items():
            object.__setattr__(self, part, value)
        return object.__getattribute__(self, name)


class Lamps:
    """The LED and the light bulb of one desk, by CALVIN's rules: the button toggles the LED each time that it passes
    half of its travel, the side of the switch is the bulb."""

    def __init__(self) -> None:
        self.lit: dict[str, int] = {"led": 0, "lightbulb": 0}
        self.button_down = False

    def put(self, led: int, lightbulb: int, *, button_down: bool = False) -> None:
        """Begin with these."""
        self.lit["led"], self.lit["lightbulb"], self.button_down = int(led), int(lightbulb), button_down

    def follow(self, button_m: float, switch_rad: float) -> bool:
        """Go by the furniture's joints; True when a lamp changed."""
        before = self.lit["led"], self.lit["lightbulb"]
        pressed = button_m / layouts.BUTTON_TRAVEL_M
        if pressed > 0.5 and not self.button_down:
            self.lit["led"] = 1 - self.lit["led"]
        self.button_down = pressed > (0.3 if self.button_down else 0.5)
        self.lit["lightbulb"] = int(switch_rad > 0)
        return before != (self.lit["led"], self.lit["lightbulb"])


class Anatomy:
    """Where the parts of a desk and robot are in the arrays of their model."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.address = {model.joint(i).name: int(model.jnt_qposadr[i]) for i in range(model.njnt)}
        self.arm = np.array([self.address[name] for name in ARM_JOINTS])
        self.tcp = int(model.site("tcp").id)
        self.blocks = {name: int(model.geom(name).id) for name in BLOCKS}
        for name, geom in self.blocks.items():
            assert (model.geom_pos[geom] == 0).all(), f"{name} is off the middle of its body"
        self.block_of_geom = {geom: name for name, geom in self.blocks.items()}
        self.touch_of_geom = [_touch_class(model, geom) for geom in range(model.ngeom)]
        self.door_x_m = float(model.body("slider").pos[0])
        self.lamp_geoms = {name: int(model.geom(name).id) for name in layouts.LAMP_RGB}
        self.colors_GC = model.geom_rgba[:, :3].astype(np.float32)


class Readings:
    """One world to look at; nothing here changes it."""

    def __init__(self, anatomy: Anatomy, qpos: np.ndarray, poses: dict[str, np.ndarray], control_C: np.ndarray,
                 lamps: Lamps, contacts: Callable[[], np.ndarray]) -> None:
        """``poses``: the fields of POSES; ``contacts``: (contacts, 2) geoms that touch now."""
        self._anatomy, self._qpos, self._control_C, self._lamps, self._contacts = (anatomy, qpos, control_C, lamps,
                                                                                   contacts)
        self.eef_m = read_only(poses["site_xpos"][anatomy.tcp])
        """Measured position (3,) of the grasp point in the world; follows the world."""
        self.eef_rotation = read_only(poses["site_xmat"][anatomy.tcp].reshape(3, 3))
        """Measured rotation (3, 3) from tool to world: columns across the fingers, along their motion, and the
        approach axis; follows the world."""
        self._blocks_m = {name: poses["geom_xpos"][geom] for name, geom in anatomy.blocks.items()}
        self._blocks_rotation = {name: poses["geom_xmat"][geom].reshape(3, 3) for name, geom in anatomy.blocks.items()}

    # ---- robot ----------------------------------------------------------------------------------------------------
    @property
    def target_m(self) -> np.ndarray:
        """The target position (3,) that actions move, copied."""
        return self._control_C[:CONTROL_ROTATION].copy()

    @property
    def target_rotation(self) -> np.ndarray:
        """The target rotation (3, 3) that actions turn, copied."""
        return self._control_C[CONTROL_ROTATION:CONTROL_JOINTS].reshape(3, 3).copy()

    @property
    def gripper_command(self) -> float:
        """The last one: -1 close, +1 open."""
        return float(self._control_C[CONTROL_GRIPPER])

    @property
    def gripper_width_m(self) -> float:
        """Distance between the fingers."""
        return self.joint("finger_left") + self.joint("finger_right")

    def state(self) -> np.ndarray:
        """Proprioception (9,) float32, named index by index by ``interface.STATE_NAMES``."""
        (xx, _, xz), (yx, _, yz), _ = self.eef_rotation.tolist()
        level = math.hypot(xx, yx) or 1.0
        return np.array([*self.eef_m.tolist(), xx / level, yx / level, xz, yz, self.gripper_width_m,
                         self.gripper_command], dtype=np.float32)

    def robot_state(self) -> np.ndarray:
        """CALVIN's ``robot_obs`` (15,) float64, named index by index by ``interface.ROBOT_STATE_NAMES``."""
        return np.array([*self.eef_m.tolist(), *euler_xyz(self.eef_rotation), self.gripper_width_m,
                         *self._qpos[self._anatomy.arm].tolist(), self.gripper_command])

    # ---- scene ----------------------------------------------------------------------------------------------------
    @property
    def lamps(self) -> dict[str, int]:
        """``led`` and ``lightbulb``: 0 or 1."""
        return self._lamps.lit

    @property
    def button_down(self) -> bool:
        """Whether the button counts as pressed: it must come up before it can be pressed again."""
        return self._lamps.button_down

    def joint(self, name: str) -> float:
        """Position of a joint: ``slider``, ``drawer``, ``button`` (m), ``switch`` (rad), or one of the robot's."""
        return float(self._qpos[self._anatomy.address[name]])

    def scene_state(self) -> np.ndarray:
        """CALVIN's ``scene_obs`` (24,) float64, named index by index by ``interface.SCENE_STATE_NAMES``."""
        blocks = (value for name in BLOCKS
                  for value in (*self._blocks_m[name].tolist(), *euler_xyz(self._blocks_rotation[name])))
        return np.array([*(self.joint(name) for name in FURNITURE), self.lamps["lightbulb"], self.lamps["led"],
                         *blocks])

    def colors(self) -> np.ndarray:
        """(ngeom, 3) float32 in 0..1: the model's colours with the lamps as they are lit now."""
        colors_GC = self._anatomy.colors_GC.copy()
        self.paint(colors_GC)
        return colors_GC

    def paint(self, colors_GC: np.ndarray) -> None:
        """Write the colours of the lamps as they are lit now."""
        for name, geom in self._anatomy.lamp_geoms.items():
            colors_GC[geom] = layouts.LAMP_RGB[name][1] if self.lamps[name] else self._anatomy.colors_GC[geom]

    # ---- goals ----------------------------------------------------------------------------------------------------
    def snapshot(self) -> Snapshot:
        """What goals compare, copied."""
        return Snapshot(**self.parts("joints"), **self.parts("lamps"), **self.parts("blocks_m"),
                        **self.parts("blocks_rotation"), **self.parts("touching"), **self.parts("door_x_m"))

    def succeeded(self, task: str, before: Snapshot) -> bool:
        """Whether ``task``, begun at ``before``, is done now."""
        return reached(TASKS[task].goal, before, _Glance(self))

    def parts(self, name: str) -> dict[str, Any]:
        """The field ``name`` of a snapshot of now, with the fields that come with it."""
        match name:
            case "joints":
                return {name: {joint: self.joint(joint) for joint in FURNITURE}}
            case "lamps":
                return {name: dict(self.lamps)}
            case "blocks_m":
                return {name: {block: at.copy() for block, at in self._blocks_m.items()}}
            case "blocks_rotation":
                return {name: {block: rotation.copy() for block, rotation in self._blocks_rotation.items()}}
            case "touching" | "touched_blocks":
                return self._touched()
            case "door_x_m":
                return {name: self._anatomy.door_x_m}
        raise AttributeError(name)

    def _touched(self) -> dict[str, dict[str, frozenset[str]]]:
        classes: dict[str, set[str]] = {name: set() for name in BLOCKS}
        others: dict[str, set[str]] = {name: set() for name in BLOCKS}
        block_of, class_of = self._anatomy.block_of_geom, self._anatomy.touch_of_geom
        for pair in self._contacts().tolist():
            for geom, other in (pair, pair[::-1]):
                if geom in block_of:
                    classes[block_of[geom]].add(class_of[other])
                    if other in block_of:
                        others[block_of[geom]].add(block_of[other])
        return {"touching": {name: frozenset(found) for name, found in classes.items()},
                "touched_blocks": {name: frozenset(found) for name, found in others.items()}}


def euler_xyz(rotation: np.ndarray) -> tuple[float, float, float]:
    """Roll, pitch and yaw in radians: turns about the world's x, then y, then z axis, as PyBullet and CALVIN have them.

    Where the pitch is a quarter turn, yaw is 0.
    """
    (xx, _, _), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    level = math.hypot(xx, yx)
    pitch = math.atan2(-zx, level)
    if level < 1e-9:
        return math.atan2(-yz, yy), pitch, 0.0
    return math.atan2(zy, zz), pitch, math.atan2(yx, xx)


def read_only(values: np.ndarray) -> np.ndarray:
    """The same memory, for looking only."""
    view = values.view()
    view.flags.writeable = False
    return view


OUTSIDE = ("drawer_handle", "drawer_stem_left", "drawer_stem_right", "drawer_front")
"""Parts of the drawer that touch nothing that lies in it: a block on the handle is not in the drawer."""


def _touch_class(model: mujoco.MjModel, geom: int) -> str:
    """Of TOUCH."""
    body = int(model.geom_bodyid[geom])
    name = model.body(body).name
    if model.geom(geom).name in OUTSIDE:
        return "furniture"
    if model.body(int(model.body_rootid[body])).name == "base":
        return "robot"
    if name in BLOCKS:
        return "block"
    return name if name in ("desk", "drawer") else "furniture"


assert (len(STATE_NAMES), len(ROBOT_STATE_NAMES), len(SCENE_STATE_NAMES)) == (9, 15, 24), "Readings fills these names"
