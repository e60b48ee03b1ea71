"""The house's ray caster: MuJoCo poses in, uint8 images out, on any CPU and without OpenGL.

This module prepares what the kernels of :mod:`.raycaster` read: what the model looks like (:mod:`.appearance`), what
never moves (:mod:`.still`), the poses, and the layout of the output.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco's extension module comes without types)

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np

from vlactl.tabletop.rendering import Poses, appearance, patterns, raycaster
from vlactl.tabletop.rendering.poses import (
    camera_ids,
    of_datas,
    one_size,
    require_colors,
    require_positive,
    sizes,
    written,
)
from vlactl.tabletop.rendering.raycaster import Scene, render_worlds
from vlactl.tabletop.rendering.still import draw_still, padded, scratch

SHADOW_MAP_PX = 160
"""Side of the shadow map: about 1 cm a texel on a desk; a multiple of a block's rays and of a tile."""


class Raycast:
    """Draws worlds of one model; see :class:`vlactl.tabletop.rendering.Renderer`."""

    def __init__(self, model: mujoco.MjModel, *, image_px: int | Sequence[int], shadows: bool = True,
                 antialias: int = 1, cameras: Sequence[str] = ("static", "wrist"), threads: int = 1) -> None:
        require_positive(antialias, threads)
        self.model, self.cameras, self.image_px, self.threads = model, tuple(cameras), sizes(image_px, cameras), threads
        self._colors_GC = model.geom_rgba[:, :3].astype(np.float32)
        self._shadow_px = SHADOW_MAP_PX if shadows else 0
        rest = mujoco.MjData(model)
        mujoco.mj_kinematics(model, rest)
        mujoco.mj_camlight(model, rest)
        self._scene = self._common(of_datas([rest], self._colors_GC[None]), camera_ids(model, cameras), antialias)
        self._scratch = [scratch(self._scene.shapes_GP, max(self.image_px) * antialias, self._shadow_px)
                         for _ in range(threads)]
        self._still = draw_still(self._scene, self._shadow_px, self._scratch[0])
        self._pool = ThreadPoolExecutor(threads, "renderer") if threads > 1 else None

    def render(self, datas: Sequence[mujoco.MjData], colors: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Images (N, K, Y, X, 3) uint8 of N worlds; ``colors``: RGB in 0 .. 1 of every geom, (G, 3), for each world."""
        side, cameras = one_size(self.image_px), len(self.cameras)
        out_NKYXC = np.empty((len(datas), cameras, side, side, 3), np.uint8)
        poses = of_datas(datas, np.repeat(self._colors_GC[None], len(datas), 0) if colors is None else colors)
        image = 3 * side * side
        self._draw(poses, out_NKYXC.reshape(-1), np.arange(cameras) * image, np.full(cameras, cameras * image))
        return out_NKYXC

    def draw(self, poses: Poses, out: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Images (N, Y, X, 3) uint8 of each camera; written into ``out`` where given."""
        count, image_K = len(poses.geom_xpos), 3 * np.square(self.image_px)
        flat, ends_K = np.empty(count * image_K.sum(), np.uint8), np.cumsum(count * image_K)
        self._draw(poses, flat, ends_K - count * image_K, image_K)
        images = [part.reshape(count, px, px, 3)
                  for part, px in zip(np.split(flat, ends_K[:-1]), self.image_px, strict=True)]
        return written(images, out)

    def _draw(self, poses: Poses, flat: np.ndarray, first_K: np.ndarray, step_K: np.ndarray) -> None:
        """Draw into ``flat``: the pictures of each camera begin at ``first_K`` and are ``step_K`` apart."""
        count, scene = len(poses.geom_xpos), self._posed(self._scene, poses)
        scene.views_KI[:, raycaster.OUT], scene.views_KI[:, raycaster.OUT_STEP] = first_K, step_K
        parts = min(self.threads, count)
        edges = [count * part // max(parts, 1) for part in range(parts + 1)]

        def draw_part(part: int) -> None:
            render_worlds(edges[part], edges[part + 1], scene, self._shadow_px, self._still, self._scratch[part], flat)

        if self._pool is None or parts <= 1:
            for part in range(parts):
                draw_part(part)
        else:
            list(self._pool.map(draw_part, range(parts)))

    def _posed(self, scene: Scene, poses: Poses) -> Scene:
        count, geoms, cameras = len(poses.geom_xpos), self.model.ngeom, self.model.ncam
        require_colors(poses.colors, count, geoms)
        shapes = (count, geoms, 3), (count, geoms, 9), (count, cameras, 3), (count, cameras, 9)
        positions, rotations, eyes, axes = (_read_only(array, np.float64).reshape(shape)
                                            for array, shape in zip(poses[:4], shapes, strict=True))
        return scene._replace(positions_NGV=positions, rotations_NGR=rotations, eyes_NCV=eyes, axes_NCR=axes,
                              colors_NGC=_read_only(poses.colors, np.float32),
                              views_KI=scene.views_KI.copy())

    def _common(self, rest: Poses, camera_ids_K: np.ndarray, antialias: int) -> Scene:
        """What all worlds of the model share, with the poses of the model at rest."""
        model, shapes_GP = self.model, np.zeros((self.model.ngeom, raycaster.GEOM_FLOATS), np.float32)
        shapes_GP[:, 0], shapes_GP[:, 1:4] = model.geom_type, model.geom_size
        drawn = appearance.drawn_geoms(model)
        still_D = appearance.stands_still(model, model.geom_bodyid[drawn])
        fixed_K = (appearance.stands_still(model, model.cam_bodyid[camera_ids_K])
                   & (model.cam_mode[camera_ids_K] == mujoco.mjtCamLight.mjCAMLIGHT_FIXED))
        rays_K = np.multiply(self.image_px, antialias)
        seen_K, image_K = np.array([padded(int(rays)) for rays in rays_K]) * fixed_K, rays_K ** 2 * fixed_K
        unplaced_K = np.zeros(len(self.cameras), np.int64)
        views_KI = np.stack([camera_ids_K, fixed_K, rays_K, self.image_px, np.cumsum(seen_K) - seen_K,
                             np.cumsum(image_K) - image_K, unplaced_K, unplaced_K], 1).astype(np.int64)
        focal_K = rays_K / 2 / np.tan(np.radians(model.cam_fovy[camera_ids_K]) / 2)
        scene = Scene(*rest, shapes_GP=shapes_GP, textures_G=appearance.textures(model),
                      glows_G=appearance.glows(model), patterns_TQ=patterns.tables(),
                      order_D=np.concatenate([drawn[still_D], drawn[~still_D]]).astype(np.int64),
                      still_count=int(still_D.sum()), views_KI=views_KI, focal_K=focal_K.astype(np.float32),
                      light_P=appearance.light_camera(model, rest.geom_xpos[0], drawn, SHADOW_MAP_PX),
                      lights_L=appearance.lights(model))
        return self._posed(scene, rest)


def _read_only(array: np.ndarray, kind: type[np.floating]) -> np.ndarray:
    """The array itself where its layout allows; always read-only, or numba would compile twice, once for either."""
    view = np.ascontiguousarray(array, kind).view()
    view.flags.writeable = False
    return view


TINY = '<mujoco><worldbody><geom size="0.1"/><camera name="any"/></worldbody></mujoco>'


def warm_up() -> float:
    """Compile the kernels, or load them from the cache; returns the seconds that took: 0.2, or 5 to 10 on first use."""
    started = time.perf_counter()
    Raycast(mujoco.MjModel.from_xml_string(TINY), image_px=8, cameras=("any",))
    return time.perf_counter() - started
