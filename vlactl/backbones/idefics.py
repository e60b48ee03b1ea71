"""Idefics 2, Idefics 3 and SmolVLM: SigLIP, a connector that shortens the picture, Mistral or Llama.

Idefics 2 asks its picture with learned latents (a perceiver); the other two fold 2 x 2 (or 4 x 4) patches into one.
Quirks: an all-zero picture is taken for padding and dropped, so placeholders and features no longer match; no picture
can normalise to zero here, because that would need a pixel value of 127.5 (mean 0.5) and pixels are integers.  The
latents of Idefics 2 are all ones in a fresh model, so that every one of them asks the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Idefics2Config, Idefics3Config, PretrainedConfig, SmolVLMConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vlactl.backbones.families import TINY_WIDTH, Family, tiny_text, tiny_vision, whole
from vlactl.backbones.prompt import IMAGE, PAD, Marks


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

    def picture_inputs(self, pixels_BVCYX: Tensor, config: Any) -> dict[str, Tensor]:
        return {"pixel_values": pixels_BVCYX}


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


class Idefics2Family(SmolVLMFamily):
    """4 latents for each view when tiny; 64 at up to 980 px when real."""

    model_type = "idefics2"
    hub_marks = Marks(
        bos="<s>", before_view="<fake_token_around_image>", image="<image>", after_view="<fake_token_around_image>"
    )

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return Idefics2Config(
            image_token_id=IMAGE,
            tie_word_embeddings=True,
            text_config=tiny_text("mistral"),
            vision_config=tiny_vision(image_px=image_px),
            perceiver_config={
                "hidden_size": TINY_WIDTH,
                "resampler_n_latents": 4,
                "resampler_depth": 1,
                "resampler_n_heads": 4,
                "resampler_head_dim": 32,
                "num_key_value_heads": 4,
            },
        )

    def native_px(self, config: Any) -> int:
        return 378  # the tower takes any size up to 980 px; 27 patches a side are SigLIP's own size

    def image_tokens(self, config: Any, image_px: int) -> int:
        return config.perceiver_config.resampler_n_latents

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        real_VP = features_VPD.new_ones(features_VPD.shape[:2], dtype=torch.bool)
        (name,) = connectors
        return BaseModelOutputWithPooling(
            pooler_output=model.get_submodule(name)(features_VPD, attention_mask=real_VP)
        )

    @torch.no_grad()
    def settle(self, model: nn.Module) -> None:
        nn.init.normal_(model.connector.perceiver_resampler.latents)  # pyright: ignore
