"""How a policy is trained: the settings, and the DeepSpeed configuration that follows.  Imports nothing heavy.

The kitchen: ``loop`` (the one training loop), ``engine`` (DeepSpeed, started quietly and without compiling anything),
``tuning`` (what is trained: frozen parts, LoRA, rates), ``checkpoint`` (resumable state, average weights), ``scaling``
(fp16), ``meter`` (the curve), ``augment`` (images), ``caption`` (a bare backbone learns words).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from vlactl.errors import UsageError
from vlactl.registry import Spec

if TYPE_CHECKING:
    from vlactl.backbones import BackboneSpec

Part = Literal["vision", "connector", "language"]
PARTS: tuple[Part, ...] = ("vision", "connector", "language")
"""A backbone's subtrees, in the order in which a picture passes through them."""
FROZEN: dict[str, tuple[Part, ...]] = {
    "full": (),
    "frozen-vision": ("vision",),
    "connector": ("vision", "language"),
    "frozen": PARTS,
    "lora": PARTS,
}
"""Parts of the backbone whose own weights stay as they are, for every way of tuning."""

EXECUTION: dict[str, JsonValue] = {"execution": True}


class TrainingSettings(Spec):
    """One optimisation: AdamW under a warmed-up schedule.  The defaults teach a tiny policy in about a minute."""

    kind: ClassVar[str] = "training"

    updates: int = Field(default=1600, ge=1)
    """Optimiser updates of a whole trial; a strategy with two phases splits them."""
    global_batch: int = Field(default=16, ge=1)
    """Frames supervised per update, over all ranks; a formulation with history H draws global_batch / H windows."""
    batch_counts: Literal["frames", "windows"] = Field(default="frames", json_schema_extra={"added": "frames"})
    """What global_batch counts: frames, so that an update costs the same in every formulation, or windows as in
    RoboVLMs, where a window of history H is one sample and supervises H frames."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What follows the warmup: half a cosine down to final_rate, or the peak rate to the end (as in RoboVLMs)."""
    warmup_updates: int = Field(default=50, ge=0)
    """Updates over which the learning rate rises linearly; at most a tenth of a phase."""
    final_rate: float = Field(default=0.02, ge=0, le=1)
    """Where the cosine ends, as a share of learning_rate."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's weight decay of matrices; vectors (biases, norms) have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    epsilon: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient of all parameters together; 0 never clips."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number type of the matrix products; weights and moments stay fp32.  ``fp16`` scales the loss, and leaves out
    updates whose gradient overflowed.  Slower than fp32 on most CPUs."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay per update of a running average of the weights, which is saved in their place; null saves the last ones."""
    nan: Literal["fail", "skip"] = "fail"
    """A loss or gradient that is not finite: ends the training, or leaves out that update and counts it."""
    nan_limit: int = Field(default=10, ge=0)
    """With ``nan: skip``, most updates in a row that may be left out; one more ends the training."""
    brightness: float = Field(default=0.15, ge=0, lt=1)
    """Augmentation: each window's images are scaled by 1 ± this, and brightened or darkened by this · 64 of 255."""
    shift_px: int = Field(default=0, ge=0)
    """Augmentation: each window's images are moved by up to this many pixels, edges repeated."""
    tuning: Literal["full", "frozen-vision", "connector", "frozen", "lora"] = "full"
    """What is trained of the backbone: everything, all but the vision tower, the connector only, nothing, or low-rank
    adapters (LoRA), merged into the weights at the end.  Slots and heads are always trained."""
    lora_rank: int = Field(default=32, ge=1)
    """Rank of an adapter (32, as OpenVLA's vla-scripts/finetune.py)."""
    lora_alpha: float = Field(default=16.0, gt=0)
    """An adapter's output counts lora_alpha / lora_rank (16, as OpenVLA's vla-scripts/finetune.py)."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are dropped in training."""
    lora_parts: tuple[Part, ...] = Field(default=PARTS, min_length=1)
    """Parts of the backbone whose linear layers (attention and feed-forward) get adapters."""
    rates: dict[Part, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Multipliers of the learning rate for parts of the backbone, for example ``{vision: 0.1}``; others are 1."""
    cache_vision: bool = False
    """Compute a frozen vision tower's features once per dataset and train on these; needs pictures without
    augmentation."""

    micro_batch: int | None = Field(default=None, ge=1, json_schema_extra=EXECUTION)
    """Most frames in one forward pass per rank; null takes all at once.  Halved when memory runs out."""
    zero_stage: Literal[0, 1, 2, 3] = Field(default=0, json_schema_extra=EXECUTION)
    """What DeepSpeed shards over ranks: 1 optimiser state, 2 and gradients, 3 and weights."""
    offload: Literal["none", "optimizer", "parameters"] = Field(default="none", json_schema_extra=EXECUTION)
    """What waits in the host's memory instead of the accelerator's: the optimiser's state (zero_stage 1 to 3), or the
    weights too (zero_stage 3)."""
    checkpoint_every_s: float = Field(default=60.0, gt=0, json_schema_extra=EXECUTION)
    """Seconds between resumable checkpoints."""
    log_every: int = Field(default=20, ge=1, json_schema_extra=EXECUTION)
    """Updates per row of the loss curve."""
    prefetch: int = Field(default=2, ge=0, json_schema_extra=EXECUTION)
    """Batches that a thread prepares ahead while an accelerator computes; on a CPU the loop prepares them itself."""

    @model_validator(mode="after")
    def _betas_are_rates(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} are not in [0, 1)")
        return self

    @model_validator(mode="after")
    def _offload_has_shards(self) -> Self:
        least = {"none": 0, "optimizer": 1, "parameters": 3}[self.offload]
        if self.zero_stage < least:
            raise ValueError(f"offload {self.offload} needs zero_stage {least}{' or more' if least < 3 else ''}, "
                             f"not {self.zero_stage}")
        return self

    @property
    def frozen(self) -> tuple[Part, ...]:
        """Parts of the backbone whose own weights stay as they are."""
        return FROZEN[self.tuning]

    def cache_conflict(self, backbone: BackboneSpec) -> str | None:
        """Why ``cache_vision`` cannot be had with these settings and this backbone; None when it can."""
        if not self.cache_vision:
            return None
        if not backbone.caches_features:
            return f"cache_vision: {backbone.kind} cannot go on from features of its pictures"
        if "vision" not in self.frozen or (self.tuning == "lora" and "vision" in self.lora_parts):
            return f"cache_vision: tuning {self.tuning} changes the vision tower, so that its features do not stay"
        if self.brightness or self.shift_px:
            return "cache_vision: features are of pictures as they were recorded; set brightness and shift_px to 0"
        return None

    def windows(self, history: int) -> int:
        """Windows per update, over all ranks; :class:`UsageError` where the history does not divide the batch."""
        if self.batch_counts == "windows":
            return self.global_batch
        if self.global_batch % history:
            raise UsageError(f"a history of {history} frames does not divide global_batch {self.global_batch}",
                             where="training.global_batch", expected=f"a multiple of {history}")
        return self.global_batch // history

    def frames(self, history: int) -> int:
        """Frames supervised per update, over all ranks."""
        return self.global_batch * (history if self.batch_counts == "windows" else 1)

    def micro_windows(self, history: int, world_size: int, windows: int | None = None) -> int:
        """Windows in one forward pass: the largest divisor of a rank's windows that micro_batch allows, at least 1.

        ``windows`` per update over all ranks; None for global_batch / history, which a stream that mixes in other
        batches does not reach.

        Raises:
            UsageError: the ranks do not divide the windows.
        """
        windows = self.windows(history) if windows is None else windows
        if windows % world_size:
            raise UsageError(f"{world_size} ranks do not divide {windows} windows per update (global_batch "
                             f"{self.global_batch}, history {history})", where="training.global_batch",
                             expected=f"a multiple of {history * world_size}", remedy="use fewer ranks")
        each = windows // world_size
        limit = each if self.micro_batch is None else max(1, self.micro_batch // history)
        return next(size for size in range(min(limit, each), 0, -1) if each % size == 0)

    def divided(self, divisor: int, world_size: int) -> TrainingSettings:
        """The same training with micro-batches ``divisor`` times smaller, for another attempt when memory ran out."""
        each = self.global_batch // world_size
        if self.batch_counts == "windows":  # of unknown history: rather too small than out of memory once more
            largest = self.micro_batch or each
        else:
            largest = each if self.micro_batch is None else min(self.micro_batch, each)
        return self.model_copy(update={"micro_batch": max(1, largest // divisor)}) if divisor > 1 else self

    def rate(self, update: int, updates: int) -> float:
        """The learning rate of update number ``update`` (from 0) of a phase of ``updates``."""
        import math
        warmup = min(self.warmup_updates, updates // 10)
        if update < warmup:
            return self.learning_rate * (update + 1) / warmup
        if self.schedule == "constant":
            return self.learning_rate
        done = (update - warmup) / max(1, updates - warmup)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * done)))


BUCKET = 50_000_000
"""Numbers that ZeRO reduces or gathers at a time: 200 MB in float32.  DeepSpeed's own 500 million hold 2 GB of every
accelerator, as much as the gradients of 0.5 B parameters."""


def deepspeed_config(settings: TrainingSettings, *, world_size: int, windows: int,
                     micro_windows: int) -> dict[str, Any]:
    """DeepSpeed's configuration; ``windows`` per update over all ranks, ``micro_windows`` per rank and forward pass.

    fp16 is not in it: DeepSpeed 0.19 would hold fp16 weights, or, with its torch_autocast, clip gradients that are
    still scaled and never lower the scale after an overflow.  :mod:`vlactl.training.scaling` does it for all stages.
    """
    zero: dict[str, Any] = {"stage": settings.zero_stage, "reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}
    if settings.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if settings.offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    config: dict[str, Any] = {
        "train_batch_size": windows,
        "train_micro_batch_size_per_gpu": micro_windows,
        "gradient_accumulation_steps": windows // (world_size * micro_windows),
        # At ZeRO 0 the loop clips by itself: DeepSpeed's own clipping goes through the parameters one by one there, and
        # it does not tell the norm.
        "gradient_clipping": settings.clip_norm if settings.zero_stage else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,   # torch's AdamW: DeepSpeed's own wants a compiler
        "zero_force_ds_cpu_optimizer": False,    # and so it is with offload
        "steps_per_print": None,
        "wall_clock_breakdown": False,
    }
    if settings.precision == "bf16":
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return config
