"""Where history enters, for formulations that read a slot's hidden state: readers turn frames into feature vectors.

* :class:`SequenceReader`: the H frames in one sequence of the backbone (one-step is H = 1, interleaved more).
* :class:`FrameReader`: every frame on its own, and a memory over the feature vectors.  An episode's memory holds one
  vector per frame, so replanning costs one backbone pass whatever the history.

How actions leave is a head's business (:mod:`vlactl.formulations.heads`); :class:`Read` puts one of each together.

Axis letters: see :mod:`vlactl.formulations.formulation`; F features, R real frames of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlactl.backbones.adapter import Backbone
from vlactl.formulations import Continuous, Discrete, PolicyHead, ReadsSlot
from vlactl.formulations.formulation import Formulation, Frames, Memory, Parts, at_last, stacked
from vlactl.formulations.heads import BinHead, ContinuousHead, Joined, LayerMix, Slots, dtype_of
from vlactl.formulations.memory import memory_of

if TYPE_CHECKING:
    from vlactl.backbones.adapter import Tokens
    from vlactl.windows import Batch


class SlotReader(nn.Module):
    """One slot per frame in the backbone's sequence; its hidden state, joined by proprioception where it may enter."""

    def __init__(self, spec: ReadsSlot, backbone: Backbone, state_size: int) -> None:
        super().__init__()
        self.slots = Slots(1, backbone, state_size, spec.state)
        self.joined = Joined(backbone.width, state_size, state=spec.state, state_width=spec.state_width)
        self.mix = LayerMix(layer_count(backbone)) if spec.link == "layers" else None

    def forward(self, backbone: Backbone, tokens: Tokens, states_BHS: Tensor) -> Tensor:
        """(B, H, F)"""
        hidden = backbone(tokens, self.slots(states_BHS), layers=self.mix is not None)
        read = hidden.slots_BHSD if self.mix is None else self.mix(hidden.layers)
        return self.joined(read[:, :, 0], states_BHS)


class SequenceReader(SlotReader):
    """All H frames in one sequence; interleaved repeats the text in each block, as RoboVLMs does."""

    @property
    def width(self) -> int:
        return self.joined.width

    def window(self, backbone: Backbone, batch: Batch) -> Tensor:
        """Features (B, H, F) of a batch of windows."""
        tokens = backbone.embed(batch.images_BHKYXC, batch.texts, batch.features_BHKPD)
        return self(backbone, tokens, batch.states_BHS)

    def remember(self, backbone: Backbone, frames: Frames) -> list[Memory] | None:
        """None: the frame itself is kept."""
        return None

    def present(self, backbone: Backbone, memories: Sequence[Sequence[Memory]], texts: Sequence[str]) -> Tensor:
        """Features (B, F) at the last frame of each memory."""
        (images_BHKYXC, states_BHS), last_B = stacked(memories)
        return at_last(self(backbone, backbone.embed(images_BHKYXC, texts), states_BHS), last_B)


class FrameReader(SlotReader):
    """Features of single frames, and a memory over them."""

    def __init__(self, spec: PolicyHead, backbone: Backbone, state_size: int) -> None:
        super().__init__(spec, backbone, state_size)
        self.width = spec.memory_width
        self.norm = nn.LayerNorm(self.joined.width)
        self.memory = memory_of(spec, self.joined.width)

    def _remembered(self, features_BHF: Tensor) -> Tensor:
        return self.memory(self.norm(features_BHF.to(dtype_of(self.norm))))

    def window(self, backbone: Backbone, batch: Batch) -> Tensor:
        """(B, H, memory width), from one backbone row per real frame.

        Padded frames come last and reach no real one, so they are not even encoded.
        """
        real_BH = batch.mask_BHL.any(-1)
        texts = [text for text, count in zip(batch.texts, real_BH.sum(1).tolist(), strict=True) for _ in range(count)]
        images, features = (None if every is None else every[real_BH][:, None]
                            for every in (batch.images_BHKYXC, batch.features_BHKPD))
        tokens = backbone.embed(images, texts, features)
        seen_RF = self(backbone, tokens, batch.states_BHS[real_BH][:, None])[:, 0]
        spread = seen_RF.new_zeros(*real_BH.shape, seen_RF.shape[-1])
        spread[real_BH] = seen_RF
        return self._remembered(spread)

    def remember(self, backbone: Backbone, frames: Frames) -> list[Memory] | None:
        """One feature vector of each frame."""
        tokens = backbone.embed(frames.images_BKYXC[:, None], frames.texts)
        return [(feature,) for feature in self(backbone, tokens, frames.states_BS[:, None])[:, 0]]

    def present(self, backbone: Backbone, memories: Sequence[Sequence[Memory]], texts: Sequence[str]) -> Tensor:
        """(B, memory width) at the last real frame of each memory."""
        (features_BHF,), last_B = stacked(memories)
        return at_last(self._remembered(features_BHF), last_B)


class Read(Formulation[Any]):
    """A reader and a head: one-step-continuous, interleaved-continuous and both policy heads."""

    def __init__(self, spec: ReadsSlot, backbone: Backbone, state_size: int, action_size: int) -> None:
        super().__init__(spec, action_size)
        reader = FrameReader if isinstance(spec, PolicyHead) else SequenceReader
        self.reader = reader(spec, backbone, state_size)  # pyright: ignore[reportArgumentType]
        self.head = head_of(spec, self.reader.width, action_size)

    def errors(self, backbone: Backbone, batch: Batch) -> tuple[Tensor, Parts]:
        return self.head.errors(self.reader.window(backbone, batch), batch.actions_BHLA, batch.mask_BHL)

    def remember(self, backbone: Backbone, frames: Frames) -> list[Memory]:
        kept = self.reader.remember(backbone, frames)
        return super().remember(backbone, frames) if kept is None else kept

    def predict(
        self,
        backbone: Backbone,
        memories: Sequence[Sequence[Memory]],
        texts: Sequence[str],
        count: int,
        noise: Sequence[torch.Generator] = (),
    ) -> Tensor:
        recent = [memory[-self.spec.history :] for memory in memories]
        return self.head.actions(self.reader.present(backbone, recent, texts), count)


def head_of(spec: ReadsSlot, width: int, action_size: int) -> ContinuousHead | BinHead:
    if isinstance(spec, Continuous):
        return ContinuousHead(spec, width, action_size)
    assert isinstance(spec, Discrete), spec
    return BinHead(spec, width, spec.head_width, action_size)


def layer_count(backbone: Backbone) -> int:
    """How many layers' hidden states the backbone answers with: the layers that its slots pass through."""
    text = backbone.config.get_text_config(decoder=True)
    return getattr(text, "decoder_layers", None) or text.num_hidden_layers
