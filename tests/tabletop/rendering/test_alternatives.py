"""``gl`` and ``warp`` have the ray caster's interface and draw the same world; what they lack they name."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import mujoco
import numpy as np
import pytest

from tests.tabletop.rendering.primitives import CAMERAS, MODEL, seen_by_mujoco, shown_geoms, worlds
from vlactl.errors import UsageError
from vlactl.tabletop.rendering import open_renderer
from vlactl.tabletop.rendering.poses import of_datas


def missing(kind: str) -> str:
    """Why a renderer cannot work here; empty where it can."""
    if kind == "warp" and not find_spec("mujoco_warp"):
        return "mujoco_warp is not installed: pip install 'vlactl[warp]'"
    try:
        open_renderer(kind, MODEL, image_px=8, cameras=CAMERAS)
    except UsageError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module", params=["gl", "warp"])
def kind(request: pytest.FixtureRequest) -> str:
    if why := missing(request.param):
        pytest.skip(why)
    return request.param


def test_each_pixel_shows_the_geom_that_mujocos_rays_meet_first(kind):
    data = worlds(1)[0]
    images_KYXC = open_renderer(kind, MODEL, image_px=48, cameras=CAMERAS, shadows=False).render([data])[0]
    for image_YXC, name in zip(images_KYXC, CAMERAS, strict=True):
        assert (shown_geoms(image_YXC) == seen_by_mujoco(data, name, 48)).mean() > 0.97


def test_sizes_colours_batches_and_out_are_as_the_ray_casters(kind):
    rng, datas = np.random.default_rng(0), worlds(3)
    colors = rng.uniform(0.1, 0.9, (3, MODEL.ngeom, 3)).astype(np.float32)
    poses, one = of_datas(datas, colors), open_renderer(kind, MODEL, image_px=(32, 24), cameras=CAMERAS)
    first, second = one.draw(poses)
    assert [first.shape, second.shape] == [(3, 32, 32, 3), (3, 24, 24, 3)]
    out = [np.zeros_like(first), np.zeros_like(second)]
    one.draw(poses, out)
    assert np.array_equal(out[0], first)
    alone = open_renderer(kind, MODEL, image_px=(24, 32), cameras=CAMERAS[::-1]).draw(of_datas(datas[1:2], colors[1:2]))
    assert np.array_equal(alone[1][0], first[1])
    assert np.array_equal(alone[0][0], second[1])
    with pytest.raises(UsageError, match="do not stack"):
        one.render(datas)
    with pytest.raises(UsageError, match="colours of shape"):
        one.draw(poses._replace(colors=colors[:2]))


def test_a_lamps_colour_is_each_worlds_own_and_the_model_stays_as_it_was(kind):
    lamp, before = MODEL.geom("lamp").id, MODEL.geom_rgba.copy()
    off, on = (MODEL.geom_rgba[:, :3].copy() for _ in range(2))
    on[lamp] = (1.0, 0.9, 0.1)
    data = worlds(1)[0]
    caster = open_renderer(kind, MODEL, image_px=48, cameras=("overview",))
    dark, lit, dark_again = caster.render([data] * 3, [off, on, off])[:, 0].astype(int)
    lamp_YX = seen_by_mujoco(data, "overview", 48) == lamp
    assert (lit - dark)[lamp_YX].max() > 60
    assert np.array_equal(dark, dark_again)
    assert np.array_equal(MODEL.geom_rgba, before)


def test_shadows_and_antialiasing_do_something(kind):
    data = worlds(1)
    plain, shaded, smooth = (open_renderer(kind, MODEL, image_px=48, cameras=("overview",), **settings).render(data)
                             for settings in ({"shadows": False}, {"shadows": True},
                                              {"shadows": False, "antialias": 3}))
    assert (plain.astype(int) - shaded).max() > 20
    assert 0.01 < (plain != smooth).any(-1).mean() < 0.7


def test_what_opengl_needs_is_named_where_it_is_missing():
    script = """
import ctypes
real = ctypes.CDLL
def absent(name, *rest, **more):
    if name and any(word in str(name) for word in ("EGL", "OSMesa")):
        raise OSError("no such library")
    return real(name, *rest, **more)
ctypes.CDLL = absent
from tests.tabletop.rendering.primitives import CAMERAS, MODEL
from vlactl.tabletop.rendering import open_renderer
try:
    open_renderer("gl", MODEL, image_px=8, cameras=CAMERAS)
except Exception as error:
    print(type(error).__name__, error)
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    for more, expected in (({}, "apt-get install libegl1 libgl1"), ({"MUJOCO_GL": "disable"}, "unset MUJOCO_GL")):
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
                              env={**environment, **more})
        assert said.stdout.startswith("UsageError"), said.stderr
        assert expected in said.stdout


def test_what_warp_needs_is_named_where_it_is_missing(monkeypatch):
    for name in ("vlactl.tabletop.rendering.warp", "mujoco_warp"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    with pytest.raises(UsageError, match=r"vlactl\[warp\]"):
        open_renderer("warp", MODEL, image_px=8, cameras=CAMERAS)


def test_opengl_works_although_mujoco_was_imported_first_and_no_platform_was_named():
    if why := missing("gl"):
        pytest.skip(why)
    assert mujoco is not None
    script = ("import mujoco\nfrom tests.tabletop.rendering.primitives import CAMERAS, MODEL, worlds\n"
              "from vlactl.tabletop.rendering import open_renderer\n"
              "print(open_renderer('gl', MODEL, image_px=32, cameras=CAMERAS).render(worlds(1)).std() > 10)")
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert said.stdout.strip() == "True", said.stderr
