"""Kernels of a ray caster for primitive shapes, compiled by numba: no OpenGL, any CPU, no state.

A world is drawn in three passes.  *Visibility*: every geom is intersected exactly with the rays of the pixels inside
its screen bounds; rays are linear in pixel coordinates, so a row of pixels is one vectorised loop, and the light's
shadow map is drawn by the same code as an orthographic camera.  *Light*: intensity of each pixel from the light, a soft
shadow, a head light and the texture.  *Paint*: colour times intensity, averaged over the rays of a pixel.  What never
moves is drawn once for fixed cameras and for the light; its intensity is reused where no moving shadow falls.

The kernels lie in :mod:`visibility` and :mod:`shading`.  There is one entry, called with one combination of types, so
that there is one thing to compile.  Layouts (float32):
geom P: type, half sizes (3), position (3), rotation (9, row-major, columns are the geom's axes)
camera P: position (3), rotation (9, columns right, up, backward), focal length in pixels, 1 if orthographic
Axes: N worlds, G geoms, D drawn geoms, K cameras, Y X rays, C colour, M tiles.  Vectors are tuples, metres, world axes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from vlactl.tabletop.kernel_cache import cache_directory
from vlactl.tabletop.shading import light_view, moved_tiles, paint
from vlactl.tabletop.visibility import draw, kernel

GEOM_FLOATS, CAMERA_FLOATS = 16, 14


class Still(NamedTuple):
    """What never moves, alone, as the light and the fixed cameras see it; other cameras start from an empty view."""

    shadow_YX: np.ndarray
    """float32 depth from the light; empty without shadows."""
    depth_KYX: np.ndarray
    seen_KYX: np.ndarray
    """int16 geom, -1 is sky."""
    bright_KYX: np.ndarray
    tile_KYX: np.ndarray
    """int32 tile of the shadow map that lights a pixel; the last one never counts as moved."""


class Scratch(NamedTuple):
    """Working memory of one thread; keeps the passes of the last view."""

    shadow_YX: np.ndarray
    shadow_seen_YX: np.ndarray
    nearer_X: np.ndarray
    nearer_YX: np.ndarray
    moved_M: np.ndarray
    depth_YX: np.ndarray
    seen_YX: np.ndarray
    bright_YX: np.ndarray


class Scene(NamedTuple):
    """Worlds to draw."""

    geoms_NGP: np.ndarray
    colors_NGC: np.ndarray
    """float32, 0 .. 255."""
    textures_G: np.ndarray
    order_D: np.ndarray
    """int64 geoms to draw, those that never move first."""
    still_count: int
    cameras_NKP: np.ndarray
    fixed_K: np.ndarray
    light_P: np.ndarray


def cached(entry: Any) -> Any:
    """Let numba keep ``entry`` on disk, in a folder named by the content of the kernels' files.

    numba itself would notice a change of the entry's file only, and run stale machine code of the others.
    """
    settings: Any = vars(numba)["config"]
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(cache_directory())
    try:
        entry.enable_caching()
    finally:
        settings.CACHE_DIR = before
    return entry


@kernel
def copy(source_YX, target_YX):
    """Written out: numba's own slice assignment takes seconds to compile."""
    for y in range(target_YX.shape[0]):
        for x in range(target_YX.shape[1]):
            target_YX[y, x] = source_YX[y, x]


@cached
@kernel
def render_worlds(first, last, scene, still, scratch, out_NKYXC):
    """Draw worlds ``first`` .. ``last`` of ``scene`` into ``out_NKYXC`` (uint8)."""
    shadow_YX, depth_YX, seen_YX, bright_YX = scratch.shadow_YX, scratch.depth_YX, scratch.seen_YX, scratch.bright_YX
    count = scene.order_D.shape[0]
    for n in range(first, last):
        geoms_GP = scene.geoms_NGP[n]
        if shadow_YX.shape[0] > 0:
            copy(still.shadow_YX, shadow_YX)
            draw(scene.order_D, scene.still_count, count, geoms_GP, scene.light_P, shadow_YX, scratch.shadow_seen_YX)
            moved_tiles(shadow_YX, still.shadow_YX, scratch.nearer_X, scratch.nearer_YX, scratch.moved_M)
        for k in range(scene.cameras_NKP.shape[1]):
            camera_P, fixed = scene.cameras_NKP[n, k], scene.fixed_K[k]
            copy(still.depth_KYX[k], depth_YX)
            copy(still.seen_KYX[k], seen_YX)
            draw(scene.order_D, scene.still_count if fixed else 0, count, geoms_GP, camera_P, depth_YX, seen_YX)
            light_view(geoms_GP, scene.textures_G, camera_P, scene.light_P, shadow_YX, fixed, still.seen_KYX[k],
                       still.bright_KYX[k], still.tile_KYX[k], scratch.moved_M, depth_YX, seen_YX, bright_YX)
            paint(seen_YX, bright_YX, scene.colors_NGC[n], out_NKYXC[n, k])
