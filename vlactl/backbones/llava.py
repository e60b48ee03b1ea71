"""LLaVA 1.5: CLIP, a two-layer projection, Llama."""

from __future__ import annotations

from typing import Any

from transformers import LlavaConfig, PretrainedConfig

from vlactl.backbones.families import IMAGE, Family, Marks, tiny_text, tiny_vision, whole

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI CLIP's preprocessing, as in ``transformers.image_utils.OPENAI_CLIP_MEAN`` and ``_STD``."""


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
