"""InternVL 3.5: InternViT, pixel shuffle, Qwen3."""

from __future__ import annotations

from typing import Any

from transformers import InternVLConfig, PretrainedConfig

from vlactl.backbones.families import IMAGE, Family, Marks, tiny_text, tiny_vision, whole

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
