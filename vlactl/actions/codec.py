"""What the numbers that a network predicts mean: step deltas, deltas from the chunk's start, or absolute targets.

A robot is always commanded step by step: each action is added to the running target pose.  The parameterisation
re-writes a whole chunk of such actions and back, exactly; the normaliser then scales it.

* ``step-delta``: the actions as they are.
* ``chunk-delta``: arm dimensions summed from the chunk's start.
* ``absolute``: position, in metres of the world, that the summed actions lead to from the measured position at the
  chunk's start, and likewise the heading (rotation about the world's z axis, radians).  Rotations about the other two
  axes are summed from the chunk's start, because proprioception does not hold them.

Axis letters: B batch, H history, L actions of a chunk, A action dimensions (the last is the gripper), S state, N frames
of a source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlactl.actions.normalise import ActionNormalizer
from vlactl.errors import UsageError
from vlactl.spaces import Spaces

if TYPE_CHECKING:
    from vlactl.formulations import FormulationSpec

POSITION_NAMES = ("eef_x_m", "eef_y_m", "eef_z_m")
HEADING_NAMES = ("eef_yaw_cos", "eef_yaw_sin")
"""Entries of proprioception that absolute targets start from."""
MOST_CHUNKS = 200_000
"""Quantiles of chunks come from at most so many, evenly spaced over the frames of a source."""


class Recorded(Protocol):
    """What statistics need of a source; :class:`vlactl.formats.recorded.RecordedEpisodes` has it."""

    @property
    def actions_NA(self) -> np.ndarray: ...  # noqa: N802 - axis letters
    @property
    def states_NS(self) -> np.ndarray: ...  # noqa: N802 - axis letters
    @property
    def starts(self) -> np.ndarray: ...
    @property
    def ends(self) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Where an embodiment's proprioception says where the hand is, and how far an action of 1.0 moves it."""

    position: tuple[int, int, int]
    """State dimensions of the position in the world, in metres."""
    heading: tuple[int, int]
    """State dimensions of the heading's cosine and sine."""
    position_scale_m: float
    rotation_scale_rad: float

    @classmethod
    def of(cls, spaces: Spaces) -> Pose:
        """Raises :class:`UsageError` where ``spaces`` do not say where the hand is."""
        reason = absolute_conflict(spaces)
        if reason:
            raise UsageError(reason, where=f"embodiment {spaces.embodiment}", remedy="take actions: chunk-delta")
        names = spaces.observation.state
        x, y, z = (names.index(name) for name in POSITION_NAMES)
        cos, sin = (names.index(name) for name in HEADING_NAMES)
        return cls(position=(x, y, z), heading=(cos, sin), position_scale_m=spaces.action.position_scale_m,
                   rotation_scale_rad=spaces.action.rotation_scale_rad)

    def here(self, states_S: np.ndarray) -> np.ndarray:
        """(..., S) -> (..., 4): x, y, z in metres and the heading in radians, in (-pi, pi]."""
        states = np.asarray(states_S, np.float64)
        heading = np.arctan2(states[..., self.heading[1]], states[..., self.heading[0]])
        return np.concatenate([states[..., list(self.position)], heading[..., None]], -1)

    @property
    def scales(self) -> np.ndarray:
        return np.array([self.position_scale_m] * 3 + [self.rotation_scale_rad])


def absolute_conflict(spaces: Spaces) -> str | None:
    """Why actions cannot be absolute targets in ``spaces``; None when they can."""
    missing = [name for name in (*POSITION_NAMES, *HEADING_NAMES) if name not in spaces.observation.state]
    if missing:
        return (f"absolute actions start from the measured pose, and the state of {spaces.embodiment} "
                f"has no {', '.join(missing)}")
    action = spaces.action
    if (action.control, action.frame, action.size) != ("relative-eef-pose", "world", 7):
        return (f"absolute actions are targets in the world; {spaces.embodiment} is commanded by {action.size} numbers "
                f"of {action.control} in the {action.frame} frame")
    return None


TARGETS = [0, 1, 2, 5]
"""Action dimensions that absolute actions turn into targets: position and rotation about z."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionCodec:
    """Commanded actions <-> what a network predicts.

    ``decode(encode(a, s), s) == a`` up to rounding, for chunks whose re-written arm stays within the normaliser's
    range and whose gripper is -1 or +1.
    """

    actions: str = "step-delta"
    """``step-delta``, ``chunk-delta`` or ``absolute``."""
    normalizer: ActionNormalizer
    pose: Pose | None = None
    """Only for absolute actions."""

    def __post_init__(self) -> None:
        if self.actions not in ("step-delta", "chunk-delta", "absolute"):
            raise UsageError(f"unknown parameterisation {self.actions!r}", where="action codec",
                             expected="step-delta | chunk-delta | absolute")
        if (self.actions == "absolute") != (self.pose is not None):
            raise UsageError("a pose belongs to absolute actions, and only to them", where="action codec")

    @classmethod
    def fit(cls, formulation: FormulationSpec, spaces: Spaces, sources: Sequence[Recorded]) -> ActionCodec:
        """The codec of one embodiment: statistics over all of ``sources``, which share its ``spaces``.

        Raises :class:`UsageError` for sources without finite actions, or where absolute actions are impossible.
        """
        pose = Pose.of(spaces) if formulation.actions == "absolute" else None
        if formulation.normalization == "fixed":
            normalizer = ActionNormalizer.fixed(formulation.fixed_range, spaces.action.size)
        elif formulation.actions == "step-delta":
            normalizer = ActionNormalizer.fit(np.concatenate([source.actions_NA for source in sources]))
        else:
            rewritten = [chunks(source, formulation.horizon, formulation.actions, pose) for source in sources]
            normalizer = ActionNormalizer.fit(np.concatenate(rewritten))
        return cls(actions=formulation.actions, normalizer=normalizer, pose=pose)

    @property
    def size(self) -> int:
        """A: action dimensions, the gripper included."""
        return self.normalizer.size

    def encode(self, actions_BHLA: np.ndarray, states_BHS: np.ndarray) -> np.ndarray:
        """Commanded chunks (..., L, A), and the state at their start (..., S) -> normalised float32 in [-1, 1]."""
        if self.actions == "step-delta":
            return self.normalizer.encode(actions_BHLA)
        return self.normalizer.encode(rewrite(actions_BHLA, states_BHS, self.actions, self.pose))

    def decode(self, actions_LA: np.ndarray, state_S: np.ndarray) -> np.ndarray:
        """Normalised (..., L, A), and the state at the chunk's start -> commanded float32 (..., L, A)."""
        decoded = self.normalizer.decode(actions_LA)
        if self.actions == "step-delta":
            return decoded
        commands = decoded.astype(np.float64)
        commands[..., :-1] = np.diff(commands[..., :-1], axis=-2, prepend=np.zeros_like(commands[..., :1, :-1]))
        if self.pose is not None:
            targets = decoded.astype(np.float64)[..., TARGETS]
            start = self.pose.here(state_S)[..., None, :]
            moves = np.diff(targets, axis=-2, prepend=start)
            moves[..., 0, 3] = turned(moves[..., 0, 3])
            commands[..., TARGETS] = moves / self.pose.scales
        return commands.astype(np.float32)

    def comparable(self, actions_LA: np.ndarray, state_S: np.ndarray) -> np.ndarray:
        """As :meth:`decode`, but what is absolute stays so: plans of different moments may be averaged, step by step.

        :meth:`command` turns such a mean into the command of its control step.
        """
        commands = self.decode(actions_LA, state_S)
        if self.pose is None:
            return commands
        held = commands.astype(np.float64)
        held[..., TARGETS] = self.normalizer.decode(actions_LA)[..., TARGETS]
        return held

    def command(self, comparable_A: np.ndarray, state_S: np.ndarray) -> np.ndarray:
        """What is commanded (A,) now, at ``state_S``, to do as :meth:`comparable` says."""
        command = np.array(comparable_A, np.float64)
        if self.pose is not None:
            moves = command[TARGETS] - self.pose.here(state_S)
            moves[3] = turned(moves[3])
            command[TARGETS] = moves / self.pose.scales
        return command.astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        pose = None if self.pose is None else {
            "position": list(self.pose.position), "heading": list(self.pose.heading),
            "position_scale_m": self.pose.position_scale_m, "rotation_scale_rad": self.pose.rotation_scale_rad}
        return {"actions": self.actions, "normalizer": self.normalizer.to_json(), "pose": pose}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ActionCodec:
        """The inverse of :meth:`to_json`; raises :class:`UsageError` when something is missing."""
        if not {"actions", "normalizer"} <= document.keys():
            raise UsageError("the action codec is incomplete", where="action codec", expected="actions, normalizer")
        pose = document.get("pose")
        return cls(actions=document["actions"], normalizer=ActionNormalizer.from_json(document["normalizer"]),
                   pose=pose and Pose(**{**pose, "position": tuple(pose["position"]),
                                         "heading": tuple(pose["heading"])}))


def rewrite(actions_BHLA: np.ndarray, states_BHS: np.ndarray, kind: str, pose: Pose | None) -> np.ndarray:
    """Commanded chunks as float64 in the parameterisation ``kind``, not yet normalised."""
    rewritten = np.asarray(actions_BHLA, np.float64).copy()
    rewritten[..., :-1] = np.cumsum(rewritten[..., :-1], axis=-2)
    if kind == "absolute":
        assert pose is not None
        rewritten[..., TARGETS] = rewritten[..., TARGETS] * pose.scales + pose.here(states_BHS)[..., None, :]
    return rewritten


def chunks(source: Recorded, horizon: int, kind: str, pose: Pose | None) -> np.ndarray:
    """(N, A): every action of the chunks from a source's frames on, re-written; none beyond an episode's end."""
    starts = np.arange(len(source.actions_NA))
    ends_N = np.repeat(np.asarray(source.ends), np.asarray(source.ends) - np.asarray(source.starts))
    assert len(ends_N) == len(starts), "episodes lie one after another and cover the source"
    step = -(-len(starts) // MOST_CHUNKS)
    starts, ends_N = starts[::step], ends_N[::step]
    index_NL = starts[:, None] + np.arange(horizon)
    inside_NL = index_NL < ends_N[:, None]
    actions_NLA = np.asarray(source.actions_NA)[np.minimum(index_NL, ends_N[:, None] - 1)]
    return rewrite(actions_NLA, np.asarray(source.states_NS)[starts], kind, pose)[inside_NL]


def turned(angle: Any) -> Any:
    """The same angle in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
