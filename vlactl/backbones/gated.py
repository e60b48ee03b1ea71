"""Gated cross-attention: Flamingo (through Idefics, its open reproduction) and Mllama (Llama 3.2 Vision).

Pictures are no tokens here.  They lie beside the text, and some language layers look at them through a gate.  Quirks:
each token needs to be told which pictures it may see (those of its frame and of earlier ones); the gates are zero in a
fresh model, so that pictures are invisible until training opens them; Idefics freezes text and vision by default, also
in the configuration of its weights; its cross-attention keeps no cache, so the resampled pictures are kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import IdeficsConfig, MllamaConfig, PretrainedConfig

from vlactl.backbones.families import Family, tiny_text, whole
from vlactl.backbones.pixels import CLIP_MEAN, CLIP_STD
from vlactl.backbones.prompt import BOS, IMAGE, PAD, SLOT, Layout, Marks, Prompt

if TYPE_CHECKING:
    from vlactl.backbones.reading import Reader

OPEN = 1.0
"""A gate passes on tanh(gate): 0.76 of what a cross-attention says, in a tiny model."""

TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "tie_word_embeddings",
)
"""Of :func:`tiny_text`, what the older configurations know."""


class FlamingoFamily(Family):
    """4 latents for each view when tiny, 64 at 224 px when real; one mark in the text stands for a picture."""

    model_type = "idefics"
    hub_mean, hub_std = CLIP_MEAN, CLIP_STD
    hub_marks = Marks(
        bos="<s>", before_view="<fake_token_around_image>", image="<image>", after_view="<fake_token_around_image>"
    )

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return IdeficsConfig(
            **{name: value for name, value in tiny_text("").items() if name in TEXT_FIELDS},
            additional_vocab_size=0,
            cross_layer_interval=1,
            use_resampler=True,
            freeze_text_layers=False,
            freeze_vision_layers=False,
            vision_config={
                "embed_dim": 64,
                "image_size": image_px,
                "patch_size": 16,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
            },
            perceiver_config={
                "resampler_n_latents": 4,
                "resampler_depth": 1,
                "resampler_n_heads": 2,
                "resampler_head_dim": 32,
            },
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        whole(image_px, image_px=image_px, multiple=config.vision_config.patch_size)
        return 1

    def inputs(self, prompt: Prompt, config: Any) -> dict[str, Any]:
        seen = {"image_attention_mask": prompt.visible().long()}
        if prompt.pixels_BVCYX is None:
            features_BVPD = prompt.encoded.unflatten(0, (-1, prompt.views))
            return {"image_encoder_embeddings": features_BVPD, **seen}
        return {"pixel_values": prompt.pixels_BVCYX, **seen}

    def step_inputs(self, prompt: Prompt, config: Any, step: int) -> dict[str, Any]:
        return {"image_attention_mask": prompt.visible()[:, -1:].long()}

    def kept(self, out: Any) -> Any:
        return out.past_key_values, out.image_hidden_states

    def going_on(self, cache: Any) -> dict[str, Any]:
        past, pictures_BVLD = cache
        return {"past_key_values": past, "perceiver_embeddings": pictures_BVLD}

    def look(self, model: nn.Module, pixels_BVCYX: Tensor, connectors: Sequence[str]) -> Tensor:
        return model.vision_model(pixel_values=pixels_BVCYX.flatten(0, 1)).last_hidden_state  # pyright: ignore

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        return features_VPD  # the library's own forward goes on from here

    def read(self, reader: Reader, config: Any) -> nn.Module:
        model = super().read(reader, config)
        model.config.freeze_text_layers = model.config.freeze_vision_layers = False  # pyright: ignore
        return model.requires_grad_(True)

    @torch.no_grad()
    def settle(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if "alpha_" in name:
                parameter.fill_(OPEN)


class MllamaFamily(Family):
    """16 patches of 16 px and a class token for each view when tiny; 1025 of 14 px at 448 px when real.

    A picture comes as several tiles; here it fills the first and the others are masked.  A token that sees no picture
    would look at all of them (the library zeroes what follows its look, not the look), so none stands before the first.
    """

    model_type = "mllama"
    hub_mean, hub_std = CLIP_MEAN, CLIP_STD
    hub_marks = Marks(image="<|image|>", before_text="<|begin_of_text|>")

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        text = {name: value for name, value in tiny_text("mllama_text_model", layers=3).items() if name != "head_dim"}
        rope = {"rope_type": "default", "rope_theta": 10_000.0}
        return MllamaConfig(
            # The cache counts tokens in layer 0, which therefore must not be one that looks at pictures.
            text_config=text | {"cross_attention_layers": [1], "rope_parameters": rope},
            vision_config={
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 1,
                "num_global_layers": 1,
                "attention_heads": 2,
                "image_size": image_px,
                "patch_size": 16,
                "max_num_tiles": 1,
                "supported_aspect_ratios": [[1, 1]],
                "intermediate_layers_indices": [0],
                "vision_output_dim": 128,
            },
            image_token_index=IMAGE,
            tie_word_embeddings=True,  # pyright: ignore[reportCallIssue]
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        whole(image_px, image_px=image_px, multiple=config.vision_config.patch_size)
        return 1

    def tiny_layout(self, config: Any, image_px: int) -> Layout:
        return Layout(before_text=(BOS,), image=IMAGE, image_tokens=1, slot=SLOT, pad=PAD)

    def picture_inputs(self, pixels_BVCYX: Tensor, config: Any) -> dict[str, Tensor]:
        tiles = config.vision_config.max_num_tiles
        shape_BV = pixels_BVCYX.shape[:2]
        first = torch.arange(tiles, device=pixels_BVCYX.device) == 0
        return {
            "pixel_values": F.pad(pixels_BVCYX[:, :, None], (0, 0, 0, 0, 0, 0, 0, tiles - 1)),
            "aspect_ratio_ids": torch.ones(shape_BV, dtype=torch.long, device=pixels_BVCYX.device),
            "aspect_ratio_mask": first.long().expand(*shape_BV, tiles),
        }

    def inputs(self, prompt: Prompt, config: Any) -> dict[str, Any]:
        seen = {"cross_attention_mask": _tiles(prompt.visible(), config)}
        if prompt.pixels_BVCYX is None:
            return {"cross_attention_states": prompt.encoded, **seen}
        return {**self.picture_inputs(prompt.pixels_BVCYX, config), **seen}

    def step_inputs(self, prompt: Prompt, config: Any, step: int) -> dict[str, Any]:
        return {"cross_attention_mask": _tiles(prompt.visible()[:, -1:], config)}

    def look(self, model: nn.Module, pixels_BVCYX: Tensor, connectors: Sequence[str]) -> Tensor:
        inputs = self.picture_inputs(pixels_BVCYX, model.config)
        seen = model.vision_model(**inputs).last_hidden_state  # pyright: ignore[reportCallIssue]
        return seen.flatten(0, 1).flatten(1, 2)  # (B, V, tiles, P, D)

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        return model.multi_modal_projector(features_VPD)  # pyright: ignore[reportCallIssue]

    @torch.no_grad()
    def settle(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith(("cross_attn_attn_gate", "cross_attn_mlp_gate")):
                parameter.fill_(OPEN)


def _tiles(visible_BNV: Tensor, config: Any) -> Tensor:
    """(B, N, V, tiles) 1 where a token may look at a tile: the first one of a picture that it sees."""
    return F.pad(visible_BNV.long()[..., None], (0, config.vision_config.max_num_tiles - 1))
