"""What a recipe says once it is read: trials, axes, what was excluded and why, and how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vlactl.backbones import BackboneSpec
from vlactl.benchmarks import BenchmarkSpec
from vlactl.formats import SourceSpec
from vlactl.formulations import FormulationSpec
from vlactl.identity import identity_of
from vlactl.strategies import StrategySpec
from vlactl.training import TrainingSettings

Cell = tuple[tuple[str, str], ...]
"""Coordinates: ``((axis, name of its value), ...)`` in the order of the axes."""

Positive = Annotated[int, Field(ge=1)]
StageKind = Literal["data", "pretrain", "finetune", "evaluate"]
Reference = Literal["expert", "random", "zero"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One cell with one seed, resolved: everything that its stages need to know."""

    id: str
    """Digest of what the trial is, not of its place in the recipe or of the names that the recipe gives."""
    cell: Cell
    seed: int
    backbone: BackboneSpec
    formulation: FormulationSpec
    strategy: StrategySpec
    training: TrainingSettings
    evaluation: BenchmarkSpec
    sources: Mapping[str, Mapping[str, SourceSpec]]
    """Role (``in-domain``, ``cross-embodiment``, ``vision-language``) -> name -> source; only those that are used."""

    @property
    def slug(self) -> str:
        """``smolvlm/one-step-continuous/in-domain/seed-0``; further axes as ``learning_rate=1e-3``."""
        return f"{cell_slug(self)}/seed-{self.seed}"

    def identity(self) -> dict[str, Any]:
        """All that the result depends on."""
        return {
            "backbone": identity_of(self.backbone),
            "formulation": identity_of(self.formulation),
            "strategy": identity_of(self.strategy),
            "training": identity_of(self.training),
            "evaluation": identity_of(self.evaluation),
            "seed": self.seed,
            "sources": {
                role: {name: identity_of(source) for name, source in named.items()}
                for role, named in self.sources.items()
            },
        }


def cell_slug(trial: Trial) -> str:
    """The trial's slug without its seed: named axes first, then ``leaf=value`` for dotted ones."""
    names = dict(trial.cell)
    first = [
        names.pop("backbone", trial.backbone.kind),
        names.pop("formulation", trial.formulation.kind),
        names.pop("strategy", trial.strategy.kind),
    ]
    leaves = [axis.rsplit(".", 1)[-1] for axis in names]
    rest = [
        f"{leaf if leaves.count(leaf) == 1 else axis}={value}" if "." in axis else value
        for leaf, (axis, value) in zip(leaves, names.items(), strict=True)
    ]
    return "/".join([*first, *rest])


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """A named dimension of the grid."""

    name: str
    values: tuple[str, ...]
    """Names in the order of the recipe, those that only ``include`` brings last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Excluded:
    """A cell of the grid that is not run; every report shows it with its reason."""

    cell: Cell
    because: str
    where: str
    """``file:line:column`` of the rule."""


class RetryBudgets(BaseModel):
    """How often a stage is tried again after its first attempt, by what went wrong; null is without limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    oom: int | None = Field(default=3, ge=0)
    """Out of memory: each time with half the micro-batch; the global batch, and so the result, stays the same."""
    infra: int | None = Field(default=2, ge=0)
    """A lost worker, a full disk, a broken interconnect."""
    preempted: int | None = Field(default=None, ge=0)
    """The machine was taken away; training goes on from its newest checkpoint."""
    timeout: int | None = Field(default=0, ge=0)
    """The stage ran longer than ``timeout_s``."""
    hang: int | None = Field(default=1, ge=0)
    """No heartbeat for ``hang_after_s``."""
    nan: int | None = Field(default=0, ge=0)
    """The loss became infinite: the same seed will do it again."""
    user_error: int | None = Field(default=0, ge=0)
    """A mistake in the recipe or in a plug-in."""


class Execution(BaseModel):
    """How the stages run.  Nothing here changes a result, so nothing here is part of any digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    launcher: Literal["ray", "local"] = "ray"
    """``ray`` gang-schedules every stage; ``local`` runs the same stages as processes of this machine."""
    address: str | None = None
    """Address of an existing Ray cluster; null starts one here (``RAY_ADDRESS`` is honoured)."""
    jobs: Positive | None = None
    """Stages that run at once; null is as many as the cores or GPUs allow."""
    nodes: Positive = 1
    """Nodes of a training stage."""
    ranks: Positive = 1
    """DeepSpeed ranks of a training stage over all its nodes."""
    cpus_per_stage: Annotated[float, Field(gt=0)] = 1.0
    """Cores of a stage, shared evenly by its ranks."""
    gpus_per_stage: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of a training stage, shared evenly by its ranks."""
    gpus_per_evaluation: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of an evaluation; may be a fraction, so that evaluations share one."""
    rollouts_in_parallel: Positive = 8
    """Simulations that one evaluation steps together: their observations are one batch for the policy."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Longest time that one attempt at a stage may take; null is no limit."""
    hang_after_s: Annotated[float, Field(gt=0)] = 300.0
    """A stage without a heartbeat for so long is ended and tried again."""
    grace_s: Annotated[float, Field(ge=0)] = 60.0
    """From asking a stage to save and end to killing it."""
    max_failures: Positive | None = None
    """Start nothing more after so many failed stages; 1 stops at the first."""
    retries: RetryBudgets = Field(default_factory=RetryBudgets)
    """Attempts beyond the first, by class of failure."""
    hint_s: Mapping[StageKind, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Expected seconds of a stage of each kind, for the plan's estimate until the store knows better."""

    @model_validator(mode="after")
    def _ranks_fill_nodes(self) -> Execution:
        if self.ranks % self.nodes:
            raise ValueError(f"ranks ({self.ranks}) must be a multiple of nodes ({self.nodes})")
        if self.gpus_per_stage > 1 and self.gpus_per_stage % self.ranks:
            raise ValueError(f"gpus_per_stage ({self.gpus_per_stage:g}) must be a multiple of ranks ({self.ranks})")
        return self


class ReportSettings(BaseModel):
    """What the table shows when nothing else is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    metric: str = "avg_len"
    """Column by which rows are sorted: avg_len, sr1 .. sr5."""
    by: tuple[str, ...] = ()
    """Axes whose marginal effect is shown; empty is all of them."""
    published: str | None = None
    """Published table that asks the same question (``vlactl list published``); ``report --with published`` shows it."""

    @field_validator("published")
    @classmethod
    def _is_published(cls, name: str | None) -> str | None:
        from vlactl.published import table

        return None if name is None else table(name).id


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One YAML file, understood."""

    name: str
    description: str
    path: str
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    """Breadth first: seed 0 of every cell, then seed 1, ..."""
    excluded: tuple[Excluded, ...]
    references: tuple[str, ...]
    execution: Execution
    report: ReportSettings
    document: Mapping[str, Any]
    """The file's content after ``--set``, as plain data."""
    left_out: int = 0
    """Trials that ``--only``, ``--skip`` and ``--limit`` left out of ``trials``."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of ``trials``, each once, in order."""
        return tuple(dict.fromkeys(trial.cell for trial in self.trials))
