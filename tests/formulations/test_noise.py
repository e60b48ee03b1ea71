"""Flow matching and diffusion on a Gaussian, whose velocity and score are known exactly."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from vlactl.formulations.generative import drawn
from vlactl.formulations.noise import Denoising, Flow

MEAN, DEVIATION = 0.4, 0.3
COUNT = 40_000


def noise(count: int = COUNT) -> Tensor:
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def velocity(mixture: Tensor, moment: float) -> Tensor:
    """E[actions - noise | mixture] for actions ~ N(m, s^2), noise ~ N(0, 1) and mixture = (1-t) noise + t actions."""
    variance = (1 - moment) ** 2 + (moment * DEVIATION) ** 2
    centred = mixture - moment * MEAN
    actions = MEAN + moment * DEVIATION**2 / variance * centred
    start = (1 - moment) / variance * centred
    return actions - start


def denoiser(process: Denoising, *, sample: bool):
    kept_by_level = process.kept

    def predict(mixture: Tensor, moment: float) -> Tensor:
        """E[noise | mixture] or E[actions | mixture]: the exact score of a Gaussian."""
        kept = float(kept_by_level[round(moment * process.train_steps)])
        variance = kept * DEVIATION**2 + 1 - kept
        centred = mixture - math.sqrt(kept) * MEAN
        if sample:
            return MEAN + math.sqrt(kept) * DEVIATION**2 / variance * centred
        return math.sqrt(1 - kept) / variance * centred

    return predict


def test_the_exact_velocity_carries_noise_to_the_right_gaussian() -> None:
    actions = Flow(steps=400).unmix(velocity, noise())
    assert actions.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert actions.std().item() == pytest.approx(DEVIATION, abs=0.01)
    # the flow of a Gaussian is a straight map: every sample is where its noise says
    torch.testing.assert_close(actions, MEAN + DEVIATION * noise(), atol=0.02, rtol=0)


def test_euler_steps_converge_to_the_flow() -> None:
    wanted = MEAN + DEVIATION * noise(1000)
    errors = [(Flow(steps=steps).unmix(velocity, noise(1000)) - wanted).abs().max().item() for steps in (10, 20, 40)]
    assert errors[0] > 1.7 * errors[1] > 1.7**2 * errors[2]


def test_a_flow_learned_by_regression_has_the_right_mean_and_deviation() -> None:
    """What training does: a network fitted to ``mix``'s targets, integrated by ``unmix``."""
    generator = torch.Generator().manual_seed(1)
    process = Flow(steps=50)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(600):
        actions = MEAN + DEVIATION * torch.randn(512, 1, generator=generator)
        moments = process.moments(torch.rand(512, generator=generator))
        mixture, wanted = process.mix(actions, torch.randn(512, 1, generator=generator), moments)
        loss = (network(torch.cat([mixture, moments[:, None]], 1)) - wanted).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        sampled = process.unmix(
            lambda mixture, moment: network(torch.cat([mixture, torch.full_like(mixture, moment)], 1)),
            noise(4000).float(),
        )
    assert sampled.mean().item() == pytest.approx(MEAN, abs=0.05)
    assert sampled.std().item() == pytest.approx(DEVIATION, abs=0.05)


def test_beta_moments_have_pi0s_distribution() -> None:
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    moments = Flow(steps=1, time_sampling="beta").moments(uniform)
    same = scipy.stats.kstest((1 - moments / 0.999).numpy(), scipy.stats.beta(1.5, 1).cdf)
    assert same.pvalue > 0.01
    assert torch.equal(Flow(steps=1).moments(uniform), uniform)


@pytest.mark.parametrize("predict", ["epsilon", "sample"])
def test_ddim_with_the_exact_score_ends_at_the_right_gaussian(predict: str) -> None:
    process = Denoising(train_steps=200, steps=200, predict=predict, clip=None)
    actions = process.unmix(denoiser(process, sample=predict == "sample"), noise())
    assert actions.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert actions.std().item() == pytest.approx(DEVIATION, abs=0.01)
    torch.testing.assert_close(actions, MEAN + DEVIATION * noise(), atol=0.02, rtol=0)


def test_ten_ddim_steps_come_close() -> None:
    """The default: the first level is taken for pure noise, which costs a tenth of the mean here."""
    process = Denoising(train_steps=100, steps=10, clip=None)
    actions = process.unmix(denoiser(process, sample=False), noise())
    assert actions.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert actions.std().item() == pytest.approx(DEVIATION, abs=0.06)


def test_both_predictions_are_the_same_model() -> None:
    process = Denoising(train_steps=100, steps=25, clip=None)
    other = Denoising(train_steps=100, steps=25, predict="sample", clip=None)
    torch.testing.assert_close(process.unmix(denoiser(process, sample=False), noise(500)),
                               other.unmix(denoiser(other, sample=True), noise(500)), atol=1e-9, rtol=1e-9)


def test_the_schedule_is_the_cosine_one() -> None:
    kept = Denoising(train_steps=100, steps=10).kept
    moment = torch.arange(1, 99, dtype=torch.float64) / 100
    wanted = (torch.cos((moment + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    torch.testing.assert_close(kept[:98], wanted, atol=1e-9, rtol=1e-7)
    assert (kept.diff() < 0).all()
    assert 0 < kept[-1] < 1e-4


def test_mixtures_have_the_variance_that_their_moment_says() -> None:
    process = Denoising(train_steps=50, steps=5)
    for level in (0, 20, 49):
        moments = torch.full((COUNT,), level / 50)
        actions = torch.zeros(COUNT, 1, dtype=torch.float64)
        mixture, wanted = process.mix(actions, noise(), moments)
        torch.testing.assert_close(wanted, noise())
        assert mixture.var().item() == pytest.approx(1 - process.kept[level].item(), rel=0.03)


def test_clipping_keeps_predicted_actions_among_those_learned_from() -> None:
    process = Denoising(train_steps=100, steps=10, clip=1.0)
    assert process.unmix(lambda mixture, _: torch.zeros_like(mixture), 50 * noise(200)).abs().max() <= 1 + 1e-9


def test_a_rows_noise_is_its_own() -> None:
    seeds = torch.tensor([5, 6, 7])
    moments, values = drawn(seeds, (2, 4, 7), torch.device("cpu"))
    assert moments.shape == (3, 2)
    assert values.shape == (3, 2, 4, 7)
    alone = drawn(seeds[1:2], (2, 4, 7), torch.device("cpu"))
    assert torch.equal(alone[0][0], moments[1])
    assert torch.equal(alone[1][0], values[1])
