"""Small networks between hidden states and actions.

Axis letters: B batch, H history, L horizon, A action dimensions (the last is the gripper), S state or slots, D width,
W bins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlactl.actions import Bins
from vlactl.backbones.adapter import Backbone
from vlactl.formulations import Continuous, Discrete
from vlactl.formulations.formulation import Parts
from vlactl.formulations.losses import bins_errors, continuous_errors


class Slots(nn.Module):
    """Learnable input tokens, the paper's [LRN]; the first of a frame also carries proprioception where it may."""

    def __init__(self, count: int, backbone: Backbone, state_size: int, state: str) -> None:
        super().__init__()
        self.table = nn.Embedding(count, backbone.width)
        nn.init.normal_(self.table.weight, std=backbone.embedding_std)
        inside = state in ("token", "both") and state_size > 0
        self.encoder = StateEncoder(state_size, backbone.width) if inside else None

    def forward(self, states_BHS: Tensor) -> Tensor:
        """(B, H, count, D)"""
        every = torch.arange(self.table.num_embeddings, device=self.table.weight.device)
        slots_BHSD = self.table(every).expand(*states_BHS.shape[:2], -1, -1)
        if self.encoder is None:
            return slots_BHSD
        first = slots_BHSD[:, :, :1] + self.encoder(states_BHS)[:, :, None]
        return torch.cat([first, slots_BHSD[:, :, 1:]], 2)


class StateEncoder(nn.Module):
    """Normalised proprioception (..., S) -> features (..., width)."""

    def __init__(self, state_size: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(state_size, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, states: Tensor) -> Tensor:
        return self.layers(states.to(dtype_of(self)))


class Joined(nn.Module):
    """Hidden states, joined by the state's features where a formulation lets proprioception in at the head."""

    def __init__(self, width: int, state_size: int, *, state: str, state_width: int) -> None:
        super().__init__()
        inside = state in ("head", "both") and state_size > 0
        self.encoder = StateEncoder(state_size, state_width) if inside else None
        self.width = width + (state_width if self.encoder else 0)

    def forward(self, hidden_BHD: Tensor, states_BHS: Tensor) -> Tensor:
        return hidden_BHD if self.encoder is None else torch.cat([hidden_BHD, self.encoder(states_BHS)], -1)


class LayerMix(nn.Module):
    """A learned mean over the hidden states of all layers, each brought to mean 0 and deviation 1 first."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, layers: tuple[Tensor, ...]) -> Tensor:
        """Hidden states (..., D) of every layer -> (..., D)."""
        assert len(layers) == len(self.scores), (len(layers), len(self.scores))
        even = torch.stack([F.layer_norm(layer, layer.shape[-1:]) for layer in layers], -1)
        return even @ self.scores.softmax(0).to(even.dtype)


class ContinuousHead(nn.Module):
    """Features (..., width) -> (..., L, A): the arm in normalised units, the gripper as a logit of "open"."""

    def __init__(self, spec: Continuous, width: int, action_size: int) -> None:
        super().__init__()
        self.spec, self.shape = spec, (spec.horizon, action_size)
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, spec.head_width),
            nn.GELU(),
            nn.Linear(spec.head_width, spec.horizon * action_size),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features.to(dtype_of(self))).unflatten(-1, self.shape).float()

    def errors(self, features_BHD: Tensor, target_BHLA: Tensor, mask_BHL: Tensor) -> tuple[Tensor, Parts]:
        return continuous_errors(self.spec, self(features_BHD), target_BHLA, mask_BHL)

    def actions(self, features_BD: Tensor, count: int) -> Tensor:
        """(B, count, A)"""
        return self(features_BD)[:, :count]


class BinHead(nn.Module):
    """Features (..., width) -> scores (..., L, A, W); every (step, dimension) has a vector, all share one layer."""

    def __init__(self, spec: Discrete, width: int, hidden: int, action_size: int) -> None:
        super().__init__()
        self.bins, self.shape = Bins(spec.bins), (spec.horizon, action_size)
        self.norm = nn.LayerNorm(width)
        self.features = nn.Linear(width, hidden)
        self.places = nn.Embedding(spec.horizon * action_size, hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.scores = nn.Linear(hidden, spec.bins)

    def forward(self, features: Tensor) -> Tensor:
        features = self.features(self.norm(features.to(dtype_of(self))))
        places = self.places(torch.arange(self.places.num_embeddings, device=features.device))
        joint = self.mix(F.gelu(features[..., None, :] + places))
        return self.scores(F.gelu(joint)).unflatten(-2, self.shape).float()

    def errors(self, features_BHD: Tensor, target_BHLA: Tensor, mask_BHL: Tensor) -> tuple[Tensor, Parts]:
        return bins_errors(self.bins, self(features_BHD), target_BHLA, mask_BHL)

    def actions(self, features_BD: Tensor, count: int) -> Tensor:
        """(B, count, A)"""
        return self.bins.decode(self(features_BD)[:, :count].argmax(-1))


def dtype_of(module: nn.Module) -> torch.dtype:
    """The number type that a module computes in; a backbone beside it may have another."""
    return next(module.parameters()).dtype
