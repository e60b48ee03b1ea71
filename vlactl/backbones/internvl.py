"""InternVL 3.5 and Aya Vision: a ViT, pixel shuffle, a projection, a decoder of another make."""

from __future__ import annotations

from typing import Any

from transformers import AyaVisionConfig, InternVLConfig, PretrainedConfig

from vlactl.backbones.families import Family, tiny_text, tiny_vision, whole
from vlactl.backbones.pixels import IMAGENET_MEAN, IMAGENET_STD
from vlactl.backbones.prompt import IMAGE, Marks


class InternVLFamily(Family):
    """16 patches of 16 px, shuffled 2 x 2 into 4 tokens for each view when tiny; 256 tokens at 448 px when real."""

    model_type = "internvl"
    hub_mean, hub_std = IMAGENET_MEAN, IMAGENET_STD
    hub_marks = Marks(before_view="<img>", image="<IMG_CONTEXT>", after_view="</img>")

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        vision = tiny_vision(image_px=image_px) | {"image_size": [image_px, image_px], "patch_size": [16, 16]}
        return InternVLConfig(
            text_config=tiny_text("qwen3"),
            vision_config=vision,
            image_token_id=IMAGE,
            downsample_ratio=0.5,
            vision_feature_layer=-1,
            tie_word_embeddings=True,
        )

    def native_px(self, config: Any) -> int:
        return config.vision_config.image_size[0]

    def image_tokens(self, config: Any, image_px: int) -> int:
        tile = int(config.vision_config.patch_size[0] / config.downsample_ratio)
        return whole(image_px // tile, image_px=image_px, multiple=tile) ** 2


class AyaVisionFamily(Family):
    """SigLIP and Cohere's Command R7B; 4 tokens for each view when tiny, 169 at 364 px when real."""

    model_type = "aya_vision"
    hub_marks = Marks(
        bos="<BOS_TOKEN>", before_view="<|START_OF_IMG|>", image="<|IMG_PATCH|>", after_view="<|END_OF_IMG|>"
    )

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return AyaVisionConfig(
            text_config=tiny_text(
                "cohere2", sliding_window=4096, layer_types=["sliding_attention", "full_attention"], logit_scale=1.0
            ),
            vision_config=tiny_vision(image_px=image_px, model_type="siglip_vision_model", vision_use_head=False),
            image_token_index=IMAGE,
            downsample_factor=2,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            adapter_layer_norm_eps=1e-6,
            tie_word_embeddings=True,
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        tile = config.vision_config.patch_size * config.downsample_factor
        return whole(image_px // tile, image_px=image_px, multiple=tile) ** 2
