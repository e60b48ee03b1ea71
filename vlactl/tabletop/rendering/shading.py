"""What colour each ray brings back: kernels for numba, used by :mod:`.raycaster`, which says the layouts.

Rays come in chunks of one geom.  The geometry of a chunk is a few vectorised loops over rows of a small work table;
what depends on memory, the soft shadow and the texels, is looked up ray by ray.
"""
# pyright: reportIndexIssue=false

from __future__ import annotations

import numpy as np

from vlactl.tabletop.rendering.patterns import SIDE, TABLE, TEXEL_M
from vlactl.tabletop.rendering.visibility import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    FAR,
    HALF,
    LANES,
    ONE,
    PLANE,
    ZERO,
    F,
    along,
    dot,
    inlined,
    kernel,
    row_of,
    scaled,
    seen_from,
)

CHUNK = 128
"""Rays shaded at a time: the work table stays in the fastest cache."""
(DEPTH, NX, NY, NZ, PX, PY, PZ, FACING, HEAD, PLACE, U, V, W, A, B, UPPER, UPPER_RIGHT, LOWER,
 LOWER_RIGHT) = (CHUNK * row for row in range(19))
"""Where each row of the work table begins: depth; normal and point in the geom's frame, then PX is the colour; cosines
with the light and the eye; first of 16 texels of the shadow map, place between the inner four, depth there; place
between four texels of the pattern, and where these are, then what they are."""
WORK = 19 * CHUNK
SHADOW_BIAS_M, SLANT_BIAS_TEXELS = F(0.003), F(1.6)
"""Surfaces are lifted along their normal so that they do not shadow themselves: by this, and by the reach of the soft
edge, 2 texels at no weight, times the sine of the angle with the light."""
SOFT = F(1 / 9)
"""The 4 x 4 taps of a soft shadow weigh 3 x 3 texels in all."""
PLACES = np.uint64(TABLE - 1)
"""Where to look is computed in floating point: masked with this it lies in the table, whatever it was.  Tables of
texels and shadow maps are that long."""
NEXT = np.uint64(1)
"""Unsigned indices need no test for a negative one."""
GLOW, GLOW_EDGE = F(0.75), F(0.35)
"""A lamp's own light, and how much brighter it is where it faces the eye."""
FULL = F(255)


@inlined
def sign(value):
    return ONE if value > ZERO else -ONE


@kernel
def surface_points(waiting_I, depth_I, first, work_W, blocks, eye, forward, right, up, pixel, rays):
    """Points of the surface in the geom's frame, of the rays that wait from ``first`` on."""
    middle = HALF * F(rays) - HALF
    for b in range(blocks):
        start = np.uint64(first + b * LANES)
        for lane in range(LANES):
            i, w = b * LANES + lane, start + np.uint64(lane)
            u, v = (F(waiting_I[w] & 0xFFFF) - middle) * pixel, (middle - F(waiting_I[w] >> 16)) * pixel
            p = along(eye, along(along(forward, right, u), up, v), depth_I[w])
            work_W[DEPTH + i], work_W[PX + i], work_W[PY + i], work_W[PZ + i] = depth_I[w], p[0], p[1], p[2]


@kernel
def box_normals(size, work_W, blocks):
    for b in range(blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            p = work_W[PX + i], work_W[PY + i], work_W[PZ + i]
            x, y, z = abs(p[0]) - size[0], abs(p[1]) - size[1], abs(p[2]) - size[2]
            on_x = (x >= y) & (x >= z)
            on_y = (y >= z) & (not on_x)
            work_W[NX + i] = sign(p[0]) if on_x else ZERO
            work_W[NY + i] = sign(p[1]) if on_y else ZERO
            work_W[NZ + i] = ZERO if on_x | on_y else sign(p[2])


@kernel
def round_normals(kind, size, work_W, blocks):
    """Spheres, ellipsoids and tubes: away from the nearest point of an axis, bent by the squares of the radii."""
    axis = ZERO if kind == ELLIPSOID else size[1]
    bend = (ONE / size[0] ** 2, ONE / size[1] ** 2, ONE / size[2] ** 2) if kind == ELLIPSOID else (ONE, ONE, ONE)
    for b in range(blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            z = work_W[PZ + i]
            n = (work_W[PX + i] * bend[0], work_W[PY + i] * bend[1], (z - min(max(z, -axis), axis)) * bend[2])
            q = ONE / np.sqrt(dot(n, n))
            work_W[NX + i], work_W[NY + i], work_W[NZ + i] = scaled(n, q)


@kernel
def flat_ends(size, work_W, blocks):
    """A cylinder's ends, over the normals of its side."""
    for b in range(blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            x, y, z = work_W[PX + i], work_W[PY + i], work_W[PZ + i]
            end = size[1] - abs(z) < size[0] - np.sqrt(x * x + y * y)
            work_W[NX + i] = ZERO if end else work_W[NX + i]
            work_W[NY + i] = ZERO if end else work_W[NY + i]
            work_W[NZ + i] = sign(z) if end else work_W[NZ + i]


@kernel
def flat_normals(work_W, blocks):
    for b in range(blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            work_W[NX + i], work_W[NY + i], work_W[NZ + i] = ZERO, ZERO, ONE


@kernel
def meet_light(work_W, blocks, eye, light_eye, light_right, light_up, light_back, texels, shadow_px):
    """Cosines with the light and the eye, and where on the shadow map the lifted point lies; vectors in the geom's
    frame."""
    size, middle = F(shadow_px), HALF * F(shadow_px) - HALF
    for b in range(blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            p = work_W[PX + i], work_W[PY + i], work_W[PZ + i]
            n = work_W[NX + i], work_W[NY + i], work_W[NZ + i]
            ray = along(p, eye, -ONE)
            facing = dot(n, light_back)
            slant = np.sqrt(max(ONE - facing * facing, ZERO))
            lifted = along(along(p, n, SHADOW_BIAS_M + SLANT_BIAS_TEXELS * slant / texels), light_eye, -ONE)
            work_W[FACING + i] = max(facing, ZERO)
            work_W[HEAD + i] = max(-dot(n, ray) / np.sqrt(dot(ray, ray)), ZERO)
            u, v = dot(lifted, light_right) * texels + middle, middle - dot(lifted, light_up) * texels
            left, upper = np.floor(u), np.floor(v)
            inside = (left >= ONE) & (upper >= ONE) & (left < size - F(2)) & (upper < size - F(2))
            work_W[U + i], work_W[V + i], work_W[W + i] = u - left, v - upper, -dot(lifted, light_back) - SHADOW_BIAS_M
            work_W[PLACE + i] = (upper - ONE) * size + left - ONE if inside else -ONE


@inlined
def level_of(start, side, texels, limit):
    """Where a level of a pattern begins and its side, or those of the next where a pixel has more texels."""
    beyond = texels > limit
    return start + side * side if beyond else start, side * HALF if beyond else side


@kernel
def meet_texture(work_W, blocks, pixel):
    """The four texels around the place on the texture, and where between them; on the level that fits the pixel.

    The coordinates are the two that the surface faces least away from.
    """
    for b in range(blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            x, y, z = abs(work_W[NX + i]), abs(work_W[NY + i]), abs(work_W[NZ + i])
            on_x, on_z = (x > y) & (x > z), (z >= x) & (z >= y)
            p = work_W[PX + i], work_W[PY + i], work_W[PZ + i]
            across, down = p[1] if on_x else p[0], p[1] if on_z else p[2]
            # slanted surfaces put more texels into a pixel along one side only: the square root is between the two
            texels = work_W[DEPTH + i] * pixel * F(1 / TEXEL_M) / np.sqrt(max(work_W[HEAD + i], F(0.05)))
            start, side = level_of(ZERO, F(SIDE), texels, F(1.4))  # a loop here would keep the compiler from vectors
            start, side = level_of(start, side, texels, F(2.8))
            start, side = level_of(start, side, texels, F(5.6))
            start, side = level_of(start, side, texels, F(11.2))
            start, side = level_of(start, side, texels, F(22.4))
            scale = side * F(1 / (SIDE * TEXEL_M))
            u, v = across * scale - HALF, down * scale - HALF
            left, upper = np.floor(u), np.floor(v)
            work_W[A + i], work_W[B + i] = u - left, v - upper
            left, upper = left - side * np.floor(left / side), upper - side * np.floor(upper / side)
            right, lower = left + ONE, upper + ONE
            right, lower = right if right < side else ZERO, lower if lower < side else ZERO
            upper, lower = start + upper * side, start + lower * side
            work_W[UPPER + i], work_W[UPPER_RIGHT + i] = upper + left, upper + right
            work_W[LOWER + i], work_W[LOWER_RIGHT + i] = lower + left, lower + right


@inlined
def taps(shadow_YX, place, fraction, depth):
    """Weight of the lit ones among four neighbours in a row of the shadow map, 0 .. 3."""
    return ((ONE - fraction if shadow_YX[place] > depth else ZERO) + (ONE if shadow_YX[place + NEXT] > depth else ZERO)
            + (ONE if shadow_YX[place + NEXT + NEXT] > depth else ZERO)
            + (fraction if shadow_YX[place + NEXT + NEXT + NEXT] > depth else ZERO))


@inlined
def light_arriving(shadow_YX, size, place, u, v, depth):
    """Fraction of the light, 0 .. 1, that passes 4 x 4 texels from ``place`` on; u, v: where between the inner four."""
    first, row = np.uint64(np.int64(place)) & PLACES, np.uint64(size)
    second, third, last = first + row, first + row + row, first + row + row + row
    nearest, farthest = FAR, -FAR  # of all 16: between a few of them a thin shadow would fall through
    for i in range(4):
        tap = np.uint64(i)
        nearest = min(min(nearest, shadow_YX[first + tap]), min(shadow_YX[second + tap], shadow_YX[third + tap]))
        nearest = min(nearest, shadow_YX[last + tap])
        farthest = max(max(farthest, shadow_YX[first + tap]), max(shadow_YX[second + tap], shadow_YX[third + tap]))
        farthest = max(farthest, shadow_YX[last + tap])
    if nearest > depth or farthest <= depth:
        return ONE if nearest > depth else ZERO
    return ((ONE - v) * taps(shadow_YX, first, u, depth) + taps(shadow_YX, second, u, depth)
            + taps(shadow_YX, third, u, depth) + v * taps(shadow_YX, last, u, depth)) * SOFT


@kernel
def prepare(geom_P, camera_P, light_P, rays, shadow_px, textured, waiting_I, depth_I, first, work_W, blocks):
    """Fill the work table for the rays that wait from ``first`` on."""
    kind, size, pixel = int(geom_P[0]), row_of(geom_P, 1), ONE / camera_P[12]
    eye, right, up, back = seen_from(geom_P, camera_P)
    light_eye, light_right, light_up, light_back = seen_from(geom_P, light_P)
    surface_points(waiting_I, depth_I, first, work_W, blocks, eye, scaled(back, -ONE), right, up, pixel, rays)
    if kind == BOX:
        box_normals(size, work_W, blocks)
    elif kind == PLANE:
        flat_normals(work_W, blocks)
    else:
        round_normals(kind, size, work_W, blocks)
        if kind == CYLINDER:
            flat_ends(size, work_W, blocks)
    meet_light(work_W, blocks, eye, light_eye, light_right, light_up, light_back, light_P[12], shadow_px)
    if textured:
        meet_texture(work_W, blocks, pixel)


@kernel
def fade(count, texture, patterns_TQ, shadow_px, shadow_YX, work_W):
    """What depends on memory: the light that arrives, into FACING, and the texels, over their places."""
    if shadow_px > 0:
        for i in range(count):
            if work_W[FACING + i] > ZERO and work_W[PLACE + i] >= ZERO:  # no shadow outside the map
                work_W[FACING + i] *= light_arriving(shadow_YX, shadow_px, work_W[PLACE + i], work_W[U + i],
                                                     work_W[V + i], work_W[W + i])
    if texture > 0:
        pattern_Q = patterns_TQ[texture]
        for i in range(count):
            work_W[UPPER + i] = F(pattern_Q[np.uint64(np.int64(work_W[UPPER + i])) & PLACES])
            work_W[UPPER_RIGHT + i] = F(pattern_Q[np.uint64(np.int64(work_W[UPPER_RIGHT + i])) & PLACES])
            work_W[LOWER + i] = F(pattern_Q[np.uint64(np.int64(work_W[LOWER + i])) & PLACES])
            work_W[LOWER_RIGHT + i] = F(pattern_Q[np.uint64(np.int64(work_W[LOWER_RIGHT + i])) & PLACES])


@kernel
def mix(color, ambient, diffuse, head, textured, work_W, blocks):
    """Colour of each ray, 0 .. 255, rounded, into PX: red + 256 green + 65536 blue, which a float32 holds exactly."""
    for b in range(blocks):
        for lane in range(LANES):
            i = b * LANES + lane
            light = along(along(ambient, diffuse, work_W[FACING + i]), head, work_W[HEAD + i])
            if textured:
                across, down = work_W[A + i], work_W[B + i]
                upper = work_W[UPPER + i] + (work_W[UPPER_RIGHT + i] - work_W[UPPER + i]) * across
                lower = work_W[LOWER + i] + (work_W[LOWER_RIGHT + i] - work_W[LOWER + i]) * across
                light = scaled(light, (upper + (lower - upper) * down) * F(1 / 255))
            red = np.floor(min(color[0] * light[0], FULL) + HALF)
            green = np.floor(min(color[1] * light[1], FULL) + HALF)
            work_W[PX + i] = red + F(256) * (green + F(256) * np.floor(min(color[2] * light[2], FULL) + HALF))


@kernel
def shade(scene, n, geom, geom_P, camera_P, rays, shadow_px, count, scratch):
    """Colour the first ``count`` rays that wait for ``geom``."""
    work_W, waiting_I, rays_YX, first = scratch.work_W, scratch.waiting_I, scratch.rays_YX, geom * CHUNK
    texture, lights_L, blocks = scene.textures_G[geom], scene.lights_L, (count + LANES - 1) // LANES
    prepare(geom_P, camera_P, scene.light_P, rays, shadow_px, texture > 0, waiting_I, scratch.depth_I, first, work_W,
            blocks)
    fade(count, texture, scene.patterns_TQ, shadow_px, scratch.shadow_YX, work_W)
    color = scaled(row_of(scene.colors_NGC[n, geom], 0), FULL)
    if scene.glows_G[geom] > 0 and scratch.recolored_G[geom] > 0:
        own, edge, dark = (GLOW, GLOW, GLOW), (GLOW_EDGE, GLOW_EDGE, GLOW_EDGE), (ZERO, ZERO, ZERO)
        mix(color, own, dark, edge, False, work_W, blocks)
    else:
        mix(color, row_of(lights_L, 0), row_of(lights_L, 3), row_of(lights_L, 6), texture > 0, work_W, blocks)
    for i in range(count):
        waiting = waiting_I[np.uint64(first + i)]
        rays_YX[np.uint64((waiting >> 16) * rays + (waiting & 0xFFFF))] = np.int32(work_W[PX + i])
