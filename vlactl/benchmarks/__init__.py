"""What a policy is tested in: the menu of benchmarks.

A benchmark's *protocol* is everything that a score depends on; it is hashed into the evaluate stage, so a number is
never compared across protocols by accident.  This file imports nothing heavy.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from vlactl.benchmarks.foreign import Calvin, SimplerEnv
from vlactl.benchmarks.spec import BENCHMARKS, Benchmark, BenchmarkSpec, Simulation
from vlactl.errors import UnknownName, UsageError
from vlactl.spaces import Spaces

__all__ = ["BENCHMARKS", "CHAIN_LISTS", "Benchmark", "BenchmarkSpec", "Calvin", "SimplerEnv", "Simulation", "Tabletop"]

CHAIN_LISTS = {
    "core": "40ed4d994735da0a81b71f5718793a2ea8924f4f209fed567a9afa6cba5b6e9d",
    "full": "eac07d56c74f8a10b23c5bafc17ddad1512507e64fd67f0b4778437b27dd6f6f",
}
"""Suite of tasks -> SHA-256 of its 1000 chains (``chains.content_hash``), which are in ``tabletop_<suite>.json`` beside
this file.  To add one: ``chains.write(suite)`` writes the file and returns the hash."""


class Tabletop(BenchmarkSpec):
    """Chains of five tasks in the embedded tabletop world, under CALVIN's rollout rule.

    It is a benchmark with CALVIN's protocol, not CALVIN: its numbers are never compared with CALVIN's.

    Shifts show a policy what no demonstration showed: ``distractors``, ``background``, ``light``, ``camera``,
    ``target`` (blocks of unseen colours) and ``description`` (paraphrased instructions), joined by ``+``.  Chains and
    start states stay, so scores with and without a shift are paired.
    """

    kind: ClassVar[str] = "tabletop"

    embodiment: str = "panda"
    """Which robot: its arm, gripper, cameras and action scale (``vlactl list embodiments``)."""
    scene: str = "D"
    """Which arrangement and colours of the desk (``vlactl list scenes``)."""
    tasks: str = "full"
    """Which named suite of tasks the chains are made of (``vlactl list suites``)."""
    chains: int = Field(default=50, ge=1, le=1000)
    """How many of the 1000 frozen chains to attempt: the first ones of the list."""
    action_repeat: int = Field(default=3, ge=1, le=12, strict=True)
    """How often an action is repeated at 30 Hz: 3 is control at 10 Hz; CALVIN's own rate is 1."""
    steps_per_task: int = Field(default=120, ge=1)
    """Control steps allowed for each task; left out, CALVIN's 12 s: 360 at 30 Hz, 120 at 10 Hz."""
    image_px: int = Field(default=64, ge=16, le=512)
    """Side of every camera image in pixels."""
    renderer: str = "raycast"
    """Who draws the pictures: raycast (any CPU), gl (EGL or OSMesa) or warp (mujoco_warp, CUDA)."""
    shadows: bool = True
    """Whether the light casts soft shadows."""
    antialias: Literal[1, 2] = 1
    """Rays per pixel and side."""
    instructions: Literal["validation", "training", "paraphrased"] = "validation"
    """Held-out phrasings of known words, one for each task as in CALVIN; phrasings of the demonstrations; or
    paraphrases in words that no demonstration has (what the shift ``description`` asks for)."""
    shift: str = "none"
    """What is unlike the demonstrations: shifts joined by +, such as light+camera (``vlactl list shifts``)."""
    shift_variant: int = Field(default=0, ge=0, le=9)
    """Which of the ten variants of the shift."""

    @model_validator(mode="before")
    @classmethod
    def _twelve_seconds(cls, fields: Any) -> Any:
        repeat = fields.get("action_repeat") if isinstance(fields, dict) else None
        if isinstance(repeat, int) and repeat > 0 and "steps_per_task" not in fields:
            return {**fields, "steps_per_task": max(360 // repeat, 1)}
        return fields

    @field_validator("shift")
    @classmethod
    def _one_spelling(cls, shift: str) -> str:
        from vlactl.tabletop.perturbations import full_name
        if "#" in shift:
            raise UsageError(f"'{shift}' names a variant", where="shift", expected="names of shifts, joined by +",
                             remedy="write the number under shift_variant")
        return full_name(shift)

    @model_validator(mode="after")
    def _names_exist(self) -> Tabletop:
        from vlactl.tabletop.embodiments import embodiment
        from vlactl.tabletop.layouts import layout
        from vlactl.tabletop.rendering import RENDERERS
        from vlactl.tabletop.tasks import SUITES
        embodiment(self.embodiment)
        layout(self.scene)
        if self.renderer not in RENDERERS:
            raise UnknownName("renderer", self.renderer, RENDERERS)
        if self.tasks not in SUITES:
            raise UnknownName("suite of tasks", self.tasks, SUITES)
        if self.tasks not in CHAIN_LISTS:
            raise UsageError(f"the suite '{self.tasks}' has no chains of five different categories",
                             expected=" | ".join(CHAIN_LISTS))
        if self.shift_variant and self.shift == "none":
            raise UsageError("there are no variants of 'none'", where="shift_variant", expected="0",
                             remedy="name a shift, or leave shift_variant out")
        if self.instructions == "training" and self.instruction_set != "training":
            raise UsageError("the shift 'description' paraphrases the instructions", where="instructions",
                             expected="paraphrased", remedy="leave out the shift, or the instructions")
        return self

    @property
    def instruction_set(self) -> str:
        """Which instructions are given, with the shift taken into account."""
        from vlactl.tabletop.perturbations import instruction_set
        return instruction_set(self.instructions, self.shift)

    def spaces(self) -> Spaces:
        from vlactl.tabletop.interface import pictures, spaces
        return spaces(self.embodiment, self.image_px, action_repeat=self.action_repeat,
                      pictures=pictures(self.renderer, self.shadows, self.antialias))

    def protocol(self) -> dict[str, Any]:
        """The fields, the chains, and the versions of all that moves and draws."""
        from vlactl.tabletop import RENDERER_VERSION, WORLD_VERSION, physics_version
        return {**self.identity(), "instructions": self.instruction_set, "chain_list": CHAIN_LISTS[self.tasks],
                "world_version": WORLD_VERSION, "mujoco": physics_version(), "renderer_version": RENDERER_VERSION,
                "reset": "once per chain, free of history",
                "success": "the predicate holds after a control step"}

    def build(self) -> Benchmark:
        from vlactl.benchmarks.tabletop import TabletopBenchmark
        return TabletopBenchmark(self)


BENCHMARKS.add(Tabletop)
BENCHMARKS.add(Calvin)
BENCHMARKS.add(SimplerEnv)
