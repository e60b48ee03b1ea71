"""How bright and of what colour each pixel is: kernels for numba, used by :mod:`vlactl.tabletop.raycaster`."""
# pyright: reportIndexIssue=false

from __future__ import annotations

import numpy as np

from vlactl.tabletop.visibility import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    HALF,
    ONE,
    PLANE,
    SPHERE,
    ZERO,
    F,
    along,
    column_of,
    components,
    dot,
    inlined,
    kernel,
    row_of,
)

PLAIN, WOOD, CHECKER = 0, 1, 2
"""Textures."""
TILE = 8
"""Side of a tile of the shadow map, in texels: the unit in which moving shadows are tracked."""
SHADOW_BIAS_M, SLANT_BIAS_TEXELS = F(0.004), F(2.0)
"""Surfaces are lifted along their normal so that they do not shadow themselves: by more, the more they slant."""
AMBIENT, DIFFUSE, HEADLIGHT = F(0.38), F(0.55), F(0.25)
SKY = (F(150), F(180), F(210))
SOFT = F(1 / 9)
"""The 4 x 4 taps of a soft shadow weigh 3 x 3 texels in all."""
NEXT = np.uint64(1)
"""Unsigned indices need no test for a negative one."""


def wood_grain(size: int = 64) -> np.ndarray:
    """Factors 0.9 .. 1, (size, size) float32, periodic."""
    y, x = np.mgrid[0:size, 0:size] / size * 2 * np.pi
    return (0.95 - 0.05 * np.sin(3 * x + 1.2 * np.sin(y + np.sin(2 * x)))).astype(F)


GRAIN = wood_grain()


@inlined
def sign(value):
    return ONE if value > ZERO else -ONE


@inlined
def local_normal(kind, size, p):
    """Outward unit normal at a point of the surface, in the geom's frame."""
    if kind == BOX:
        a, b, c = abs(p[0]) - size[0], abs(p[1]) - size[1], abs(p[2]) - size[2]
        if a >= b and a >= c:
            return sign(p[0]), ZERO, ZERO
        return (ZERO, sign(p[1]), ZERO) if b >= c else (ZERO, ZERO, sign(p[2]))
    if kind == PLANE:
        return ZERO, ZERO, ONE
    if kind == CYLINDER and size[1] - abs(p[2]) < size[0] - np.sqrt(p[0] * p[0] + p[1] * p[1]):
        return ZERO, ZERO, sign(p[2])
    if kind == ELLIPSOID:
        n = p[0] / (size[0] * size[0]), p[1] / (size[1] * size[1]), p[2] / (size[2] * size[2])
    elif kind == SPHERE:
        n = p
    else:  # a tube: away from the nearest point of the axis
        n = p[0], p[1], p[2] - min(max(p[2], -size[1]), size[1])
    q = ONE / np.sqrt(dot(n, n))
    return n[0] * q, n[1] * q, n[2] * q


@inlined
def texture_factor(texture, p):
    if texture == WOOD:
        return GRAIN[int((p[1] + F(8)) * F(96)) & 63, int((p[0] + F(8)) * F(48)) & 63]
    if texture == CHECKER and (int((p[0] + F(64)) * F(4)) + int((p[1] + F(64)) * F(4))) & 1:
        return F(0.85)
    return ONE


@inlined
def taps(row_X, x, fraction, depth):
    """Weight of the lit ones among four neighbours in a row of the shadow map, 0 .. 3; ``x`` unsigned."""
    return ((ONE - fraction if row_X[x - NEXT] > depth else ZERO) + (ONE if row_X[x] > depth else ZERO)
            + (ONE if row_X[x + NEXT] > depth else ZERO) + (fraction if row_X[x + NEXT + NEXT] > depth else ZERO))


@inlined
def light_arriving(point, normal, facing, light, texels, shadow_YX):
    """Fraction of the light, 0 .. 1, that reaches a surface point; 1 outside the shadow map.

    ``light``: its position and axes; ``facing``: cosine of its angle with the normal; ``texels`` per metre.
    """
    size = shadow_YX.shape[0]
    lifted = along(point, normal, SHADOW_BIAS_M + SLANT_BIAS_TEXELS * (ONE - facing) / texels)
    p = components(along(lifted, light[0], -ONE), light[1], light[2], light[3])
    u, v = p[0] * texels + HALF * F(size) - HALF, -p[1] * texels + HALF * F(size) - HALF
    if not (u >= ONE and v >= ONE and u < F(size - 2) and v < F(size - 2)):
        return ONE
    x, y, depth = np.uint64(u), np.uint64(v), -p[2] - SHADOW_BIAS_M
    above, upper, lower, below = shadow_YX[y - NEXT], shadow_YX[y], shadow_YX[y + NEXT], shadow_YX[y + NEXT + NEXT]
    corners = (int(above[x - NEXT] > depth) + int(above[x + NEXT + NEXT] > depth) + int(below[x - NEXT] > depth)
               + int(below[x + NEXT + NEXT] > depth))
    if corners == 0 or corners == 4:
        return ZERO if corners == 0 else ONE
    fu, fv = u - F(x), v - F(y)
    return ((ONE - fv) * taps(above, x, fu, depth) + taps(upper, x, fu, depth) + taps(lower, x, fu, depth)
            + fv * taps(below, x, fu, depth)) * SOFT


@inlined
def shape_of(geom_P):
    """Everything about one geom: kind, half sizes, position, axes."""
    return (int(geom_P[0]), row_of(geom_P, 1), row_of(geom_P, 4), column_of(geom_P, 7), column_of(geom_P, 8),
            column_of(geom_P, 9))


@inlined
def intensity(shape, texture, eye, ray, depth, light, texels, shadow_YX):
    """Brightness of one surface point, about 0.4 .. 1.2."""
    kind, size, position, ex, ey, ez = shape
    point = along(eye, ray, depth)
    local = components(along(point, position, -ONE), ex, ey, ez)
    n = local_normal(kind, size, local)
    normal = along(along(along((ZERO, ZERO, ZERO), ex, n[0]), ey, n[1]), ez, n[2])
    facing = dot(normal, light[3])
    if facing > ZERO and shadow_YX.shape[0] > 0:
        facing *= light_arriving(point, normal, facing, light, texels, shadow_YX)
    toward_eye = -dot(normal, ray) / np.sqrt(dot(ray, ray))  # keeps the shape of shadowed sides visible
    bright = AMBIENT + DIFFUSE * max(facing, ZERO) + HEADLIGHT * max(toward_eye, ZERO)
    return bright * texture_factor(texture, local)


@kernel
def light_view(geoms_GP, textures_G, camera_P, light_P, shadow_YX, fixed, still_seen_YX, still_bright_YX, still_tile_YX,
               moved_M, depth_YX, seen_YX, bright_YX):
    """Intensity of every pixel; of a ``fixed`` camera only where something moved or a moving shadow falls."""
    height, width = depth_YX.shape
    pixel = ONE / camera_P[12]
    eye = row_of(camera_P, 0)
    right, up, back = column_of(camera_P, 3), column_of(camera_P, 4), column_of(camera_P, 5)
    forward = (-back[0], -back[1], -back[2])
    light = row_of(light_P, 0), column_of(light_P, 3), column_of(light_P, 4), column_of(light_P, 5)
    texels = light_P[12]
    loaded, texture, shape = 0, textures_G[0], shape_of(geoms_GP[0])
    for y in range(height):
        v = -(F(y) + HALF - HALF * F(height)) * pixel
        for x in range(width):
            geom = seen_YX[y, x]
            if fixed and geom == still_seen_YX[y, x] and moved_M[still_tile_YX[y, x]] == 0:
                bright_YX[y, x] = still_bright_YX[y, x]
            elif geom >= 0:
                if geom != loaded:
                    loaded, texture, shape = geom, textures_G[geom], shape_of(geoms_GP[geom])
                u = (F(x) + HALF - HALF * F(width)) * pixel
                ray = along(along(forward, right, u), up, v)
                bright_YX[y, x] = intensity(shape, texture, eye, ray, depth_YX[y, x], light, texels, shadow_YX)


@kernel
def moved_tiles(shadow_YX, still_shadow_YX, nearer_X, nearer_YX, moved_M):
    """Mark the tiles of the shadow map where something moving is nearer to the light, and their neighbours."""
    tiles = nearer_YX.shape[0]
    for ty in range(tiles):
        for x in range(nearer_X.shape[0]):
            nearer_X[x] = 0
        for y in range(ty * TILE, (ty + 1) * TILE):
            now_X, still_X = shadow_YX[y], still_shadow_YX[y]
            for x in range(nearer_X.shape[0]):
                nearer_X[x] |= np.uint8(now_X[x] < still_X[x])
        for tx in range(tiles):
            nearer_YX[ty, tx] = 0
            for x in range(tx * TILE, (tx + 1) * TILE):
                nearer_YX[ty, tx] |= nearer_X[x]
    for ty in range(tiles):
        for tx in range(tiles):
            near = np.uint8(0)
            for y in range(max(0, ty - 1), min(tiles, ty + 2)):
                for x in range(max(0, tx - 1), min(tiles, tx + 2)):
                    near |= nearer_YX[y, x]
            moved_M[ty * tiles + tx] = near


@kernel
def paint(seen_YX, bright_YX, colors_GC, out_YXC):
    """Colour times intensity, 0 .. 255, averaged over the rays of each pixel."""
    rays = seen_YX.shape[0] // out_YXC.shape[0]
    weight = ONE / F(rays * rays)
    for y in range(out_YXC.shape[0]):
        for x in range(out_YXC.shape[1]):
            red, green, blue = HALF, HALF, HALF
            for row in range(y * rays, (y + 1) * rays):
                for column in range(x * rays, (x + 1) * rays):
                    geom, bright = seen_YX[row, column], bright_YX[row, column] * weight
                    if geom < 0:
                        red, green, blue = red + SKY[0] * weight, green + SKY[1] * weight, blue + SKY[2] * weight
                    else:
                        white = F(255) * weight
                        red += min(white, colors_GC[geom, 0] * bright)
                        green += min(white, colors_GC[geom, 1] * bright)
                        blue += min(white, colors_GC[geom, 2] * bright)
            out_YXC[y, x, 0], out_YXC[y, x, 1], out_YXC[y, x, 2] = np.uint8(red), np.uint8(green), np.uint8(blue)
