"""Menu: who draws the pictures.  Imports neither numba nor mujoco nor any GL; :func:`open_renderer` does.

* ``raycast``: the house's own ray caster, compiled by numba: any CPU, no OpenGL, soft shadows, textures.  The default.
* ``gl``: MuJoCo's own pictures, through EGL or OSMesa of the system.
* ``warp``: mujoco_warp's ray tracer (``pip install vlactl[warp]``), on CUDA where there is some.

Their pictures differ, so the name is part of every protocol.  Whoever draws, a picture is a function of the model, the
poses, the colours and the settings: never of the other worlds in the call, of the threads, or of what was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from vlactl.errors import UnknownName

if TYPE_CHECKING:
    import numpy as np

RENDERERS = ("raycast", "gl", "warp")


class Poses(NamedTuple):
    """Where everything is in N worlds, in metres and world axes, as MuJoCo's data has it after kinematics."""

    geom_xpos: np.ndarray
    """(N, G, 3)."""
    geom_xmat: np.ndarray
    """(N, G, 9), row-major; columns are the geom's axes."""
    cam_xpos: np.ndarray
    """(N, C, 3), all cameras of the model."""
    cam_xmat: np.ndarray
    """(N, C, 9)."""
    colors: np.ndarray
    """(N, G, 3), RGB in 0 .. 1."""


class Renderer(Protocol):
    """Draws worlds of one model; not safe to call from two threads at once (make two)."""

    cameras: tuple[str, ...]
    image_px: tuple[int, ...]
    """Side of the pictures of each camera."""

    def render(self, datas: Sequence[Any], colors: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Images (N, K, Y, X, 3) uint8 of N MjData whose poses are current; cameras must have one size.

        ``colors``: RGB in 0 .. 1 of every geom, (G, 3), for each world; the model's where None.
        """
        ...

    def draw(self, poses: Poses, out: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Images (N, Y, X, 3) uint8 of each of the K cameras; written into ``out`` where given."""
        ...


def open_renderer(kind: str, model: Any, *, image_px: int | Sequence[int], shadows: bool = True, antialias: int = 1,
                  cameras: Sequence[str] = ("static", "wrist"), threads: int = 1) -> Renderer:
    """The renderer called ``kind`` for an ``MjModel``.

    ``image_px``: one side for all cameras, or one for each.  ``antialias``: rays per side of a pixel.
    Raises :class:`UnknownName`, and :class:`UsageError` where it cannot work here, naming what is missing.
    """
    if kind == "raycast":
        from vlactl.tabletop.rendering.raycast import Raycast as Chosen
    elif kind == "gl":
        from vlactl.tabletop.rendering.gl import OpenGL as Chosen
    elif kind == "warp":
        from vlactl.tabletop.rendering.warp import Warp as Chosen
    else:
        raise UnknownName("renderer", kind, RENDERERS)
    return Chosen(model, image_px=image_px, shadows=shadows, antialias=antialias, cameras=cameras, threads=threads)


def warm_up() -> float:
    """Compile the ray caster's kernels, or load them from the cache; returns the seconds that took."""
    from vlactl.tabletop.rendering.raycast import warm_up as compiled

    return compiled()
