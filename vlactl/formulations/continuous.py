"""One slot per frame in the backbone's sequence and an MLP on its hidden state: one-step and interleaved.

Axis letters: see :mod:`vlactl.formulations.formulation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vlactl.backbones.adapter import Backbone
from vlactl.formulations import Continuous, InterleavedContinuous, OneStepContinuous
from vlactl.formulations.formulation import Formulation, Memory, SpecT, stacked
from vlactl.formulations.heads import ContinuousHead, Joined, Slots, continuous_loss

if TYPE_CHECKING:
    from vlactl.windows import Batch


class SequenceRegression(Formulation[SpecT]):
    """All H frames in one sequence; every frame's slot predicts the L actions from its frame on."""

    def __init__(self, spec: SpecT, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__(spec, backbone, state_size, action_size)
        assert isinstance(spec, Continuous)
        self.slots = Slots(1, backbone)
        self.joined = Joined(backbone.width, state_size, state=spec.state, state_width=spec.state_width)
        self.head = ContinuousHead(self.joined.width, spec.head_width, spec.horizon, action_size)

    def _actions(self, backbone: Backbone, images_BHKYXC: Tensor, states_BHS: Tensor, texts: Sequence[str]) -> Tensor:
        hidden_BHSD = backbone(backbone.embed(images_BHKYXC, texts), self.slots(*images_BHKYXC.shape[:2]))
        return self.head(self.joined(hidden_BHSD[:, :, 0], states_BHS))

    def loss(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        predicted = self._actions(backbone, batch.images_BHKYXC, batch.states_BHS, batch.texts)
        assert isinstance(self.spec, Continuous)
        return continuous_loss(self.spec, predicted, batch.actions_BHLA, batch.mask_BHL)

    def predict(
        self, backbone: Backbone, memories: Sequence[Sequence[Memory]], texts: Sequence[str], count: int
    ) -> Tensor:
        (images_BHKYXC, states_BHS), last_B = stacked([memory[-self.spec.history :] for memory in memories])
        actions_BHLA = self._actions(backbone, images_BHKYXC, states_BHS, texts)
        return actions_BHLA[torch.arange(len(texts), device=last_B.device), last_B, :count]


class OneStepContinuousFormulation(SequenceRegression[OneStepContinuous]):
    """A sequence of one frame."""


class InterleavedContinuousFormulation(SequenceRegression[InterleavedContinuous]):
    """A sequence of H frames; the text is repeated in each block, as RoboVLMs does."""
