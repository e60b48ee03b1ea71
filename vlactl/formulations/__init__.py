"""Menu of formulations: how actions are asked of a backbone.  Imports neither torch nor transformers.

The names are those of RoboVLMs (arXiv 2412.14058, section II): where history enters (one-step, interleaved,
policy-head) times how actions leave (continuous, discrete), and the ways out that were found since: frequency tokens
(FAST), flow matching and diffusion.  ``slots`` are learnable input tokens after the text, the paper's [LRN]; a
formulation reads the backbone's hidden states there.

A frame is what a policy sees when it plans; frames of a history lie ``execute`` control steps apart, in training as in
rollouts.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vlactl.formulations.spec import (
    Continuous,
    Discrete,
    Expert,
    FormulationSpec,
    Interleaved,
    OneFrame,
    PolicyHead,
    ReadsSlot,
    Written,
    WrittenBins,
    WrittenFrequencies,
)
from vlactl.registry import Registry

__all__ = [
    "FORMULATIONS",
    "Continuous",
    "Discrete",
    "Expert",
    "FormulationSpec",
    "Interleaved",
    "OneFrame",
    "PolicyHead",
    "ReadsSlot",
    "Written",
    "WrittenBins",
    "WrittenFrequencies",
]

FORMULATIONS: Registry[FormulationSpec] = Registry("formulations", "formulation")


@FORMULATIONS.add
class OneStepContinuous(OneFrame, Continuous):
    """One slot after the present frame; an MLP turns its hidden state into L actions (paper eq. 10)."""

    kind = "one-step-continuous"


@FORMULATIONS.add
class OneStepDiscrete(OneFrame, WrittenBins):
    """L x A action tokens written by the language model itself, a bin for each dimension (RT-2; paper eq. 11)."""

    kind = "one-step-discrete"
    decoding: Literal["one-by-one", "parallel"] = "one-by-one"
    """Whether each token sees those before it (RT-2, OpenVLA), or all are read at once from slots of their own
    (OpenVLA-OFT)."""


@FORMULATIONS.add
class OneStepFast(OneFrame, WrittenFrequencies):
    """The chunk's cosine coefficients as merged tokens, as many as the motion needs, one after another (FAST)."""

    kind = "one-step-fast"


@FORMULATIONS.add
class InterleavedContinuous(Interleaved, Continuous):
    """Frames, text and slots of the whole history in one sequence; the backbone does the remembering (paper eq. 12)."""

    kind = "interleaved-continuous"


@FORMULATIONS.add
class InterleavedDiscrete(Interleaved, WrittenBins):
    """As interleaved-continuous, with L x A slots per frame that are read as bins; a cell the paper leaves empty.

    All tokens of a frame are read at once.  If true actions stood in the sequence, a frame could copy its own from the
    chunk before it, because chunks overlap.
    """

    kind = "interleaved-discrete"


@FORMULATIONS.add
class PolicyHeadContinuous(PolicyHead, Continuous):
    """One slot per frame, each frame on its own; a memory over the slots' hidden states predicts (paper eq. 13-14)."""

    kind = "policy-head-continuous"


@FORMULATIONS.add
class PolicyHeadDiscrete(PolicyHead, Discrete):
    """As policy-head-continuous, with a distribution over bins for each dimension; a cell the paper leaves empty."""

    kind = "policy-head-discrete"


@FORMULATIONS.add
class FlowMatching(Expert):
    """An expert beside the backbone learns the velocity from noise to actions along straight lines (pi0)."""

    kind = "flow-matching"
    time_sampling: Literal["uniform", "beta"] = "beta"
    """Which moments between noise and actions are trained: all alike, or mostly noisy ones (pi0: Beta(1.5, 1))."""


@FORMULATIONS.add
class Diffusion(Expert):
    """An expert beside the backbone takes away noise step by step; DDIM needs few steps (Diffusion Policy, VLANeXt)."""

    kind = "diffusion"
    train_steps: int = Field(100, ge=2, le=1000)
    """Noise levels of training, on a cosine schedule (Diffusion Policy: 100)."""
    predict: Literal["epsilon", "sample"] = "epsilon"
    """What the expert predicts: the noise, or the actions without it."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Diffusion:
        if self.denoise_steps > self.train_steps:
            raise ValueError(f"denoise_steps {self.denoise_steps} are more than train_steps {self.train_steps}")
        return self
