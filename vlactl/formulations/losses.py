"""What a predicted control step costs.

Axis letters: B batch, H history, L horizon, A action dimensions (the last is the gripper), W bins.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vlactl.actions import Bins
from vlactl.actions.frequency import cosines
from vlactl.formulations import Continuous
from vlactl.formulations.formulation import Parts, masked_mean

LOW_BAND = 0.125
LOW_BAND_WEIGHT = 5.0
"""VLANeXt (arXiv 2602.18532): the lowest 12.5 % of the frequencies weigh five times, the others nothing."""


def continuous_errors(
    spec: Continuous, predicted_BHLA: Tensor, target_BHLA: Tensor, mask_BHL: Tensor
) -> tuple[Tensor, Parts]:
    """Arm error plus weighted binary cross-entropy of the gripper (RoboVLMs eq. 7) of each step (B, H, L)."""
    arm, wanted = predicted_BHLA[..., :-1], target_BHLA[..., :-1]
    arm_BHL = arm_error(spec, arm, wanted).mean(-1)
    logit, is_open = predicted_BHLA[..., -1], (target_BHLA[..., -1] > 0).float()
    gripper_BHL = F.binary_cross_entropy_with_logits(logit, is_open, reduction="none")
    errors_BHL = arm_BHL + spec.gripper_weight * gripper_BHL
    parts = {
        "arm_loss": masked_mean(arm_BHL, mask_BHL).detach(),
        "gripper_loss": masked_mean(gripper_BHL, mask_BHL).detach(),
        "gripper_accuracy": masked_mean(((logit > 0) == (is_open > 0)).float(), mask_BHL).detach(),
    }
    if spec.dct_weight:
        dct_BH = low_band_error(arm - wanted, mask_BHL)
        errors_BHL = errors_BHL + spec.dct_weight * dct_BH[..., None]
        parts["dct_loss"] = masked_mean(dct_BH[..., None].expand_as(errors_BHL), mask_BHL).detach()
    return errors_BHL, parts


def arm_error(spec: Continuous, predicted: Tensor, wanted: Tensor) -> Tensor:
    """Elementwise."""
    if spec.loss == "huber":
        return F.smooth_l1_loss(predicted, wanted, beta=spec.huber_beta, reduction="none")
    if spec.loss == "l1":
        return F.l1_loss(predicted, wanted, reduction="none")
    return F.mse_loss(predicted, wanted, reduction="none")


def low_band_error(error_BHLA: Tensor, mask_BHL: Tensor) -> Tensor:
    """(B, H): mean weighted square of the chunk's cosine coefficients; an error beyond the mask counts as none.

    The mean is over all L x A coefficients, those that weigh nothing included.
    """
    length = error_BHLA.shape[-2]
    low = max(1, int(length * LOW_BAND))
    table = torch.as_tensor(cosines(length)[:low].copy(), dtype=error_BHLA.dtype, device=error_BHLA.device)
    coefficients = torch.einsum("kl,bhla->bhka", table, error_BHLA * mask_BHL[..., None])
    return LOW_BAND_WEIGHT * coefficients.pow(2).sum((-2, -1)) / (length * error_BHLA.shape[-1])


def bins_errors(
    bins: Bins, scores_BHLAW: Tensor, target_BHLA: Tensor, mask_BHL: Tensor
) -> tuple[Tensor, Parts]:
    """Cross-entropy of the right bin (eq. 8), averaged over dimensions, of each step (B, H, L).

    The log also holds the mean absolute error of the most likely bins, in normalised units.
    """
    wanted = bins.encode(target_BHLA)
    each = F.cross_entropy(scores_BHLAW.float().flatten(0, -2), wanted.flatten(), reduction="none").view_as(wanted)
    choice = scores_BHLAW.detach().argmax(-1)
    return each.mean(-1), {
        "accuracy": masked_mean((choice == wanted).float().mean(-1), mask_BHL),
        "arm_error": masked_mean((bins.decode(choice) - target_BHLA)[..., :-1].abs().mean(-1), mask_BHL),
        "gripper_accuracy": masked_mean(((choice == wanted)[..., -1]).float(), mask_BHL),
    }
