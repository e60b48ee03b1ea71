"""Observation and action conventions, declared by data, policies and benchmarks and checked before anything runs.

Units are metres, radians and hertz; axes are world axes unless a field says otherwise.  A mismatch is an error at plan
time or at the latest before the first update; nothing is ever converted silently.  A strategy may ask for one thing by
name: commands of another embodiment, converted to metres and radians of the target (:func:`conversion`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vlactl.errors import IncompatibleSpaces

ROTATIONS = ("rotation_", "euler_", "rx", "ry", "rz", "roll", "pitch", "yaw")
"""How the names of action dimensions in radians begin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSpace:
    """How a control step is commanded."""

    names: tuple[str, ...]
    """One name per dimension; the last is the gripper, -1 closed and +1 open."""
    control: str
    """``relative-eef-pose``: added to the running target pose of the end effector."""
    frame: str
    """Frame in which translations and rotations are expressed: ``world`` or ``tool``."""
    position_scale_m: float
    """Metres of translation that a value of 1.0 commands."""
    rotation_scale_rad: float
    """Radians of rotation (rotation vector) that a value of 1.0 commands."""
    rate_hz: float
    """Control steps per second."""

    @property
    def size(self) -> int:
        return len(self.names)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservationSpace:
    """What is seen at a control step."""

    cameras: tuple[tuple[str, int, int], ...]
    """``(name, height_px, width_px)`` in the order in which images are stacked."""
    state: tuple[str, ...]
    """One name per dimension of proprioception, with its unit as suffix."""
    pictures: str = ""
    """How the images are made, such as ``raycast-1, soft shadows, 1x1``; empty where nobody declared it.  Pictures that
    are drawn differently never mix unnoticed: a policy that saw one kind is not shown the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spaces:
    """Observations and actions of one embodiment in one world."""

    observation: ObservationSpace
    action: ActionSpace
    embodiment: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Spaces:
        """The inverse of ``to_json``; documents from before ``pictures`` are read with none declared."""
        seen, action = document["observation"], document["action"]
        return cls(observation=ObservationSpace(cameras=tuple(tuple(c) for c in seen["cameras"]),
                                                state=tuple(seen["state"]), pictures=seen.get("pictures", "")),
                   action=ActionSpace(**{**action, "names": tuple(action["names"])}),
                   embodiment=document["embodiment"])


def differences(ours: Spaces, theirs: Spaces, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """Every differing field, as ``action.frame: 'world' != 'tool'``; ``ignore`` names dotted fields."""
    left, right = flat(ours.to_json()), flat(theirs.to_json())
    return [f"{key}: {left.get(key)!r} != {right.get(key)!r}" for key in sorted(left | right)
            if key not in ignore and left.get(key) != right.get(key)]


def require_equal(ours: Spaces, theirs: Spaces, *, where: str, ignore: tuple[str, ...] = ()) -> None:
    """Raise :class:`IncompatibleSpaces` that names every differing field."""
    found = differences(ours, theirs, ignore=ignore)
    if found:
        raise IncompatibleSpaces("the spaces differ in " + "; ".join(found), where=where,
                                 remedy="choose data and a benchmark of the same embodiment, cameras and renderer")


def align_conflict(target: Spaces, source: Spaces) -> str | None:
    """Why actions of ``source`` cannot be converted to the scale of ``target``; None where they can.

    A factor makes one metre of one robot one metre of another, but it turns no axis and no control step into another.
    """
    ours, theirs = target.action, source.action
    found = [f"{name} {there!r} is not {here!r}" for name in ("names", "control", "frame", "rate_hz")
             if (here := getattr(ours, name)) != (there := getattr(theirs, name))]
    if found:
        return f"actions of {source.embodiment} cannot be converted to those of {target.embodiment}: {'; '.join(found)}"
    strange = [name for name in ours.names[:-1] if _quantity(name) is None]
    return f"the action dimension '{strange[0]}' is neither a translation nor a rotation" if strange else None


def conversion(target: Spaces, source: Spaces) -> tuple[float, ...]:
    """What each action of ``source`` is multiplied by to command the same motion in ``target``; the gripper's is 1.

    Raises:
        IncompatibleSpaces: there are no such factors; see :func:`align_conflict`.
    """
    reason = align_conflict(target, source)
    if reason is not None:
        raise IncompatibleSpaces(reason, where=source.embodiment, remedy="set strategy.align to statistics")
    ours, theirs = target.action, source.action
    factors = {"m": theirs.position_scale_m / ours.position_scale_m,
               "rad": theirs.rotation_scale_rad / ours.rotation_scale_rad}
    return (*(factors[_quantity(name) or ""] for name in ours.names[:-1]), 1.0)


def _quantity(name: str) -> str | None:
    """``m`` for translations (x, dx, ...), ``rad`` for rotations (rotation_x, roll, ...), None for anything else."""
    if name.removeprefix("d") in ("x", "y", "z"):
        return "m"
    return "rad" if name.removeprefix("d").startswith(ROTATIONS) else None


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in document.items():
        out.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return out
