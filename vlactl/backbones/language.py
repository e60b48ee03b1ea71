"""What a backbone has learned from pictures with words: the cross-entropy of an answer, for every family.

The answer's tokens stand where slots would stand, as the model's own ids; each of them, and the end mark after the
last, is predicted from the token before it.  Shorter answers are filled up on the right, where nothing looks back at
the filling.

Axis letters: B batch, T tokens of an answer and its end mark, D width, R rows of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from vlactl.backbones.adapter import Backbone
    from vlactl.backbones.prompt import Tokens


def answer_loss(backbone: Backbone, tokens: Tokens, answers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) mean cross-entropy of each answer given its row of ``tokens`` (history 1), and numbers for the log."""
    end = backbone.layout.end
    written = [backbone.tokenizer.encode(answer) for answer in answers]
    longest = max(len(ids) for ids in written)
    filled = [ids + [end] * (longest - len(ids)) for ids in written]
    prompt = backbone.prompt(tokens, longest, answers=filled)
    states = backbone.family.run(backbone.model, prompt)
    # The token before an answer's first is the last of the prompt: a family with a decoder has its start mark there.
    last = states.last_BND.shape[1] - 1
    start_B1 = prompt.columns_BS[:, :1] - 1 if longest else torch.full_like(prompt.ids_BN[:, :1], last)
    before_BT = torch.cat([start_B1, prompt.columns_BS], 1)
    hidden_BTD = states.last_BND.gather(1, before_BT[..., None].expand(-1, -1, states.last_BND.shape[-1]))
    scores_BTR = backbone.word_scores(hidden_BTD).float()
    device = scores_BTR.device
    right_BT = torch.tensor([[*ids, end] for ids in filled], device=device)
    lengths_B1 = torch.tensor([[len(ids) + 1] for ids in written], device=device)
    counts_BT = torch.arange(longest + 1, device=device) < lengths_B1
    errors_BT = F.cross_entropy(scores_BTR.flatten(0, 1), right_BT.flatten(), reduction="none").view(right_BT.shape)
    loss_B = (errors_BT * counts_BT).sum(1) / lengths_B1[:, 0]
    hits_BT = (scores_BTR.argmax(-1) == right_BT) & counts_BT
    accuracy = hits_BT.sum() / counts_BT.sum()
    return loss_B, {"loss": loss_B.mean().detach(), "accuracy": accuracy.detach()}
