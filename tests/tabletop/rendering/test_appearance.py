"""Light, sky, lamps and textures are the model's: another MJCF is another look."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from tests.tabletop.rendering.primitives import CAMERAS, MODEL, mjcf, seen_by_mujoco, worlds
from vlactl.errors import UsageError
from vlactl.tabletop.rendering import patterns
from vlactl.tabletop.rendering.raycast import Raycast
from vlactl.tabletop.rendering.textures import TEXTURES

GROUND, LAMP = MODEL.geom("ground").id, MODEL.geom("lamp").id


def picture(text: str, image_px: int = 48, **settings) -> np.ndarray:
    """What the overview camera sees of the first world, (Y, X, 3) int."""
    model = mujoco.MjModel.from_xml_string(text)
    caster = Raycast(model, image_px=image_px, cameras=("overview",), **settings)
    return caster.render(worlds(1, model))[0, 0].astype(int)


def seen(image_px: int = 48) -> np.ndarray:
    return seen_by_mujoco(worlds(1)[0], "overview", image_px)


def test_the_sky_has_the_colour_that_the_model_says():
    sky_YX = seen() < 0
    assert sky_YX.sum() > 20
    assert (picture(mjcf())[sky_YX] == (153, 179, 204)).all()
    assert (picture(mjcf().replace('name="sky_rgb"', 'name="other"'))[sky_YX] == (150, 181, 209)).all()


def test_ambient_light_and_the_colour_and_direction_of_the_light_are_the_models():
    before, ground_YX = picture(mjcf()), seen() == GROUND
    red = picture(mjcf().replace('diffuse="0.5 0.5 0.5"', 'diffuse="0.8 0.2 0.2"'))
    assert (red[ground_YX] - before[ground_YX])[:, 0].max() > 10
    assert (red[ground_YX] - before[ground_YX])[:, 1:].min() < -5
    dim = picture(mjcf().replace('ambient="0.4 0.4 0.4"', 'ambient="0.1 0.1 0.1"'))
    assert (before[ground_YX] - dim[ground_YX]).min() > 5
    slanted = picture(mjcf(light='dir="-2 0.2 -1"'), shadows=False)
    assert (before[ground_YX] - slanted[ground_YX])[:, 0].max() > 10
    off = picture(mjcf(light='dir="-0.3 0.2 -1" active="false"'))
    assert (off[ground_YX] <= before[ground_YX]).all()
    headless = picture(mjcf(head='active="0"'), shadows=False)
    assert (headless[ground_YX, 0] < before[ground_YX, 0]).mean() > 0.9


def test_a_flat_surface_is_as_bright_as_the_arithmetic_says():
    """Ambient + light x cosine + head light x cosine, times the colour."""
    model = mujoco.MjModel.from_xml_string("""<mujoco>
      <visual><headlight ambient=".2 .3 .4" diffuse=".1 .1 .1"/></visual>
      <worldbody><light directional="true" dir="0 1 -1" diffuse=".4 .5 .6"/>
      <geom type="plane" size="1 1 1" rgba=".5 .6 .7 1"/><camera name="c" pos="0 0 1" fovy="1"/>
      </worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    expected = np.multiply((0.5, 0.6, 0.7), np.add((0.3, 0.4, 0.5), np.multiply((0.4, 0.5, 0.6), np.sqrt(0.5))))
    assert np.abs(Raycast(model, image_px=4, cameras=("c",)).render([data])[0, 0] / 255 - expected).max() < 0.005


def test_a_lamp_that_is_lit_shines_in_the_shade_too():
    roof = mjcf().replace("</worldbody>", '<geom type="box" size="0.1 0.1 0.01" pos="-0.25 0 0.25"/></worldbody>')
    lamp_YX = seen() == LAMP
    assert lamp_YX.sum() > 3
    models = [mujoco.MjModel.from_xml_string(text) for text in (roof, roof.replace('group="3"', 'group="0"'))]
    colors = models[0].geom_rgba[:, :3].copy()
    colors[LAMP] = (0.1, 1.0, 0.2)
    glowing, plain = (Raycast(model, image_px=48, cameras=("overview",)).render(worlds(1, model), [colors])[0, 0]
                      for model in models)
    both = lamp_YX & (plain[..., 1] > 2 * plain[..., 0])
    assert both.any()
    assert (glowing[both][:, 1].astype(int) - plain[both][:, 1]).min() > 30
    assert glowing[both][:, 1].min() > 180
    off, plain = (Raycast(model, image_px=48, cameras=("overview",)).render(worlds(1, model))[0, 0] for model in models)
    assert np.array_equal(off, plain), "a lamp that has the model's colour is not lit"


def test_each_texture_looks_different_from_every_other():
    pictures = [picture(mjcf(texture=index), image_px=64) for index in range(len(TEXTURES))]
    for index, one in enumerate(pictures):
        for other in pictures[:index]:
            assert (np.abs(one - other).max(-1) > 4).mean() > 0.03
    assert TEXTURES[0] == "plain"


def test_an_absent_user_attribute_means_plain_and_an_unknown_index_is_refused():
    bare = mjcf().replace('<size nuser_geom="1"/>', "").replace('user="0"', "")
    assert np.array_equal(picture(bare), picture(mjcf()))
    with pytest.raises(UsageError, match="texture 99 of geom 'ground'"):
        picture(mjcf(texture=99))


@pytest.mark.parametrize("name", TEXTURES[1:])
def test_patterns_repeat_without_a_seam_and_keep_their_mean_when_they_shrink(name):
    flat = patterns.levels(patterns.PATTERNS[name]).astype(float)
    finest = flat[:patterns.SIDE**2].reshape(patterns.SIDE, patterns.SIDE)
    assert finest.max() - finest.min() > 15
    inside = np.abs(np.diff(finest, axis=0)).max(), np.abs(np.diff(finest, axis=1)).max()
    assert np.abs(finest[0] - finest[-1]).max() <= inside[0] + 1
    assert np.abs(finest[:, 0] - finest[:, -1]).max() <= inside[1] + 1
    start, side = 0, patterns.SIDE
    for _ in range(patterns.LEVELS):
        assert abs(flat[start:start + side * side].mean() - finest.mean()) < 1
        start, side = start + side * side, side // 2
    assert start == len(flat)


@pytest.mark.parametrize("name", TEXTURES[1:])
def test_textures_do_not_alias_at_64_px(name):
    """The small picture is about what the large one averages to: no moire, no sparkle."""
    text = mjcf(texture=TEXTURES.index(name))
    small, large = picture(text, 64, shadows=False), picture(text, 64, shadows=False, antialias=8)
    sure_YX = seen(64) == GROUND
    edges = np.zeros_like(sure_YX)  # one pixel away from any other geom
    edges[1:-1, 1:-1] = sure_YX[1:-1, 1:-1] & sure_YX[2:, 1:-1] & sure_YX[:-2, 1:-1] & sure_YX[1:-1, 2:] & \
        sure_YX[1:-1, :-2]
    difference = np.abs(small - large).max(-1)[edges]
    assert difference.mean() < 2.5
    assert np.quantile(difference, 0.99) < 10


def test_textures_lie_in_metres_on_the_surface():
    """A plane seen from twice as far shows the pattern half as large; and moving a geom moves its pattern."""
    text = """<mujoco><size nuser_geom="1"/><worldbody><geom type="box" size="3 3 0.1" pos="{x} 0 -0.1" user="2"
      rgba="0.8 0.8 0.8 1"/><camera name="c" pos="0 0 {z}" fovy="50"/></worldbody></mujoco>"""

    def image(x: float, z: float, px: int) -> np.ndarray:
        model = mujoco.MjModel.from_xml_string(text.format(x=x, z=z))
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        return Raycast(model, image_px=px, cameras=("c",), shadows=False).render([data])[0, 0, :, :, 0].astype(int)

    near, far, moved = image(0, 1, 100), image(0, 2, 200), image(0.128, 1, 100)
    assert np.abs(far[50:150, 50:150] - near).mean() < 8
    dark = near < (near.max() + near.min()) / 2
    assert 0.3 < dark.mean() < 0.7
    assert ((moved < (near.max() + near.min()) / 2) != dark).mean() > 0.8


def test_both_cameras_show_the_same_texture():
    data = worlds(1)
    plain, wood = (Raycast(model, image_px=64, cameras=CAMERAS).render(data) for model in
                   (mujoco.MjModel.from_xml_string(mjcf(texture=index)) for index in (0, 1)))
    assert all((plain[:, k] != wood[:, k]).any(-1).mean() > 0.1 for k in range(2))
