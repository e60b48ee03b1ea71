"""One desk with one robot: reset to a symbolic start state, step with relative end-effector actions, look at the state.

A world is history-free: the same start, seed and actions give bit-identical states on one machine, whatever it or the
process did before.  Worlds of one embodiment and scene share one model.
"""
# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop import layouts
from vlactl.tabletop.embodiments import ACTION_REPEAT, STATE_NAMES, SUBSTEP_HZ, embodiment
from vlactl.tabletop.goals import reached
from vlactl.tabletop.kinematics import ArmKinematics, rotated
from vlactl.tabletop.robot import ARM_JOINTS
from vlactl.tabletop.scene import PHYSICS_HZ, arm_model, model
from vlactl.tabletop.tasks import BAYS, COLOURS, TASKS

PHYSICS_STEPS = round(PHYSICS_HZ / SUBSTEP_HZ)
LEASH_M = 0.04
"""The target pose is never further than this from the measured one, so that pushing against the desk does not wind it
up."""
LEASH_RAD = 0.5
MAX_TILT_RAD = 1.0
"""Between the approach axis and straight down; the drawn-out skills of CALVIN need 0.9."""
WORKSPACE_M = np.array([[-0.44, -0.68, 0.36], [0.44, 0.16, 0.95]])
"""The target position stays in this box."""
READY_JITTER_M = (0.05, 0.03, 0.03)
"""Seeded offset of the grasp point at the start of a chain."""
SETTLE_STEPS = 48
"""Physics steps after a reset, 0.2 s: the blocks come to rest on what they stand on."""
BAY_Y_M = 0.185
DOWN = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
"""Rotation of a hand that points straight down with its fingers along y."""
TOUCH = ("robot", "desk", "drawer", "furniture", "block")
"""What a block can touch: the classes of ``Snapshot.touching``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What goals compare: the state of everything that a task can change."""

    joints: dict[str, float]
    """``slider`` (m, negative is left), ``drawer`` (m, 0 closed), ``button`` (m), ``switch`` (rad)."""
    lamps: dict[str, int]
    """``led`` and ``lightbulb``: 0 or 1."""
    blocks_m: dict[str, np.ndarray]
    """Centre (3,) of each block."""
    touching: dict[str, frozenset[str]]
    """What each block is in contact with, of TOUCH."""


class World:
    """One desk with one robot.  ``model`` and ``data`` are for a renderer and an expert to read, never to write."""

    def __init__(self, embodiment_name: str, scene: str = "D", *, action_repeat: int = ACTION_REPEAT) -> None:
        self.embodiment, self.layout = embodiment(embodiment_name), layouts.layout(scene)
        self.action_repeat = action_repeat
        self.model = model(embodiment_name, scene)
        self.data = mujoco.MjData(self.model)
        self.kinematics = ArmKinematics(arm_model(embodiment_name), np.array(self.embodiment.arm.home_rad))
        joint = {self.model.joint(i).name: i for i in range(self.model.njnt)}
        self._arm = np.array([self.model.jnt_qposadr[joint[name]] for name in ARM_JOINTS])
        self._address = {name: int(self.model.jnt_qposadr[index]) for name, index in joint.items()}
        self._site = self.model.site("tcp").id
        self._body = {f"{c}_block": self.model.body(f"{c}_block").id for c in COLOURS}
        self._touch_class = _touch_classes(self.model)
        self._block_of_geom = {self.model.geom(name).id: name for name in self._body}
        self._lamp_geoms = {name: self.model.geom(name).id for name in layouts.LAMP_RGB}
        self._colors = self.model.geom_rgba[:, :3].astype(np.float64)
        self._ready_rotation = rotated(DOWN, np.array([0.0, 0.0, self.embodiment.ready_yaw_rad]))
        self._ready = self._solve_ready()
        self.lamps: dict[str, int] = {"led": 0, "lightbulb": 0}

    # ---- reset ----------------------------------------------------------------------------------------------------
    def reset(self, start: dict[str, Any], seed: int) -> None:
        """Put everything where ``start`` says; ``seed`` decides block places and yaws and the arm's offset.

        Raises :class:`UsageError` for a start state that this world cannot have.
        """
        check_start(start, len(self.layout.slots_xy_m))
        rng = np.random.default_rng(seed)
        data, at = self.data, self._address
        mujoco.mj_resetData(self.model, data)
        self._place_blocks(start, rng)
        data.qpos[at["slider"]] = layouts.SLIDER_SIDE_M[start["slider"]]
        data.qpos[at["drawer"]] = layouts.DRAWER_OPEN_M if start["drawer"] == "open" else 0.0
        data.qpos[at["switch"]] = layouts.SWITCH_ON_RAD * (1 if start["lightbulb"] else -1)
        self.lamps = {"led": int(start["led"]), "lightbulb": int(start["lightbulb"])}
        self.button_down = False
        position = np.array(self.embodiment.ready_xyz_m) + rng.uniform(-1, 1, 3) * READY_JITTER_M
        self._joints = self.kinematics.solve(self._ready, position, self._ready_rotation, iterations=20)
        data.qpos[self._arm] = self._joints
        opening = self.embodiment.gripper.opening_m
        data.qpos[at["finger_left"]] = data.qpos[at["finger_right"]] = opening
        data.ctrl[:7], data.ctrl[7] = self._joints, opening
        self.target_m, self.target_rotation = self.kinematics.pose(self._joints)
        self.gripper_command = 1.0
        mujoco.mj_step(self.model, data, SETTLE_STEPS)
        self._refresh()

    def _solve_ready(self) -> np.ndarray:
        home = np.array(self.embodiment.arm.home_rad)
        return self.kinematics.solve(home, np.array(self.embodiment.ready_xyz_m), self._ready_rotation, iterations=200)

    def _place_blocks(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        slots = [np.array(slot) for slot in self.layout.slots_xy_m]
        rng.shuffle(slots)
        for colour in COLOURS:
            place = start[f"{colour}_block"]
            if place == "table":
                xy = slots.pop() + rng.uniform(-1, 1, 2) * layouts.SLOT_JITTER_M
            else:
                xy = np.array([self.layout.door_x_m + layouts.SLIDER_SIDE_M[place.removeprefix("slider_")], BAY_Y_M])
            yaw = rng.uniform(-1, 1) * layouts.YAW_JITTER_RAD
            at = self._address[f"{colour}_block"]
            self.data.qpos[at:at + 3] = [*xy, layouts.TABLE_Z_M + layouts.BLOCK_HALF_M[colour][2]]
            self.data.qpos[at + 3:at + 7] = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]

    # ---- step -----------------------------------------------------------------------------------------------------
    def step(self, action_A: np.ndarray) -> None:
        """One control step: ``action_A`` (7,) in [-1, 1], translation and rotation vector in world axes, then the
        gripper.

        The action is added to the running target pose in ``action_repeat`` substeps; a gripper value above 0 opens.
        Raises :class:`UsageError` for an action of another shape, not finite, or out of range.
        """
        action = np.asarray(action_A, dtype=np.float64)
        if action.shape != (7,) or not np.isfinite(action).all() or np.abs(action).max() > 1.0 + 1e-6:
            raise UsageError(f"not an action: {np.array2string(action, threshold=20)}", where="tabletop.World.step",
                             expected="seven finite numbers in [-1, 1]",
                             remedy="clip the policy's output, and look for NaN in its loss")
        move = action[:3] * self.embodiment.position_scale_m
        turn = action[3:6] * self.embodiment.rotation_scale_rad
        self.gripper_command = 1.0 if action[6] > 0 else -1.0
        self.data.ctrl[7] = self.embodiment.gripper.opening_m if action[6] > 0 else 0.0
        for _ in range(self.action_repeat):
            self.target_m = np.minimum(np.maximum(self.target_m + move, WORKSPACE_M[0]), WORKSPACE_M[1])
            self.target_rotation = self._turned(turn)
            self._joints = self.kinematics.solve(self._joints, self.target_m, self.target_rotation)
            self.data.ctrl[:7] = self._joints
            mujoco.mj_step(self.model, self.data, PHYSICS_STEPS)
            self._update_lamps()
        self._refresh()
        self._shorten_leash()

    def _turned(self, turn_rad: np.ndarray) -> np.ndarray:
        """The target rotation after a turn; one that would tilt the hand beyond MAX_TILT_RAD is not made."""
        turned = rotated(self.target_rotation, turn_rad)
        too_far = turned[2, 2] > -np.cos(MAX_TILT_RAD) and turned[2, 2] > self.target_rotation[2, 2]
        return self.target_rotation if too_far else turned

    def _update_lamps(self) -> None:
        """CALVIN's rules: the button toggles the LED each time it passes half of its travel, the switch's side is the
        bulb."""
        pressed = self.data.qpos[self._address["button"]] / layouts.BUTTON_TRAVEL_M
        if pressed > 0.5 and not self.button_down:
            self.lamps["led"] = 1 - self.lamps["led"]
        self.button_down = pressed > (0.3 if self.button_down else 0.5)
        self.lamps["lightbulb"] = int(self.data.qpos[self._address["switch"]] > 0)

    def _refresh(self) -> None:
        """Bring positions and cameras up to the state that the last physics step reached."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _shorten_leash(self) -> None:
        offset = self.target_m - self.eef_m
        if (length := np.sqrt(offset @ offset)) > LEASH_M:
            self.target_m = self.eef_m + offset * (LEASH_M / length)
        turn = self.target_rotation @ self.eef_rotation.T
        angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0))
        # a hand that was bent further than a target may be must be able to come back
        if LEASH_RAD < angle < np.pi - 1e-3 and self.eef_rotation[2, 2] < -np.cos(MAX_TILT_RAD):
            axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0],
                             turn[1, 0] - turn[0, 1]]) / (2 * np.sin(angle))
            self.target_rotation = rotated(self.eef_rotation, axis * LEASH_RAD)

    # ---- look -----------------------------------------------------------------------------------------------------
    @property
    def eef_m(self) -> np.ndarray:
        """Measured position (3,) of the grasp point in the world."""
        return self.data.site_xpos[self._site]

    @property
    def eef_rotation(self) -> np.ndarray:
        """Measured rotation (3, 3) from tool to world: columns across the fingers, along their motion, and the approach
        axis."""
        return self.data.site_xmat[self._site].reshape(3, 3)

    @property
    def gripper_width_m(self) -> float:
        """Distance between the fingers."""
        return float(self.data.qpos[self._address["finger_left"]] + self.data.qpos[self._address["finger_right"]])

    def joint(self, name: str) -> float:
        """Position of a furniture joint: ``slider``, ``drawer``, ``button`` (m) or ``switch`` (rad)."""
        return float(self.data.qpos[self._address[name]])

    def state(self) -> np.ndarray:
        """Proprioception (9,) float32, named index by index by ``embodiments.STATE_NAMES``."""
        position, rotation = self.eef_m, self.eef_rotation
        yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
        return np.array([*position, np.cos(yaw), np.sin(yaw), rotation[0, 2], rotation[1, 2], self.gripper_width_m,
                         self.gripper_command], dtype=np.float32)

    def snapshot(self) -> Snapshot:
        """What goals compare, copied."""
        return Snapshot(joints={name: self.joint(name) for name in ("slider", "drawer", "button", "switch")},
                        lamps=dict(self.lamps), touching=self._touching(),
                        blocks_m={name: self.data.xpos[body].copy() for name, body in self._body.items()})

    def _touching(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {name: set() for name in self._body}
        for pair in self.data.contact.geom.tolist():
            for geom, other in (pair, pair[::-1]):
                if geom in self._block_of_geom:
                    found[self._block_of_geom[geom]].add(self._touch_class[other])
        return {name: frozenset(classes) for name, classes in found.items()}

    def succeeded(self, task: str, before: Snapshot) -> bool:
        """Whether ``task``, begun at ``before``, is done now."""
        return reached(TASKS[task].goal, before, self.snapshot())

    def colors(self) -> np.ndarray:
        """(ngeom, 3) in 0..1: the model's colours with the lamps as they are lit now."""
        colors = self._colors.copy()
        for name, geom in self._lamp_geoms.items():
            if self.lamps[name]:
                colors[geom] = layouts.LAMP_RGB[name][1]
        return colors


def check_start(start: dict[str, Any], slots: int) -> None:
    """Raise :class:`UsageError` unless ``start`` has every symbol with a value that can be built."""
    legal: dict[str, tuple] = {"led": (0, 1), "lightbulb": (0, 1), "slider": ("left", "right"),
                               "drawer": ("closed", "open"),
                               "grasped": (0,), **{f"{c}_block": ("table", *BAYS) for c in COLOURS}}
    if unknown := sorted(start.keys() ^ legal.keys()):
        raise UsageError(f"a start state has just the keys {sorted(legal)}; missing or unknown: {unknown}",
                         where="tabletop start state")
    for key, values in legal.items():
        if start[key] not in values:
            raise UsageError(f"{key} = {start[key]!r}", where="tabletop start state",
                             expected=" | ".join(map(str, values)))
    places = [start[f"{c}_block"] for c in COLOURS]
    if places.count("table") > slots or any(places.count(bay) > 1 for bay in BAYS):
        raise UsageError(f"blocks at {places}", where="tabletop start state",
                         expected=f"at most {slots} on the table and one in each bay")


def _touch_classes(model: mujoco.MjModel) -> list[str]:
    """Class of every geom, of TOUCH."""
    def of(body: str) -> str:
        if body in ("desk", "drawer"):
            return body
        if body.endswith("_block"):
            return "block"
        return "furniture" if body in ("slider", "button", "button_base", "switch", "switch_base", "lamps",
                                       "world") else "robot"
    return [of(model.body(int(body)).name) for body in model.geom_bodyid]


assert len(STATE_NAMES) == 9, "World.state fills nine names"
