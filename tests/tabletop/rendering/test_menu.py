"""The menu costs nothing, and the default draws without any OpenGL, X11 or Vulkan library in the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.tabletop.rendering.primitives import CAMERAS, MODEL
from vlactl.errors import UnknownName
from vlactl.tabletop.rendering import RENDERERS, open_renderer, warm_up

DRAW = """
import mujoco, re, sys
sys.path.insert(0, "")
from tests.tabletop.rendering.primitives import CAMERAS, MODEL, worlds
from vlactl.tabletop.rendering import open_renderer
images = open_renderer("raycast", MODEL, image_px=32, cameras=CAMERAS, threads=2).render(worlds(3))
assert images.std() > 10
loaded = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
print(sorted(path for path in loaded if re.search(r"/lib(GL|EGL|OSMesa|X11|vulkan|gallium|glapi)", path)))
assert not {name for name in sys.modules if name.split(".")[0] in ("OpenGL", "mujoco_warp", "warp")}
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="this system does not say which libraries are loaded")
@pytest.mark.parametrize("mujoco_gl", [None, "disable"])
def test_the_default_draws_without_any_graphics_library(mujoco_gl):
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    if mujoco_gl:
        environment["MUJOCO_GL"] = mujoco_gl
    said = subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True, env=environment, timeout=120)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == "[]"


def test_the_menu_imports_nothing_heavy():
    script = ("import sys, vlactl.tabletop.rendering, vlactl.tabletop.rendering.textures\n"
              "print({'numpy', 'numba', 'mujoco', 'OpenGL', 'warp', 'mujoco_warp'} & set(sys.modules))")
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert said.stdout.strip() == "set()", said.stderr


def test_an_unknown_renderer_is_refused_by_name():
    with pytest.raises(UnknownName, match="unknown renderer 'raycats'") as caught:
        open_renderer("raycats", MODEL, image_px=8, cameras=CAMERAS)
    assert set(caught.value.known) == set(RENDERERS)


def test_warming_up_says_how_long_it_took():
    assert 0 < warm_up() < 120
