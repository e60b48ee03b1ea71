"""PaliGemma and PaliGemma 2: SigLIP, a linear projection, Gemma or Gemma 2; a prefix language model.

Quirk: ``token_type_ids`` decide who sees whom.  0 = prefix, seen both ways; 1 = suffix, causal.  Slots are a suffix.
With a history every token is of type 1, because a frame must not see a later one.  Left out, the ids make PaliGemma
bidirectional and PaliGemma 2 causal, so they are always passed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PaliGemmaConfig, PretrainedConfig

from vlactl.backbones.families import TINY_WIDTH, Family, tiny_text, tiny_vision, whole
from vlactl.backbones.prompt import BOS, IMAGE, PAD, SLOT, Layout, Marks, Prompt


class PaliGemmaFamily(Family):
    """4 patches of 32 px for each view when tiny; 256 of 14 px at 224 px when real."""

    model_type = "paligemma"
    # The processor writes pictures first, then <bos>, the text and a line feed.
    hub_marks = Marks(image="<image>", before_text="<bos>", after_text="\n")

    def tiny_decoder(self) -> dict[str, Any]:
        """The language model's fields."""
        return tiny_text("gemma")

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        vision = tiny_vision(
            image_px=image_px,
            patch_px=32,
            model_type="siglip_vision_model",
            vision_use_head=False,
            projection_dim=TINY_WIDTH,
        )
        return PaliGemmaConfig(
            text_config=self.tiny_decoder(),
            vision_config=vision,
            projection_dim=TINY_WIDTH,
            image_token_index=IMAGE,
            tie_word_embeddings=True,
        )

    def tiny_layout(self, config: Any, image_px: int) -> Layout:
        return Layout(
            before_text=(BOS,), image=IMAGE, image_tokens=self.image_tokens(config, image_px), slot=SLOT, pad=PAD
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        patch = config.vision_config.patch_size
        return whole(image_px // patch, image_px=image_px, multiple=patch) ** 2

    def row_inputs(self, prompt: Prompt, config: Any) -> dict[str, Tensor]:
        causal_BN = prompt.slot_BN if prompt.history == 1 else torch.ones_like(prompt.slot_BN)
        return {"token_type_ids": causal_BN.long()}


class PaliGemma2Family(PaliGemmaFamily):
    """Gemma 2 alternates windowed and full attention; the weights share PaliGemma's architecture name."""

    def tiny_decoder(self) -> dict[str, Any]:
        return tiny_text("gemma2", query_pre_attn_scalar=32, sliding_window=4096)
