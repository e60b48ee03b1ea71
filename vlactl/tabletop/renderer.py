"""Pictures of tabletop worlds: MuJoCo poses in, uint8 images out, on any CPU and without OpenGL.

A picture is a function of the model, ``qpos``, mocap poses, the colours given and this object's settings: never of the
other worlds in the call, of the number of threads, or of what was drawn before.  The data objects are only read.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco's extension module comes without types)

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop import shading, visibility
from vlactl.tabletop.raycaster import CAMERA_FLOATS, GEOM_FLOATS, Scene, Scratch, Still, render_worlds
from vlactl.tabletop.scene import GROUP_CHECKER, GROUP_WOOD
from vlactl.tabletop.shading import TILE
from vlactl.tabletop.visibility import FAR

TEXTURES: Mapping[int, int] = {GROUP_WOOD: shading.WOOD, GROUP_CHECKER: shading.CHECKER}
"""Geom group -> texture; other groups are plain."""
SHADOW_MAP_PX = 160
"""Side of the shadow map: about 1 cm a texel on a desk."""
SHADOW_MARGIN = 1.1
LIGHT_DISTANCE = 2.0
"""The light's camera stands this many scene radii away."""
DEFAULT_LIGHT = (-0.1, 0.2, -1.0)
"""Direction of the light in a model without a directional one."""
DRAWABLE = (visibility.PLANE, visibility.SPHERE, visibility.CAPSULE, visibility.ELLIPSOID, visibility.CYLINDER,
            visibility.BOX)


class Renderer:
    """Draws worlds of one model; not safe to call from two threads at once (make two)."""

    def __init__(self, model: mujoco.MjModel, *, image_px: int, shadows: bool = True, antialias: int = 1,
                 cameras: Sequence[str] = ("static", "wrist"), textures: Mapping[int, int] = TEXTURES,
                 threads: int = 1) -> None:
        if image_px < 1 or antialias < 1 or threads < 1 or not cameras:
            raise UsageError(f"cannot draw {image_px} px, {antialias} rays a side, {threads} threads, {cameras}",
                             where="renderer", expected="positive numbers and at least one camera")
        self.model, self.image_px, self.antialias, self.threads = model, image_px, antialias, threads
        self.cameras = tuple(cameras)
        self._camera_ids = np.array([_camera_id(model, name) for name in cameras])
        self._pose = mujoco.MjData(model)
        still_G = _is_still(model, model.geom_bodyid)
        drawn = np.flatnonzero(model.geom_rgba[:, 3] > 0)
        _require_primitives(model, drawn)
        self._still_order = drawn[still_G[drawn]].astype(np.int64)
        self._order = np.concatenate([self._still_order, drawn[~still_G[drawn]]]).astype(np.int64)
        fixed = model.cam_mode[self._camera_ids] == mujoco.mjtCamLight.mjCAMLIGHT_FIXED
        self._fixed_K = _is_still(model, model.cam_bodyid[self._camera_ids]) & fixed
        self._textures_G = np.array([textures.get(int(group), shading.PLAIN) for group in model.geom_group], np.int64)
        self._colors_GC = np.ascontiguousarray(model.geom_rgba[:, :3] * 255, np.float32)
        self._geoms_GP = np.zeros((model.ngeom, GEOM_FLOATS), np.float32)
        self._geoms_GP[:, 0], self._geoms_GP[:, 1:4] = model.geom_type, model.geom_size
        focal_K = 0.5 * image_px * antialias / np.tan(np.radians(model.cam_fovy[self._camera_ids]) / 2)
        self._cameras_KP = np.zeros((len(self.cameras), CAMERA_FLOATS), np.float32)
        self._cameras_KP[:, 12] = focal_K
        self._pose.qpos[:] = model.qpos0
        mujoco.mj_kinematics(model, self._pose)
        self._light_P = _light(model, self._pose, drawn, SHADOW_MAP_PX)
        self._scratch = [_scratch(image_px * antialias, SHADOW_MAP_PX if shadows else 0) for _ in range(threads)]
        self._still = self._draw_still()
        self._pool = ThreadPoolExecutor(threads, "renderer") if threads > 1 else None

    def render(self, datas: Sequence[mujoco.MjData], colors: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Images (N, K, Y, X, 3) uint8 of N worlds; ``colors``: RGB in 0 .. 1 of every geom, (G, 3), for each world."""
        scene = self._scene(datas, colors)
        out_NKYXC = np.empty((len(datas), len(self.cameras), self.image_px, self.image_px, 3), np.uint8)
        parts = min(self.threads, len(datas))
        edges = [len(datas) * part // max(parts, 1) for part in range(parts + 1)]
        if self._pool is None or parts <= 1:
            render_worlds(0, len(datas), scene, self._still, self._scratch[0], out_NKYXC)
        else:
            list(self._pool.map(lambda part: render_worlds(edges[part], edges[part + 1], scene, self._still,
                                                           self._scratch[part], out_NKYXC), range(parts)))
        return out_NKYXC

    def _scene(self, datas: Sequence[mujoco.MjData], colors: Sequence[np.ndarray] | None) -> Scene:
        count = len(datas)
        geoms_NGP, cameras_NKP = np.repeat(self._geoms_GP[None], count, 0), np.repeat(self._cameras_KP[None], count, 0)
        for data, geoms_GP, cameras_KP in zip(datas, geoms_NGP, cameras_NKP, strict=True):
            self._place(data, geoms_GP, cameras_KP)
        if colors is None:
            colors_NGC = np.repeat(self._colors_GC[None], count, 0)
        else:
            colors_NGC = np.asarray(colors, np.float32) * np.float32(255)
            if colors_NGC.shape != (count, *self._colors_GC.shape):
                raise UsageError(f"colours of shape {colors_NGC.shape}", where="renderer",
                                 expected=f"{(count, *self._colors_GC.shape)}")
        return Scene(geoms_NGP=geoms_NGP, colors_NGC=colors_NGC, textures_G=self._textures_G, order_D=self._order,
                     still_count=len(self._still_order), cameras_NKP=cameras_NKP, fixed_K=self._fixed_K,
                     light_P=self._light_P)

    def _place(self, data: mujoco.MjData, geoms_GP: np.ndarray, cameras_KP: np.ndarray) -> None:
        """Write the poses that ``data.qpos`` means; after ``mj_step`` those in ``data`` are one step old."""
        pose = self._pose
        pose.qpos[:], pose.mocap_pos[:], pose.mocap_quat[:] = data.qpos, data.mocap_pos, data.mocap_quat
        mujoco.mj_kinematics(self.model, pose)
        mujoco.mj_comPos(self.model, pose)
        mujoco.mj_camlight(self.model, pose)
        geoms_GP[:, 4:7], geoms_GP[:, 7:16] = pose.geom_xpos, pose.geom_xmat
        cameras_KP[:, 0:3], cameras_KP[:, 3:12] = pose.cam_xpos[self._camera_ids], pose.cam_xmat[self._camera_ids]

    def _draw_still(self) -> Still:
        """Draw what never moves, alone: by ordinary calls that know no fixed camera, one camera at a time."""
        scratch, cameras, rays = self._scratch[0], len(self.cameras), self.image_px * self.antialias
        never = len(scratch.moved_M) - 1
        nothing = Still(shadow_YX=np.full_like(scratch.shadow_YX, FAR),
                        depth_KYX=np.full((cameras, rays, rays), FAR, np.float32),
                        seen_KYX=np.full((cameras, rays, rays), -1, np.int16),
                        bright_KYX=np.zeros((cameras, rays, rays), np.float32),
                        tile_KYX=np.full((cameras, rays, rays), never, np.int32))
        dark = nothing._replace(shadow_YX=-nothing.shadow_YX)
        still = Still(*(array.copy() for array in nothing))
        self._pose.qpos[:] = self.model.qpos0
        scene = self._scene([self._pose], None)._replace(order_D=self._still_order, still_count=0)
        out = np.empty((1, 1, self.image_px, self.image_px, 3), np.uint8)
        for k in range(cameras):
            view = scene._replace(cameras_NKP=scene.cameras_NKP[:, k:k + 1].copy(), fixed_K=np.zeros(1, bool))
            render_worlds(0, 1, view, dark, scratch, out)
            darkest_YX = scratch.bright_YX.copy()
            render_worlds(0, 1, view, nothing, scratch, out)
            if self._fixed_K[k]:
                still.depth_KYX[k], still.seen_KYX[k] = scratch.depth_YX, scratch.seen_YX
                still.bright_KYX[k] = scratch.bright_YX
                # what moves can only take light away: where there is none to take, nothing ever changes
                still.tile_KYX[k] = np.where(scratch.bright_YX != darkest_YX,
                                             _tiles(scratch.depth_YX, view.cameras_NKP[0, 0], self._light_P), never)
        still.shadow_YX[:] = scratch.shadow_YX
        return still


TINY = '<mujoco><worldbody><geom size="0.1"/><camera name="any"/></worldbody></mujoco>'


def warm_up() -> float:
    """Compile the kernels, or load them from the cache; returns the seconds that took: 0.2, or 5 to 10 on first use."""
    started = time.perf_counter()
    Renderer(mujoco.MjModel.from_xml_string(TINY), image_px=8, cameras=("any",))
    return time.perf_counter() - started


def _camera_id(model: mujoco.MjModel, name: str) -> int:
    names = [model.camera(index).name for index in range(model.ncam)]
    if name not in names:
        raise UsageError(f"the model has no camera '{name}'", where="renderer", expected=" | ".join(names))
    return names.index(name)


def _require_primitives(model: mujoco.MjModel, drawn: np.ndarray) -> None:
    for geom in drawn:
        if model.geom_type[geom] not in DRAWABLE:
            raise UsageError(f"geom '{model.geom(geom).name or geom}' is not a primitive", where="renderer",
                             expected="plane, sphere, capsule, ellipsoid, cylinder or box",
                             remedy="replace it by primitives, or hide it with alpha 0")


def _is_still(model: mujoco.MjModel, bodies: np.ndarray) -> np.ndarray:
    """Whether each body is welded to the world and not moved as a mocap body."""
    return (model.body_weldid[bodies] == 0) & (model.body_mocapid[model.body_rootid[bodies]] < 0)


def _light(model: mujoco.MjModel, pose: mujoco.MjData, drawn: np.ndarray, size: int) -> np.ndarray:
    """The first directional light as an orthographic camera (P,) around everything but planes, at the model's qpos0."""
    directional = [d for d, kind in zip(model.light_dir, model.light_type, strict=True)
                   if kind == mujoco.mjtLightType.mjLIGHT_DIRECTIONAL]
    back = -np.array(directional[0] if directional else DEFAULT_LIGHT, np.float64)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 1.0, 0.0] if abs(back[1]) < 0.9 else [1.0, 0.0, 0.0], back)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(back, right), back], 1)
    solid = drawn[model.geom_type[drawn] != visibility.PLANE]
    radius_G = model.geom_rbound[solid]
    low, high = ((pose.geom_xpos[solid] @ axes + sign * radius_G[:, None]) for sign in (-1, 1))
    low, high = (low.min(0), high.max(0)) if len(solid) else (-np.ones(3), np.ones(3))
    half = SHADOW_MARGIN * (high - low).max() / 2
    eye = axes @ ((low + high) / 2) + back * half * LIGHT_DISTANCE
    return np.concatenate([eye, axes.ravel(), [size / (2 * half), 1.0]]).astype(np.float32)


def _tiles(depth_YX: np.ndarray, camera_P: np.ndarray, light_P: np.ndarray) -> np.ndarray:
    """The tile of the shadow map that each pixel's surface lies in, or the nearest.

    The lift towards the light and the soft edge move this by less than a tile; marking covers the neighbours.
    """
    rays, tiles = len(depth_YX), SHADOW_MAP_PX // TILE
    v_Y, u_X = np.meshgrid(*[(np.arange(rays) + 0.5 - rays / 2) / camera_P[12]] * 2, indexing="ij")
    rotation, light = camera_P[3:12].reshape(3, 3).astype(np.float64), light_P[3:12].reshape(3, 3).astype(np.float64)
    points = camera_P[:3] + depth_YX[..., None] * (np.stack([u_X, -v_Y, -np.ones_like(u_X)], -1) @ rotation.T)
    on_map = (points - light_P[:3]) @ light * light_P[12]
    column, row = (np.clip((sign * on_map[..., axis] + SHADOW_MAP_PX / 2) // TILE, 0, tiles - 1)
                   for axis, sign in ((0, 1), (1, -1)))
    return (row * tiles + column).astype(np.int32)


def _scratch(rays: int, shadow: int) -> Scratch:
    tiles = shadow // TILE
    return Scratch(shadow_YX=np.empty((shadow, shadow), np.float32),
                   shadow_seen_YX=np.empty((shadow, shadow), np.int16),
                   nearer_X=np.zeros(shadow, np.uint8), nearer_YX=np.zeros((tiles, tiles), np.uint8),
                   moved_M=np.zeros(tiles * tiles + 1, np.uint8),
                   depth_YX=np.empty((rays, rays), np.float32), seen_YX=np.empty((rays, rays), np.int16),
                   bright_YX=np.zeros((rays, rays), np.float32))
