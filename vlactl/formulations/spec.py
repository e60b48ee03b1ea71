"""Groups of fields that formulations share: what is seen, how actions are written down, how each kind learns.

A member of the menu (:mod:`vlactl.formulations`) is a combination of these groups.  Imports neither torch nor
transformers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from vlactl.backbones import TINY_ACTION_ROWS, BackboneSpec
from vlactl.registry import Spec
from vlactl.spaces import Spaces

if TYPE_CHECKING:
    from vlactl.actions import FrequencyTokens
    from vlactl.backbones.adapter import Backbone
    from vlactl.formulations.formulation import Formulation


class FormulationSpec(Spec):
    """What is seen, how many actions are predicted, how many are executed, and what their numbers mean."""

    history: int = Field(1, ge=1, le=64)
    """H: frames seen.  The paper uses 8 and 16 for formulations with history; tabletop episodes hold about five."""
    horizon: int = Field(6, ge=1, le=100)
    """L: actions predicted from each frame (paper: 10; 6 learned best on the tabletop world)."""
    execute: int = Field(3, ge=1, le=100)
    """Control steps executed before replanning, and the distance between frames of a history."""
    cameras: Literal["static+wrist", "static"] = "static+wrist"
    """Which pictures are shown: all cameras, or the first one only (the paper's side view)."""
    repeat_current: bool = False
    """Control for history: as many frames and slots, but the present frame in all of them, in training (the stream
    repeats it) as in acting."""
    actions: Literal["step-delta", "chunk-delta", "absolute"] = "step-delta"
    """What the predicted numbers are: each step's own motion, the motion since the chunk's start, or the target pose
    in the world (position and heading; the other rotations count from the chunk's start)."""
    normalization: Literal["quantiles", "fixed"] = "quantiles"
    """What becomes -1 and +1: percentiles 1 and 99 of the training data (RoboVLMs, eq. 5-6), or ``fixed_range``."""
    fixed_range: float = Field(0.65, gt=0, le=1)
    """Actions are clipped at plus and minus this under ``normalization: fixed`` (RoboVLMs' code on CALVIN: 0.65)."""

    needs_decoder_only: ClassVar[bool] = False

    @model_validator(mode="after")
    def _is_consistent(self) -> FormulationSpec:
        if self.execute > self.horizon:
            raise ValueError(
                f"execute ({self.execute}) is more than horizon ({self.horizon}): there would be no action to execute"
            )
        if self.normalization == "fixed" and self.actions != "step-delta":
            raise ValueError(
                f"normalization: fixed is a range of single steps; {self.actions} actions need quantiles"
            )
        if self.repeat_current and self.history == 1:
            raise ValueError("repeat_current is a control for a history; history 1 has nothing to repeat")
        return self

    def conflicts(self, backbone: BackboneSpec) -> str | None:
        """Why this formulation cannot be asked of ``backbone``; None when it can."""
        if self.needs_decoder_only and not backbone.decoder_only:
            return f"{self.kind} puts frames and slots in one causal sequence; {backbone.kind} is not decoder-only"
        return None

    def space_conflict(self, spaces: Spaces) -> str | None:
        """Why this formulation cannot act in ``spaces``; None when it can."""
        cameras = len(spaces.observation.cameras)
        if self.cameras == "static+wrist" and cameras < 2:
            return f"cameras: static+wrist needs two cameras; {spaces.embodiment} has {cameras}: take cameras: static"
        if self.actions == "absolute":
            from vlactl.actions.codec import absolute_conflict

            return absolute_conflict(spaces)
        return None

    def camera_count(self, cameras: int) -> int:
        """How many of an embodiment's ``cameras`` are shown: the first ones."""
        return 1 if self.cameras == "static" else cameras

    def build(
        self,
        backbone: Backbone,
        state_size: int,
        action_size: int,
        seed: int,
        tokens: FrequencyTokens | None = None,
    ) -> Formulation:
        """The trainable part beside the backbone; the caller's random state is left as it was.

        ``tokens`` is the vocabulary of formulations that write frequency tokens.
        """
        from vlactl.formulations.assembly import build

        return build(self, backbone, state_size, action_size, seed, tokens)


class OneFrame(FormulationSpec):
    """Formulations that see the present frame only."""

    @model_validator(mode="after")
    def _sees_one_frame(self) -> OneFrame:
        if self.history != 1:
            raise ValueError(
                f"{self.kind} sees one frame, not history {self.history}; take interleaved-* or policy-head-*"
            )
        return self


class Interleaved(FormulationSpec):
    """The frames of the history stand in one sequence, each with its text and slots (RoboVLMs eq. 12)."""

    needs_decoder_only = True
    history: int = Field(4, ge=1, le=64)
    """H: frames in the sequence (paper: 8 and 16)."""


class ReadsSlot(FormulationSpec):
    """A slot's hidden state, joined by proprioception, goes to a head of its own."""

    state: Literal["none", "token", "head", "both"] = "head"
    """Where proprioception enters: nowhere (as in RoboVLMs' results), in the slot that the backbone reads, at the
    head, or at both."""
    state_width: int = Field(64, ge=4, le=4096)
    """Features that proprioception is turned into at the head."""
    link: Literal["last", "layers"] = "last"
    """Which hidden state of the slot is read: the last layer's, or a learned mean over all layers."""
    head_width: int = Field(256, ge=8, le=8192)
    """Hidden units of the head (RoboVLMs: 1024 for real backbones)."""


class Continuous(ReadsSlot):
    """Regression of normalised actions."""

    loss: Literal["huber", "mse", "l1"] = "huber"
    """Loss of the arm: the paper writes MSE (eq. 7), its code uses Huber (``base_policy.py:137``), OpenVLA-OFT L1."""
    huber_beta: float = Field(0.3, gt=0, allow_inf_nan=False)
    """Error, in normalised units, at which Huber turns from square to linear (measured on the tabletop world)."""
    gripper_weight: float = Field(0.1, ge=0, allow_inf_nan=False)
    """Weight of the gripper's binary cross-entropy (RoboVLMs: ``arm_gripper_loss_ratio`` 0.01; 0.1 on the tabletop)."""
    dct_weight: float = Field(0, ge=0, allow_inf_nan=False)
    """Weight of an additional loss on the chunk's cosine transform (VLANeXt: 0.1): the lowest 12.5 % of the frequencies
    five times, the others not at all."""


class Discrete(FormulationSpec):
    """Classification of each action dimension into bins."""

    bins: int = Field(256, ge=2, le=4096)
    """Equal bins of [-1, 1] for each dimension (RT-2, OpenVLA and RoboVLMs: 256)."""


class Written(FormulationSpec):
    """Actions are tokens of the language model's own vocabulary: reserved rows that no instruction uses."""

    state: Literal["none", "token"] = "token"
    """Where proprioception enters: nowhere, or in the slot before the first action token."""

    @property
    def rows(self) -> int:
        """How many rows of the vocabulary are needed."""
        raise NotImplementedError

    def conflicts(self, backbone: BackboneSpec) -> str | None:
        """As :meth:`FormulationSpec.conflicts`; a tiny vocabulary keeps a limited number of action rows."""
        if backbone.weights == "tiny" and self.rows > TINY_ACTION_ROWS:
            return (
                f"tiny vocabularies keep {TINY_ACTION_ROWS} rows for actions; {self.kind} asks for {self.rows} "
                f"({self._asked})"
            )
        return super().conflicts(backbone)

    @property
    def _asked(self) -> str:
        raise NotImplementedError


class WrittenBins(Written, Discrete):
    """One row for each bin, shared by all dimensions."""

    @property
    def rows(self) -> int:
        return self.bins

    @property
    def _asked(self) -> str:
        return f"bins: {self.bins}"


class WrittenFrequencies(Written):
    """Rows for frequency tokens (FAST), and one for the end."""

    vocabulary: int = Field(256, ge=8, le=65536)
    """Tokens, the end included: integers and the byte-pair merges learned from the source's chunks (FAST: 1024)."""
    frequency_scale: float = Field(10.0, gt=0, le=1000)
    """Integers per unit of a cosine coefficient (FAST: 10); larger loses less and needs more tokens."""

    @model_validator(mode="after")
    def _has_room_for_integers(self) -> WrittenFrequencies:
        integers = 2 * math.ceil(self.frequency_scale * math.sqrt(self.horizon)) + 1
        if self.vocabulary <= integers:
            raise ValueError(
                f"vocabulary {self.vocabulary}: {self.horizon} actions at frequency_scale {self.frequency_scale:g} "
                f"need {integers} integers, an end, and room for merges"
            )
        return self

    @property
    def rows(self) -> int:
        return self.vocabulary

    @property
    def _asked(self) -> str:
        return f"vocabulary: {self.vocabulary}"


class PolicyHead(ReadsSlot):
    """A memory over one feature vector per frame; the backbone sees each frame on its own."""

    history: int = Field(4, ge=1, le=64)
    """H: frames that the memory holds (paper: 8 and 16)."""
    memory: Literal["lstm", "gpt", "mlp"] = "lstm"
    """What remembers: an LSTM (RoboFlamingo, RoboVLMs), a causal transformer, or an MLP over the last H vectors."""
    memory_width: int = Field(256, ge=8, le=8192)
    """Hidden units of the memory (RoboVLMs code: 1024)."""
    memory_layers: int = Field(1, ge=1, le=24)
    """Layers of the memory (RoboVLMs code: 4 of an LSTM, 8 of a GPT)."""
    memory_heads: int = Field(4, ge=1, le=64)
    """Attention heads of ``memory: gpt`` (RoboVLMs code: 8); they divide memory_width."""

    @model_validator(mode="after")
    def _heads_divide(self) -> PolicyHead:
        if self.memory == "gpt" and self.memory_width % self.memory_heads:
            raise ValueError(f"{self.memory_heads} memory_heads do not divide memory_width {self.memory_width}")
        return self


class Expert(FormulationSpec):
    """A transformer of its own writes the chunk out of noise, attending to the backbone's hidden states.

    Layer i of the expert attends to the backbone's layer at the same relative depth (pi0, VLANeXt's per-layer link).
    """

    state: Literal["none", "token", "head", "both"] = "head"
    """Where proprioception enters: nowhere, in the slot that the backbone reads, as a token of the expert, or both."""
    expert_width: int = Field(128, ge=8, le=8192)
    """Width of the expert (pi0: 1024 beside 2048)."""
    expert_layers: int = Field(4, ge=1, le=64)
    """Layers of the expert (pi0: as many as the backbone)."""
    expert_heads: int = Field(4, ge=1, le=64)
    """Attention heads of the expert; they divide expert_width."""
    denoise_steps: int = Field(10, ge=1, le=1000)
    """Steps from noise to actions when acting (pi0: 10)."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Expert:
        if self.expert_width % self.expert_heads:
            raise ValueError(f"{self.expert_heads} expert_heads do not divide expert_width {self.expert_width}")
        return self

    def conflicts(self, backbone: BackboneSpec) -> str | None:
        """As :meth:`FormulationSpec.conflicts`; a history stands in one causal sequence."""
        if self.history > 1 and not backbone.decoder_only:
            return f"{self.kind} with a history puts frames in one causal sequence; {backbone.kind} is not decoder-only"
        return super().conflicts(backbone)
