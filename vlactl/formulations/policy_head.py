"""One slot per frame, every frame on its own, and an LSTM over the slots' hidden states (RoboFlamingo, RoboVLMs).

An episode's memory holds one feature vector per frame, so replanning costs one backbone pass whatever the history.

Axis letters: see :mod:`vlactl.formulations.formulation`; R real frames of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vlactl.actions import Bins
from vlactl.backbones.adapter import Backbone
from vlactl.formulations import PolicyHeadContinuous, PolicyHeadDiscrete
from vlactl.formulations.formulation import Formulation, Frames, Memory, SpecT, stacked
from vlactl.formulations.heads import BinHead, ContinuousHead, Joined, Slots, bins_loss, continuous_loss, dtype_of

if TYPE_CHECKING:
    from vlactl.windows import Batch


class RecurrentFormulation(Formulation[SpecT]):
    """What both policy heads share: features of single frames, and the LSTM over them."""

    def __init__(self, spec: SpecT, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__(spec, backbone, state_size, action_size)
        assert isinstance(spec, PolicyHeadContinuous | PolicyHeadDiscrete)
        self.slots = Slots(1, backbone)
        self.joined = Joined(backbone.width, state_size, state=spec.state, state_width=spec.state_width)
        self.norm = nn.LayerNorm(self.joined.width)
        self.lstm = nn.LSTM(self.joined.width, spec.lstm_width, spec.lstm_layers, batch_first=True)

    def _features(self, backbone: Backbone, images_RKYXC: Tensor, states_RS: Tensor, texts: Sequence[str]) -> Tensor:
        """(R, features): one backbone row per frame."""
        hidden_R11D = backbone(backbone.embed(images_RKYXC[:, None], texts), self.slots(len(texts), 1))
        return self.joined(hidden_R11D[:, 0, 0], states_RS)

    def _recur(self, features_BHD: Tensor) -> Tensor:
        return self.lstm(self.norm(features_BHD.to(dtype_of(self.norm))))[0]

    def _window(self, backbone: Backbone, batch: Batch) -> Tensor:
        """(B, H, lstm width).  Padded frames come last and reach no real one, so they are not even encoded."""
        real_BH = batch.mask_BHL.any(-1)
        texts = [text for text, count in zip(batch.texts, real_BH.sum(1).tolist(), strict=True) for _ in range(count)]
        features = self._features(backbone, batch.images_BHKYXC[real_BH], batch.states_BHS[real_BH], texts)
        spread = features.new_zeros(*real_BH.shape, features.shape[-1])
        spread[real_BH] = features
        return self._recur(spread)

    def remember(self, backbone: Backbone, frames: Frames) -> list[Memory]:
        return [(feature,) for feature in self._features(backbone, frames.images_BKYXC, frames.states_BS, frames.texts)]

    def _present(self, memories: Sequence[Sequence[Memory]]) -> Tensor:
        """(B, 1, lstm width) at the last real frame of each memory."""
        (features_BHD,), last_B = stacked([memory[-self.spec.history :] for memory in memories])
        return self._recur(features_BHD)[torch.arange(len(last_B), device=last_B.device), last_B, None]


class PolicyHeadContinuousFormulation(RecurrentFormulation[PolicyHeadContinuous]):
    """An MLP turns the LSTM's state into L actions."""

    def __init__(self, spec: PolicyHeadContinuous, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__(spec, backbone, state_size, action_size)
        self.head = ContinuousHead(spec.lstm_width, spec.head_width, spec.horizon, action_size)

    def loss(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return continuous_loss(self.spec, self.head(self._window(backbone, batch)), batch.actions_BHLA, batch.mask_BHL)

    def predict(
        self, backbone: Backbone, memories: Sequence[Sequence[Memory]], texts: Sequence[str], count: int
    ) -> Tensor:
        return self.head(self._present(memories))[:, 0, :count]


class PolicyHeadDiscreteFormulation(RecurrentFormulation[PolicyHeadDiscrete]):
    """The LSTM's state becomes a distribution over bins for each step and dimension, all at once."""

    def __init__(self, spec: PolicyHeadDiscrete, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__(spec, backbone, state_size, action_size)
        self.bins = Bins(spec.bins)
        self.head = BinHead(spec.lstm_width, spec.head_width, spec.horizon, action_size, spec.bins)

    def loss(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return bins_loss(self.bins, self.head(self._window(backbone, batch)), batch.actions_BHLA, batch.mask_BHL)

    def predict(
        self, backbone: Backbone, memories: Sequence[Sequence[Memory]], texts: Sequence[str], count: int
    ) -> Tensor:
        return self.bins.decode(self.head(self._present(memories))[:, 0, :count].argmax(-1))
