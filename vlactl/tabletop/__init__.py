"""The embedded world: a desk with a drawer, a sliding door, a button, a switch and three blocks, and an arm with a
gripper.

It knows nothing of policies.  Follow it in this order: ``tasks`` (what can be asked, symbolically), ``embodiments`` and
``layouts`` (which robot, which desk), ``scene`` and ``robot`` (both as a MuJoCo model), ``kinematics`` and ``world``
(one control step), ``goals`` (what counts as done), ``skills`` and ``expert`` (the privileged teacher),
``demonstrations`` (what a policy learns from), ``renderer`` (what it sees).
This module, ``tasks``, ``embodiments`` and ``layouts`` import neither mujoco nor numba nor numpy.
"""

from functools import cache
from importlib.metadata import version

WORLD_VERSION = 1
"""Bump it when the same start, seed and actions would lead to other states: every dataset and every score depends on
it."""

RENDERER_VERSION = 1
"""Bump it when the same state would give other pixels."""


@cache
def physics_version() -> str:
    """MuJoCo's version, from the package's metadata: reading them takes a millisecond, importing mujoco 200."""
    return version("mujoco")
