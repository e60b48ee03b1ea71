"""LLaVA: any vision tower, a two-layer projection, any decoder, in one plain causal sequence.

1.5 is CLIP and Llama; OneVision is SigLIP and Qwen2.  Quirk of OneVision: large pictures are cut into tiles unless
several pictures are given at once.  Here each view is one tile, so the library is told of one picture more than there
are (``batch_num_images``), which also holds for a batch of one view.  A learned line feed ends each picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaOnevisionConfig, PretrainedConfig

from vlactl.backbones.families import Family, tiny_text, tiny_vision, whole
from vlactl.backbones.pixels import CLIP_MEAN, CLIP_STD
from vlactl.backbones.prompt import IMAGE, VIDEO, Marks


class LlavaFamily(Family):
    """4 patches of 32 px for each view when tiny; 576 of 14 px at 336 px when real."""

    model_type = "llava"
    hub_mean, hub_std = CLIP_MEAN, CLIP_STD
    hub_marks = Marks(bos="<s>", image="<image>")

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        vision = tiny_vision(image_px=image_px, patch_px=32, model_type="clip_vision_model", projection_dim=64)
        return LlavaConfig(
            text_config=tiny_text("llama"),
            vision_config=vision,
            image_token_index=IMAGE,
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            tie_word_embeddings=True,
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        patch = config.vision_config.patch_size
        return whole(image_px // patch, image_px=image_px, multiple=patch) ** 2

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        answer = super().connect(model, features_VPD, connectors)
        answer.pooler_output = tuple(answer.pooler_output)  # the library says it picture by picture
        return answer


class LlavaOnevisionFamily(LlavaFamily):
    """4 patches of 32 px and a line feed for each view when tiny; 729 of 14 px and a line feed at 384 px when real."""

    model_type = "llava_onevision"
    hub_mean, hub_std = Family.hub_mean, Family.hub_std
    hub_marks = Marks(image="<image>")

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        vision = tiny_vision(
            image_px=image_px, patch_px=32, model_type="siglip_vision_model", vision_use_head=False
        )
        return LlavaOnevisionConfig(
            text_config=tiny_text("qwen2"),
            vision_config=vision,
            image_token_index=IMAGE,
            video_token_index=VIDEO,
            image_grid_pinpoints=[[image_px, image_px]],
            vision_feature_layer=-1,
            tie_word_embeddings=True,
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        patch = config.vision_config.patch_size
        return (image_px // patch) ** 2 + 1  # a tower of 384 px has 27 whole patches of 14 px a side

    def picture_inputs(self, pixels_BVCYX: Tensor, config: Any) -> dict[str, Tensor]:
        pixels = pixels_BVCYX.flatten(0, 1)
        views, side = len(pixels), pixels.shape[-1]
        return {
            "pixel_values": pixels,
            "image_sizes": torch.full((views, 2), side, device=pixels.device),
            "batch_num_images": torch.tensor([views + 1]),
        }

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        answer = super().connect(model, features_VPD, connectors)
        feed_1D: Tensor = model.image_newline[None]  # pyright: ignore[reportAssignmentType, reportIndexIssue]
        answer.pooler_output = [torch.cat([picture_PD, feed_1D]) for picture_PD in answer.pooler_output]
        return answer
