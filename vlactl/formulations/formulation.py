"""What every formulation can do: a loss on windows, and predictions from what an episode left in memory.

Axis letters: B batch, H history, L horizon, E executed actions, K cameras, Y X pixels, C colour, S state, A action, D
width, P D' a picture's kept features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor, nn

from vlactl.backbones.adapter import Backbone
from vlactl.formulations import FormulationSpec

if TYPE_CHECKING:
    from vlactl.windows import Batch

SpecT = TypeVar("SpecT", bound=FormulationSpec)
Memory = tuple[Tensor, ...]
"""What one frame leaves behind: pictures and state, or a feature vector, as the formulation needs."""
Parts = dict[str, Tensor]
"""Detached numbers for the log; names that begin with ``sum/`` are added up where others are averaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The present frame of several episodes."""

    images_BKYXC: Tensor
    states_BS: Tensor
    """Normalised."""
    texts: Sequence[str]


class Formulation(nn.Module, Generic[SpecT]):
    """The trainable part beside the backbone.

    Calling it is computing its loss: under ZeRO-3 parameters are only whole inside a module's call.
    """

    draws_noise = False
    """Whether :meth:`predict` begins with noise, and so needs a generator for each row."""

    def __init__(self, spec: SpecT, action_size: int) -> None:
        super().__init__()
        self.spec, self.action_size = spec, action_size

    def forward(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, Parts]:
        """The loss, averaged over the batch's real control steps, and detached numbers for the log.

        States are normalised here already, and only the pictures that the spec asks for are there.  A batch of several
        sources also says what each contributed: ``sum/loss/<source>`` over ``sum/steps/<source>`` is its mean loss.
        """
        errors_BHL, parts = self.errors(backbone, batch)
        return masked_mean(errors_BHL, batch.mask_BHL), parts | by_source(errors_BHL.detach(), batch)

    def errors(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, Parts]:
        """What each predicted control step (B, H, L) costs; steps beyond the mask may cost anything finite."""
        raise NotImplementedError

    def remember(self, backbone: Backbone, frames: Frames) -> list[Memory]:
        """What each frame leaves in its episode's memory; by default the frame itself."""
        return list(zip(frames.images_BKYXC.unbind(), frames.states_BS.unbind(), strict=True))

    def predict(
        self,
        backbone: Backbone,
        memories: Sequence[Sequence[Memory]],
        texts: Sequence[str],
        count: int,
        noise: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Normalised actions (B, count, A) after the last frame of each memory of 1 .. H frames, oldest first.

        Rows do not influence each other beyond rounding.  The gripper is any number; its sign counts.  ``noise`` holds
        one generator on the CPU for each row where the formulation draws any.
        """
        raise NotImplementedError


def stacked(memories: Sequence[Sequence[Memory]]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Memories of mixed length as tensors (B, H, ...), the last frame repeated at the end, and each row's last."""
    longest = max(len(memory) for memory in memories)
    rows = [[*memory, *[memory[-1]] * (longest - len(memory))] for memory in memories]
    tensors = tuple(
        torch.stack([torch.stack([frame[i] for frame in row]) for row in rows]) for i in range(len(rows[0][0]))
    )
    return tensors, torch.tensor([len(memory) - 1 for memory in memories], device=tensors[0].device)


def at_last(values_BH: Tensor, last_B: Tensor) -> Tensor:
    """(B, H, ...) -> (B, ...) at each row's last real frame."""
    return values_BH[torch.arange(len(last_B), device=last_B.device), last_B]


def masked_mean(values_BHL: Tensor, mask_BHL: Tensor) -> Tensor:
    """Mean over real control steps; zero when there are none."""
    weight = mask_BHL.to(values_BHL.dtype)
    return (values_BHL * weight).sum() / weight.sum().clamp(min=1)


def held(actions_BHLA: Tensor, mask_BHL: Tensor) -> Tensor:
    """Chunks whose last real action goes on to the end, so that nothing beyond the mask is told; zero where all is."""
    last_BH = (mask_BHL.sum(-1) - 1).clamp(min=0)
    index_BHL = torch.minimum(torch.arange(mask_BHL.shape[-1], device=mask_BHL.device), last_BH[..., None])
    filled = actions_BHLA.gather(2, index_BHL[..., None].expand_as(actions_BHLA))
    return filled * mask_BHL.any(-1)[..., None, None]


def by_source(errors_BHL: Tensor, batch: Batch) -> Parts:
    """Summed errors and real control steps of every source of the batch's mixture; nothing where there is only one."""
    if len(batch.sources) < 2:
        return {}
    mask_B = batch.mask_BHL.sum((1, 2)).to(errors_BHL.dtype)
    loss_B = (errors_BHL * batch.mask_BHL).sum((1, 2))
    parts: Parts = {}
    for index, name in enumerate(batch.sources):
        of_source = (batch.source_B == index).to(errors_BHL.dtype)
        parts[f"sum/loss/{name}"] = (loss_B * of_source).sum()
        parts[f"sum/steps/{name}"] = (mask_B * of_source).sum()
    return parts
