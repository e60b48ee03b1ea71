"""What all renderers do with their arguments: check settings, collect poses, lay out the pictures."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's extension module comes without types)

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop.rendering import Poses


def sizes(image_px: int | Sequence[int], cameras: Sequence[str]) -> tuple[int, ...]:
    """Side of the pictures of each camera; raises :class:`UsageError` unless there is one, at least 1, for each."""
    found = tuple(image_px) if isinstance(image_px, Sequence) else (image_px,) * len(cameras)
    if not cameras or len(found) != len(cameras) or min(found) < 1:
        raise UsageError(f"cannot draw {found} px for the cameras {tuple(cameras)}", where="renderer",
                         expected="one positive size, or one for each camera; at least one camera")
    return found


def camera_ids(model: mujoco.MjModel, cameras: Sequence[str]) -> np.ndarray:
    """Index of each camera in the model, (K,)."""
    names = [model.camera(index).name for index in range(model.ncam)]
    for name in cameras:
        if name not in names:
            raise UsageError(f"the model has no camera '{name}'", where="renderer", expected=" | ".join(names))
    return np.array([names.index(name) for name in cameras])


def of_datas(datas: Sequence[mujoco.MjData], colors: Sequence[np.ndarray] | np.ndarray) -> Poses:
    """The poses that MjData hold; they must be current, as after ``mj_kinematics`` and ``mj_camlight``."""
    return Poses(*(np.array([getattr(data, name) for data in datas]) for name in Poses._fields[:4]),
                 colors=np.asarray(colors, np.float32))


def require_colors(colors: np.ndarray, count: int, geoms: int) -> None:
    """Raise :class:`UsageError` unless there is an RGB for each geom of each world."""
    if colors.shape != (count, geoms, 3):
        raise UsageError(f"colours of shape {colors.shape}", where="renderer", expected=f"{(count, geoms, 3)}")


def one_size(image_px: tuple[int, ...]) -> int:
    """The size that all cameras share; raises :class:`UsageError` where they do not."""
    if len(set(image_px)) > 1:
        raise UsageError(f"pictures of {image_px} px do not stack into one array", where="renderer",
                         remedy="call draw(), which returns an array for each camera")
    return image_px[0]


def written(images: list[np.ndarray], out: Sequence[np.ndarray] | None) -> list[np.ndarray]:
    """``images``, or ``out`` with the images written into it."""
    if out is None:
        return images
    for target, image in zip(out, images, strict=True):
        target[:] = image
    return list(out)


def averaged(rays_YXC: np.ndarray, side: int) -> np.ndarray:
    """Pixels (Y, X, 3) uint8 as the mean of ``side`` x ``side`` rays each; any leading axes stay."""
    if side == 1:
        return rays_YXC
    *lead, height, width, channels = rays_YXC.shape
    squares = rays_YXC.reshape(*lead, height // side, side, width // side, side, channels)
    return ((squares.sum((-4, -2), dtype=np.uint32) + side * side // 2) // (side * side)).astype(np.uint8)


def require_positive(antialias: int, threads: int) -> None:
    """Raise :class:`UsageError` unless both are at least 1."""
    if antialias < 1 or threads < 1:
        raise UsageError(f"cannot draw {antialias} rays a side on {threads} threads", where="renderer",
                         expected="positive numbers")
