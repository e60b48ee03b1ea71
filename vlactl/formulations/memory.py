"""What a policy head remembers with: an LSTM, a causal transformer, or an MLP over the last H feature vectors.

All three are causal: the output at frame h is decided by the frames up to h, and never by how many frames follow.  So
what is learned on windows is what is done in a rollout whose memory is still filling.

Axis letters: B batch, H frames, D width, N heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlactl.formulations import PolicyHead


def memory_of(spec: PolicyHead, width: int) -> nn.Module:
    """A module from normalised features (B, H, width) to (B, H, memory_width)."""
    if spec.memory == "gpt":
        return CausalTransformer(spec, width)
    return WindowMLP(spec, width) if spec.memory == "mlp" else Recurrence(spec, width)


class Recurrence(nn.Module):
    """An LSTM, started anew at the window's first frame (RoboFlamingo, RoboVLMs)."""

    def __init__(self, spec: PolicyHead, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, spec.memory_width, spec.memory_layers, batch_first=True)

    def forward(self, features_BHD: Tensor) -> Tensor:
        return self.lstm(features_BHD)[0]


class CausalTransformer(nn.Module):
    """GPT-2's blocks over frames; positions count from the window's first frame."""

    def __init__(self, spec: PolicyHead, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, spec.memory_width)
        self.positions = nn.Embedding(spec.history, spec.memory_width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(spec.memory_width, spec.memory_heads) for _ in range(spec.memory_layers))
        self.norm = nn.LayerNorm(spec.memory_width)

    def forward(self, features_BHD: Tensor) -> Tensor:
        places = torch.arange(features_BHD.shape[1], device=features_BHD.device)
        hidden = self.enter(features_BHD) + self.positions(places)
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)


class Block(nn.Module):
    """Causal self-attention and an MLP, each after a norm and beside a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attend, self.think = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden_BHD: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for part in self.qkv(self.attend(hidden_BHD)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        hidden_BHD = hidden_BHD + self.out(mixed)
        return hidden_BHD + self.mlp(self.think(hidden_BHD))


class WindowMLP(nn.Module):
    """An MLP over the last H feature vectors side by side; frames before the window's first are zeros."""

    def __init__(self, spec: PolicyHead, width: int) -> None:
        super().__init__()
        self.history = spec.history
        self.enter = nn.Conv1d(width, spec.memory_width, spec.history)
        self.layers = nn.Sequential(*(part for _ in range(spec.memory_layers)
                                      for part in (nn.GELU(), nn.Linear(spec.memory_width, spec.memory_width))))

    def forward(self, features_BHD: Tensor) -> Tensor:
        before = F.pad(features_BHD.transpose(1, 2), (self.history - 1, 0))
        return self.layers(self.enter(before).transpose(1, 2))
