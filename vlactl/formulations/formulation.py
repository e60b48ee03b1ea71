"""What every formulation can do: a loss on windows, and predictions from what an episode left in memory.

Axis letters: B batch, H history, L horizon, E executed actions, K cameras, Y X pixels, C colour, S state, A action, D
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from vlactl.backbones.adapter import Backbone
from vlactl.formulations import FormulationSpec

if TYPE_CHECKING:
    from vlactl.windows import Batch

SpecT = TypeVar("SpecT", bound=FormulationSpec)
Memory = tuple[Tensor, ...]
"""What one frame leaves behind: pictures and state, or a feature vector, as the formulation needs."""


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

    def __init__(self, spec: SpecT, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__()
        self.spec, self.state_size, self.action_size = spec, state_size, action_size

    @classmethod
    def build(cls, spec: SpecT, backbone: Backbone, state_size: int, action_size: int, seed: int) -> Self:
        """Random weights drawn from ``seed``; the caller's random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(spec, backbone, state_size, action_size)

    def forward(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(backbone, batch)

    def loss(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss, averaged over the batch's real control steps, and detached numbers for the log.

        States are normalised here already.
        """
        raise NotImplementedError

    def remember(self, backbone: Backbone, frames: Frames) -> list[Memory]:
        """What each frame leaves in its episode's memory; by default the frame itself."""
        return list(zip(frames.images_BKYXC.unbind(), frames.states_BS.unbind(), strict=True))

    def predict(
        self, backbone: Backbone, memories: Sequence[Sequence[Memory]], texts: Sequence[str], count: int
    ) -> Tensor:
        """Normalised actions (B, count, A) after the last frame of each memory of 1 .. H frames, oldest first.

        Rows do not influence each other beyond rounding.  The gripper is any number; its sign counts.
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


def masked_mean(values_BHL: Tensor, mask_BHL: Tensor) -> Tensor:
    """Mean over real control steps; zero when there are none."""
    weight = mask_BHL.to(values_BHL.dtype)
    return (values_BHL * weight).sum() / weight.sum().clamp(min=1)
