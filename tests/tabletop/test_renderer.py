"""What is drawn agrees with MuJoCo's own rays, and depends on nothing but the world drawn."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest

from vlactl.errors import UsageError
from vlactl.tabletop import kernel_cache, raycaster
from vlactl.tabletop.renderer import Renderer, warm_up

COLOURS = ("0.6 0 0", "0 0.6 0", "0 0 0.6", "0.6 0.6 0", "0 0.6 0.6", "0.6 0 0.6")
SHAPES = ("box", "sphere", "capsule", "cylinder", "ellipsoid", "box")
SIZES = ("0.06 0.04 0.03", "0.05", "0.03 0.06", "0.04 0.05", "0.03 0.05 0.07", "0.03 0.03 0.09")
GROUND, SHELF = (0.3, 0.2, 0.1), (0.1, 0.2, 0.3)


def mjcf(overview: str = "") -> str:
    """Six loose primitives over a plane and a shelf; ``overview`` goes inside the body that carries that camera."""
    loose = "".join(f'<body pos="{0.15 * (i % 3) - 0.15} {0.2 * (i // 3) - 0.1} 0.2"><freejoint/>'
                    f'<geom type="{shape}" size="{size}" rgba="{colour} 1"/></body>'
                    for i, (shape, size, colour) in enumerate(zip(SHAPES, SIZES, COLOURS, strict=True)))
    return f"""<mujoco><worldbody>
      <light directional="true" dir="-0.3 0.2 -1"/>
      <geom type="plane" size="2 2 0.1" rgba="{GROUND[0]} {GROUND[1]} {GROUND[2]} 1" group="2"/>
      <geom name="shelf" type="box" size="0.3 0.05 0.1" pos="0 0.35 0.1" rgba="0.1 0.2 0.3 1"/>
      <body pos="0.1 -0.9 0.8">{overview}<camera name="overview" xyaxes="1 0.05 0 0 0.6 0.8" fovy="45"/></body>
      <body pos="0 0 0.9"><joint name="pan" type="hinge" axis="0 0 1"/><geom size="0.01" mass="1" rgba="0.5 0.5 0.5 0"/>
        <camera name="moving" xyaxes="1 0 0 0 0.97 0.26" fovy="70"/></body>
      {loose}</worldbody></mujoco>"""


MODEL = mujoco.MjModel.from_xml_string(mjcf())
CAMERAS = ("overview", "moving")


def worlds(count: int, model: mujoco.MjModel = MODEL, seed: int = 0) -> list[mujoco.MjData]:
    """Scattered and turned primitives; the poses in the data are left stale on purpose, only qpos is set."""
    rng, found = np.random.default_rng(seed), []
    first = model.nq - 7 * len(SHAPES)
    for _ in range(count):
        data = mujoco.MjData(model)
        data.qpos[model.joint("pan").qposadr[0]] = rng.uniform(-3, 3)
        for start in range(first, model.nq, 7):
            data.qpos[start:start + 3] += rng.uniform((-0.1, -0.1, -0.1), (0.1, 0.1, 0.15))
            turn = rng.normal(size=4)
            data.qpos[start + 3:start + 7] = turn / np.linalg.norm(turn)
        found.append(data)
    return found


def renderer(**settings) -> Renderer:
    return Renderer(settings.pop("model", MODEL), **{"image_px": 48, "cameras": CAMERAS, **settings})


def test_every_pixel_shows_the_geom_that_mujocos_rays_meet_first():
    data = worlds(1)[0]
    images_KYXC = renderer(textures={}).render([data])[0].astype(float)
    mujoco.mj_forward(MODEL, data)
    palette = {geom: MODEL.geom_rgba[geom, :3] / np.linalg.norm(MODEL.geom_rgba[geom, :3])
               for geom in range(MODEL.ngeom) if MODEL.geom_rgba[geom, 3]}
    palette[-1] = np.array([150, 180, 210]) / np.linalg.norm([150, 180, 210])
    geoms, directions = list(palette), np.stack(list(palette.values()))
    agree, met = [], set()
    for image_YXC, name in zip(images_KYXC, CAMERAS, strict=True):
        camera = MODEL.camera(name).id
        focal, axes = 24 / np.tan(np.radians(MODEL.cam_fovy[camera]) / 2), data.cam_xmat[camera].reshape(3, 3)
        for y in range(48):
            for x in range(48):
                ray, found = axes @ [(x - 23.5) / focal, (23.5 - y) / focal, -1], np.array([-1], np.int32)
                mujoco.mj_ray(MODEL, data, data.cam_xpos[camera], ray, None, 1, -1, found)
                shown = geoms[int((directions @ image_YXC[y, x]).argmax())]
                agree.append(shown == found[0])
                met.add(int(found[0]))
    assert met == {-1, *geoms}, "something was never in view"
    assert np.mean(agree) > 0.999


@pytest.mark.parametrize("settings", [{}, {"antialias": 2}, {"shadows": False}], ids=str)
def test_pixels_do_not_depend_on_the_batch_its_order_or_the_threads(settings):
    datas, one = worlds(5), renderer(**settings)
    colors = [np.full((MODEL.ngeom, 3), 0.1 * (n + 1)) for n in range(5)]
    alone_NKYXC = np.concatenate([one.render([data], [color]) for data, color in zip(datas, colors, strict=True)])
    assert np.array_equal(one.render(datas, colors), alone_NKYXC)
    assert np.array_equal(one.render(datas[::-1], colors[::-1]), alone_NKYXC[::-1])
    assert np.array_equal(renderer(threads=3, **settings).render(datas, colors), alone_NKYXC)
    assert len({image.tobytes() for image in alone_NKYXC}) == 5


def test_a_camera_draws_the_same_alone_and_among_others():
    datas = worlds(2)
    both = renderer().render(datas)
    for k, name in enumerate(CAMERAS):
        assert np.array_equal(renderer(cameras=(name,)).render(datas)[:, 0], both[:, k])


def test_reusing_what_never_moves_gives_the_picture_that_drawing_everything_gives():
    """The same camera on a body that could move is drawn from nothing every time."""
    movable = mujoco.MjModel.from_xml_string(mjcf('<joint type="slide"/><geom size="0.01" mass="1" rgba="0 0 0 0"/>'))
    fixed, free = (renderer(model=model, cameras=("overview",)).render(worlds(6, model)).astype(int)
                   for model in (MODEL, movable))
    assert np.abs(fixed - free).max() <= 1
    assert np.abs(fixed - renderer(shadows=False, cameras=("overview",)).render(worlds(6)).astype(int)).max() > 30


def test_rendering_only_reads_the_data_and_needs_only_qpos():
    data = worlds(1)[0]
    before = {name: getattr(data, name).copy() for name in ("qpos", "xpos", "geom_xpos", "cam_xpos", "qacc_warmstart")}
    one = renderer()
    stale = one.render([data])
    assert all(np.array_equal(getattr(data, name), value) for name, value in before.items())
    mujoco.mj_forward(MODEL, data)
    assert np.array_equal(one.render([data]), stale)


def test_a_moving_thing_takes_its_shadow_with_it():
    shadowed, bare = (renderer(cameras=("overview",), shadows=shadows) for shadows in (True, False))
    near, far = worlds(1)[0], worlds(1)[0]
    near.qpos[1:] = far.qpos[1:] = MODEL.qpos0[1:]
    far.qpos[-7:-4] += (0.0, 0.0, 5.0)
    dark = bare.render([near, far]).astype(int) - shadowed.render([near, far])
    ground = np.all(bare.render([near])[0, 0] == bare.render([far])[0, 0], axis=-1)
    assert dark.min() >= 0
    assert (dark[0, 0][ground] - dark[1, 0][ground]).max() > 30


@pytest.mark.parametrize("shape", ['type="capsule" size="0.06 0.2" euler="0 70 20"', 'type="sphere" size="0.15"',
                                   'type="box" size="0.2 0.1 0.1" euler="20 30 40"'])
def test_a_convex_thing_casts_no_shadow_on_itself(shape):
    model = mujoco.MjModel.from_xml_string(f"""<mujoco><worldbody><light directional="true" dir="-0.3 0.2 -1"/>
      <geom {shape} rgba="0.7 0.7 0.7 1"/>
      <camera name="c" pos="0 -0.9 0.9" xyaxes="1 0 0 0 0.7 0.7" fovy="40"/></worldbody></mujoco>""")
    bare, shadowed = (Renderer(model, image_px=64, cameras=("c",), shadows=shadows).render([mujoco.MjData(model)])
                      for shadows in (False, True))
    assert (bare[..., 0] > 60).mean() > 0.05
    difference = np.abs(bare.astype(int) - shadowed)
    assert difference.max() <= 2, difference.max()


def test_colours_change_what_stands_still_too():
    data, shelf = worlds(1)[0], MODEL.geom("shelf").id
    colors = MODEL.geom_rgba[:, :3].copy()
    one = renderer(cameras=("overview",))
    assert np.array_equal(one.render([data], [colors]), one.render([data]))
    colors[shelf] = (0.9, 0.1, 0.1)
    changed = (one.render([data], [colors]) != one.render([data])).any(-1)
    assert changed.sum() > 40
    with pytest.raises(UsageError, match="colours of shape"):
        one.render([data], [colors[:-1]])


def test_antialiasing_averages_the_rays_of_a_larger_picture():
    data = worlds(3)
    large = renderer(image_px=96).render(data).astype(float)
    mean = large.reshape(3, 2, 48, 2, 48, 2, 3).mean((3, 5))
    assert np.abs(renderer(antialias=2).render(data) - mean).max() <= 1.0


def test_textures_follow_the_table_that_is_given():
    data = worlds(1)
    plain, wood, checker = (renderer(cameras=("moving",), textures=table).render(data)
                            for table in ({}, {2: 1}, {2: 2}))
    assert (plain != wood).any()
    assert (plain != checker).any()
    assert np.array_equal(renderer(cameras=("moving",), textures={4: 1}).render(data), plain)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UsageError, match="no camera 'front'"):
        renderer(cameras=("front",))
    with pytest.raises(UsageError, match="cannot draw"):
        renderer(antialias=0)
    mesh = """<mujoco><asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset><worldbody><camera name="c"/>
      <geom type="mesh" mesh="m" rgba="1 1 1 {alpha}"/></worldbody></mujoco>"""
    with pytest.raises(UsageError, match="not a primitive"):
        Renderer(mujoco.MjModel.from_xml_string(mesh.format(alpha=1)), image_px=8, cameras=("c",))
    Renderer(mujoco.MjModel.from_xml_string(mesh.format(alpha=0)), image_px=8, cameras=("c",))


def test_compiled_kernels_are_kept_where_the_user_says_or_where_one_can_write(monkeypatch, tmp_path):
    assert warm_up() > 0
    assert list(Path(raycaster.render_worlds.stats.cache_path).glob("*.nbi"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert kernel_cache.writable_root() == tmp_path / "mine"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert kernel_cache.writable_root() == tmp_path / "cache" / "vlactl-numba"
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kernel_cache.writable_root().parent == tmp_path
