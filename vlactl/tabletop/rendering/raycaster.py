"""Kernels of a ray caster for primitive shapes, compiled by numba: no OpenGL, any CPU, no state.

A world is drawn in three passes.  *Visibility*: which geom each ray meets first; the light's shadow map is drawn by the
same code, as an orthographic camera.  *Change*: of a camera that stands still, blocks of rays that meet what never
moves, in the light and colours of the picture that was drawn once, keep that picture.  *Shade*: the other rays wait
with those of their geom, and get light, soft shadow, head light, texture and colour a chunk of one geom at a time.
Several rays to a pixel are averaged at the end.

The kernels lie in :mod:`visibility` and :mod:`shading`.  There is one entry, called with one combination of types, so
that there is one thing to compile.  Layouts (float32 where nothing is said):
geom P: type, half sizes (3), position (3), rotation (9, row-major, columns are the geom's axes)
camera P: position (3), rotation (9, columns right, up, backward), focal length in pixels, 1 if orthographic
lights L: ambient, light, head light and sky, RGB each, about 0 .. 1
seen Q: blocks of rays, row by row: LANES depths, then LANES geoms
rays YX: int32 red + 256 green + 65536 blue of each ray, row by row, flat
shadow YX: depths from the light, row by row, flat; ``light_Q`` holds the same as it was drawn, in blocks
Axes: N worlds, G geoms, D drawn geoms, K cameras, C colour, M tiles of the shadow map, B blocks, T textures.  Vectors
are tuples, in metres.
"""
# pyright: reportIndexIssue=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vlactl.tabletop.kernel_cache import RENDERING, cached
from vlactl.tabletop.rendering.shading import CHUNK, NEXT, shade
from vlactl.tabletop.rendering.visibility import (
    BLOCK,
    FAR,
    GEOMS,
    HALF,
    LANES,
    NOTHING,
    ONE,
    TILE,
    ZERO,
    F,
    draw,
    inlined,
    kernel,
)

GEOM_FLOATS, CAMERA_FLOATS = 16, 14
CAMERA, FIXED, RAYS, PX, SEEN, IMAGE, OUT, OUT_STEP = 0, 1, 2, 3, 4, 5, 6, 7
"""Columns of ``views_KI``: the camera's index in the model; 1 if it never moves; rays and pixels a side; where its part
begins in ``Still.seen_Q`` and in ``Still.rays_YX``; where its first picture begins in the output, and how far the next
one is."""


class Still(NamedTuple):
    """What never moves, alone, as the light and the fixed cameras see it."""

    light_Q: np.ndarray
    """The light's view; empty without shadows."""
    shadow_YX: np.ndarray
    seen_Q: np.ndarray
    rays_YX: np.ndarray
    begin_KS: np.ndarray
    """int64: the blocks of camera k that depend on source s are ``blocks_I[begin_KS[k, s]:begin_KS[k, s + 1]]``;
    sources are the tiles of the shadow map, then the geoms."""
    blocks_I: np.ndarray
    colors_GC: np.ndarray
    """The colours that ``rays_YX`` was drawn with."""


class Scratch(NamedTuple):
    """Working memory of one thread; keeps the passes of the last view."""

    geoms_GP: np.ndarray
    camera_P: np.ndarray
    light_Q: np.ndarray
    shadow_YX: np.ndarray
    touched_B: np.ndarray
    """uint8 blocks of the shadow map, TILE rows of each, that something moving may have been drawn on."""
    drawn_B: np.ndarray
    """The same for a fixed camera."""
    untracked_B: np.ndarray
    """Empty."""
    stale_B: np.ndarray
    """uint8 blocks of a fixed camera in which a shadow or a colour is not that of the still picture."""
    nearer_M: np.ndarray
    moved_M: np.ndarray
    recolored_G: np.ndarray
    seen_Q: np.ndarray
    waiting_I: np.ndarray
    """int32 rays waiting to be shaded, CHUNK places for each geom: row times 65536 plus column."""
    depth_I: np.ndarray
    count_G: np.ndarray
    """int64 rays waiting."""
    work_W: np.ndarray
    rays_YX: np.ndarray


class Scene(NamedTuple):
    """Worlds to draw: their poses as MuJoCo has them, float64, and what they have in common."""

    positions_NGV: np.ndarray
    rotations_NGR: np.ndarray
    eyes_NCV: np.ndarray
    axes_NCR: np.ndarray
    colors_NGC: np.ndarray
    shapes_GP: np.ndarray
    """Types and sizes; the rest is filled in for each world."""
    textures_G: np.ndarray
    glows_G: np.ndarray
    """uint8: 1 for what shines by itself while its colour is not the one drawn once."""
    patterns_TQ: np.ndarray
    order_D: np.ndarray
    """int64 geoms to draw, those that never move first."""
    still_count: int
    views_KI: np.ndarray
    focal_K: np.ndarray
    light_P: np.ndarray
    lights_L: np.ndarray


@kernel
def copy(source, target, first, count):
    """``count`` numbers from ``first`` on; written out: numba's own slice assignment takes seconds to compile."""
    for i in range(count):
        target[i] = source[first + i]


@kernel
def pose(positions_GV, rotations_GR, geoms_GP):
    """Write where the geoms of one world are."""
    for g in range(geoms_GP.shape[0]):
        for i in range(3):
            geoms_GP[g, 4 + i] = F(positions_GV[g, i])
        for i in range(9):
            geoms_GP[g, 7 + i] = F(rotations_GR[g, i])


@kernel
def mark_recolored(colors_GC, still_colors_GC, recolored_G):
    """Mark the geoms whose colour is not the one drawn once."""
    for g in range(colors_GC.shape[0]):
        recolored_G[g] = ((colors_GC[g, 0] != still_colors_GC[g, 0]) | (colors_GC[g, 1] != still_colors_GC[g, 1])
                          | (colors_GC[g, 2] != still_colors_GC[g, 2]))


@kernel
def restore(size, still_light_Q, still_shadow_YX, touched_B, light_Q, shadow_YX):
    """Take away what moved from the shadow map."""
    blocks = size // LANES
    for b in range(touched_B.shape[0]):
        if touched_B[b]:
            touched_B[b] = 0
            for row in range(TILE):
                line = (b // blocks * TILE + row) * blocks + b % blocks
                start, place = np.uint64(line * BLOCK), np.uint64(line * LANES)
                for lane in range(LANES):
                    light_Q[start + np.uint64(lane)] = still_light_Q[start + np.uint64(lane)]
                    shadow_YX[place + np.uint64(lane)] = still_shadow_YX[place + np.uint64(lane)]


@kernel
def mark_moved(size, still_light_Q, touched_B, light_Q, shadow_YX, nearer_M, moved_M):
    """Take what moves into the shadow map; mark the tiles where it is nearer to the light, and their neighbours."""
    blocks, tiles, in_block = size // LANES, size // TILE, LANES // TILE
    for m in range(tiles * tiles):
        nearer_M[m], moved_M[m] = 0, 0
    for b in range(touched_B.shape[0]):
        if touched_B[b]:
            columns = 0
            for row in range(TILE):
                line = (b // blocks * TILE + row) * blocks + b % blocks
                start, place = np.uint64(line * BLOCK), np.uint64(line * LANES)
                for lane in range(LANES):
                    depth = light_Q[start + np.uint64(lane)]
                    columns |= 1 << lane if depth < still_light_Q[start + np.uint64(lane)] else 0
                    shadow_YX[place + np.uint64(lane)] = depth
            for tile in range(in_block):
                nearer_M[b * in_block + tile] = (columns >> tile * TILE & (1 << TILE) - 1) != 0
    for y in range(tiles):
        for x in range(tiles):
            if nearer_M[y * tiles + x]:
                for row in range(max(0, y - 1), min(tiles, y + 2)):
                    for column in range(max(0, x - 1), min(tiles, x + 2)):
                        moved_M[row * tiles + column] = 1


@kernel
def draw_shadows(scene, first_of_call, shadow_px, still, scratch):
    """The light's view of a world, from that of what never moves."""
    if first_of_call:
        copy(still.light_Q, scratch.light_Q, 0, still.light_Q.shape[0])
        copy(still.shadow_YX, scratch.shadow_YX, 0, still.shadow_YX.shape[0])
    restore(shadow_px, still.light_Q, still.shadow_YX, scratch.touched_B, scratch.light_Q, scratch.shadow_YX)
    draw(scene.order_D, scene.still_count, scene.order_D.shape[0], scratch.geoms_GP, scene.light_P, shadow_px,
         scratch.light_Q, scratch.touched_B)
    mark_moved(shadow_px, still.light_Q, scratch.touched_B, scratch.light_Q, scratch.shadow_YX, scratch.nearer_M,
               scratch.moved_M)


@inlined
def wait(y, x, count, seen_Q, start, waiting_I, depth_I, first):
    """Let ``count`` rays from ``x`` on, which begin at ``start`` of ``seen_Q``, wait from place ``first`` on."""
    for lane in range(count):
        waiting_I[first + np.uint64(lane)] = y << 16 | x + lane
        depth_I[first + np.uint64(lane)] = seen_Q[start + np.uint64(lane)]


@kernel
def mark_stale(begin_S, blocks_I, moved_M, recolored_G, count, stale_B):
    """Mark the blocks of a fixed camera where a shadow has moved or a colour is not the one drawn once."""
    tiles = moved_M.shape[0]
    for b in range(count):
        stale_B[b] = 0
    for source in range(tiles + recolored_G.shape[0]):
        if moved_M[source] if source < tiles else recolored_G[source - tiles]:
            for i in range(begin_S[source], begin_S[source + 1]):
                stale_B[blocks_I[i]] = 1


@inlined
def meets_the_same(seen_Q, start, still_seen_Q, still_start):
    """Whether a block of rays meets what it met when the still picture was drawn."""
    other = False
    for lane in range(LANES):
        place = GEOMS + np.uint64(lane)
        other |= seen_Q[start + place] != still_seen_Q[still_start + place]
    return not other


@kernel
def shade_rays(scene, n, rays, fixed, part, camera_P, shadow_px, still, scratch):
    """Shade the rays that meet something, chunk by chunk of one geom; of a ``fixed`` camera only blocks that changed.

    Where a block changed all of it is shaded again: what did not change comes out the same.
    """
    # taken out here once: whoever takes an array out of a tuple pays for counting references to it
    seen_Q, count_G, waiting_I, depth_I = scratch.seen_Q, scratch.count_G, scratch.waiting_I, scratch.depth_I
    geoms_GP, stale_B, drawn_B, still_seen_Q = scratch.geoms_GP, scratch.stale_B, scratch.drawn_B, still.seen_Q
    row_blocks = (rays + LANES - 1) // LANES
    for geom in range(count_G.shape[0]):
        count_G[geom] = 0
    for block in range(rays * row_blocks):
        q, y = np.uint64(block * BLOCK), block // row_blocks
        column = block - y * row_blocks
        if fixed and stale_B[block] == 0 and (drawn_B[y // TILE * row_blocks + column] == 0
                                              or meets_the_same(seen_Q, q, still_seen_Q, part + q)):
            continue
        x0, first_geom, mixed = column * LANES, seen_Q[q + GEOMS], (column + 1) * LANES > rays
        for lane in range(LANES):
            mixed |= seen_Q[q + GEOMS + np.uint64(lane)] != first_geom
        step = 1 if mixed else LANES
        for lane in range(0, min(LANES, rays - x0), step):
            here = q + np.uint64(lane)
            if seen_Q[here + GEOMS] < ZERO:
                continue
            geom = int(seen_Q[here + GEOMS])
            if count_G[geom] + step > CHUNK:
                shade(scene, n, geom, geoms_GP[geom], camera_P, rays, shadow_px, count_G[geom], scratch)
                count_G[geom] = 0
            place = np.uint64(geom * CHUNK + count_G[geom])
            if mixed:
                wait(y, x0 + lane, 1, seen_Q, here, waiting_I, depth_I, place)
            else:
                wait(y, x0, LANES, seen_Q, here, waiting_I, depth_I, place)
            count_G[geom] += step
    for geom in range(count_G.shape[0]):
        if count_G[geom] > 0:
            shade(scene, n, geom, geoms_GP[geom], camera_P, rays, shadow_px, count_G[geom], scratch)


@kernel
def average(rays_YX, rays, px, out, first):
    """Pixels of ``out`` from squares of rays."""
    side = rays // px
    for y in range(px):
        for x in range(px):
            red, green, blue = side * side // 2, side * side // 2, side * side // 2
            for row in range(y * side, (y + 1) * side):
                for column in range(x * side, (x + 1) * side):
                    packed = rays_YX[np.uint64(row * rays + column)]
                    red, green, blue = red + (packed & 255), green + (packed >> 8 & 255), blue + (packed >> 16)
            place = first + (y * px + x) * 3
            out[place] = np.uint8(red // (side * side))
            out[place + 1] = np.uint8(green // (side * side))
            out[place + 2] = np.uint8(blue // (side * side))


@kernel
def unpack(rays_YX, count, out, first):
    """One ray a pixel."""
    start = np.uint64(first)
    for i in range(count):
        packed, place = rays_YX[i], start + np.uint64(3 * i)
        out[place], out[place + NEXT] = np.uint8(packed), np.uint8(packed >> 8)
        out[place + NEXT + NEXT] = np.uint8(packed >> 16)


@kernel
def begin_view(lights_L, fixed, part, image, rays, still, scratch):
    """Start from the still picture of a fixed camera, or from the sky."""
    blocks = rays * ((rays + LANES - 1) // LANES)
    if fixed:
        copy(still.seen_Q, scratch.seen_Q, part, blocks * BLOCK)
        copy(still.rays_YX, scratch.rays_YX, image, rays * rays)
        for b in range(scratch.drawn_B.shape[0]):
            scratch.drawn_B[b] = 0
        return
    sky, seen_Q, rays_YX = 0, scratch.seen_Q, scratch.rays_YX
    for c in range(3):
        sky |= int(max(ZERO, min(ONE, lights_L[9 + c])) * F(255) + HALF) << 8 * c
    for b in range(blocks):
        for lane in range(LANES):
            seen_Q[b * BLOCK + lane] = FAR
            seen_Q[b * BLOCK + LANES + lane] = NOTHING
    for i in range(rays * rays):
        rays_YX[i] = sky


@kernel
def render_view(scene, n, k, shadow_px, still, scratch, out):
    """Draw what camera ``k`` sees of world ``n``, whose geoms and shadows stand in ``scratch``."""
    view_I, camera_P = scene.views_KI[k], scratch.camera_P
    rays, fixed, part = view_I[RAYS], view_I[FIXED] > 0, view_I[SEEN]
    for i in range(3):
        camera_P[i] = F(scene.eyes_NCV[n, view_I[CAMERA], i])
    for i in range(9):
        camera_P[3 + i] = F(scene.axes_NCR[n, view_I[CAMERA], i])
    camera_P[12], camera_P[13] = scene.focal_K[k], ZERO
    begin_view(scene.lights_L, fixed, part, view_I[IMAGE], rays, still, scratch)
    if fixed:
        mark_stale(still.begin_KS[k], still.blocks_I, scratch.moved_M, scratch.recolored_G,
                   rays * ((rays + LANES - 1) // LANES), scratch.stale_B)
    draw(scene.order_D, scene.still_count if fixed else 0, scene.order_D.shape[0], scratch.geoms_GP, camera_P, rays,
         scratch.seen_Q, scratch.drawn_B if fixed else scratch.untracked_B)
    shade_rays(scene, n, rays, fixed, np.uint64(part), camera_P, shadow_px, still, scratch)
    to = view_I[OUT] + n * view_I[OUT_STEP]
    if rays == view_I[PX]:
        unpack(scratch.rays_YX, rays * rays, out, to)
    else:
        average(scratch.rays_YX, rays, view_I[PX], out, to)


@cached(*RENDERING)
@kernel
def render_worlds(first, last, scene, shadow_px, still, scratch, out):
    """Draw worlds ``first`` .. ``last`` of ``scene`` into the flat uint8 ``out``."""
    for n in range(first, last):
        pose(scene.positions_NGV[n], scene.rotations_NGR[n], scratch.geoms_GP)
        mark_recolored(scene.colors_NGC[n], still.colors_GC, scratch.recolored_G)
        if shadow_px > 0:
            draw_shadows(scene, n == first, shadow_px, still, scratch)
        for k in range(scene.views_KI.shape[0]):
            render_view(scene, n, k, shadow_px, still, scratch, out)
