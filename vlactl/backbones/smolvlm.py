"""SmolVLM and Idefics3: SigLIP, pixel shuffle, Llama.

Quirk: an all-zero picture is taken for padding and dropped, so placeholders and features no longer match.  No picture
can normalise to zero here: that would need a pixel value of 127.5 (mean 0.5), and pixels are integers.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Idefics3Config, PretrainedConfig, SmolVLMConfig

from vlactl.backbones.families import IMAGE, PAD, Family, Marks, Prompt, tiny_text, tiny_vision, whole


class SmolVLMFamily(Family):
    """16 patches of 16 px, shuffled 2 x 2 into 4 tokens for each view when tiny; 64 tokens at 512 px when real."""

    model_type = "smolvlm"
    config_class: type[Any] = SmolVLMConfig
    any_px = True
    # One picture without tiles, as the processor writes it with do_image_splitting=False.
    hub_marks = Marks(
        bos="<|im_start|>",
        before_view="<fake_token_around_image><global-img>",
        image="<image>",
        after_view="<fake_token_around_image>",
    )

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return self.config_class(
            image_token_id=IMAGE,
            pad_token_id=PAD,
            scale_factor=2,
            tie_word_embeddings=True,
            text_config=tiny_text("llama"),
            vision_config=tiny_vision(image_px=image_px),
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        tile = config.vision_config.patch_size * config.scale_factor
        return whole(image_px // tile, image_px=image_px, multiple=tile) ** 2

    def inputs(self, prompt: Prompt, config: Any) -> dict[str, Tensor]:
        return {"pixel_values": prompt.pixels_BVCYX}


class Idefics3Family(SmolVLMFamily):
    """As SmolVLM; 169 tokens at 364 px when real."""

    model_type = "idefics3"
    config_class = Idefics3Config
    hub_marks = Marks(
        bos="<|begin_of_text|>",
        before_view="<fake_token_around_image><global-img>",
        image="<image>",
        after_view="<fake_token_around_image>",
    )
