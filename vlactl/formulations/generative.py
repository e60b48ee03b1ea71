"""Chunks out of noise: flow matching and diffusion by an expert that attends to the backbone layer by layer.

Training noise is drawn from a seed that each window brings along, and acting noise from a generator of each episode:
neither depends on which other rows are in the batch.

Axis letters: see :mod:`vlactl.formulations.formulation`; N tokens of the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vlactl.backbones.adapter import Backbone, Tokens
from vlactl.formulations import Diffusion, Expert, FlowMatching
from vlactl.formulations.expert import ExpertNetwork, Seen
from vlactl.formulations.formulation import Formulation, Memory, Parts, at_last, masked_mean, stacked
from vlactl.formulations.heads import Slots
from vlactl.formulations.noise import Denoising, Flow, Process

if TYPE_CHECKING:
    from vlactl.windows import Batch


class Generative(Formulation[Expert]):
    """An expert and a noise process.  The gripper is one more dimension; its sign counts."""

    draws_noise = True

    def __init__(self, spec: Expert, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__(spec, action_size)
        self.process = process_of(spec)
        self.slots = Slots(1, backbone, state_size, spec.state)
        self.expert = ExpertNetwork(spec, backbone, state_size, action_size)

    def _look(self, backbone: Backbone, tokens: Tokens, states_BHS: Tensor) -> Seen:
        """A frame's chunk may look at all tokens up to its own slot; at all there are where there is one frame."""
        hidden = backbone(tokens, self.slots(states_BHS), context=True)
        assert hidden.context is not None
        open_BHN = hidden.real_BN[:, None].expand(-1, states_BHS.shape[1], -1)
        if states_BHS.shape[1] > 1:
            columns_N = torch.arange(open_BHN.shape[-1], device=open_BHN.device)
            open_BHN = open_BHN & (columns_N <= hidden.columns_BHS[..., -1:])
        return self.expert.look(hidden.context, open_BHN, states_BHS)

    def errors(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, Parts]:
        """Mean square of what the process asks for, over the dimensions of each step."""
        seen = self._look(
            backbone, backbone.embed(batch.images_BHKYXC, batch.texts, batch.features_BHKPD), batch.states_BHS
        )
        moments_BH, noise_BHLA = drawn(batch.noise_B, batch.actions_BHLA.shape[1:], batch.actions_BHLA.device)
        noisy, wanted = self.process.mix(batch.actions_BHLA, noise_BHLA, self.process.moments(moments_BH))
        square = (self.expert(noisy, self.process.moments(moments_BH), seen) - wanted).pow(2)
        return square.mean(-1), {
            "arm_loss": masked_mean(square[..., :-1].mean(-1), batch.mask_BHL).detach(),
            "gripper_loss": masked_mean(square[..., -1], batch.mask_BHL).detach(),
        }

    def predict(
        self,
        backbone: Backbone,
        memories: Sequence[Sequence[Memory]],
        texts: Sequence[str],
        count: int,
        noise: Sequence[torch.Generator] = (),
    ) -> Tensor:
        (images_BHKYXC, states_BHS), last_B = stacked([memory[-self.spec.history :] for memory in memories])
        seen = self._look(backbone, backbone.embed(images_BHKYXC, texts), states_BHS)
        present = Seen(
            keys=seen.keys,
            open_BHN=at_last(seen.open_BHN, last_B)[:, None],
            states_BHS=at_last(states_BHS, last_B)[:, None],
        )
        shape, device = (1, self.spec.horizon, self.action_size), states_BHS.device
        start = torch.stack([torch.randn(shape, generator=generator) for generator in noise]).to(device)

        def predictor(mixture: Tensor, moment: float) -> Tensor:
            return self.expert(mixture, torch.full(mixture.shape[:2], moment, device=device), present)

        return self.process.unmix(predictor, start)[:, 0, :count]


def process_of(spec: Expert) -> Process:
    if isinstance(spec, FlowMatching):
        return Flow(steps=spec.denoise_steps, time_sampling=spec.time_sampling)
    assert isinstance(spec, Diffusion), spec
    return Denoising(train_steps=spec.train_steps, steps=spec.denoise_steps, predict=spec.predict)


def drawn(seeds_B: Tensor, shape: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Uniform moments (B, H) and normal noise (B, H, L, A) of windows, each from its own seed."""
    moments, noise = [], []
    for seed in seeds_B.tolist():
        generator = torch.Generator().manual_seed(seed)
        moments.append(torch.rand(shape[0], generator=generator))
        noise.append(torch.randn(tuple(shape), generator=generator))
    return torch.stack(moments).to(device), torch.stack(noise).to(device)
