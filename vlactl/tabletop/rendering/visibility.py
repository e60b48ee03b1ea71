"""Which geom each ray meets first: kernels for numba, used by :mod:`.raycaster`, which says the layouts.

Every geom is intersected exactly with the rays inside its screen bounds.  Rays are linear in pixel coordinates, so a
block of :data:`LANES` rays is one vectorised loop without a remainder; an orthographic camera differs only in what is
constant.
"""
# pyright: reportIndexIssue=false

from __future__ import annotations

import numba
import numpy as np

PLANE, SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX = 0, 2, 3, 4, 5, 6
"""Values of ``mujoco.mjtGeom``."""
LANES = 16
"""Rays in a block: a row of rays is padded to whole blocks."""
BLOCK = 2 * LANES
"""Numbers in a block: the depths of its rays, then the geoms; side by side, so that the compiler sees no aliasing."""
TILE = 4
"""Side of a tile of the shadow map, in texels: the unit in which moving shadows are tracked."""
GEOMS = np.uint64(LANES)
"""Where the geoms begin in a block.  Unsigned indices need no test for a negative one, which would stop the compiler
from making vectors."""
F = np.float32
FAR = F(1e9)
NEAR_M = F(0.01)
LEAST = F(1e-9)
"""A ray's direction is no nearer to the plane of a face than this: the kernels are compiled for finite numbers only,
and what a division by zero gave would be taken for a place in memory later."""
ZERO, ONE, HALF = F(0), F(1), F(0.5)
NOTHING = F(-1)
"""The geom of a ray that meets none."""

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
def scaled(a, factor):
    return a[0] * factor, a[1] * factor, a[2] * factor


@inlined
def components(a, x, y, z):
    """``a`` in the frame with axes x, y, z."""
    return dot(a, x), dot(a, y), dot(a, z)


@inlined
def slope(value):
    """``value``, or LEAST where it is next to nothing: what one can divide by."""
    return value if abs(value) > LEAST else LEAST


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


@inlined
def seen_from(geom_P, camera_P):
    """A camera in a geom's frame: its position, and its axes right, up and backward."""
    ex, ey, ez = column_of(geom_P, 7), column_of(geom_P, 8), column_of(geom_P, 9)
    towards = along(row_of(camera_P, 0), row_of(geom_P, 4), -ONE)
    return (components(towards, ex, ey, ez), components(column_of(camera_P, 3), ex, ey, ez),
            components(column_of(camera_P, 4), ex, ey, ez), components(column_of(camera_P, 5), ex, ey, ez))


@inlined
def firstof(half, corner):
    return (half[0] if corner & 1 else -half[0], half[1] if corner & 2 else -half[1],
            half[2] if corner & 4 else -half[2])


@inlined
def pixel_within(value, most):
    """A whole pixel 0 .. ``most``; twice bounded, because an integer of a number that is none can be anything."""
    return max(0, min(most, int(max(ZERO, min(F(most), value)))))


@kernel
def screen_bounds(half, eye, right, up, back, focal, orthographic, height, width):
    """Half-open pixel ranges x0, x1, y0, y1 that hold a box; the camera is given in the box's frame."""
    left, rightmost, top, bottom = FAR, -FAR, FAR, -FAR
    for corner in range(8):
        point = along(firstof(half, corner), eye, -ONE)
        ahead = -dot(back, point)
        if orthographic or ahead >= NEAR_M:
            scale = focal if orthographic else focal / ahead
            u, v = dot(right, point) * scale, -dot(up, point) * scale
            left, rightmost, top, bottom = min(left, u), max(rightmost, u), min(top, v), max(bottom, v)
            continue
        for axis in range(3):  # behind the camera: what counts is where the edges from here come into view
            other = along(firstof(half, corner ^ (1 << axis)), eye, -ONE)
            gain = -dot(back, other) - ahead
            if ahead + gain > NEAR_M:
                there = along(point, along(other, point, -ONE), (NEAR_M - ahead) / gain)
                u, v = dot(right, there) * (focal / NEAR_M), -dot(up, there) * (focal / NEAR_M)
                left, rightmost, top, bottom = min(left, u), max(rightmost, u), min(top, v), max(bottom, v)
    if left > rightmost:
        return 0, 0, 0, 0
    middle_x, middle_y = F(width) * HALF, F(height) * HALF
    return (pixel_within(left + middle_x - ONE, width), pixel_within(rightmost + middle_x + ONE, width),
            pixel_within(top + middle_y - ONE, height), pixel_within(bottom + middle_y + ONE, height))


@kernel
def box_area(half, fan, area, geom, seen_Q):
    """Slab test of an area of rays; every ``*_area`` keeps the nearer of what it finds and what was there.

    ``fan``: origin and direction of the ray at pixel 0, 0 and how they change along x and y; ``area``: first and last
    block and row, and the numbers in a row.
    """
    for y in range(area[2], area[3]):
        origin, ray = along(fan[0], fan[2], F(y)), along(fan[3], fan[5], F(y))
        for b in range(area[0], area[1]):
            base = np.uint64(y * area[4] + b * BLOCK)
            for lane in range(LANES):
                x, q = F(b * LANES) + F(lane), base + np.uint64(lane)
                p, d = along(origin, fan[1], x), along(ray, fan[4], x)
                ix, iy, iz = ONE / slope(d[0]), ONE / slope(d[1]), ONE / slope(d[2])
                kx, ky, kz = abs(ix) * half[0], abs(iy) * half[1], abs(iz) * half[2]
                cx, cy, cz = -p[0] * ix, -p[1] * iy, -p[2] * iz
                enter = max(max(cx - kx, cy - ky), cz - kz)
                leave = min(min(cx + kx, cy + ky), cz + kz)
                hit = (enter < leave) & (enter > NEAR_M) & (enter < seen_Q[q])
                seen_Q[q] = enter if hit else seen_Q[q]
                seen_Q[q + GEOMS] = geom if hit else seen_Q[q + GEOMS]


@kernel
def ellipsoid_area(radii, fan, area, geom, seen_Q):
    qx, qy, qz = ONE / radii[0], ONE / radii[1], ONE / radii[2]
    for y in range(area[2], area[3]):
        origin, ray = along(fan[0], fan[2], F(y)), along(fan[3], fan[5], F(y))
        for b in range(area[0], area[1]):
            base = np.uint64(y * area[4] + b * BLOCK)
            for lane in range(LANES):
                x, q = F(b * LANES) + F(lane), base + np.uint64(lane)
                p, d = along(origin, fan[1], x), along(ray, fan[4], x)
                p, d = (p[0] * qx, p[1] * qy, p[2] * qz), (d[0] * qx, d[1] * qy, d[2] * qz)
                a, h, c = dot(d, d), dot(p, d), dot(p, p) - ONE
                root = h * h - a * c
                t = (-h - np.sqrt(max(root, ZERO))) / a
                hit = (root > ZERO) & (t > NEAR_M) & (t < seen_Q[q])
                seen_Q[q] = t if hit else seen_Q[q]
                seen_Q[q + GEOMS] = geom if hit else seen_Q[q + GEOMS]


@kernel
def tube_area(radius, half_length, capped, fan, area, geom, seen_Q):
    """Cylinder (flat ends) or, ``capped``, capsule (round ends), along the local z axis."""
    r2 = radius * radius
    for y in range(area[2], area[3]):
        origin, ray = along(fan[0], fan[2], F(y)), along(fan[3], fan[5], F(y))
        for b in range(area[0], area[1]):
            base = np.uint64(y * area[4] + b * BLOCK)
            for lane in range(LANES):
                x, q = F(b * LANES) + F(lane), base + np.uint64(lane)
                p, d = along(origin, fan[1], x), along(ray, fan[4], x)
                a = d[0] * d[0] + d[1] * d[1] + F(1e-12)
                h, c = p[0] * d[0] + p[1] * d[1], p[0] * p[0] + p[1] * p[1] - r2
                root = h * h - a * c
                side = (-h - np.sqrt(max(root, ZERO))) / a
                z = p[2] + side * d[2]
                on_side = (root > ZERO) & (abs(z) <= half_length)
                if capped:  # the round end that the side was missed on
                    end = half_length if ((z > ZERO) if root > ZERO else (d[2] < ZERO)) else -half_length
                    pz = p[2] - end
                    a2, h2, c2 = a + d[2] * d[2], h + pz * d[2], c + pz * pz
                    root2 = h2 * h2 - a2 * c2
                    t = (-h2 - np.sqrt(max(root2, ZERO))) / a2
                    on_end = root2 > ZERO
                else:  # the flat end that faces the ray
                    t = ((half_length if d[2] < ZERO else -half_length) - p[2]) / slope(d[2])
                    ex, ey = p[0] + t * d[0], p[1] + t * d[1]
                    on_end = ex * ex + ey * ey <= r2
                t = side if on_side else t
                hit = (on_side | on_end) & (t > NEAR_M) & (t < seen_Q[q])
                seen_Q[q] = t if hit else seen_Q[q]
                seen_Q[q + GEOMS] = geom if hit else seen_Q[q + GEOMS]


@kernel
def plane_area(half, fan, area, geom, seen_Q):
    """The local plane z = 0, seen from above only; endless along an axis whose half side is 0, as in MuJoCo."""
    half_x, half_y = half[0] if half[0] > ZERO else FAR, half[1] if half[1] > ZERO else FAR
    for y in range(area[2], area[3]):
        origin, ray = along(fan[0], fan[2], F(y)), along(fan[3], fan[5], F(y))
        for b in range(area[0], area[1]):
            base = np.uint64(y * area[4] + b * BLOCK)
            for lane in range(LANES):
                x, q = F(b * LANES) + F(lane), base + np.uint64(lane)
                p, d = along(origin, fan[1], x), along(ray, fan[4], x)
                t = -p[2] / slope(d[2])
                inside = (abs(p[0] + t * d[0]) <= half_x) & (abs(p[1] + t * d[1]) <= half_y)
                hit = (d[2] < ZERO) & inside & (t > NEAR_M) & (t < seen_Q[q])
                seen_Q[q] = t if hit else seen_Q[q]
                seen_Q[q + GEOMS] = geom if hit else seen_Q[q + GEOMS]


@kernel
def draw(order_D, first, last, geoms_GP, camera_P, rays, seen_Q, touched_B):
    """Draw geoms ``order_D[first:last]`` over ``rays`` x ``rays`` rays in ``seen_Q``; depths in units of the ray.

    Blocks that may have changed are marked in ``touched_B``, one mark for TILE rows of a block; none where it is empty.
    """
    focal, orthographic = camera_P[12], camera_P[13] > ZERO
    pixel, still = ONE / focal, (ZERO, ZERO, ZERO)
    corner = HALF - HALF * F(rays)
    pitch = (rays + LANES - 1) // LANES * BLOCK
    for position in range(first, last):
        geom_P, geom = geoms_GP[order_D[position]], F(order_D[position])
        kind, size = int(geom_P[0]), row_of(geom_P, 1)
        eye, right, up, back = seen_from(geom_P, camera_P)
        x0, x1, y0, y1 = 0, rays, 0, rays
        if kind != PLANE:
            x0, x1, y0, y1 = screen_bounds(half_extent(kind, size), eye, right, up, back, focal, orthographic, rays,
                                           rays)
        if x0 >= x1:
            continue
        area = x0 // LANES, (x1 + LANES - 1) // LANES, y0, y1, pitch
        if touched_B.shape[0] > 0:
            for row in range(y0 // TILE, (y1 + TILE - 1) // TILE):
                for b in range(area[0], area[1]):
                    touched_B[row * (pitch // BLOCK) + b] = 1
        step_x, step_y, forward = scaled(right, pixel), scaled(up, -pixel), scaled(back, -ONE)
        if orthographic:
            fan = along(along(eye, step_x, corner), step_y, corner), step_x, step_y, forward, still, still
        else:
            fan = eye, still, still, along(along(forward, step_x, corner), step_y, corner), step_x, step_y
        if kind == BOX:
            box_area(size, fan, area, geom, seen_Q)
        elif kind in (CAPSULE, CYLINDER):
            tube_area(size[0], size[1], kind == CAPSULE, fan, area, geom, seen_Q)
        elif kind == PLANE:
            plane_area(size, fan, area, geom, seen_Q)
        else:
            radii = (size[0], size[0], size[0]) if kind == SPHERE else size
            ellipsoid_area(radii, fan, area, geom, seen_Q)
