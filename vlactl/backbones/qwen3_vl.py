"""Qwen3-VL: a ViT for any resolution, deepstack (features added to the first language layers), 3-D positions, Qwen3.

Quirks: pictures enter as flat patches with a grid; positions are three numbers per token.  The library derives them
token by token in Python and keeps an offset in the module between calls; here they are computed at once and passed in,
which also keeps a decode from leaking into the next forward (tests hold them equal to ``get_rope_index``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, Qwen3VLConfig

from vlactl.backbones.families import (
    AFTER_VIEW,
    BEFORE_VIEW,
    IMAGE,
    PAD,
    SLOT,
    TINY_WIDTH,
    VIDEO,
    Family,
    Layout,
    Marks,
    Prompt,
    tiny_text,
    tiny_vision,
    whole,
)


class Qwen3VLFamily(Family):
    """16 patches of 16 px, merged 2 x 2 into 4 tokens for each view when tiny; 49 tokens at 224 px when real."""

    model_type = "qwen3_vl"
    any_px = True
    hub_marks = Marks(before_view="<|vision_start|>", image="<|image_pad|>", after_view="<|vision_end|>")

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        vision = tiny_vision(image_px=image_px) | {
            "depth": 2,
            "num_heads": 2,
            "out_hidden_size": TINY_WIDTH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "num_position_embeddings": (image_px // 16) ** 2,
            "deepstack_visual_indexes": [0],
        }
        for name in ("num_hidden_layers", "num_attention_heads", "image_size"):
            del vision[name]
        rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
        return Qwen3VLConfig(
            text_config=tiny_text("qwen3_vl_text", rope_parameters=rope),
            vision_config=vision,
            image_token_id=IMAGE,
            video_token_id=VIDEO,
            vision_start_token_id=BEFORE_VIEW,
            vision_end_token_id=AFTER_VIEW,
            tie_word_embeddings=True,
        )

    def tiny_layout(self, config: Any, image_px: int) -> Layout:
        return Layout(
            before_view=(BEFORE_VIEW,),
            image=IMAGE,
            image_tokens=self.image_tokens(config, image_px),
            slot=SLOT,
            pad=PAD,
        )

    def native_px(self, config: Any) -> int:
        return 224  # any size will do; this one is PaliGemma's and CALVIN's usual one, and costs 49 tokens for a view

    def image_tokens(self, config: Any, image_px: int) -> int:
        tile = config.vision_config.patch_size * config.vision_config.spatial_merge_size
        return whole(image_px // tile, image_px=image_px, multiple=tile) ** 2

    def inputs(self, prompt: Prompt, config: Any) -> dict[str, Tensor]:
        vision = config.vision_config
        pixels, grid = patches(
            prompt.pixels_BVCYX.flatten(0, 1),
            patch_px=vision.patch_size,
            merge=vision.spatial_merge_size,
            frames=vision.temporal_patch_size,
        )
        return {"pixel_values": pixels, "image_grid_thw": grid, "position_ids": positions(prompt)}

    def step_inputs(self, prompt: Prompt, config: Any, step: int) -> dict[str, Tensor]:
        return {"position_ids": positions(prompt)[..., -1:] + 1 + step}


def patches(pixels_VCYX: Tensor, *, patch_px: int, merge: int, frames: int) -> tuple[Tensor, Tensor]:
    """Flat patches (V x grid, C x frames x patch x patch) in merge order and the grid (V, 3), as Qwen's processor.

    A still picture is repeated ``frames`` times, because the patch embedding is a convolution over time as well.
    """
    views, colours, height, width = pixels_VCYX.shape
    rows, columns = height // patch_px, width // patch_px
    tiles = pixels_VCYX.reshape(views, colours, rows // merge, merge, patch_px, columns // merge, merge, patch_px)
    tiles = tiles.permute(0, 2, 5, 3, 6, 1, 4, 7)[..., None, :, :].expand(-1, -1, -1, -1, -1, -1, frames, -1, -1)
    grid = torch.tensor([[1, rows, columns]], device=pixels_VCYX.device).expand(views, 3)
    return tiles.reshape(views * rows * columns, colours * frames * patch_px * patch_px), grid


def positions(prompt: Prompt) -> Tensor:
    """(3, B, N) time, row and column positions: text counts on in all three, a picture advances by its side."""
    image_BN = prompt.ids_BN == prompt.layout.image
    tokens = prompt.layout.image_tokens
    side = round(tokens**0.5)
    within_BN = torch.where(image_BN, (image_BN.cumsum(1) - 1) % tokens, 0)
    advance_BN = torch.where(image_BN, (within_BN == tokens - 1) * side, prompt.real_BN.long())
    start_BN = advance_BN.cumsum(1) - advance_BN
    return torch.stack([start_BN, start_BN + within_BN // side, start_BN + within_BN % side])
