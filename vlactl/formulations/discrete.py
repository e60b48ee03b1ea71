"""L x A action tokens, written one after another by the language model: RT-2's formulation.

The tokens are reserved rows of the model's own vocabulary, one per bin, shared by all dimensions, in the order step by
step, dimension by dimension.  Slot 0 is a learnable token that carries proprioception; slot i is the embedding of token
i-1.  Slots are causal, so training feeds the right tokens (teacher forcing) and decoding its own.

Axis letters: see :mod:`vlactl.formulations.formulation`; T action tokens (L x A).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vlactl.actions import Bins
from vlactl.backbones.adapter import Backbone
from vlactl.formulations import OneStepDiscrete
from vlactl.formulations.formulation import Formulation, Memory, stacked
from vlactl.formulations.heads import Slots, StateEncoder, bins_loss

if TYPE_CHECKING:
    from vlactl.windows import Batch


class OneStepDiscreteFormulation(Formulation[OneStepDiscrete]):
    """Scores are taken over the action rows only: no other row can ever be an action."""

    def __init__(self, spec: OneStepDiscrete, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__(spec, backbone, state_size, action_size)
        self.bins = Bins(spec.bins)
        self.rows = backbone.action_rows(spec.bins)
        self.slots = Slots(1, backbone)
        with_state = spec.state == "token" and state_size
        self.encoder = StateEncoder(state_size, backbone.width) if with_state else None

    def _first(self, states_BHS: Tensor) -> Tensor:
        """(B, 1, 1, D): the slot that the first action token is read from."""
        first = self.slots(len(states_BHS), 1)
        return first if self.encoder is None else first + self.encoder(states_BHS)[:, :, None]

    def loss(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = backbone.embed(batch.images_BHKYXC, batch.texts)
        right_BT = self.bins.encode(batch.actions_BHLA[:, 0]).flatten(1)
        first_B11D = self._first(batch.states_BHS)
        earlier_B1TD = backbone.embed_rows(self.rows, right_BT[:, :-1])[:, None].to(first_B11D.dtype)
        hidden_B1TD = backbone(tokens, torch.cat([first_B11D, earlier_B1TD], 2))
        scores = backbone.logits(hidden_B1TD, self.rows).unflatten(2, batch.actions_BHLA.shape[2:])
        return bins_loss(self.bins, scores, batch.actions_BHLA, batch.mask_BHL)

    def predict(
        self, backbone: Backbone, memories: Sequence[Sequence[Memory]], texts: Sequence[str], count: int
    ) -> Tensor:
        (images_BHKYXC, states_BHS), _ = stacked([memory[-1:] for memory in memories])
        tokens = backbone.embed(images_BHKYXC, texts)
        choices_BT = backbone.decode(tokens, self._first(states_BHS)[:, 0], self.rows, count * self.action_size)
        return self.bins.decode(choices_BT).unflatten(1, (count, self.action_size))
