"""Shifts: named, deterministic, unlike training, and harmless to the physics and to every task."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import mujoco
import numpy as np
import pytest

from vlactl.errors import UnknownName, UsageError
from vlactl.tabletop.embodiments import EMBODIMENTS, PANDA
from vlactl.tabletop.expert import Expert
from vlactl.tabletop.layouts import BLOCK_RGB, LAYOUTS, TABLE_Z_M
from vlactl.tabletop.perturbations import NONE, SHIFTS, VARIANTS, colour_words, full_name, parse, shifted
from vlactl.tabletop.phrasings import COLOURS
from vlactl.tabletop.rendering import open_renderer
from vlactl.tabletop.tasks import start_states
from vlactl.tabletop.world import World

SEEN = ("distractors", "background", "light", "camera", "target")
LOOK_ONLY = ("background", "light", "camera", "target", "description", "background+light+camera+target+description")
PLACES = [(scene, machine) for scene in LAYOUTS for machine in EMBODIMENTS]


def shifts(scene: str, machine: str, shift: str) -> list:
    return [shifted(LAYOUTS[scene], EMBODIMENTS[machine], shift, variant) for variant in range(VARIANTS)]


# ---- names ----------------------------------------------------------------------------------------------------------
def test_the_papers_four_unseen_settings_are_among_them() -> None:
    assert {shift.unseen for shift in SHIFTS.values() if shift.unseen} == {
        "unseen distractor", "unseen background", "unseen target object", "novel skill description"}
    assert tuple(SHIFTS) == (NONE, "distractors", "background", "light", "camera", "target", "description")


def test_names_join_in_one_order_with_one_variant() -> None:
    assert parse("camera+light#3") == parse("light+camera", 3) == (("light", "camera"), 3)
    assert full_name("camera+light", 3) == full_name("light+camera#3", 7) == "light+camera#3"
    assert full_name("camera", 0) == full_name("camera#0") == "camera"
    assert parse(NONE) == ((), 0)
    assert full_name(NONE) == NONE


@pytest.mark.parametrize(("name", "said"), [("lihgt", "did you mean 'light'"), ("camera+backgruond", "'background'"),
                                            ("", "unknown shift ''")])
def test_unknown_names_are_refused_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        parse(name)


@pytest.mark.parametrize("name", ["light+light", "none+light", "light#10", "light#", "light#-1", "light#x"])
def test_impossible_combinations_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        parse(name)
    with pytest.raises(UsageError):
        shifted(LAYOUTS["D"], PANDA, name)
    with pytest.raises(UsageError):
        colour_words(name)


def test_shifts_import_nothing_heavy() -> None:
    code = ("import sys, vlactl.tabletop.perturbations\n"
            "print(sorted({'mujoco', 'numba', 'numpy', 'torch'} & sys.modules.keys()))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ---- what changes ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("scene", "machine"), PLACES)
def test_every_variant_is_another_look_and_the_same_every_time(scene: str, machine: str) -> None:
    plain = LAYOUTS[scene], EMBODIMENTS[machine]
    for shift in SEEN:
        found = shifts(scene, machine, shift)
        assert len({*found, plain}) == VARIANTS + 1, shift
        assert found == shifts(scene, machine, shift)
    assert shifts(scene, machine, "description") == [plain] * VARIANTS
    assert shifted(*plain, NONE) == plain


@pytest.mark.parametrize(("scene", "machine"), PLACES)
def test_only_looks_and_cameras_change(scene: str, machine: str) -> None:
    for desk, robot in shifts(scene, machine, "+".join(SEEN)):
        assert replace(desk, look=LAYOUTS[scene].look) == LAYOUTS[scene]
        plain = EMBODIMENTS[machine]
        assert replace(robot, static=plain.static, wrist=plain.wrist) == plain


def test_joined_shifts_do_what_each_does() -> None:
    together = shifted(LAYOUTS["D"], PANDA, "light+camera#4")
    assert together[0] == shifted(LAYOUTS["D"], PANDA, "light", 4)[0]
    assert together[1] == shifted(LAYOUTS["D"], PANDA, "camera", 4)[1]


def distance(ours: tuple, theirs: tuple) -> float:
    return math.dist(ours, theirs)


def test_target_colours_are_far_from_training_and_from_each_other_and_have_their_words() -> None:
    trained = {rgb for layout in LAYOUTS.values() for rgb in layout.look.block_rgb} | set(BLOCK_RGB.values())
    called: dict[str, tuple] = {}
    for variant in range(VARIANTS):
        blocks = shifted(LAYOUTS["D"], PANDA, "target", variant)[0].look.block_rgb
        words = colour_words("target", variant)
        assert tuple(words) == COLOURS
        assert len(set(words.values())) == 3
        assert not set(words.values()) & set(COLOURS)
        assert min(distance(block, seen) for block in blocks for seen in trained) > 0.35
        assert min(distance(*pair) for pair in combinations(blocks, 2)) > 0.4
        for word, rgb in zip(words.values(), blocks, strict=True):
            assert called.setdefault(word, rgb) == rgb, "one word, one colour"
    assert colour_words(NONE) == colour_words("light+camera#3") == {}


def test_backgrounds_have_textures_that_no_scene_has_there() -> None:
    trained = [layout.look for layout in LAYOUTS.values()]
    for desk, _ in shifts("D", "panda", "background"):
        look = desk.look
        assert look.desk.texture not in {seen.desk.texture for seen in trained}
        assert look.floor.texture not in {seen.floor.texture for seen in trained}
        assert min(distance(look.desk.rgb, rgb) for rgb in look.block_rgb) > 0.3, "blocks stay visible"
        assert min(distance(look.desk.rgb, seen.desk.rgb) for seen in trained) > 0.12


def test_light_comes_from_where_none_does_in_training() -> None:
    trained = [np.array(layout.look.light_dir) for layout in LAYOUTS.values()]
    for desk, _ in shifts("D", "panda", "light"):
        light = np.array(desk.look.light_dir)
        for seen in trained:
            cosine = light @ seen / np.linalg.norm(light) / np.linalg.norm(seen)
            assert np.degrees(np.arccos(cosine)) > 12
        assert light[2] < 0
        assert np.hypot(*light[:2]) < 0.8 * -light[2], "not so aslant that the arm shades the whole desk"
        assert all(0.3 < strength + ambient < 1.15 for strength, ambient in
                   zip(desk.look.light_rgb, desk.look.ambient_rgb, strict=True))


@pytest.mark.parametrize("machine", EMBODIMENTS)
def test_cameras_move_by_centimetres_and_degrees_and_still_see_the_desk(machine: str) -> None:
    plain = EMBODIMENTS[machine]
    for _, robot in shifts("D", machine, "camera"):
        for before, now, far_m in ((plain.static, robot.static, 0.10), (plain.wrist, robot.wrist, 0.012)):
            eye, old = np.array(now.eye_m), np.array(before.eye_m)
            view, seen = np.array(now.target_m) - eye, np.array(before.target_m) - old
            turned = np.degrees(np.arccos(view @ seen / np.linalg.norm(view) / np.linalg.norm(seen)))
            assert 0 < np.linalg.norm(eye - old) < far_m
            assert turned < 10
        for corner in ((-0.38, -0.26), (0.38, -0.26), (0.38, 0.22), (-0.38, 0.22), (0.0, -0.45)):
            assert in_view(robot.static, (*corner, TABLE_Z_M)), corner


def in_view(camera, point_m) -> bool:
    eye, target = np.array(camera.eye_m), np.array(camera.target_m)
    ahead = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(ahead, camera.up)
    right /= np.linalg.norm(right)
    ray = np.array(point_m) - eye
    depth, half = ray @ ahead, np.tan(np.radians(camera.fovy_deg) / 2)
    return bool(depth > 0 and abs(ray @ right) < half * depth and abs(ray @ np.cross(right, ahead)) < half * depth)


# ---- what does not --------------------------------------------------------------------------------------------------
def trajectory(shift: str, steps: int = 12) -> list[np.ndarray]:
    world, rng = World("panda", "D", shift=shift), np.random.default_rng(0)
    world.reset(start_states()[20], 5)
    seen = []
    for _ in range(steps):
        world.step(rng.uniform(-1, 1, 7))
        seen += [world.data.qpos.copy(), world.data.qvel.copy()]
    return seen


@pytest.mark.parametrize("shift", LOOK_ONLY)
def test_look_only_shifts_leave_the_physics_bit_for_bit(shift: str) -> None:
    for ours, theirs in zip(trajectory(f"{shift}#6"), trajectory(NONE), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("scene", LAYOUTS)
def test_distractors_are_seen_and_touch_nothing_when_a_chain_begins(scene: str) -> None:
    for variant in (0, 5):
        world, plain = World("panda", scene, shift=f"distractors#{variant}"), World("panda", scene)
        things = [geom for geom in range(world.model.ngeom) if world.model.geom(geom).name.startswith("distractor_")]
        assert len(things) == 5
        for index in range(0, 192, 16):
            world.reset(start_states()[index], index)
            touched = {geom for pair in world.data.contact.geom.tolist() for geom in pair}
            assert not touched & set(things)
        plain.reset(start_states()[index], index)
        images = [open_renderer("raycast", w.model, image_px=96, cameras=("static",)).render(
            [w.data], [w.colors()])[0, 0] for w in (world, plain)]
        changed = (np.abs(images[0].astype(int) - images[1]).max(axis=-1) > 12).sum()
        assert changed > 60, "pixels of the static camera that show them or their shadows"


@pytest.mark.parametrize("scene", LAYOUTS)
def test_distractors_keep_their_distance_from_places_of_work(scene: str) -> None:
    desk = LAYOUTS[scene]
    for shifted_desk, _ in shifts(scene, "panda", "distractors"):
        things = [np.array(thing.position_m) for thing in shifted_desk.look.distractors]
        assert min(distance(*pair) for pair in combinations(things, 2)) > 0.07
        for x, y, z in things:
            assert abs(x) < 0.44
            assert -0.27 < y < 0.21
            assert TABLE_Z_M < z < TABLE_Z_M + 0.04
            assert abs(x - desk.door_x_m) > 0.31 or y < -0.07, "not in a bay"
            for place in (*desk.slots_xy_m, desk.button_xy_m, desk.switch_xy_m):
                assert math.dist((x, y), place) > 0.085


@pytest.mark.parametrize(("scene", "machine"), PLACES)
def test_the_expert_is_as_good_among_distractors(scene: str, machine: str) -> None:
    """Tasks at both ends of the desk; whole chains are in the benchmark's own measurements."""
    for variant, (task, index) in enumerate((("push_red_block_left", 1), ("push_blue_block_right", 1),
                                             ("turn_on_led", 2), ("turn_on_lightbulb", 3), ("open_drawer", 4))):
        world = World(machine, scene, shift=f"distractors#{variant + (scene > 'B') * 5}")
        world.reset(start_states()[index], variant)
        before, expert = world.snapshot(), Expert(world, task)
        assert any(step(world, expert, task, before) for _ in range(120)), (scene, machine, task)


def step(world: World, expert: Expert, task: str, before) -> bool:
    world.step(expert.act())
    return world.succeeded(task, before)


def test_every_shift_makes_a_model() -> None:
    for shift in SEEN:
        for scene, machine in PLACES:
            world = World(machine, scene, shift=f"{shift}#9")
            assert isinstance(world.model, mujoco.MjModel)
