"""The scripted expert: privileged state in, legal actions out, no memory.  It is the ceiling and the teacher, never a
result."""

from __future__ import annotations

import numpy as np

from vlactl.tabletop.skills import skill
from vlactl.tabletop.skills.hand import Hand
from vlactl.tabletop.tasks import TASKS
from vlactl.tabletop.world import World


class Expert:
    """Controller of one task in one world; it may be asked at any state, also after a disturbance."""

    def __init__(self, world: World, task: str) -> None:
        self._goal, self._hand = TASKS[task].goal, Hand(world)
        self._skill = skill(self._goal)

    def act(self) -> np.ndarray:
        """The next action (7,) float32 in [-1, 1]."""
        return np.array([min(1.0, max(-1.0, value)) for value in self._skill(self._hand, self._goal)], dtype=np.float32)
