"""Spaces are compared field by field; how pictures are drawn is one of the fields."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vlactl.errors import IncompatibleSpaces
from vlactl.spaces import (
    ActionSpace,
    ObservationSpace,
    Spaces,
    align_conflict,
    conversion,
    differences,
    require_equal,
)

SPACES = Spaces(
    observation=ObservationSpace(cameras=(("static", 64, 64), ("wrist", 32, 32)), state=("x_m",),
                                 pictures="raycast-2, soft shadows, 1x1"),
    action=ActionSpace(names=("x", "gripper"), control="relative-eef-pose", frame="world", position_scale_m=0.02,
                       rotation_scale_rad=0.05, rate_hz=10.0),
    embodiment="panda")


def drawn(pictures: str) -> Spaces:
    return replace(SPACES, observation=replace(SPACES.observation, pictures=pictures))


def test_spaces_survive_being_written_down() -> None:
    assert Spaces.from_json(json.loads(json.dumps(SPACES.to_json()))) == SPACES


def test_documents_from_before_pictures_are_read_as_undeclared() -> None:
    document = SPACES.to_json()
    del document["observation"]["pictures"]
    assert Spaces.from_json(document) == drawn("")


def test_pictures_drawn_differently_are_refused_and_named() -> None:
    other = drawn("gl-2, soft shadows, 1x1")
    assert differences(SPACES, other) == [
        "observation.pictures: 'raycast-2, soft shadows, 1x1' != 'gl-2, soft shadows, 1x1'"]
    with pytest.raises(IncompatibleSpaces, match=r"observation\.pictures: .*raycast-2.* != .*gl-2.*\n.*renderer"):
        require_equal(SPACES, other, where="a policy in a benchmark")
    require_equal(SPACES, other, where="told to", ignore=("observation.pictures",))
    with pytest.raises(IncompatibleSpaces):
        require_equal(SPACES, drawn(""), where="undeclared pictures are not any pictures")


def arm(**changes: object) -> Spaces:
    names = ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z", "gripper")
    return replace(SPACES, embodiment=str(changes.pop("embodiment", "panda")),
                   action=replace(SPACES.action, **{"names": names, **changes}))


def test_conversion_keeps_metres_and_radians() -> None:
    theirs = arm(embodiment="stubby", position_scale_m=0.03, rotation_scale_rad=0.1)
    assert conversion(arm(), theirs) == pytest.approx((1.5, 1.5, 1.5, 2, 2, 2, 1))
    assert conversion(theirs, arm()) == pytest.approx((2 / 3, 2 / 3, 2 / 3, 0.5, 0.5, 0.5, 1))
    assert conversion(arm(), arm()) == (1,) * 7
    euler = arm(names=("x", "y", "z", "euler_x", "euler_y", "euler_z", "gripper"))
    assert conversion(euler, replace(theirs, action=replace(theirs.action, names=euler.action.names)))[3] == 2


@pytest.mark.parametrize(("field", "value"), [("rate_hz", 30.0), ("frame", "tool"), ("control", "joint"),
                                              ("names", ("x", "gripper"))])
def test_no_factor_turns_one_convention_into_another(field: str, value: object) -> None:
    theirs = arm(embodiment="stubby", **{field: value})
    reason = align_conflict(arm(), theirs)
    assert reason is not None
    assert reason.startswith("actions of stubby cannot be converted to those of panda: ")
    assert f"{field} {value!r} is not" in reason
    with pytest.raises(IncompatibleSpaces, match=r"set strategy\.align to statistics"):
        conversion(arm(), theirs)


def test_a_dimension_of_unknown_quantity_is_not_scaled_by_a_guess() -> None:
    joints = arm(names=("joint_1", "gripper"))
    assert align_conflict(joints, joints) == "the action dimension 'joint_1' is neither a translation nor a rotation"
