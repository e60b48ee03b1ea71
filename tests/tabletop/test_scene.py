"""Models: primitives only, and everything that a renderer asks of them."""

# mujoco declares no types for its C module
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest

from vlactl.errors import UnknownName
from vlactl.tabletop.embodiments import EMBODIMENTS, PANDA
from vlactl.tabletop.layouts import (
    BAY_Y_M,
    BLOCK_HALF_M,
    LAYOUTS,
    SLIDER_SIDE_M,
    TABLE_Z_M,
    Distractor,
    Paint,
    layout,
)
from vlactl.tabletop.rendering.textures import LAMP_GROUP, TEXTURES
from vlactl.tabletop.scene import arm_model, mjcf, model
from vlactl.tabletop.tasks import COLOURS


def built(**look: Any) -> mujoco.MjModel:
    """Scene D with another look."""
    desk = layout("D")
    return mujoco.MjModel.from_xml_string(mjcf(PANDA, replace(desk, look=replace(desk.look, **look))))


def texture(world: mujoco.MjModel, geom: str) -> str:
    return TEXTURES[int(world.geom_user[world.geom(geom).id, 0])]


@pytest.mark.parametrize("scene", LAYOUTS)
@pytest.mark.parametrize("name", EMBODIMENTS)
def test_a_scene_has_primitives_only_and_two_lamps(name: str, scene: str) -> None:
    world = model(name, scene)
    shapes = {mujoco.mjtGeom(kind) for kind in world.geom_type}
    assert shapes <= {mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CAPSULE,
                      mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_SPHERE}
    assert world.nmesh == 0
    lamps = np.flatnonzero(world.geom_group == LAMP_GROUP)
    assert {world.geom(int(geom)).name for geom in lamps} == {"led", "lightbulb"}
    assert set(world.geom_group) == {0, LAMP_GROUP}
    assert {world.camera(index).name for index in range(world.ncam)} == {"static", "wrist"}
    assert world.nv == 7 + 2 + 4 + 3 * 6


def test_models_are_shared_and_shifts_have_their_own() -> None:
    assert model("panda", "D") is model("panda", "D")
    assert model("panda", "D", "light") is not model("panda", "D")
    with pytest.raises(UnknownName):
        model("panda", "D", "fog")


def test_light_and_sky_are_the_looks() -> None:
    world = built(light_dir=(0.0, 0.6, -0.8), light_rgb=(0.1, 0.2, 0.3), ambient_rgb=(0.4, 0.5, 0.6),
                  sky_rgb=(0.7, 0.8, 0.9))
    np.testing.assert_allclose(world.light_dir[0], (0.0, 0.6, -0.8), atol=1e-6)
    np.testing.assert_allclose(world.light_diffuse[0], (0.1, 0.2, 0.3), atol=1e-6)
    np.testing.assert_allclose(world.vis.headlight.ambient, (0.4, 0.5, 0.6), atol=1e-6)
    np.testing.assert_allclose(world.numeric("sky_rgb").data, (0.7, 0.8, 0.9), atol=1e-6)


@pytest.mark.parametrize(("part", "geoms"), [
    ("desk", ("desk_top", "desk_back")), ("door", ("slider_door", "slider_lid")), ("floor", ("floor",)),
    ("drawer", ("drawer_front", "drawer_bottom")), ("handle", ("slider_handle", "drawer_handle")),
    ("button", ("button",)), ("lever", ("switch_lever",)), ("knob", ("switch_knob",))])
def test_every_paint_reaches_its_geoms(part: str, geoms: tuple[str, ...]) -> None:
    world = built(**{part: Paint((0.11, 0.22, 0.33), "marble")})
    for name in geoms:
        np.testing.assert_allclose(world.geom(name).rgba, (0.11, 0.22, 0.33, 1.0), atol=1e-6)
        assert texture(world, name) == "marble"
    assert texture(world, "red_block") == "plain"


def test_blocks_have_the_looks_colours() -> None:
    world = built(block_rgb=((0.1, 0, 0), (0, 0.2, 0), (0, 0, 0.3)))
    for colour, rgb in zip(COLOURS, ((0.1, 0, 0), (0, 0.2, 0), (0, 0, 0.3)), strict=True):
        np.testing.assert_allclose(world.geom(f"{colour}_block").rgba[:3], rgb, atol=1e-6)
        np.testing.assert_allclose(world.geom(f"{colour}_block").size, BLOCK_HALF_M[colour])


def test_a_texture_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown texture 'marbel'"):
        built(desk=Paint((0.5, 0.5, 0.5), "marbel"))


def test_distractors_stand_still_and_collide() -> None:
    thing = Distractor(kind="sphere", size_m=(0.02,), position_m=(0.3, 0.0, 0.48), paint=Paint((0.2, 0.7, 0.2)))
    world = built(distractors=(thing,))
    geom = world.geom("distractor_0")
    assert world.nv == model("panda", "D").nv
    assert geom.contype == world.geom("desk_top").contype
    np.testing.assert_allclose(geom.pos, thing.position_m)


@pytest.mark.parametrize("side", SLIDER_SIDE_M)
def test_the_lid_covers_the_bay_behind_the_door_and_not_the_other(side: str) -> None:
    world = model("panda", "D")
    data = mujoco.MjData(world)
    data.qpos[world.joint("slider").qposadr[0]] = SLIDER_SIDE_M[side]
    data.qpos[world.joint("pink_block").qposadr[0]:][:3] = 0.4, -0.2, 0.49
    mujoco.mj_forward(world, data)
    seen = {}
    for bay, x in SLIDER_SIDE_M.items():
        for dx in (-0.05, 0.05):
            hit = np.zeros(1, np.int32)
            mujoco.mj_ray(world, data, np.array([x + dx, BAY_Y_M, TABLE_Z_M + 0.15]), np.array([0.0, 0.0, -1.0]), None,
                          1, -1, hit)
            seen.setdefault(bay, set()).add(world.geom(int(hit[0])).name)
    assert seen.pop(side) == {"slider_lid"}
    assert "slider_lid" not in set().union(*seen.values())


def test_an_arm_alone_has_the_kinematics_of_the_whole() -> None:
    for name in EMBODIMENTS:
        alone, whole = arm_model(name), model(name, "D")
        data, all_data = mujoco.MjData(alone), mujoco.MjData(whole)
        joints = np.array([0.3, -0.2, 0.4, -1.9, 0.1, 1.8, -0.5])
        data.qpos[:] = joints
        for index, value in enumerate(joints, 1):
            all_data.qpos[whole.joint(f"j{index}").qposadr[0]] = value
        mujoco.mj_kinematics(alone, data)
        mujoco.mj_kinematics(whole, all_data)
        np.testing.assert_allclose(data.site("tcp").xpos, all_data.site("tcp").xpos, atol=1e-9)
        np.testing.assert_allclose(data.site("tcp").xmat, all_data.site("tcp").xmat, atol=1e-9)
