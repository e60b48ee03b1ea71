"""A transformer beside the backbone that turns noisy chunks into what a noise process asks for.

Its tokens are the L noisy actions, and one for proprioception where it may enter here.  Each layer attends to its own
tokens, then to the backbone's hidden states at the same relative depth, up to the frame's own slot; the moment of the
process scales and shifts the norms (as DiT's).

Axis letters: see :mod:`vlactl.formulations.formulation`; T tokens of the expert (L, or L + 1), N tokens of the
backbone, W width of the expert.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlactl.backbones.adapter import Backbone
from vlactl.formulations import Expert
from vlactl.formulations.heads import StateEncoder, dtype_of

FASTEST, SLOWEST = 4e-3, 4.0
"""Periods of the sines that a moment in [0, 1] is written in (pi0: the same)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What an expert looks at: prepared once per frame, used at every step of the process."""

    keys: tuple[tuple[Tensor, Tensor], ...]
    """Keys and values (B, heads, N, W / heads) of each layer."""
    open_BHN: Tensor
    """True at the backbone's tokens that a frame may look at."""
    states_BHS: Tensor


class ExpertNetwork(nn.Module):
    """(noisy chunks, moments) -> (B, H, L, A)."""

    def __init__(self, spec: Expert, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__()
        width = spec.expert_width
        self.enter, self.leave = nn.Linear(action_size, width), nn.Linear(width, action_size)
        self.places = nn.Embedding(spec.horizon, width)
        nn.init.normal_(self.places.weight, std=0.02)
        inside = spec.state in ("head", "both") and state_size > 0
        self.encoder = StateEncoder(state_size, width) if inside else None
        self.moment = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.layers = nn.ModuleList(
            Layer(width, spec.expert_heads, backbone.width) for _ in range(spec.expert_layers)
        )
        self.last = Modulated(width)

    def look(self, context: tuple[Tensor, ...], open_BHN: Tensor, states_BHS: Tensor) -> Seen:
        """Prepare the backbone's hidden states (B, N, D) of every layer."""
        dtype = dtype_of(self)
        depths = [round((i + 1) * len(context) / len(self.layers)) - 1 for i in range(len(self.layers))]
        keys = tuple(layer.look(context[max(depth, 0)].to(dtype))  # pyright: ignore[reportCallIssue]
                     for layer, depth in zip(self.layers, depths, strict=True))
        return Seen(keys=keys, open_BHN=open_BHN, states_BHS=states_BHS)

    def forward(self, noisy_BHLA: Tensor, moments_BH: Tensor, seen: Seen) -> Tensor:
        dtype = dtype_of(self)
        length = noisy_BHLA.shape[2]
        hidden = self.enter(noisy_BHLA.to(dtype)) + self.places(torch.arange(length, device=noisy_BHLA.device))
        if self.encoder is not None:
            hidden = torch.cat([self.encoder(seen.states_BHS)[:, :, None], hidden], 2)
        moment_BH1W = self.moment(waves(moments_BH, hidden.shape[-1]).to(dtype))[:, :, None]
        for layer, keys in zip(self.layers, seen.keys, strict=True):
            hidden = layer(hidden, moment_BH1W, keys, seen.open_BHN)
        return self.leave(self.last(hidden, moment_BH1W)[:, :, -length:]).float()


def waves(moments: Tensor, width: int) -> Tensor:
    """Moments (...) as sines and cosines (..., width) of periods between 0.004 and 4."""
    half = width // 2
    share = torch.arange(half, device=moments.device) / max(half - 1, 1)
    periods = FASTEST * (SLOWEST / FASTEST) ** share
    angles = moments[..., None].float() * (2 * math.pi / periods)
    return F.pad(torch.cat([angles.sin(), angles.cos()], -1), (0, width - 2 * half))


class Modulated(nn.Module):
    """A norm whose scale and shift the moment decides."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.scale_shift = nn.Linear(width, 2 * width)

    def forward(self, hidden: Tensor, moment: Tensor) -> Tensor:
        scale, shift = self.scale_shift(moment).chunk(2, -1)
        return self.norm(hidden) * (1 + scale) + shift


class Layer(nn.Module):
    """Attention among the expert's tokens, attention to the backbone's, and an MLP."""

    def __init__(self, width: int, heads: int, context_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.attend, self.cross, self.think = Modulated(width), Modulated(width), Modulated(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.context_norm = nn.LayerNorm(context_width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(context_width, 2 * width)
        self.read = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def look(self, context_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, N, W / heads)."""
        key, value = self.key_value(self.context_norm(context_BND)).chunk(2, -1)
        return self._split(key), self._split(value)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, hidden_BHTW: Tensor, moment_BH1W: Tensor, keys: tuple[Tensor, Tensor], open_BHN: Tensor
    ) -> Tensor:
        batch, history, tokens, _ = hidden_BHTW.shape
        q, k, v = (self._split(part.flatten(0, 1))
                   for part in self.qkv(self.attend(hidden_BHTW, moment_BH1W)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        hidden_BHTW = hidden_BHTW + self.out(mixed).view_as(hidden_BHTW)
        query = self._split(self.query(self.cross(hidden_BHTW, moment_BH1W)).flatten(1, 2))
        may = open_BHN[:, :, None].expand(-1, -1, tokens, -1).flatten(1, 2)[:, None]
        read = F.scaled_dot_product_attention(query, *keys, attn_mask=may).transpose(1, 2).flatten(2)
        hidden_BHTW = hidden_BHTW + self.read(read).view(batch, history, tokens, -1)
        return hidden_BHTW + self.mlp(self.think(hidden_BHTW, moment_BH1W))
