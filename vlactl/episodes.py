"""What flows between worlds, data, training and evaluation: demonstrations, things to attempt, attempts, outcomes.

Axis letters used everywhere: T control steps, K cameras, Y X pixels, C colour channels, S state dimensions, A action
dimensions, B batch, H history, L horizon.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """One demonstration of one task."""

    task: str
    instruction: str
    embodiment: str
    images_TKYXC: np.ndarray
    """uint8, the cameras in the order of the source's observation space."""
    states_TS: np.ndarray
    """float32, proprioception in the units of the source's observation space."""
    actions_TA: np.ndarray
    """float32 in [-1, 1], in the source's action space: the teacher's action at each control step; what was executed
    may have been disturbed."""
    robot_TR: np.ndarray | None = None
    """float32 (T, 15), CALVIN's ``robot_obs``, from simulators that know it."""
    scene_TD: np.ndarray | None = None
    """float32 (T, 24), CALVIN's ``scene_obs``, from simulators that know it."""
    scene: str = ""
    """The letter of the desk that it was recorded at; empty where there is none."""

    def __len__(self) -> int:
        return len(self.actions_TA)


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a policy is shown at one control step."""

    images_KYXC: np.ndarray
    state_S: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeSpec:
    """One thing to attempt: a start state and a chain of tasks.  ``key`` is its content, never its place in a list."""

    key: str
    scene: str
    start: dict
    """The symbolic start state, as the benchmark's generator wrote it."""
    tasks: tuple[str, ...]
    instructions: tuple[str, ...]
    max_steps: int
    """Control steps allowed for each task."""
    seed: int
    """Seed of everything that the symbolic state leaves open, and of the policy's noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How one task of a chain ended."""

    task: str
    success: bool
    steps: int
    """Control steps used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One attempt at an EpisodeSpec: the tasks that were begun, in order; the first failure ends it."""

    key: str
    verdicts: tuple[Verdict, ...]
    status: str = "ok"
    """``ok`` | ``invalid_action`` | ``infra_error``; only the last is left out of scores, and it is counted."""
    replans: int = 0
    detail: str = ""
    extras: dict = field(default_factory=dict)

    @property
    def solved(self) -> int:
        """Tasks in a row that succeeded, 0..len(chain)."""
        return sum(verdict.success for verdict in self.verdicts)
