"""Gemma 3: SigLIP, average pooling and a projection, Gemma 3.

Quirks: the tokens of one picture see each other both ways, which ``token_type_ids`` (1 = picture) turn on, and adjacent
pictures would count as one, so marks stand between them.  The projection is all zeros in a fresh model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Gemma3Config, PretrainedConfig

from vlactl.backbones.families import Family, tiny_text, tiny_vision
from vlactl.backbones.prompt import AFTER_VIEW, BEFORE_VIEW, BOS, IMAGE, PAD, SLOT, Layout, Marks, Prompt


class Gemma3Family(Family):
    """16 patches of 16 px, pooled 2 x 2 into 4 tokens for each view when tiny; 256 tokens at 896 px when real."""

    model_type = "gemma3"
    hub_marks = Marks(
        bos="<bos>", before_view="\n\n<start_of_image>", image="<image_soft_token>", after_view="<end_of_image>\n\n"
    )

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        vision = tiny_vision(image_px=image_px, model_type="siglip_vision_model", vision_use_head=False)
        return Gemma3Config(
            text_config=tiny_text(
                "gemma3_text",
                query_pre_attn_scalar=32,
                sliding_window=4096,
                layer_types=["sliding_attention", "full_attention"],
            ),
            vision_config=vision,
            mm_tokens_per_image=(image_px // 32) ** 2,
            image_token_index=IMAGE,
            boi_token_index=BEFORE_VIEW,
            eoi_token_index=AFTER_VIEW,
            tie_word_embeddings=True,
        )

    def tiny_layout(self, config: Any, image_px: int) -> Layout:
        return Layout(
            bos=(BOS,),
            before_view=(BEFORE_VIEW,),
            image=IMAGE,
            image_tokens=self.image_tokens(config, image_px),
            slot=SLOT,
            pad=PAD,
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        return config.mm_tokens_per_image

    def row_inputs(self, prompt: Prompt, config: Any) -> dict[str, Tensor]:
        return {"token_type_ids": (prompt.ids_BN == prompt.layout.image).long()}

    @torch.no_grad()
    def settle(self, model: nn.Module) -> None:
        weight: Tensor = model.multi_modal_projector.mm_input_projection_weight  # pyright: ignore
        nn.init.normal_(weight, std=weight.shape[0] ** -0.5)
