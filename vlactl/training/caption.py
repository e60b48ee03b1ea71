"""A bare backbone learns to say what a picture shows: the pretraining that stands in for a VLM's, at tiny size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from vlactl.backbones.adapter import Backbone
    from vlactl.windows import PairBatch


class Captioner(nn.Module):
    """A backbone under :func:`vlactl.training.loop.train`, on a stream of pictures with questions and answers."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def loss(self, batch: PairBatch, scale: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the pairs of the answer's mean cross-entropy per token, and detached numbers for the log."""
        loss_B, parts = self.backbone.language_loss(batch.images_BKYXC, batch.questions, batch.answers)
        return scale * loss_B.mean(), parts
