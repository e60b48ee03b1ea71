"""What textures look like: periodic tables of brightness, with their smaller versions for surfaces far away.

A pattern multiplies the colour of a surface by 0 .. 1.  It lies on the surface in metres, so a thing twice as large
shows twice as much of it, and it is averaged down to the size of a pixel: no moire at 64 px.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlactl.tabletop.rendering.textures import TEXTURES

SIDE, LEVELS = 128, 6
"""Texels in a period of the finest level, and how many levels there are, each half the side of the one before:
:func:`.shading.meet_texture` takes as many steps, less one."""
TEXEL_M = 0.004
"""So a pattern repeats every 51 cm."""
TABLE = 2**15
"""Numbers in a texture's table, a power of two that all levels fit in: see ``shading.PLACES``."""
TURN = 2 * np.pi

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of x and y in 0 .. 1, one period; the first axis of the result is y."""


def noise(cells: int, seed: int) -> np.ndarray:
    """Smooth periodic noise in 0 .. 1, (SIDE, SIDE), with ``cells`` random values a side.

    The values come from arithmetic, not from a random generator, whose stream may change with numpy.
    """
    row, column = np.mgrid[0:cells, 0:cells].astype(np.uint64)
    value = row * np.uint64(0x9E3779B1) ^ column * np.uint64(0x85EBCA77) ^ np.uint64(seed * 0xC2B2AE3D)
    for _ in range(3):
        value = (value ^ value >> np.uint64(15)) * np.uint64(0x2C1B3C6D) & np.uint64(0xFFFFFFFF)
    grid = value / 2.0**32
    at = np.arange(SIDE) * cells / SIDE
    low, part = at.astype(int), at % 1
    part = part * part * (3 - 2 * part)
    grid = grid[low] * (1 - part[:, None]) + grid[(low + 1) % cells] * part[:, None]
    return grid[:, low] * (1 - part) + grid[:, (low + 1) % cells] * part


def wood(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Four planks along x, each of its own tone, with grain and a dark seam."""
    plank = np.floor(4 * y)
    bent = 0.35 * np.sin(TURN * (x + 0.27 * plank)) + 0.12 * np.sin(TURN * (2 * x + 0.61 * plank))
    grain = 0.5 + 0.5 * np.sin(TURN * (10 * y + bent + 2 * (noise(8, 1) - 0.5)))
    seam = np.where(4 * y % 1 < 4 / SIDE, 0.80, 1.0)
    return (1.0 - 0.13 * grain - 0.03 * (plank % 2)) * seam


def checker(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squares of 12.8 cm."""
    return np.where((np.floor(4 * x) + np.floor(4 * y)) % 2, 0.80, 1.0)


def stripes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """6.4 cm wide, along y."""
    return np.where(np.floor(8 * x) % 2, 0.72, 1.0)


def marble(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Thin dark veins through soft clouds."""
    cloud = 0.6 * noise(4, 2) + 0.3 * noise(8, 3) + 0.1 * noise(16, 4)
    vein = np.abs(np.sin(TURN / 2 * (2 * x + 2 * y + 3.5 * cloud)))
    return 1.0 - 0.30 * (1 - vein) ** 5 - 0.12 * cloud


def speckle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Granite: grains of two sizes."""
    return 1.0 - 0.32 * (noise(64, 5) > 0.72) - 0.16 * (noise(32, 6) > 0.6) - 0.05 * noise(8, 7)


def tiles(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """12.8 cm tiles, each of its own tone, with dark joints."""
    joint = (4 * x % 1 < 8 / SIDE) | (4 * y % 1 < 8 / SIDE)
    tone = np.round(noise(4, 8)[::SIDE // 4, ::SIDE // 4], 2).repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)
    return np.where(joint, 0.62, 1.0 - 0.14 * tone)


def cloth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A weave of 3 cm, over and under."""
    over = np.sin(TURN * 16 * x) * np.sin(TURN * 16 * y)
    return 0.88 + 0.08 * over - 0.04 * np.cos(TURN * 4 * (x + y))


PATTERNS: dict[str, Pattern] = {pattern.__name__: pattern
                                for pattern in (wood, checker, stripes, marble, speckle, tiles, cloth)}
assert set(PATTERNS) | {"plain"} == set(TEXTURES)


def levels(pattern: Pattern) -> np.ndarray:
    """One texture's levels, finest first, flat, uint8 with 255 for 1; each averages the one before."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    level, found = pattern(x, y), []
    for _ in range(LEVELS):
        found.append(np.round(255 * level.clip(0, 1)).astype(np.uint8).ravel())
        level = level.reshape(len(level) // 2, 2, -1, 2).mean((1, 3))
    return np.concatenate(found)


def tables() -> np.ndarray:
    """All textures by their index, (T, TABLE) uint8; the first, ``plain``, is never looked up."""
    plain = levels(lambda x, y: np.ones_like(x))
    found = np.stack([levels(PATTERNS[name]) if name in PATTERNS else plain for name in TEXTURES])
    return np.pad(found, ((0, 0), (0, TABLE - found.shape[1])))
