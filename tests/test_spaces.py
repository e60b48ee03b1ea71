"""Spaces are compared field by field; how pictures are drawn is one of the fields."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vlactl.errors import IncompatibleSpaces
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces, differences, require_equal

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
