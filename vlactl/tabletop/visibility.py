"""Which geom each ray meets first: kernels for numba, used by :mod:`vlactl.tabletop.raycaster`, which says the layouts.

Every geom is intersected exactly with the rays of the pixels inside its screen bounds.  Rays are linear in pixel
coordinates, so a row of pixels is one vectorised loop; an orthographic camera differs only in what is constant.
"""
# pyright: reportIndexIssue=false

from __future__ import annotations

import numba
import numpy as np

PLANE, SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX = 0, 2, 3, 4, 5, 6
"""Values of ``mujoco.mjtGeom``."""
F = np.float32
FAR = F(1e9)
NEAR_M = F(0.01)
ZERO, ONE, HALF = F(0), F(1), F(0.5)

kernel = numba.njit(nogil=True, fastmath=True, error_model="numpy")
inlined = numba.njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
"""For small functions of values; everything is compiled into the one entry, so calls are what costs."""


@inlined
def row_of(values_P, first):
    return values_P[first], values_P[first + 1], values_P[first + 2]


@inlined
def column_of(values_P, first):
    return values_P[first], values_P[first + 3], values_P[first + 6]


@inlined
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
def along(a, b, factor):
    """a + b * factor."""
    return a[0] + b[0] * factor, a[1] + b[1] * factor, a[2] + b[2] * factor


@inlined
def components(a, x, y, z):
    """``a`` in the frame with axes x, y, z."""
    return dot(a, x), dot(a, y), dot(a, z)


@inlined
def half_extent(kind, size):
    """Half sides of the box around a geom, in its own frame."""
    if kind == SPHERE:
        return size[0], size[0], size[0]
    if kind == CAPSULE:
        return size[0], size[0], size[1] + size[0]
    if kind == CYLINDER:
        return size[0], size[0], size[1]
    return size


@kernel
def screen_bounds(kind, size, center, right, up, back, focal, orthographic, height, width):
    """Half-open pixel ranges x0, x1, y0, y1 that hold a geom; ``center`` in the camera's frame, axes in the geom's."""
    if kind == PLANE:
        return 0, width, 0, height
    half = half_extent(kind, size)
    left, rightmost, top, bottom, behind = FAR, -FAR, FAR, -FAR, 0
    for corner in range(8):
        point = (half[0] if corner & 1 else -half[0], half[1] if corner & 2 else -half[1],
                 half[2] if corner & 4 else -half[2])
        ahead = -(center[2] + dot(back, point))
        if orthographic or ahead >= NEAR_M:
            scale = focal if orthographic else focal / ahead
            u, v = (center[0] + dot(right, point)) * scale, -(center[1] + dot(up, point)) * scale
            left, rightmost, top, bottom = min(left, u), max(rightmost, u), min(top, v), max(bottom, v)
        else:
            behind += 1
    if behind == 8:
        return 0, 0, 0, 0
    if behind > 0:
        return 0, width, 0, height
    middle_x, middle_y = F(width) * HALF, F(height) * HALF
    return (max(0, int(np.floor(left + middle_x - HALF))), min(width, int(np.ceil(rightmost + middle_x + HALF))),
            max(0, int(np.floor(top + middle_y - HALF))), min(height, int(np.ceil(bottom + middle_y + HALF))))


@kernel
def box_row(half, origin, origin_step, ray, ray_step, geom, depth_X, seen_X):
    """Slab test of one row of rays; every ``*_row`` keeps the nearer of what it finds and what was there."""
    for x in range(depth_X.shape[0]):
        p, d = along(origin, origin_step, F(x)), along(ray, ray_step, F(x))
        ix, iy, iz = ONE / d[0], ONE / d[1], ONE / d[2]
        kx, ky, kz = abs(ix) * half[0], abs(iy) * half[1], abs(iz) * half[2]
        cx, cy, cz = -p[0] * ix, -p[1] * iy, -p[2] * iz
        enter = max(max(cx - kx, cy - ky), cz - kz)
        leave = min(min(cx + kx, cy + ky), cz + kz)
        hit = (enter < leave) & (enter > NEAR_M) & (enter < depth_X[x])
        depth_X[x] = enter if hit else depth_X[x]
        seen_X[x] = geom if hit else seen_X[x]


@kernel
def ellipsoid_row(radii, origin, origin_step, ray, ray_step, geom, depth_X, seen_X):
    qx, qy, qz = ONE / radii[0], ONE / radii[1], ONE / radii[2]
    for x in range(depth_X.shape[0]):
        p, d = along(origin, origin_step, F(x)), along(ray, ray_step, F(x))
        p, d = (p[0] * qx, p[1] * qy, p[2] * qz), (d[0] * qx, d[1] * qy, d[2] * qz)
        a, b, c = dot(d, d), dot(p, d), dot(p, p) - ONE
        root = b * b - a * c
        t = (-b - np.sqrt(max(root, ZERO))) / a
        hit = (root > ZERO) & (t > NEAR_M) & (t < depth_X[x])
        depth_X[x] = t if hit else depth_X[x]
        seen_X[x] = geom if hit else seen_X[x]


@kernel
def tube_row(radius, half_length, capped, origin, origin_step, ray, ray_step, geom, depth_X, seen_X):
    """Cylinder (flat ends) or, ``capped``, capsule (round ends), along the local z axis."""
    r2 = radius * radius
    for x in range(depth_X.shape[0]):
        p, d = along(origin, origin_step, F(x)), along(ray, ray_step, F(x))
        a = d[0] * d[0] + d[1] * d[1] + F(1e-12)
        b, c = p[0] * d[0] + p[1] * d[1], p[0] * p[0] + p[1] * p[1] - r2
        root = b * b - a * c
        side = (-b - np.sqrt(max(root, ZERO))) / a
        z = p[2] + side * d[2]
        on_side = (root > ZERO) & (abs(z) <= half_length)
        if capped:  # the round end that the side was missed on
            end = half_length if ((z > ZERO) if root > ZERO else (d[2] < ZERO)) else -half_length
            pz = p[2] - end
            a2, b2, c2 = a + d[2] * d[2], b + pz * d[2], c + pz * pz
            root2 = b2 * b2 - a2 * c2
            t = (-b2 - np.sqrt(max(root2, ZERO))) / a2
            on_end = root2 > ZERO
        else:  # the flat end that faces the ray
            t = ((half_length if d[2] < ZERO else -half_length) - p[2]) / d[2]
            ex, ey = p[0] + t * d[0], p[1] + t * d[1]
            on_end = ex * ex + ey * ey <= r2
        t = side if on_side else t
        hit = (on_side | on_end) & (t > NEAR_M) & (t < depth_X[x])
        depth_X[x] = t if hit else depth_X[x]
        seen_X[x] = geom if hit else seen_X[x]


@kernel
def plane_row(half, origin, origin_step, ray, ray_step, geom, depth_X, seen_X):
    """The local plane z = 0, seen from above only; endless along an axis whose half side is 0, as in MuJoCo."""
    half_x, half_y = half[0] if half[0] > ZERO else FAR, half[1] if half[1] > ZERO else FAR
    for x in range(depth_X.shape[0]):
        p, d = along(origin, origin_step, F(x)), along(ray, ray_step, F(x))
        t = -p[2] / d[2]
        inside = (abs(p[0] + t * d[0]) <= half_x) & (abs(p[1] + t * d[1]) <= half_y)
        hit = (d[2] < ZERO) & inside & (t > NEAR_M) & (t < depth_X[x])
        depth_X[x] = t if hit else depth_X[x]
        seen_X[x] = geom if hit else seen_X[x]


@kernel
def draw(order_D, first, last, geoms_GP, camera_P, depth_YX, seen_YX):
    """Draw geoms ``order_D[first:last]`` over ``depth_YX`` (in units of the ray) and ``seen_YX`` (geom, -1 is sky)."""
    height, width = depth_YX.shape
    focal, orthographic = camera_P[12], camera_P[13] > ZERO
    pixel = ONE / focal
    for position in range(first, last):
        geom = order_D[position]
        geom_P = geoms_GP[geom]
        kind, size = int(geom_P[0]), row_of(geom_P, 1)
        ex, ey, ez = column_of(geom_P, 7), column_of(geom_P, 8), column_of(geom_P, 9)
        cx, cy, cz = column_of(camera_P, 3), column_of(camera_P, 4), column_of(camera_P, 5)
        away = along(row_of(geom_P, 4), row_of(camera_P, 0), -ONE)
        right, up, back = components(cx, ex, ey, ez), components(cy, ex, ey, ez), components(cz, ex, ey, ez)
        eye = components((-away[0], -away[1], -away[2]), ex, ey, ez)
        x0, x1, y0, y1 = screen_bounds(kind, size, components(away, cx, cy, cz), right, up, back, focal, orthographic,
                                       height, width)
        u = (F(x0) + HALF - HALF * F(width)) * pixel
        forward, still = (-back[0], -back[1], -back[2]), (ZERO, ZERO, ZERO)
        step = (right[0] * pixel, right[1] * pixel, right[2] * pixel)
        for y in range(y0, y1 if x0 < x1 else y0):
            v = -(F(y) + HALF - HALF * F(height)) * pixel
            start = along(along(eye if orthographic else forward, right, u), up, v)
            origin, origin_step = (start, step) if orthographic else (eye, still)
            ray, ray_step = (forward, still) if orthographic else (start, step)
            depth_X, seen_X = depth_YX[y, x0:x1], seen_YX[y, x0:x1]
            if kind == BOX:
                box_row(size, origin, origin_step, ray, ray_step, geom, depth_X, seen_X)
            elif kind in (CAPSULE, CYLINDER):
                tube_row(size[0], size[1], kind == CAPSULE, origin, origin_step, ray, ray_step, geom, depth_X, seen_X)
            elif kind == PLANE:
                plane_row(size, origin, origin_step, ray, ray_step, geom, depth_X, seen_X)
            else:
                radii = (size[0], size[0], size[0]) if kind == SPHERE else size
                ellipsoid_row(radii, origin, origin_step, ray, ray_step, geom, depth_X, seen_X)
