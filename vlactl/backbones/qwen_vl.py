"""The Qwen-VL line: a ViT for any resolution whose patches are merged 2 x 2, 3-D positions, a Qwen language model.

Quirks: pictures enter as flat patches with a grid; positions are three numbers per token.  The library derives them
token by token in Python and keeps an offset in the module between calls; here they are computed at once and passed in,
which also keeps a decode from leaking into the next forward (tests hold them equal to ``get_rope_index``).  Calling the
language model by hand, as several code bases do, loses them silently (2 to 60 % other hidden states).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    Glm4vConfig,
    PretrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen3_5Config,
    Qwen3VLConfig,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.vision_utils import get_vision_window_index

from vlactl.backbones.families import TINY_WIDTH, Family, tiny_text, whole
from vlactl.backbones.pixels import CLIP_MEAN, CLIP_STD
from vlactl.backbones.prompt import AFTER_VIEW, BEFORE_VIEW, IMAGE, PAD, SLOT, VIDEO, Layout, Marks, Prompt

VISION_WIDTH = 64
PATCH_PX = 16


def rope(**more: Any) -> dict[str, Any]:
    """Tiny 3-D positions: 16 frequencies of a 32-wide head, shared by time, row and column."""
    return {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5], **more}


class QwenVLFamily(Family):
    """16 patches of 16 px, merged 2 x 2 into 4 tokens for each view when tiny; 49 or 64 tokens at 224 px when real."""

    any_px = True
    hub_marks = Marks(before_view="<|vision_start|>", image="<|image_pad|>", after_view="<|vision_end|>")
    config_class: type[Any]
    text_type: str
    text_more: ClassVar[dict[str, Any]] = {}

    def tiny_vision(self, image_px: int) -> dict[str, Any]:
        """The vision tower's fields; the towers of this line agree on little more than these."""
        return {
            "depth": 2,
            "num_heads": 2,
            "patch_size": PATCH_PX,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "hidden_size": VISION_WIDTH,
            "intermediate_size": 2 * VISION_WIDTH,
            "out_hidden_size": TINY_WIDTH,
        }

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return self.config_class(
            text_config=tiny_text(self.text_type, **{"rope_parameters": rope(), **self.text_more}),
            vision_config=self.tiny_vision(image_px),
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
        return 224  # any size will do; this one is PaliGemma's and CALVIN's usual one, and costs 49 or 64 tokens

    def image_tokens(self, config: Any, image_px: int) -> int:
        tile = config.vision_config.patch_size * config.vision_config.spatial_merge_size
        return whole(image_px // tile, image_px=image_px, multiple=tile) ** 2

    def picture_inputs(self, pixels_BVCYX: Tensor, config: Any) -> dict[str, Tensor]:
        vision = config.vision_config
        pixels, grid = patches(
            pixels_BVCYX.flatten(0, 1),
            patch_px=vision.patch_size,
            merge=vision.spatial_merge_size,
            frames=vision.temporal_patch_size,
        )
        return {"pixel_values": pixels, "image_grid_thw": grid}

    def row_inputs(self, prompt: Prompt, config: Any) -> dict[str, Tensor]:
        return {"position_ids": positions(prompt)}

    def step_inputs(self, prompt: Prompt, config: Any, step: int) -> dict[str, Any]:
        return {"position_ids": positions(prompt)[..., -1:] + 1 + step}

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        merged, *deeper = self.merged(model, features_VPD, connectors)
        return BaseModelOutputWithDeepstackFeatures(pooler_output=merged, deepstack_features=deeper or None)  # pyright: ignore

    def merged(
        self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]
    ) -> Iterator[tuple[Tensor, ...]]:
        """For each merger in turn, its tokens of every picture."""
        kept = features_VPD.chunk(len(connectors), -1)
        for name, feature_VPD in zip(connectors, kept, strict=True):
            tokens = model.get_submodule(name)(feature_VPD.flatten(0, 1).contiguous())
            yield tokens.chunk(len(features_VPD))


class Qwen2VLFamily(QwenVLFamily):
    """64 tokens of 28 px at 224 px when real.  CLIP's normalisation, which Qwen kept until Qwen3."""

    model_type = "qwen2_vl"
    hub_mean, hub_std = CLIP_MEAN, CLIP_STD
    config_class = Qwen2VLConfig
    text_type = "qwen2_vl_text"

    def tiny_vision(self, image_px: int) -> dict[str, Any]:
        # Here ``hidden_size`` is the width that leaves the tower, and ``embed_dim`` the one inside.
        shared = super().tiny_vision(image_px)
        del shared["intermediate_size"], shared["out_hidden_size"]
        return shared | {"embed_dim": VISION_WIDTH, "mlp_ratio": 2, "hidden_size": TINY_WIDTH}


class Qwen25VLFamily(QwenVLFamily):
    """As Qwen2-VL, with a tower that attends within windows (of 64 px when tiny) in all but a few layers."""

    model_type = "qwen2_5_vl"
    hub_mean, hub_std = CLIP_MEAN, CLIP_STD
    config_class = Qwen2_5_VLConfig
    text_type = "qwen2_5_vl_text"

    def tiny_vision(self, image_px: int) -> dict[str, Any]:
        return super().tiny_vision(image_px) | {"window_size": 4 * PATCH_PX, "fullatt_block_indexes": [1]}

    def merged(
        self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]
    ) -> Iterator[tuple[Tensor, ...]]:
        # The tower leaves its patches in the order of its windows; the library restores theirs after the merger.
        vision: Any = model.config.vision_config  # pyright: ignore[reportAttributeAccessIssue]
        side = round(features_VPD.shape[1] ** 0.5)
        grid = torch.tensor([[1, side, side]]).expand(len(features_VPD), 3)
        order, _ = get_vision_window_index(
            grid,
            spatial_merge_size=vision.spatial_merge_size,
            window_size=vision.window_size,
            patch_size=vision.patch_size,
        )
        back = torch.argsort(order).to(features_VPD.device)
        for tokens in super().merged(model, features_VPD, connectors):
            yield torch.cat(tokens)[back].chunk(len(features_VPD))


class Qwen3VLFamily(QwenVLFamily):
    """49 tokens of 32 px at 224 px when real.  Deepstack: features are added to the first language layers as well."""

    model_type = "qwen3_vl"
    config_class = Qwen3VLConfig
    text_type = "qwen3_vl_text"
    text_more: ClassVar[dict[str, Any]] = {"rope_parameters": rope(mrope_interleaved=True)}

    def tiny_vision(self, image_px: int) -> dict[str, Any]:
        return super().tiny_vision(image_px) | {
            "num_position_embeddings": (image_px // PATCH_PX) ** 2,
            "deepstack_visual_indexes": [0],
        }


class Qwen35Family(QwenVLFamily):
    """Linear attention (gated delta rule) in every other layer when tiny, in three of four when real."""

    model_type = "qwen3_5"
    config_class = Qwen3_5Config
    text_type = "qwen3_5_text"
    text_more: ClassVar[dict[str, Any]] = {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "rope_parameters": rope(mrope_section=[3, 3, 2], partial_rotary_factor=0.5),
    }

    def tiny_vision(self, image_px: int) -> dict[str, Any]:
        return super().tiny_vision(image_px) | {"num_position_embeddings": (image_px // PATCH_PX) ** 2}


class Glm4vFamily(QwenVLFamily):
    """GLM-4.1V, built on the same plan by other hands."""

    model_type = "glm4v"
    hub_mean, hub_std = CLIP_MEAN, CLIP_STD
    hub_marks = Marks(before_view="<|begin_of_image|>", image="<|image|>", after_view="<|end_of_image|>")
    text_type = "glm4v_text"

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return Glm4vConfig(
            text_config=tiny_text(self.text_type, rope_parameters=rope(partial_rotary_factor=1.0)),
            vision_config=self.tiny_vision(image_px) | {"image_size": image_px},
            image_token_id=IMAGE,
            video_token_id=VIDEO,
            image_start_token_id=BEFORE_VIEW,
            image_end_token_id=AFTER_VIEW,
            video_start_token_id=VIDEO,
            video_end_token_id=VIDEO,
            tie_word_embeddings=True,
        )


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
