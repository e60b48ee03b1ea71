"""The embedded world: a desk with a drawer, a sliding door, a button, a switch and three blocks, and an arm with a
gripper.

It knows nothing of policies.  Follow it in this order: ``tasks`` and ``phrasings`` (what can be asked, in symbols and
in words), ``embodiments``, ``layouts`` and ``perturbations`` (which robot, which desk, made how unlike training),
``scene`` and ``robot`` (both as a MuJoCo model), ``placement`` (where things stand at the start), ``motion``,
``kinematics`` and ``controls`` (from actions to joints), ``readings`` and ``world`` (one control step; ``physics`` and
``worlds`` for many), ``goals`` (what counts as done), ``skills`` and ``expert`` (the privileged teacher),
``demonstrations`` and ``captions`` (what a policy learns from), ``rendering`` (what it sees), ``gym`` (the same for
users of Gymnasium).
This module, ``tasks``, ``embodiments`` and ``layouts`` import neither mujoco nor numba nor numpy.
"""

from functools import cache
from importlib.metadata import version

WORLD_VERSION = 2
"""Bump it when the same start, seed and actions would lead to other states or other verdicts, when instructions are
worded otherwise, or when the expert acts otherwise: every dataset and every score depends on it."""

RENDERER_VERSION = 2
"""Bump it when the same state would give other pixels."""


@cache
def physics_version() -> str:
    """MuJoCo's version, from the package's metadata: reading them takes a millisecond, importing mujoco 200."""
    return version("mujoco")
