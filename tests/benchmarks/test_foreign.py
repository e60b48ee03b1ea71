"""Benchmarks of other houses, as specs: their protocols are the published ones and change with every field."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vlactl.benchmarks import BENCHMARKS
from vlactl.benchmarks.foreign import SUITES
from vlactl.identity import digest


def calvin(**fields):
    return BENCHMARKS.parse({"kind": "calvin", **fields})


def simpler(**fields):
    return BENCHMARKS.parse({"kind": "simplerenv", **fields})


def test_calvins_defaults_are_the_published_protocol():
    protocol = calvin().protocol()
    assert (protocol["chains"], protocol["tasks_per_chain"], protocol["steps_per_task"]) == (1000, 5, 360)
    assert (protocol["scene"], protocol["control_hz"], protocol["renderer"]) == ("D", 30.0, "egl")
    assert protocol["chain_list"].startswith("840cb992c69ce9b6")
    assert protocol["start_states"].startswith("1a25eaf9bb3f5745")


@pytest.mark.parametrize("fields", [{"scene": "A"}, {"chains": 100}, {"steps_per_task": 720}, {"image_px": 224},
                                    {"renderer": "tiny"}, {"reset": "upstream"}])
def test_every_field_of_calvin_changes_the_protocol(fields: dict):
    assert digest(calvin(**fields).protocol()) != digest(calvin().protocol())


def test_calvin_commands_relative_poses_at_30_hz_and_shows_two_cameras():
    spaces = calvin().spaces()
    assert [(name, y, x) for name, y, x in spaces.observation.cameras] == [("static", 200, 200), ("wrist", 200, 200)]
    assert len(spaces.observation.state) == 15
    assert (spaces.action.size, spaces.action.rate_hz) == (7, 30.0)
    assert (spaces.action.position_scale_m, spaces.action.rotation_scale_rad) == (0.02, 0.05)


def test_a_policy_that_saw_egl_is_not_shown_tinyrenderer():
    assert calvin(renderer="tiny").spaces() != calvin().spaces()


@pytest.mark.parametrize(("suite", "episodes", "rate"), [("google-robot", 864, 3.0), ("widowx", 96, 5.0)])
def test_simplerenvs_suites_are_those_of_robovlms(suite: str, episodes: int, rate: float):
    protocol = simpler(suite=suite).protocol()
    assert sum(task["episodes"] for task in protocol["tasks"].values()) == episodes
    assert protocol["control_hz"] == simpler(suite=suite).spaces().action.rate_hz == rate
    assert list(protocol["tasks"]) == list(SUITES[suite].tasks)


def test_some_tasks_of_a_suite():
    assert list(simpler(suite="widowx", tasks=["stack-cube"]).protocol()["tasks"]) == ["stack-cube"]
    with pytest.raises(ValidationError, match="unknown task of widowx 'drawer'"):
        simpler(suite="widowx", tasks=["drawer"])
    with pytest.raises(ValidationError, match="twice"):
        simpler(tasks=["drawer", "drawer"])
