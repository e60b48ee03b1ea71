"""Small networks between hidden states and actions, and their losses.

Axis letters: B batch, H history, L horizon, A action dimensions (the last is the gripper), S state, D width, W bins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlactl.actions import Bins
from vlactl.backbones.adapter import Backbone
from vlactl.formulations import Continuous
from vlactl.formulations.formulation import masked_mean


class Slots(nn.Module):
    """Learnable input tokens, the paper's [LRN]."""

    def __init__(self, count: int, backbone: Backbone) -> None:
        super().__init__()
        self.table = nn.Embedding(count, backbone.width)
        nn.init.normal_(self.table.weight, std=backbone.embedding_std)

    def forward(self, batch: int, history: int) -> Tensor:
        """(B, H, count, D)"""
        every = torch.arange(self.table.num_embeddings, device=self.table.weight.device)
        return self.table(every).expand(batch, history, -1, -1)


class StateEncoder(nn.Module):
    """Normalised proprioception (..., S) -> features (..., width)."""

    def __init__(self, state_size: int, width: int, hidden: int | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(state_size, hidden or width), nn.GELU(), nn.Linear(hidden or width, width)
        )

    def forward(self, states: Tensor) -> Tensor:
        return self.layers(states.to(dtype_of(self)))


class Joined(nn.Module):
    """Hidden states, joined by the state's features where a formulation lets proprioception in at the head."""

    def __init__(self, width: int, state_size: int, *, state: str, state_width: int) -> None:
        super().__init__()
        self.encoder = StateEncoder(state_size, state_width) if state == "head" and state_size else None
        self.width = width + (state_width if self.encoder else 0)

    def forward(self, hidden_BHD: Tensor, states_BHS: Tensor) -> Tensor:
        return hidden_BHD if self.encoder is None else torch.cat([hidden_BHD, self.encoder(states_BHS)], -1)


class ContinuousHead(nn.Module):
    """Features (B, H, width) -> (B, H, L, A): the arm in normalised units, the gripper as a logit of "open"."""

    def __init__(self, width: int, hidden: int, horizon: int, action_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, horizon * action_size)
        )
        self.shape = (horizon, action_size)

    def forward(self, features_BHD: Tensor) -> Tensor:
        features = features_BHD.to(dtype_of(self))
        return self.layers(features).unflatten(-1, self.shape).float()


def continuous_loss(
    spec: Continuous, predicted_BHLA: Tensor, target_BHLA: Tensor, mask_BHL: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Arm error plus weighted binary cross-entropy of the gripper (RoboVLMs eq. 7), over real control steps."""
    arm, wanted = predicted_BHLA[..., :-1], target_BHLA[..., :-1]
    if spec.loss == "huber":
        error = F.smooth_l1_loss(arm, wanted, beta=spec.huber_beta, reduction="none")
    else:
        error = F.mse_loss(arm, wanted, reduction="none")
    logit, is_open = predicted_BHLA[..., -1], (target_BHLA[..., -1] > 0).float()
    arm_loss = masked_mean(error.mean(-1), mask_BHL)
    gripper_loss = masked_mean(F.binary_cross_entropy_with_logits(logit, is_open, reduction="none"), mask_BHL)
    right = masked_mean(((logit > 0) == (is_open > 0)).float(), mask_BHL)
    loss = arm_loss + spec.gripper_weight * gripper_loss
    return loss, {
        "arm_loss": arm_loss.detach(),
        "gripper_loss": gripper_loss.detach(),
        "gripper_accuracy": right.detach(),
    }


class BinHead(nn.Module):
    """Features (B, H, width) -> scores (B, H, L, A, W); every (step, dimension) has a vector, all share one layer."""

    def __init__(self, width: int, hidden: int, horizon: int, action_size: int, bins: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.features = nn.Linear(width, hidden)
        self.places = nn.Embedding(horizon * action_size, hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.scores = nn.Linear(hidden, bins)
        self.shape = (horizon, action_size)

    def forward(self, features_BHD: Tensor) -> Tensor:
        features = self.features(self.norm(features_BHD.to(dtype_of(self))))
        places = self.places(torch.arange(self.places.num_embeddings, device=features.device))
        joint = self.mix(F.gelu(features[..., None, :] + places))
        return self.scores(F.gelu(joint)).unflatten(-2, self.shape).float()


def bins_loss(
    bins: Bins, scores_BHLAW: Tensor, target_BHLA: Tensor, mask_BHL: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the right bin (eq. 8), averaged over dimensions and real control steps.

    The log also holds the mean absolute error of the most likely bins, in normalised units.
    """
    wanted = bins.encode(target_BHLA)
    each = F.cross_entropy(scores_BHLAW.float().flatten(0, -2), wanted.flatten(), reduction="none").view_as(wanted)
    loss = masked_mean(each.mean(-1), mask_BHL)
    choice = scores_BHLAW.detach().argmax(-1)
    return loss, {
        "accuracy": masked_mean((choice == wanted).float().mean(-1), mask_BHL),
        "arm_error": masked_mean((bins.decode(choice) - target_BHLA)[..., :-1].abs().mean(-1), mask_BHL),
        "gripper_accuracy": masked_mean(((choice == wanted)[..., -1]).float(), mask_BHL),
    }


def dtype_of(module: nn.Module) -> torch.dtype:
    """The number type that a module computes in; a backbone beside it may have another."""
    return next(module.parameters()).dtype
