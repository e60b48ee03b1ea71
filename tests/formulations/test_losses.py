"""Losses against their formulas, written with other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from tests.toy_policies import batch
from vlactl.actions import Bins
from vlactl.formulations import OneStepContinuous
from vlactl.formulations.formulation import held, masked_mean
from vlactl.formulations.losses import bins_errors, continuous_errors, low_band_error


def predictions(horizon: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    window = batch(2, horizon)
    window.mask_BHL[0, 1, 4:] = False
    window.mask_BHL[1, 1] = False
    predicted = torch.randn(window.actions_BHLA.shape, generator=torch.Generator().manual_seed(9))
    return predicted, window.actions_BHLA, window.mask_BHL


@pytest.mark.parametrize("loss", ["huber", "mse", "l1"])
def test_the_arms_loss_is_what_it_says(loss: str) -> None:
    predicted, target, mask = predictions()
    spec = OneStepContinuous(loss=loss, huber_beta=0.5, gripper_weight=0.0)
    errors, parts = continuous_errors(spec, predicted, target, mask)
    off = (predicted - target)[..., :-1].abs().numpy()
    each = {"huber": np.where(off < 0.5, off**2 / (2 * 0.5), off - 0.25), "mse": off**2, "l1": off}[loss]
    np.testing.assert_allclose(errors.numpy(), each.mean(-1), rtol=1e-5)
    assert float(parts["arm_loss"]) == pytest.approx(each.mean(-1)[mask.numpy()].mean(), rel=1e-5)


def test_the_gripper_is_a_binary_cross_entropy() -> None:
    predicted, target, mask = predictions()
    with_, without = (continuous_errors(OneStepContinuous(gripper_weight=weight), predicted, target, mask)[0]
                      for weight in (0.7, 0.0))
    chance = 1 / (1 + np.exp(-predicted[..., -1].double().numpy()))
    wanted = -np.log(np.where(target[..., -1].numpy() > 0, chance, 1 - chance))
    np.testing.assert_allclose((with_ - without).numpy(), 0.7 * wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("horizon", "low"), [(6, 1), (10, 1), (16, 2), (24, 3)])
def test_the_low_band_loss_is_scipys_transform(horizon: int, low: int) -> None:
    """VLANeXt: coefficients of the lowest eighth weigh 5, all others nothing; errors beyond the mask are none."""
    predicted, target, mask = predictions(horizon)
    error = (predicted - target)[..., :-1]
    coefficients = scipy.fft.dct((error * mask[..., None]).double().numpy(), axis=2, norm="ortho")
    weight = np.zeros(horizon)
    weight[:low] = 5.0
    wanted = (weight[:, None] * coefficients**2).mean((2, 3))
    np.testing.assert_allclose(low_band_error(error, mask).numpy(), wanted, rtol=1e-4)
    plain, both = (continuous_errors(OneStepContinuous(dct_weight=weight, horizon=horizon), predicted, target, mask)
                   for weight in (0.0, 0.1))
    np.testing.assert_allclose((both[0] - plain[0]).numpy(), 0.1 * np.repeat(wanted[..., None], horizon, 2),
                               rtol=1e-3, atol=1e-6)
    assert "dct_loss" not in plain[1]
    assert float(both[1]["dct_loss"]) > 0


def test_bins_cost_their_negative_log_probability() -> None:
    _, target, mask = predictions()
    scores = torch.randn(*target.shape, 8, generator=torch.Generator().manual_seed(3))
    errors, parts = bins_errors(Bins(8), scores, target, mask)
    logs = scores.double().numpy()
    logs = logs - np.log(np.exp(logs).sum(-1, keepdims=True))
    right = np.clip(np.floor((target.numpy() + 1) * 4), 0, 7).astype(int)
    wanted = -np.take_along_axis(logs, right[..., None], -1)[..., 0].mean(-1)
    np.testing.assert_allclose(errors.numpy(), wanted, rtol=1e-4)
    hits = (scores.argmax(-1).numpy() == right).mean(-1)
    assert float(parts["accuracy"]) == pytest.approx(hits[mask.numpy()].mean(), rel=1e-5)


def test_means_are_over_real_steps_and_chunks_hold_their_last_action() -> None:
    _, target, mask = predictions()
    values = torch.arange(mask.numel(), dtype=torch.float32).view(mask.shape)
    assert float(masked_mean(values, mask)) == pytest.approx(values.numpy()[mask.numpy()].mean())
    assert float(masked_mean(values, torch.zeros_like(mask))) == 0
    filled = held(target, mask)
    assert torch.equal(filled[mask], target[mask])
    assert torch.equal(filled[0, 1, 4:], target[0, 1, 3].expand(2, -1))
    assert not filled[1, 1].any()
