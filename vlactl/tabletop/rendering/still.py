"""What never moves, drawn once: pictures start from it, and only what differs is drawn again."""

from __future__ import annotations

import numpy as np

from vlactl.tabletop.rendering import raycaster
from vlactl.tabletop.rendering.raycaster import Scene, Scratch, Still, render_worlds
from vlactl.tabletop.rendering.shading import CHUNK, PLACES, WORK
from vlactl.tabletop.rendering.visibility import BLOCK, FAR, LANES, TILE


def padded(rays: int) -> int:
    """Numbers in a view of ``rays`` x ``rays`` rays, in blocks."""
    return rays * -(-rays // LANES) * BLOCK


def shadow_texels(shadow_px: int) -> int:
    """Length of a shadow map of ``shadow_px`` texels a side: as far as a masked place with its 4 x 4 taps goes."""
    assert shadow_px**2 <= int(PLACES) + 1, shadow_px
    return int(PLACES) + 1 + 4 * shadow_px if shadow_px else 0


def scratch(shapes_GP: np.ndarray, rays: int, shadow_px: int) -> Scratch:
    """Working memory of one thread for views of at most ``rays`` x ``rays`` rays."""
    tiles, geoms = shadow_px // TILE, len(shapes_GP)
    return Scratch(
        geoms_GP=shapes_GP.copy(), camera_P=np.zeros(raycaster.CAMERA_FLOATS, np.float32),
        light_Q=np.zeros(padded(shadow_px), np.float32), shadow_YX=np.zeros(shadow_texels(shadow_px), np.float32),
        touched_B=np.zeros(tiles * (shadow_px // LANES), np.uint8), untracked_B=np.zeros(0, np.uint8),
        nearer_M=np.zeros(tiles**2, np.uint8), moved_M=np.zeros(tiles**2, np.uint8),
        drawn_B=np.zeros(-(-rays // TILE) * -(-rays // LANES), np.uint8),
        stale_B=np.zeros(rays * -(-rays // LANES), np.uint8), recolored_G=np.zeros(geoms, np.uint8),
        seen_Q=np.zeros(padded(rays), np.float32),
        waiting_I=np.zeros(geoms * CHUNK, np.int32), depth_I=np.zeros(geoms * CHUNK, np.float32),
        count_G=np.zeros(geoms, np.int64), work_W=np.zeros(WORK, np.float32), rays_YX=np.zeros(rays**2, np.int32))


def draw_still(scene: Scene, shadow_px: int, memory: Scratch) -> Still:
    """Draw world 0 of ``scene`` without what moves: by ordinary calls that know no fixed camera, one at a time."""
    sources = len(memory.moved_M) + len(memory.recolored_G)
    nothing = Still(light_Q=np.full(padded(shadow_px), FAR), shadow_YX=np.full(shadow_texels(shadow_px), FAR),
                    seen_Q=np.empty(0, np.float32), rays_YX=np.empty(0, np.int32),
                    begin_KS=np.zeros((len(scene.views_KI), sources + 1), np.int64), blocks_I=np.empty(0, np.int32),
                    colors_GC=scene.colors_NGC[0])
    dark = nothing._replace(light_Q=-nothing.light_Q, shadow_YX=-nothing.shadow_YX)
    alone = scene._replace(order_D=scene.order_D[:scene.still_count], still_count=0)
    seen, pictures, blocks, begin_KS = [nothing.seen_Q], [nothing.rays_YX], [nothing.blocks_I], []
    for k, view_I in enumerate(scene.views_KI):
        rays, one_I = int(view_I[raycaster.RAYS]), view_I.copy()
        one_I[[raycaster.FIXED, raycaster.PX, raycaster.OUT]] = 0, rays, 0
        view, drawn = alone._replace(views_KI=one_I[None], focal_K=scene.focal_K[k:k + 1]), []
        for light in (dark, nothing):
            render_worlds(0, 1, view, shadow_px, light, memory, np.empty(3 * rays**2, np.uint8))
            drawn.append(memory.rays_YX[:rays**2].copy())
        begin_KS.append(nothing.begin_KS[k])
        if view_I[raycaster.FIXED]:
            seen.append(memory.seen_Q[:padded(rays)].copy())
            pictures.append(drawn[1])
            # what moves can only take light away: where there is none to take, no shadow changes anything
            found, begin_S = _blocks(seen[-1], (drawn[0] != drawn[1]).reshape(rays, rays), memory, scene.light_P,
                                     shadow_px)
            begin_KS[-1] = begin_S + sum(len(part) for part in blocks)
            blocks.append(found)
    return nothing._replace(light_Q=memory.light_Q.copy(), shadow_YX=memory.shadow_YX.copy(),
                            seen_Q=np.concatenate(seen), rays_YX=np.concatenate(pictures),
                            begin_KS=np.stack(begin_KS), blocks_I=np.concatenate(blocks))


def _blocks(seen_Q: np.ndarray, lit_YX: np.ndarray, memory: Scratch, light_P: np.ndarray,
            shadow_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one camera: the blocks that depend on each source, one source after another, and where each begins."""
    rays, sources = len(lit_YX), len(memory.moved_M) + len(memory.recolored_G)
    seen_YBL = seen_Q.reshape(rays, -1, 2, LANES)
    depth_YX, geom_YX = (seen_YBL[:, :, part].reshape(rays, -1)[:, :rays] for part in range(2))
    y_YX, x_YX = np.indices((rays, rays))
    block_YX, met_YX = y_YX * seen_YBL.shape[1] + x_YX // LANES, geom_YX >= 0
    tile_YX = _tiles(depth_YX, memory.camera_P, light_P, shadow_px)
    source = np.concatenate([tile_YX[lit_YX], geom_YX[met_YX] + len(memory.moved_M)]).astype(np.int64)
    count = rays * seen_YBL.shape[1]
    pairs = np.unique(source * count + np.concatenate([block_YX[lit_YX], block_YX[met_YX]]))
    return (pairs % count).astype(np.int32), np.searchsorted(pairs // count, np.arange(sources + 1))


def _tiles(depth_YX: np.ndarray, camera_P: np.ndarray, light_P: np.ndarray, shadow_px: int) -> np.ndarray:
    """The tile of the shadow map in which each ray's surface lies, or the nearest.

    The lift towards the light and the soft edge move this by less than a tile; marking covers the neighbours.
    """
    rays, tiles = len(depth_YX), shadow_px // TILE
    v_YX, u_YX = np.meshgrid(*[(np.arange(rays) + 0.5 - rays / 2) / camera_P[12]] * 2, indexing="ij")
    rotation, light = camera_P[3:12].reshape(3, 3).astype(np.float64), light_P[3:12].reshape(3, 3).astype(np.float64)
    points = camera_P[:3] + depth_YX[..., None] * (np.stack([u_YX, -v_YX, -np.ones_like(u_YX)], -1) @ rotation.T)
    on_map = (points - light_P[:3]) @ light * light_P[12]
    column, row = (np.clip((sign * on_map[..., axis] + shadow_px / 2) // TILE, 0, max(tiles - 1, 0))
                   for axis, sign in ((0, 1), (1, -1)))
    return row * tiles + column
