"""Small menus for the tests of recipe and plan, so that no golden text depends on what the real menus offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from vlactl.errors import UsageError
from vlactl.identity import identity_of
from vlactl.recipe import Menus, Recipe, load
from vlactl.registry import Registry, Spec
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.strategies import STRATEGIES

BACKBONES: Registry = Registry("backbones", "backbone")
FORMULATIONS: Registry = Registry("formulations", "formulation")
BENCHMARKS: Registry = Registry("benchmarks", "benchmark")
SOURCES: Registry = Registry("formats", "source")


class Model(Spec):
    weights: Literal["tiny", "big"] = "tiny"
    """Size of the weights."""
    width: int = Field(default=96, ge=8)
    """Hidden size."""
    checkpointing: bool = Field(default=False, json_schema_extra={"execution": True})
    """Saves memory."""
    vl_pretrain: bool = Field(default=False, json_schema_extra={"added": False})
    """Whether it learned from pictures with words before."""
    vl_updates: int = Field(default=40, json_schema_extra={"added": 40})
    """Updates of that."""
    decoder_only: ClassVar[bool] = True
    caches_features: ClassVar[bool] = True

    @property
    def needs_vl_stage(self) -> bool:
        return self.weights == "tiny" and self.vl_pretrain

    @property
    def draws_weights(self) -> bool:
        return self.weights == "tiny"


@BACKBONES.add
class Alpha(Model):
    """The first backbone."""

    kind = "alpha"


@BACKBONES.add
class Beta(Model):
    """A backbone that cannot interleave."""

    kind = "beta"
    decoder_only = False
    caches_features = False


class Ask(Spec):
    history: int = Field(default=1, ge=1)
    horizon: int = 6
    execute: int = 3

    @model_validator(mode="after")
    def _executes_what_it_predicts(self) -> Ask:
        if self.execute > self.horizon:
            raise ValueError(f"execute ({self.execute}) is more than horizon ({self.horizon})")
        return self

    actions: Literal["relative", "absolute"] = Field(default="relative", json_schema_extra={"added": "relative"})

    def conflicts(self, backbone: Model) -> str | None:
        return None

    def camera_count(self, cameras: int) -> int:
        return cameras

    def space_conflict(self, spaces: Spaces) -> str | None:
        return "the state has no pose" if self.actions == "absolute" else None


@FORMULATIONS.add
class One(Ask):
    """One frame."""

    kind = "one-step"


@FORMULATIONS.add
class Woven(Ask):
    """Frames and slots in one sequence."""

    kind = "interleaved"
    history: int = Field(default=4, ge=1)

    def conflicts(self, backbone: Model) -> str | None:
        return None if backbone.decoder_only else f"{backbone.kind} is not decoder-only"


@FORMULATIONS.add
class Head(Ask):
    """A recurrent head over frames."""

    kind = "policy-head"
    history: int = Field(default=4, ge=1)
    layers: int = 1


def spaces(embodiment: str, image_px: int, pictures: str = "") -> Spaces:
    seen = ObservationSpace(cameras=(("static", image_px, image_px),), state=("x_m",), pictures=pictures)
    action = ActionSpace(
        names=("x", "gripper"),
        control="relative-eef-pose",
        frame="world",
        rotation_scale_rad=0.1,
        position_scale_m=0.02 if embodiment == "panda" else 0.03,
        rate_hz=10.0,
    )
    return Spaces(observation=seen, action=action, embodiment=embodiment)


@BENCHMARKS.add
class Desk(Spec):
    """Chains on a desk."""

    kind = "desk"
    embodiment: Literal["panda", "stubby"] = "panda"
    image_px: int = 64
    chains: int = Field(default=50, ge=1, le=1000)
    pictures: str = Field(default="", json_schema_extra={"added": ""})

    def spaces(self) -> Spaces:
        return spaces(self.embodiment, self.image_px, self.pictures)

    def protocol(self) -> dict[str, Any]:
        return {**identity_of(self), "renderer": 3}


@SOURCES.add
class Drawn(Spec):
    """Demonstrations drawn on demand."""

    kind = "drawn"
    embodiment: Literal["panda", "stubby"] = "panda"
    image_px: int = 64
    episodes: int = Field(default=200, ge=1)
    pairs: int = Field(default=0, json_schema_extra={"added": 0})
    pictures: str = Field(default="", json_schema_extra={"added": ""})

    def spaces(self) -> Spaces:
        return spaces(self.embodiment, self.image_px, self.pictures)

    @property
    def has_words(self) -> bool:
        return self.pairs > 0


@SOURCES.add
class Folder(Spec):
    """Demonstrations on disk."""

    kind = "folder"
    path: str = Field(json_schema_extra={"execution": True})
    """Where they lie."""

    def identity(self) -> dict[str, Any]:
        if not Path(self.path).is_dir():
            raise UsageError("there is no dataset", where=self.path, expected="a folder", remedy="correct the path")
        return {**super().identity(), "content": "0123"}

    def spaces(self) -> Spaces:
        return spaces("panda", 64)


class Settings(Spec):
    """Training without the real menu's many fields."""

    kind = "training"
    updates: int = Field(default=100, ge=1)
    global_batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.95)
    tuning: Literal["full", "frozen-vision"] = Field(default="full", json_schema_extra={"added": "full"})
    cache_vision: bool = Field(default=False, json_schema_extra={"added": False})
    micro_batch: int | None = Field(default=None, json_schema_extra={"execution": True})

    def cache_conflict(self, backbone: Model) -> str | None:
        if not self.cache_vision:
            return None
        if not backbone.caches_features:
            return f"cache_vision: {backbone.kind} cannot go on from features"
        if self.tuning != "frozen-vision":
            return f"cache_vision: tuning {self.tuning} changes the vision tower"
        return None

    def frames(self, history: int) -> int:
        return self.global_batch

    def micro_windows(self, history: int, world_size: int) -> int:
        if self.global_batch % history:
            raise UsageError(
                f"a history of {history} frames does not divide global_batch {self.global_batch}",
                where="training.global_batch",
                expected=f"a multiple of {history}",
            )
        windows = self.global_batch // history
        if windows % world_size:
            raise UsageError(f"{world_size} ranks do not divide {windows} windows per update", remedy="use fewer ranks")
        return windows // world_size


def menus() -> Menus:
    training: Any = Settings
    return Menus(
        backbones=BACKBONES,
        formulations=FORMULATIONS,
        benchmarks=BENCHMARKS,
        sources=SOURCES,
        strategies=STRATEGIES,
        training=training,
    )


BASE = """\
version: 1
name: test
{axes}
evaluation: desk
sources:
  in-domain:
    own: {{kind: drawn}}
  cross-embodiment:
    other: {{kind: drawn, embodiment: stubby}}
"""
GRID = "axes: {backbone: [alpha, beta], formulation: [one-step, policy-head], strategy: [in-domain, post-train]}"


def recipe(
    folder: Path, text: str = "", *, axes: str = GRID, overrides: tuple[str, ...] = (), **selection: Any
) -> Recipe:
    """The test recipe with ``text`` after it, loaded over the small menus."""
    path = folder / "test.yaml"
    path.write_text(BASE.format(axes=axes) + text)
    return load(path, overrides, menus=menus(), **selection)


@dataclass
class Shelf:
    """A store in memory: digest -> manifest."""

    held: dict[str, dict[str, Any]] = field(default_factory=dict)

    def keep(self, *stages: Any, seconds: float = 10.0, host: str | None = None, size: int = 1000) -> None:
        for stage in stages:
            self.held[stage.digest] = {
                "kind": stage.kind,
                "digest": stage.digest,
                "label": stage.label,
                "identity": dict(stage.identity),
                "inputs": dict(stage.inputs),
                "files": {"weights": {"bytes": size}},
                "provenance": {"seconds": seconds, "started": len(self.held), **({"host": host} if host else {})},
            }

    def has(self, digest: str) -> bool:
        return digest in self.held

    def manifests(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [manifest for manifest in self.held.values() if kind in (None, manifest["kind"])]
