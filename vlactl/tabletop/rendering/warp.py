"""Pictures by mujoco_warp's ray tracer: on CUDA where there is some, else on the CPU with its own compiler; no GL.

Needs the extra ``vlactl[warp]``.  The first picture of a process compiles kernels, or loads them from Warp's cache.
Geoms have no textures in these pictures but those of their materials, and lamps do not glow.
"""
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
# (mujoco's extension module comes without types; mujoco_warp is an extra)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop.rendering import Poses
from vlactl.tabletop.rendering.appearance import sky_rgb
from vlactl.tabletop.rendering.poses import (
    camera_ids,
    of_datas,
    one_size,
    require_colors,
    require_positive,
    sizes,
    written,
)

try:
    import mujoco_warp
    import warp
except ImportError as error:
    raise UsageError(f"mujoco_warp cannot be imported: {error}", where="renderer 'warp'",
                     remedy="pip install 'vlactl[warp]', or draw with renderer 'raycast'") from error

warp.config.quiet = True


class Warp:
    """Draws worlds of one model, all at once; see :class:`vlactl.tabletop.rendering.Renderer`.

    ``threads`` is ignored: Warp has its own.
    """

    def __init__(self, model: mujoco.MjModel, *, image_px: int | Sequence[int], shadows: bool = True,
                 antialias: int = 1, cameras: Sequence[str] = ("static", "wrist"), threads: int = 1) -> None:
        require_positive(antialias, threads)
        self.model, self.cameras, self.image_px = model, tuple(cameras), sizes(image_px, cameras)
        ids, sky = camera_ids(model, cameras), sky_rgb(model)
        self._active = sorted({int(camera) for camera in ids})
        self._order = [self._active.index(int(camera)) for camera in ids]
        if len(self._active) < len(ids):
            raise UsageError(f"the cameras {self.cameras} repeat", where="renderer 'warp'", expected="each camera once")
        self._settings = {"cam_res": [(px, px) for _, px in sorted(zip(ids.tolist(), self.image_px, strict=True))],
                          "cam_active": self._active, "render_rgb": True, "use_shadows": shadows,
                          "samples_per_pixel": antialias, "enabled_geom_groups": list(range(mujoco.mjNGROUP)),
                          "background_color": (*(float(value) for value in sky), 1.0), "shadow_light_fraction": 0.0}
        self._rest = mujoco.MjData(model)
        mujoco.mj_forward(model, self._rest)
        self._count, self._device = 0, None

    def render(self, datas: Sequence[mujoco.MjData], colors: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Images (N, K, Y, X, 3) uint8 of N worlds; ``colors``: RGB in 0 .. 1 of every geom, (G, 3), for each world."""
        one_size(self.image_px)
        given = np.repeat(self.model.geom_rgba[None, :, :3], len(datas), 0) if colors is None else colors
        return np.stack(self.draw(of_datas(datas, given)), 1)

    def draw(self, poses: Poses, out: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Images (N, Y, X, 3) uint8 of each camera; written into ``out`` where given."""
        count = len(poses.geom_xpos)
        require_colors(poses.colors, count, self.model.ngeom)
        model, data, context = self._worlds(count)
        for name in Poses._fields[:4]:
            target = getattr(data, name)
            tail = (3, 3) if name.endswith("xmat") else (3,)
            target.assign(np.asarray(getattr(poses, name), np.float32).reshape(*target.shape, *tail))
        rgba_NGC = np.repeat(self.model.geom_rgba[None].astype(np.float32), count, 0)
        rgba_NGC[..., :3] = poses.colors
        model.geom_rgba.assign(rgba_NGC)
        mujoco_warp.refit_bvh(model, data, context)
        mujoco_warp.render(model, data, context)
        images = []
        for place, px in zip(self._order, self.image_px, strict=True):
            image_NYX: Any = warp.zeros((count, px, px), dtype=warp.vec3)
            mujoco_warp.get_rgb(context, place, image_NYX)
            images.append(np.floor(image_NYX.numpy() * 255 + 0.5).clip(0, 255).astype(np.uint8))
        return written(images, out)

    def _worlds(self, count: int) -> tuple[Any, Any, Any]:
        """Model, data and context on the device, for as many worlds; kept until another number is asked for."""
        if self._device is None or count != self._count:
            model = mujoco_warp.put_model(self.model)
            model.geom_rgba = warp.zeros((count, self.model.ngeom), dtype=warp.vec4)
            data = mujoco_warp.put_data(self.model, self._rest, nworld=count)
            context = mujoco_warp.create_render_context(self.model, nworld=count, **self._settings)
            self._count, self._device = count, (model, data, context)
        return self._device
