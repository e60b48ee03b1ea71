"""Menu of formulations: how actions are asked of a backbone.  Imports neither torch nor transformers.

The names are those of RoboVLMs (arXiv 2412.14058, section II): where history enters (one-step, interleaved,
policy-head) times how actions leave (continuous, discrete).  ``slots`` are learnable input tokens after the text, the
paper's [LRN]; a formulation reads the backbone's hidden states there.

A frame is what a policy sees when it plans; frames of a history lie ``execute`` control steps apart, in training as in
rollouts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from vlactl.backbones import TINY_ACTION_ROWS, BackboneSpec
from vlactl.registry import Registry, Spec

if TYPE_CHECKING:
    from vlactl.backbones.adapter import Backbone
    from vlactl.formulations.formulation import Formulation


class FormulationSpec(Spec):
    """How many frames are seen, how many actions are predicted and how many of them are executed."""

    history: int = Field(1, ge=1, le=64)
    """H: frames seen.  The paper uses 8 and 16 for formulations with history; tabletop episodes hold about five."""
    horizon: int = Field(6, ge=1, le=100)
    """L: actions predicted from each frame (paper: 10; 6 learned best on the tabletop world)."""
    execute: int = Field(3, ge=1, le=100)
    """Control steps executed before replanning, and the distance between frames of a history."""

    needs_decoder_only: ClassVar[bool] = False

    @model_validator(mode="after")
    def _executes_what_it_predicts(self) -> FormulationSpec:
        if self.execute > self.horizon:
            raise ValueError(
                f"execute ({self.execute}) is more than horizon ({self.horizon}): there would be no action to execute"
            )
        return self

    def conflicts(self, backbone: BackboneSpec) -> str | None:
        """Why this formulation cannot be asked of ``backbone``; None when it can."""
        if self.needs_decoder_only and not backbone.decoder_only:
            return f"{self.kind} puts frames and slots in one causal sequence; {backbone.kind} is not decoder-only"
        return None

    def build(self, backbone: Backbone, state_size: int, action_size: int, seed: int) -> Formulation:
        """The trainable part beside the backbone; the caller's random state is left as it was."""
        raise NotImplementedError


class OneFrame(FormulationSpec):
    """Formulations that see the present frame only."""

    @model_validator(mode="after")
    def _sees_one_frame(self) -> OneFrame:
        if self.history != 1:
            raise ValueError(
                f"{self.kind} sees one frame, not history {self.history}; take interleaved-* or policy-head-*"
            )
        return self


class Continuous(FormulationSpec):
    """Regression of normalised actions."""

    loss: Literal["huber", "mse"] = "huber"
    """Loss of the arm: the paper writes MSE (eq. 7), its code uses Huber (``base_policy.py:137``)."""
    huber_beta: float = Field(0.3, gt=0, allow_inf_nan=False)
    """Error, in normalised units, at which Huber turns from square to linear (measured on the tabletop world)."""
    gripper_weight: float = Field(0.1, ge=0, allow_inf_nan=False)
    """Weight of the gripper's binary cross-entropy (RoboVLMs: ``arm_gripper_loss_ratio`` 0.01; 0.1 on the tabletop)."""
    head_width: int = Field(256, ge=8, le=8192)
    """Hidden units of the head (RoboVLMs: 1024 for real backbones)."""
    state: Literal["head", "none"] = "head"
    """Where proprioception enters: an MLP joined to the head's input, or nowhere (as in RoboVLMs' results)."""
    state_width: int = Field(64, ge=4, le=4096)
    """Features that proprioception is turned into."""


class Discrete(FormulationSpec):
    """Classification of each action dimension into bins."""

    bins: int = Field(256, ge=2, le=4096)
    """Equal bins of [-1, 1] for each dimension (RT-2, OpenVLA and RoboVLMs: 256)."""


class PolicyHead(FormulationSpec):
    """An LSTM over one feature vector per frame."""

    history: int = Field(4, ge=1, le=64)
    """H: frames that the LSTM runs over (paper: 8 and 16)."""
    lstm_width: int = Field(256, ge=8, le=8192)
    """Hidden units of the LSTM (RoboVLMs code: 1024)."""
    lstm_layers: int = Field(1, ge=1, le=8)
    """Layers of the LSTM (RoboVLMs code: 4)."""


FORMULATIONS: Registry[FormulationSpec] = Registry("formulations", "formulation")


@FORMULATIONS.add
class OneStepContinuous(OneFrame, Continuous):
    """One slot after the present frame; an MLP turns its hidden state into L actions (paper eq. 10)."""

    kind = "one-step-continuous"

    def build(self, backbone: Backbone, state_size: int, action_size: int, seed: int) -> Formulation:
        from vlactl.formulations.continuous import OneStepContinuousFormulation

        return OneStepContinuousFormulation.build(self, backbone, state_size, action_size, seed)


@FORMULATIONS.add
class OneStepDiscrete(OneFrame, Discrete):
    """L x A action tokens written one after another by the language model itself (RT-2; paper eq. 11)."""

    kind = "one-step-discrete"
    state: Literal["token", "none"] = "token"
    """Where proprioception enters: in the slot before the first action token, or nowhere."""

    def conflicts(self, backbone: BackboneSpec) -> str | None:
        """As :meth:`FormulationSpec.conflicts`; a tiny vocabulary keeps a limited number of action rows."""
        if backbone.weights == "tiny" and self.bins > TINY_ACTION_ROWS:
            return f"tiny vocabularies keep {TINY_ACTION_ROWS} rows for actions; {self.kind} asks for bins: {self.bins}"
        return super().conflicts(backbone)

    def build(self, backbone: Backbone, state_size: int, action_size: int, seed: int) -> Formulation:
        from vlactl.formulations.discrete import OneStepDiscreteFormulation

        return OneStepDiscreteFormulation.build(self, backbone, state_size, action_size, seed)


@FORMULATIONS.add
class InterleavedContinuous(Continuous):
    """Frames, text and slots of the whole history in one sequence; the backbone does the remembering (paper eq. 12)."""

    kind = "interleaved-continuous"
    needs_decoder_only = True
    history: int = Field(4, ge=1, le=64)
    """H: frames in the sequence (paper: 8 and 16)."""

    def build(self, backbone: Backbone, state_size: int, action_size: int, seed: int) -> Formulation:
        from vlactl.formulations.continuous import InterleavedContinuousFormulation

        return InterleavedContinuousFormulation.build(self, backbone, state_size, action_size, seed)


@FORMULATIONS.add
class PolicyHeadContinuous(PolicyHead, Continuous):
    """One slot per frame, each frame on its own; an LSTM over the slots' hidden states predicts (paper eq. 13-14)."""

    kind = "policy-head-continuous"

    def build(self, backbone: Backbone, state_size: int, action_size: int, seed: int) -> Formulation:
        from vlactl.formulations.policy_head import PolicyHeadContinuousFormulation

        return PolicyHeadContinuousFormulation.build(self, backbone, state_size, action_size, seed)


@FORMULATIONS.add
class PolicyHeadDiscrete(PolicyHead, Discrete):
    """As policy-head-continuous, with a distribution over bins for each dimension; a cell the paper leaves empty."""

    kind = "policy-head-discrete"
    state: Literal["head", "none"] = "head"
    """Where proprioception enters: an MLP joined to the LSTM's input, or nowhere."""
    state_width: int = Field(64, ge=4, le=4096)
    """Features that proprioception is turned into."""
    head_width: int = Field(256, ge=8, le=8192)
    """Hidden units between the LSTM and the bins."""

    def build(self, backbone: Backbone, state_size: int, action_size: int, seed: int) -> Formulation:
        from vlactl.formulations.policy_head import PolicyHeadDiscreteFormulation

        return PolicyHeadDiscreteFormulation.build(self, backbone, state_size, action_size, seed)
