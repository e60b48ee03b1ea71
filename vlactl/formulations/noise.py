"""Two ways from noise to actions: flow matching along straight lines, and diffusion undone by DDIM.

Both learn from actions mixed with noise and act by undoing the mixture step by step.  These are pure functions of the
predictor that is handed in; a network (:mod:`vlactl.formulations.expert`) or a closed form can be one.

Axis letters: B batch; every tensor's first axes are those of the moments, the rest is anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Predictor = Callable[[Tensor, float], Tensor]
"""(mixture, moment in [0, 1]) -> velocity, noise or actions, as the process asks."""
BETA, LATEST = 1.5, 0.999
"""pi0 (arXiv 2410.24164) trains moment t = 0.999 (1 - x) with x ~ Beta(1.5, 1): mostly noisy ones."""
COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999
"""The cosine schedule of Nichol and Dhariwal (arXiv 2102.09672), as Diffusion Policy uses it."""


class Process(Protocol):
    """How actions and noise are mixed, and unmixed."""

    def moments(self, uniform: Tensor) -> Tensor:
        """Moments in [0, 1] that training looks at, from numbers drawn uniformly from [0, 1)."""
        ...

    def mix(self, actions: Tensor, noise: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        """The mixture at ``moments`` (broadcast from the left), and what is to be predicted from it."""
        ...

    def unmix(self, predict: Predictor, noise: Tensor) -> Tensor:
        """Actions, from noise."""
        ...


def alike(moments: Tensor, like: Tensor) -> Tensor:
    """Trailing axes are added until the moments broadcast against ``like``."""
    return moments.view(*moments.shape, *[1] * (like.ndim - moments.ndim))


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """Moment 0 is noise, 1 is actions; the velocity of a straight line between them is learned."""

    steps: int
    time_sampling: str = "uniform"

    def moments(self, uniform: Tensor) -> Tensor:
        if self.time_sampling == "uniform":
            return uniform
        return LATEST * (1 - uniform.pow(1 / BETA))  # x = u^(1/1.5) is Beta(1.5, 1)

    def mix(self, actions: Tensor, noise: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        moment = alike(moments, actions)
        return (1 - moment) * noise + moment * actions, actions - noise

    def unmix(self, predict: Predictor, noise: Tensor) -> Tensor:
        """Euler's method in equal steps."""
        mixture = noise
        for step in range(self.steps):
            mixture = mixture + predict(mixture, step / self.steps) / self.steps
        return mixture


@dataclass(frozen=True, kw_only=True, slots=True)
class Denoising:
    """Diffusion in ``train_steps`` levels; moment n / train_steps is level n, 0 the least noise."""

    train_steps: int
    steps: int
    predict: str = "epsilon"
    """``epsilon`` (the noise) or ``sample`` (the actions)."""
    clip: float | None = 1.0
    """Predicted actions are clipped here at every step, because all that was learned from lie within; None: nowhere."""

    @property
    def kept(self) -> Tensor:
        """(train_steps,) float64: how much of the actions' variance is left at each level (alpha bar)."""

        def share(moment: float) -> float:
            return math.cos((moment + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2

        count = self.train_steps
        betas = [min(1 - share((n + 1) / count) / share(n / count), LARGEST_BETA) for n in range(count)]
        return torch.tensor([1 - beta for beta in betas], dtype=torch.float64).cumprod(0)

    def moments(self, uniform: Tensor) -> Tensor:
        return (uniform * self.train_steps).floor() / self.train_steps

    def mix(self, actions: Tensor, noise: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        level = (moments * self.train_steps).round().long()
        kept = alike(self.kept.to(actions.device)[level], actions).to(actions.dtype)
        mixture = kept.sqrt() * actions + (1 - kept).sqrt() * noise
        return mixture, noise if self.predict == "epsilon" else actions

    def unmix(self, predict: Predictor, noise: Tensor) -> Tensor:
        """DDIM without fresh noise (arXiv 2010.02502, eq. 12 with sigma 0).

        Levels are evenly spaced down to the least noise, and the first is taken for pure noise ("leading" spacing, as
        Diffusion Policy's): at the very noisiest level a rounding error of the noise would be one of the actions.
        """
        apart = self.train_steps // self.steps
        levels = [apart * i for i in reversed(range(self.steps))]
        kept = self.kept.tolist()
        mixture = noise
        for level, following in zip(levels, [*levels[1:], None], strict=True):
            now, then = kept[level], 1.0 if following is None else kept[following]
            said = predict(mixture, level / self.train_steps)
            actions = said if self.predict == "sample" else (mixture - math.sqrt(1 - now) * said) / math.sqrt(now)
            if self.clip is not None:
                actions = actions.clamp(-self.clip, self.clip)
            residue = (mixture - math.sqrt(now) * actions) / math.sqrt(1 - now)
            mixture = math.sqrt(then) * actions + math.sqrt(1 - then) * residue
        return mixture
