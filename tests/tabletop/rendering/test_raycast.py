"""What the ray caster draws agrees with MuJoCo's own rays, and depends on nothing but the world drawn."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from tests.tabletop.rendering.primitives import CAMERAS, MODEL, SHAPES, mjcf, seen_by_mujoco, shown_geoms, worlds
from vlactl.errors import UsageError
from vlactl.tabletop.rendering import Poses
from vlactl.tabletop.rendering.poses import of_datas
from vlactl.tabletop.rendering.raycast import Raycast

GROUND, SHELF, LAMP = (MODEL.geom(name).id for name in ("ground", "shelf", "lamp"))


def renderer(**settings) -> Raycast:
    return Raycast(settings.pop("model", MODEL), **{"image_px": 48, "cameras": CAMERAS, **settings})


def poses(count: int, seed: int = 0) -> Poses:
    rng = np.random.default_rng(seed)
    return of_datas(worlds(count, seed=seed), rng.uniform(0.1, 0.9, (count, MODEL.ngeom, 3)))


def one(many: Poses, n: int) -> Poses:
    return Poses(*(array[n:n + 1] for array in many))


def test_every_pixel_shows_the_geom_that_mujocos_rays_meet_first():
    agree, met = [], set()
    for data in worlds(2):
        images_KYXC = renderer(image_px=40).render([data])[0]
        for image_YXC, name in zip(images_KYXC, CAMERAS, strict=True):
            found_YX = seen_by_mujoco(data, name, 40)
            agree.append(shown_geoms(image_YXC) == found_YX)
            met |= set(found_YX.ravel().tolist())
    assert met >= {-1, GROUND, SHELF, LAMP} | set(range(MODEL.ngeom - len(SHAPES), MODEL.ngeom)), "never in view"
    assert np.mean(agree) > 0.999


@pytest.mark.parametrize("eye", [(0.0, 0.0, 0.35), (0.05, 0.38, 0.25), (-0.28, 0.06, 0.12)])
def test_things_that_reach_behind_the_camera_are_drawn_where_they_are(eye):
    """Bounds on the screen are the difficult part: the shelf and the primitives pass beside and behind the eye."""
    model = mujoco.MjModel.from_xml_string(mjcf().replace(
        "</worldbody>", f'<camera name="near" pos="{eye[0]} {eye[1]} {eye[2]}" xyaxes="0.9 0.4 0 -0.1 0.3 0.9" '
                        f'fovy="100"/></worldbody>'))
    for data in worlds(3, model, seed=5):
        image_YXC = renderer(model=model, cameras=("near",), image_px=40).render([data])[0, 0]
        seen_YX = seen_by_mujoco(data, "near", 40, model)
        # MuJoCo's rays start inside things and have no near plane; compare what begins beyond it
        assert (shown_geoms(image_YXC, model) == seen_YX).mean() > 0.97


@pytest.mark.parametrize("settings", [{}, {"antialias": 2}, {"shadows": False}, {"image_px": (40, 23)}], ids=str)
def test_pixels_do_not_depend_on_the_batch_its_order_the_threads_or_the_past(settings):
    many, caster = poses(7), renderer(**settings)
    alone = [np.concatenate(images) for images in zip(*(caster.draw(one(many, n)) for n in range(7)), strict=True)]
    caster.draw(poses(3, seed=9))
    for threads in (1, 2, 3):
        other = renderer(threads=threads, **settings)
        for drawn in (caster.draw(many), other.draw(many), other.draw(many)):
            assert all(np.array_equal(a, b) for a, b in zip(drawn, alone, strict=True))
    backwards = caster.draw(Poses(*(array[::-1] for array in many)))
    assert all(np.array_equal(a, b[::-1]) for a, b in zip(backwards, alone, strict=True))
    assert len({image.tobytes() for image in alone[1]}) == 7


def test_each_camera_draws_the_same_alone_and_among_others_and_in_its_own_size():
    many = poses(2)
    both = renderer(image_px=(48, 30)).draw(many)
    assert [image.shape for image in both] == [(2, 48, 48, 3), (2, 30, 30, 3)]
    for name, side, among in zip(CAMERAS, (48, 30), both, strict=True):
        assert np.array_equal(renderer(cameras=(name,), image_px=side).draw(many)[0], among)
    swapped = renderer(cameras=CAMERAS[::-1], image_px=(30, 48)).draw(many)
    assert all(np.array_equal(a, b) for a, b in zip(swapped[::-1], both, strict=True))


def test_render_and_draw_agree_and_out_is_written():
    datas, caster = worlds(3), renderer()
    colors = np.random.default_rng(1).uniform(0.1, 0.9, (3, MODEL.ngeom, 3))
    stacked = caster.render(datas, colors)
    out = [np.zeros((3, 48, 48, 3), np.uint8) for _ in CAMERAS]
    returned = caster.draw(of_datas(datas, colors), out)
    assert all(a is b for a, b in zip(returned, out, strict=True))
    assert all(np.array_equal(stacked[:, k], out[k]) for k in range(2))
    assert caster.render([]).shape == (0, 2, 48, 48, 3)
    with pytest.raises(UsageError, match="do not stack"):
        renderer(image_px=(48, 30)).render(datas)


def test_arrays_that_are_read_only_or_of_another_type_make_the_same_picture():
    many, caster = poses(2), renderer()
    single = Poses(*(array.astype(np.float32) for array in many))
    frozen = Poses(*(array.copy() for array in many))
    for array in frozen:
        array.flags.writeable = False
    for other in (frozen, Poses(*(np.asfortranarray(array) for array in many))):
        assert all(np.array_equal(a, b) for a, b in zip(caster.draw(other), caster.draw(many), strict=True))
    assert np.abs(caster.draw(single)[0].astype(int) - caster.draw(many)[0]).max() <= 1


def test_rendering_only_reads_the_data():
    data = worlds(1)[0]
    before = {name: getattr(data, name).copy() for name in ("qpos", "xpos", "geom_xpos", "cam_xpos", "qacc_warmstart")}
    renderer().render([data])
    assert all(np.array_equal(getattr(data, name), value) for name, value in before.items())


@pytest.mark.parametrize("image_px", [48, 21])
def test_reusing_what_never_moves_gives_the_picture_that_drawing_everything_gives(image_px):
    """The same camera on a body that could move is drawn from nothing every time."""
    movable = mujoco.MjModel.from_xml_string(mjcf('<joint type="slide"/><geom size="0.01" mass="1" rgba="0 0 0 0"/>'))
    settings = {"cameras": ("overview",), "image_px": image_px, "antialias": 2}
    fixed, free = (renderer(model=model, **settings).render(worlds(12, model)).astype(int)
                   for model in (MODEL, movable))
    assert np.abs(fixed - free).max() <= 2
    assert (fixed != free).mean() < 0.01
    assert np.abs(fixed - renderer(shadows=False, **settings).render(worlds(12))).max() > 20


def test_a_moving_thing_takes_its_shadow_with_it():
    shadowed, bare = (renderer(cameras=("overview",), shadows=shadows) for shadows in (True, False))
    near, far = mujoco.MjData(MODEL), mujoco.MjData(MODEL)
    far.qpos[-7:-4] += (0.0, 0.0, 5.0)
    for data in (near, far):
        mujoco.mj_forward(MODEL, data)
    dark = bare.render([near, far]).astype(int) - shadowed.render([near, far])
    ground = np.all(bare.render([near])[0, 0] == bare.render([far])[0, 0], axis=-1)
    assert dark.min() >= 0
    assert (dark[0, 0][ground] - dark[1, 0][ground]).max() > 20


def test_shadows_fall_where_mujocos_rays_towards_the_light_are_stopped():
    data, side = worlds(1, seed=3)[0], 100
    bare, shadowed = (renderer(cameras=("overview",), image_px=side, shadows=shadows).render([data])[0, 0].astype(int)
                      for shadows in (False, True))
    index, met = MODEL.camera("overview").id, np.zeros(1, np.int32)
    focal, axes = side / 2 / np.tan(np.radians(MODEL.cam_fovy[index]) / 2), data.cam_xmat[index].reshape(3, 3)
    to_light = -MODEL.light_dir[0] / np.linalg.norm(MODEL.light_dir[0])
    shade, lit = [], []
    for y, x in np.ndindex(side, side):
        ray = axes @ [(x + 0.5 - side / 2) / focal, (side / 2 - y - 0.5) / focal, -1]
        far = mujoco.mj_ray(MODEL, data, data.cam_xpos[index], ray, None, 1, -1, met)
        if met[0] != GROUND:
            continue
        point = data.cam_xpos[index] + far * ray
        # well inside a shadow or well outside: five rays that agree, 3 cm around
        stopped = [mujoco.mj_ray(MODEL, data, np.add(point, (dx, dy, 1e-4)), to_light, None, 1, -1, met) >= 0
                   for dx, dy in ((0, 0), (0.03, 0), (-0.03, 0), (0, 0.03), (0, -0.03))]
        if all(stopped) or not any(stopped):
            (shade if stopped[0] else lit).append(bare[y, x, 0] - shadowed[y, x, 0])
    assert len(shade) > 20
    assert np.mean(np.array(shade) > 10) > 0.97
    assert np.mean(np.array(lit) == 0) > 0.97


@pytest.mark.parametrize("shape", ['type="capsule" size="0.06 0.2" euler="0 70 20"', 'type="sphere" size="0.15"',
                                   'type="box" size="0.2 0.1 0.1" euler="20 30 40"'])
def test_a_convex_thing_casts_no_shadow_on_itself(shape):
    model = mujoco.MjModel.from_xml_string(f"""<mujoco><worldbody><light directional="true" dir="-0.3 0.2 -1"/>
      <geom {shape} rgba="0.7 0.7 0.7 1"/>
      <camera name="c" pos="0 -0.9 0.9" xyaxes="1 0 0 0 0.7 0.7" fovy="40"/></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    bare, shadowed = (Raycast(model, image_px=64, cameras=("c",), shadows=shadows).render([data])
                      for shadows in (False, True))
    assert (bare[..., 0] > 60).mean() > 0.05
    assert np.abs(bare.astype(int) - shadowed).max() <= 2


@pytest.mark.parametrize(("turn", "light", "axis"), [(17, "0.1 -0.5", 0), (107, "-0.5 0.1", 1)])
def test_a_thin_bar_casts_one_unbroken_shadow(turn, light, axis):
    """8 mm wide, which is about a texel of the shadow map; the box, out of sight, makes that large enough."""
    model = mujoco.MjModel.from_xml_string(f"""<mujoco><worldbody><light directional="true" dir="{light} -1"/>
      <geom type="plane" size="2 2 0.1" rgba="0.8 0.8 0.8 1"/><geom type="box" size="0.05 0.05 0.05" pos="0.7 0.7 0"/>
      <body pos="0 0 0.1"><freejoint/><geom type="box" size="0.3 0.004 0.004" euler="0 0 {turn}"/></body>
      <camera name="c" pos="0 0 1.2" fovy="45"/></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    bare, shadowed = (Raycast(model, image_px=128, cameras=("c",), shadows=shadows).render([data])[0, 0, :, :, 0]
                      for shadows in (False, True))
    dark = np.moveaxis(bare.astype(int) - shadowed > 10, axis, 1)
    along = np.flatnonzero(dark.any(1))
    assert len(along) > 50
    assert len(along) == along[-1] - along[0] + 1, "a gap along the bar"
    assert (np.diff(dark[along].astype(int), axis=1, prepend=0) > 0).sum(1).max() == 1, "light in the middle of it"


def test_colours_change_what_stands_still_too_and_only_that():
    data, caster = worlds(1)[0], renderer(cameras=("overview",))
    colors = MODEL.geom_rgba[:, :3].copy()
    plain = caster.render([data])
    assert np.array_equal(caster.render([data], [colors]), plain)
    colors[SHELF] = (0.9, 0.1, 0.1)
    changed_YX = (caster.render([data], [colors]) != plain).any(-1)[0, 0]
    assert np.array_equal(changed_YX, (seen_by_mujoco(data, "overview", 48) == SHELF))
    with pytest.raises(UsageError, match="colours of shape"):
        caster.render([data], [colors[:-1]])


def test_antialiasing_averages_the_rays_of_a_larger_picture():
    many = poses(3)
    large = renderer(image_px=96).draw(many)
    for small, big in zip(renderer(antialias=2).draw(many), large, strict=True):
        mean = big.reshape(3, 48, 2, 48, 2, 3).mean((2, 4))
        assert np.abs(small - mean).max() <= 0.5


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UsageError, match="no camera 'front'"):
        renderer(cameras=("front",))
    for wrong in ({"antialias": 0}, {"threads": 0}, {"image_px": 0}, {"image_px": (48,)}, {"cameras": ()}):
        with pytest.raises(UsageError, match="cannot draw"):
            renderer(**wrong)
    mesh = """<mujoco><asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset><worldbody><camera name="c"/>
      <geom type="mesh" mesh="m" rgba="1 1 1 {alpha}"/></worldbody></mujoco>"""
    with pytest.raises(UsageError, match="not a primitive"):
        Raycast(mujoco.MjModel.from_xml_string(mesh.format(alpha=1)), image_px=8, cameras=("c",))
    Raycast(mujoco.MjModel.from_xml_string(mesh.format(alpha=0)), image_px=8, cameras=("c",))


@pytest.mark.parametrize("axes", ["1 0 0 0 1 0", "1 0 0 0 0 1", "0 1 0 0 0 1", "0 -1 0 1 0 0"])
@pytest.mark.parametrize("kind", ["box", "cylinder", "capsule", "sphere", "ellipsoid"])
def test_rays_exactly_along_a_face_meet_what_their_neighbours_meet(axes, kind):
    """An odd number of pixels has a middle row and column whose rays have no part along an axis of the thing: divisions
    by zero once became places in memory."""
    model = mujoco.MjModel.from_xml_string(f"""<mujoco><size nuser_geom="1"/><worldbody>
        <light directional="true" dir="-0.3 0.2 -1"/>
        <geom name="ground" type="plane" size="2 2 0.1" pos="0 0 -0.6" rgba="0 0.5 0 1" user="2"/>
        <geom type="{kind}" size="0.3 0.3 0.3" rgba="0.5 0 0 1" user="1"/>
        <body pos="0.04 0.06 0.02"><joint type="slide"/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
        <camera name="straight" pos="0 0 0" xyaxes="{axes}" fovy="70"/></body></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    x, y = (np.array([float(number) for number in axes.split()][at:at + 3]) for at in (0, 3))
    for away in (0.9, 0.31, 0.3, 0.1, -0.2):  # outside, on and inside the thing
        model.body_pos[1] = [0.04, 0.06, 0.02] + away * np.cross(x, y)
        mujoco.mj_forward(model, data)
        for side in (33, 47):
            drawn = renderer(model=model, cameras=("straight",), image_px=side).render([data])[0, 0].astype(int)
            thing_YX = drawn[..., 0] > drawn[..., 1]
            if away == 0.9:
                met_YX = seen_by_mujoco(data, "straight", side, model) == 1
                assert (thing_YX == met_YX).mean() > 0.995
                assert (thing_YX == met_YX)[side // 2, side // 2]
