"""Pictures by MuJoCo's own OpenGL renderer, off screen through EGL or OSMesa: slow on a CPU, and not the default.

The platform is bound here, through :mod:`mujoco.egl` or :mod:`mujoco.osmesa`, so that it does not matter whether
``MUJOCO_GL`` was set before mujoco was imported.  Geoms have no textures in these pictures, and lamps do not glow.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco's extension module comes without types)

from __future__ import annotations

import copy
import ctypes
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop.rendering import Poses
from vlactl.tabletop.rendering.appearance import sky_rgb
from vlactl.tabletop.rendering.poses import (
    averaged,
    camera_ids,
    of_datas,
    one_size,
    require_colors,
    require_positive,
    sizes,
    written,
)

LIBRARIES = {"egl": (("libEGL.so.1",), ("libGL.so.1",)), "osmesa": (("libOSMesa.so.8", "libOSMesa.so.6"),)}
"""Platform -> what it loads, one of each group; in the order of preference."""
SHADOW_MAP_PX = 1024
"""MuJoCo's default of 4096 takes four times as long on a CPU."""
MISSING = ("apt-get install libegl1 libgl1   (EGL), or: apt-get install libosmesa6   (OSMesa); "
           "or draw with renderer 'raycast', which needs neither")


@cache
def platform() -> str:
    """``egl`` or ``osmesa``: what MUJOCO_GL says, else the first whose libraries load.

    PyOpenGL binds one platform for the life of a process, so it is chosen once.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    if wanted in ("disable", "disabled", "off", "false", "0"):
        raise UsageError(f"MUJOCO_GL={wanted} forbids OpenGL", where="renderer 'gl'", remedy="unset MUJOCO_GL")
    bound = os.environ.get("PYOPENGL_PLATFORM", "").lower()
    found = [name for name, groups in LIBRARIES.items()
             if bound in ("", name) and (wanted not in LIBRARIES or wanted == name)
             and all(any(_loads(library) for library in group) for group in groups)]
    if not found:
        asked = "".join(f"; {name}={value}" for name, value in (("MUJOCO_GL", wanted), ("PYOPENGL_PLATFORM", bound))
                        if value)
        raise UsageError("no library for OpenGL off screen" + asked, where="renderer 'gl'",
                         expected=" or ".join(" + ".join(group[0] for group in groups)
                                              for groups in LIBRARIES.values()),
                         remedy=MISSING)
    return found[0]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _context(width: int, height: int) -> Any:
    """An OpenGL context off screen; raises :class:`UsageError` where the system has none to give."""
    name = platform()
    try:
        if name == "egl":
            from mujoco.egl import GLContext
        else:
            from mujoco.osmesa import GLContext
        return GLContext(width, height)
    except Exception as error:  # PyOpenGL raises AttributeError, ImportError and its own, by what is missing
        raise UsageError(f"{name} gives no OpenGL: {error}", where="renderer 'gl'", remedy=MISSING) from error


class OpenGL:
    """Draws worlds of one model, one after another; see :class:`vlactl.tabletop.rendering.Renderer`.

    ``threads`` is ignored: Mesa's software driver starts its own.  Use it from the thread that made it.
    """

    def __init__(self, model: mujoco.MjModel, *, image_px: int | Sequence[int], shadows: bool = True,
                 antialias: int = 1, cameras: Sequence[str] = ("static", "wrist"), threads: int = 1) -> None:
        require_positive(antialias, threads)
        self.cameras, self.image_px, self.antialias = tuple(cameras), sizes(image_px, cameras), antialias
        self._camera_ids, self._sky = camera_ids(model, cameras), np.round(255 * sky_rgb(model)).astype(np.uint8)
        self.model = copy.copy(model)  # colours are written into it, and the size of the frame buffer
        side = max(self.image_px) * antialias
        self.model.vis.global_.offwidth = self.model.vis.global_.offheight = side
        self.model.vis.quality.offsamples = 0  # antialiasing is ours, the same for all renderers
        self.model.vis.quality.shadowsize = SHADOW_MAP_PX
        self._data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self._data)
        self._scene = mujoco.MjvScene(self.model, maxgeom=self.model.ngeom + 100)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 1
        self._platform = _context(side, side)
        self._platform.make_current()
        self._context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR

    def render(self, datas: Sequence[mujoco.MjData], colors: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Images (N, K, Y, X, 3) uint8 of N worlds; ``colors``: RGB in 0 .. 1 of every geom, (G, 3), for each world."""
        one_size(self.image_px)
        given = np.repeat(self.model.geom_rgba[None, :, :3], len(datas), 0) if colors is None else colors
        return np.stack(self.draw(of_datas(datas, given)), 1)

    def draw(self, poses: Poses, out: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Images (N, Y, X, 3) uint8 of each camera; written into ``out`` where given."""
        count, data = len(poses.geom_xpos), self._data
        require_colors(poses.colors, count, self.model.ngeom)
        images = [np.empty((count, px, px, 3), np.uint8) for px in self.image_px]
        self._platform.make_current()
        for n in range(count):
            for name in ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat"):
                target = getattr(data, name)
                target[:] = np.reshape(getattr(poses, name)[n], target.shape)
            self.model.geom_rgba[:, :3] = poses.colors[n]
            for image_NYXC, camera, px in zip(images, self._camera_ids, self.image_px, strict=True):
                image_NYXC[n] = averaged(self._picture(int(camera), px * self.antialias), self.antialias)
        return written(images, out)

    def _picture(self, camera: int, side: int) -> np.ndarray:
        """What ``camera`` sees in the data as they are, (side, side, 3)."""
        view = mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera
        mujoco.mjv_updateScene(self.model, self._data, self._option, None, view, mujoco.mjtCatBit.mjCAT_ALL.value,
                               self._scene)
        area = mujoco.MjrRect(0, 0, side, side)
        mujoco.mjr_render(area, self._scene, self._context)
        image_YXC, depth_YX = np.empty((side, side, 3), np.uint8), np.empty((side, side), np.float32)
        mujoco.mjr_readPixels(image_YXC, depth_YX, area, self._context)
        image_YXC[depth_YX == 0] = self._sky
        return image_YXC[::-1]
