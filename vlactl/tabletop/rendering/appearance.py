"""What a model looks like to the ray caster: textures, light, sky and lamps, read from the model alone.

A shift of light or background is therefore nothing but another MJCF.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco's extension module comes without types)

from __future__ import annotations

import mujoco
import numpy as np

from vlactl.errors import UsageError
from vlactl.tabletop.rendering import visibility
from vlactl.tabletop.rendering.textures import LAMP_GROUP, SKY_NUMERIC, SKY_RGB, TEXTURES

DRAWABLE = (visibility.PLANE, visibility.SPHERE, visibility.CAPSULE, visibility.ELLIPSOID, visibility.CYLINDER,
            visibility.BOX)
SHADOW_MARGIN = 1.1
LIGHT_DISTANCE = 2.0
"""The light's camera stands this many scene radii away."""
OVERHEAD = (-0.1, 0.2, -1.0)
"""Direction of the light, of no strength, of a model without a directional one."""


def drawn_geoms(model: mujoco.MjModel) -> np.ndarray:
    """Indices of the geoms that are not hidden by alpha 0; raises :class:`UsageError` for meshes."""
    drawn = np.flatnonzero(model.geom_rgba[:, 3] > 0)
    for geom in drawn:
        if model.geom_type[geom] not in DRAWABLE:
            raise UsageError(f"geom '{model.geom(geom).name or geom}' is not a primitive", where="renderer",
                             expected="plane, sphere, capsule, ellipsoid, cylinder or box",
                             remedy="replace it by primitives, hide it with alpha 0, or draw with 'gl' or 'warp'")
    return drawn


def stands_still(model: mujoco.MjModel, bodies: np.ndarray) -> np.ndarray:
    """Whether each body is welded to the world and not moved as a mocap body."""
    return (model.body_weldid[bodies] == 0) & (model.body_mocapid[model.body_rootid[bodies]] < 0)


def textures(model: mujoco.MjModel) -> np.ndarray:
    """Index of each geom's texture, (G,) int64: the first number of its ``user`` attribute."""
    if not model.nuser_geom:
        return np.zeros(model.ngeom, np.int64)
    found = model.geom_user[:, 0].astype(np.int64)
    if not np.isin(found, range(len(TEXTURES))).all():
        raise UsageError(f"texture {found.max()} of geom '{model.geom(found.argmax()).name}'", where="renderer",
                         expected=f"0 .. {len(TEXTURES) - 1}: {' | '.join(TEXTURES)}")
    return found


def glows(model: mujoco.MjModel) -> np.ndarray:
    """1 for lamps, which no shade darkens while they are lit, (G,) uint8."""
    return (model.geom_group == LAMP_GROUP).astype(np.uint8)


def sky_rgb(model: mujoco.MjModel) -> np.ndarray:
    """What is seen where nothing is, (3,), 0 .. 1."""
    for index in range(model.nnumeric):
        if model.numeric(index).name == SKY_NUMERIC:
            return np.array(model.numeric(index).data, np.float32)
    return np.array(SKY_RGB, np.float32)


def lights(model: mujoco.MjModel) -> np.ndarray:
    """RGB of ambient light, of the light, of the head light and of the sky, (12,) float32."""
    head, light = model.vis.headlight, _directional(model)
    lit = head.active > 0
    strength = np.zeros(3) if light is None else model.light_diffuse[light]
    ambient = (head.ambient if lit else np.zeros(3)) + (np.zeros(3) if light is None else model.light_ambient[light])
    return np.concatenate([ambient, strength, head.diffuse if lit else np.zeros(3), sky_rgb(model)]).astype(np.float32)


def light_camera(model: mujoco.MjModel, positions_GV: np.ndarray, drawn: np.ndarray, size: int) -> np.ndarray:
    """The light as an orthographic camera (P,) around everything but planes, with the geoms at ``positions_GV``."""
    light = _directional(model)
    back = -np.array(OVERHEAD if light is None else model.light_dir[light], np.float64)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 1.0, 0.0] if abs(back[1]) < 0.9 else [1.0, 0.0, 0.0], back)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(back, right), back], 1)
    solid = drawn[model.geom_type[drawn] != visibility.PLANE]
    radius_G = model.geom_rbound[solid]
    low, high = ((positions_GV[solid] @ axes + sign * radius_G[:, None]) for sign in (-1, 1))
    low, high = (low.min(0), high.max(0)) if len(solid) else (-np.ones(3), np.ones(3))
    half = SHADOW_MARGIN * (high - low).max() / 2
    eye = axes @ ((low + high) / 2) + back * half * LIGHT_DISTANCE
    return np.concatenate([eye, axes.ravel(), [size / (2 * half), 1.0]]).astype(np.float32)


def _directional(model: mujoco.MjModel) -> int | None:
    """The first directional light that is on."""
    if hasattr(model, "light_type"):
        directional = model.light_type == mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    else:  # as in mujoco 3.3.0
        directional = model.light_directional > 0
    found = np.flatnonzero(directional & (model.light_active > 0))
    return int(found[0]) if len(found) else None
