"""Actions as tokens of the language model's own vocabulary: bins one by one, bins at once, frequency tokens.

The tokens are reserved rows that no instruction uses; scores are taken over these rows only, so that no other row can
ever be an action.  Written one by one, slot 0 is a learnable token that may carry proprioception and slot i the
embedding of token i-1: slots are causal, so training feeds the right tokens (teacher forcing) and decoding its own.
Read at once, every token has a learnable slot of its own.

Axis letters: see :mod:`vlactl.formulations.formulation`; T action tokens, R rows of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vlactl.actions import Bins, FrequencyTokens
from vlactl.backbones.adapter import Backbone
from vlactl.formulations import InterleavedDiscrete, OneStepDiscrete, OneStepFast, Written
from vlactl.formulations.formulation import Formulation, Memory, Parts, at_last, held, stacked
from vlactl.formulations.heads import Slots
from vlactl.formulations.losses import bins_errors

if TYPE_CHECKING:
    from vlactl.windows import Batch

WrittenT = TypeVar("WrittenT", bound=Written)


class WrittenActions(Formulation[WrittenT]):
    """What all three share: the rows, and slots."""

    def __init__(
        self, spec: WrittenT, backbone: Backbone, state_size: int, action_size: int, *, rows: int, slots: int
    ) -> None:
        super().__init__(spec, action_size)
        self.rows = backbone.action_rows(rows)
        self.slots = Slots(slots, backbone, state_size, spec.state)

    def _teach(self, backbone: Backbone, batch: Batch, right_BT: Tensor) -> Tensor:
        """Scores (B, T, R) of the tokens ``right``, each after those before it."""
        tokens = backbone.embed(batch.images_BHKYXC, batch.texts, batch.features_BHKPD)
        first_B11D = self.slots(batch.states_BHS)
        earlier_B1TD = backbone.embed_rows(self.rows, right_BT[:, :-1])[:, None].to(first_B11D.dtype)
        hidden = backbone(tokens, torch.cat([first_B11D, earlier_B1TD], 2))
        return backbone.logits(hidden.slots_BHSD, self.rows)[:, 0]

    def _write(
        self,
        backbone: Backbone,
        memories: Sequence[Sequence[Memory]],
        texts: Sequence[str],
        count: int,
        stop: int | None = None,
    ) -> Tensor:
        """(B, at most count): the tokens that follow the last frame of each memory."""
        (images_BHKYXC, states_BHS), _ = stacked([memory[-1:] for memory in memories])
        tokens = backbone.embed(images_BHKYXC, texts)
        return backbone.decode(tokens, self.slots(states_BHS)[:, 0], self.rows, count, stop=stop)


class BinsOneByOne(WrittenActions[OneStepDiscrete]):
    """L x A tokens, step by step and dimension by dimension: RT-2's formulation."""

    def __init__(self, spec: OneStepDiscrete, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__(spec, backbone, state_size, action_size, rows=spec.bins, slots=1)
        self.bins = Bins(spec.bins)

    def errors(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, Parts]:
        right_BT = self.bins.encode(batch.actions_BHLA[:, 0]).flatten(1)
        scores = self._teach(backbone, batch, right_BT)[:, None].unflatten(2, batch.actions_BHLA.shape[2:])
        return bins_errors(self.bins, scores, batch.actions_BHLA, batch.mask_BHL)

    def predict(
        self,
        backbone: Backbone,
        memories: Sequence[Sequence[Memory]],
        texts: Sequence[str],
        count: int,
        noise: Sequence[torch.Generator] = (),
    ) -> Tensor:
        choices_BT = self._write(backbone, memories, texts, count * self.action_size)
        return self.bins.decode(choices_BT).unflatten(1, (count, self.action_size))


class BinsAtOnce(WrittenActions[OneStepDiscrete | InterleavedDiscrete]):
    """L x A slots per frame, each read as a bin; H frames in one sequence."""

    def __init__(
        self, spec: OneStepDiscrete | InterleavedDiscrete, backbone: Backbone, state_size: int, action_size: int
    ) -> None:
        slots = spec.horizon * action_size
        super().__init__(spec, backbone, state_size, action_size, rows=spec.bins, slots=slots)
        self.bins = Bins(spec.bins)

    def _scores(self, backbone: Backbone, hidden_BTD: Tensor) -> Tensor:
        """(..., L, A, R)"""
        return backbone.logits(hidden_BTD, self.rows).unflatten(-2, (self.spec.horizon, self.action_size))

    def errors(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, Parts]:
        tokens = backbone.embed(batch.images_BHKYXC, batch.texts, batch.features_BHKPD)
        hidden = backbone(tokens, self.slots(batch.states_BHS))
        return bins_errors(
            self.bins, self._scores(backbone, hidden.slots_BHSD), batch.actions_BHLA, batch.mask_BHL
        )

    def predict(
        self,
        backbone: Backbone,
        memories: Sequence[Sequence[Memory]],
        texts: Sequence[str],
        count: int,
        noise: Sequence[torch.Generator] = (),
    ) -> Tensor:
        (images_BHKYXC, states_BHS), last_B = stacked([memory[-self.spec.history :] for memory in memories])
        hidden = backbone(backbone.embed(images_BHKYXC, texts), self.slots(states_BHS))
        scores_BLAR = self._scores(backbone, at_last(hidden.slots_BHSD, last_B))
        return self.bins.decode(scores_BLAR[:, :count].argmax(-1))


class Frequencies(WrittenActions[OneStepFast]):
    """As many frequency tokens as the chunk needs, then an end."""

    def __init__(
        self,
        spec: OneStepFast,
        backbone: Backbone,
        state_size: int,
        action_size: int,
        tokens: FrequencyTokens,
    ) -> None:
        super().__init__(spec, backbone, state_size, action_size, rows=tokens.size + 1, slots=1)
        self.tokens = tokens

    @property
    def end(self) -> int:
        """The row, among the formulation's own, that ends a chunk."""
        return self.tokens.size

    def errors(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, Parts]:
        """The mean cross-entropy of a chunk's tokens is what each of its steps costs."""
        chunks_BLA = held(batch.actions_BHLA, batch.mask_BHL)[:, 0]
        words = [[*each, self.end] for each in self.tokens.encode(chunks_BLA.cpu().numpy())]
        longest = max(len(each) for each in words)
        device = batch.actions_BHLA.device
        right_BT = torch.tensor([each + [self.end] * (longest - len(each)) for each in words], device=device)
        length_B = torch.tensor([len(each) for each in words], device=device)
        counts_BT = torch.arange(longest, device=device) < length_B[:, None]
        scores_BTR = self._teach(backbone, batch, right_BT).float()
        each_BT = F.cross_entropy(scores_BTR.flatten(0, 1), right_BT.flatten(), reduction="none").view_as(right_BT)
        row_B = (each_BT * counts_BT).sum(1) / length_B
        right = (scores_BTR.detach().argmax(-1) == right_BT).float()
        steps_B = batch.mask_BHL.sum((1, 2)).float()
        accuracy_B = (right * counts_BT).sum(1) / length_B
        mean_B = steps_B / steps_B.sum().clamp(min=1)
        return row_B[:, None, None].expand(batch.mask_BHL.shape), {
            "accuracy": (accuracy_B * mean_B).sum(),
            "tokens": (length_B * mean_B).sum(),
        }

    def predict(
        self,
        backbone: Backbone,
        memories: Sequence[Sequence[Memory]],
        texts: Sequence[str],
        count: int,
        noise: Sequence[torch.Generator] = (),
    ) -> Tensor:
        choices_BT = self._write(backbone, memories, texts, self.tokens.longest + 1, stop=self.end)
        words = [row[: row.index(self.end)] if self.end in row else row for row in choices_BT.tolist()]
        return torch.from_numpy(self.tokens.decode(words))[:, :count].to(choices_BT.device)
