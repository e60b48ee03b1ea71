"""Architectures of real size on the meta device: what they hold and how long a picture is, without their memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    Gemma3Config,
    Idefics3Config,
    InternVLConfig,
    LlavaConfig,
    PaliGemmaConfig,
    Qwen2VLConfig,
    Qwen3VLConfig,
    SmolVLMConfig,
)

from vlactl.backbones import BACKBONES
from vlactl.backbones.adapter import Backbone, Look
from vlactl.backbones.families import HALF
from vlactl.backbones.prompt import PAD, SLOT, Layout
from vlactl.backbones.text import WordTokenizer

SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 14}
SIGLIP |= {"num_hidden_layers": 27, "num_attention_heads": 16, "image_size": 224, "vision_use_head": False}
GEMMA = {"model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18}
GEMMA |= {"num_attention_heads": 8, "num_key_value_heads": 1, "vocab_size": 257216, "head_dim": 256}
CLIP = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "patch_size": 14}
CLIP |= {"num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "projection_dim": 768}
VICUNA = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
VICUNA |= {"num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064}
QWEN = {"model_type": "qwen3_vl_text", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28}
QWEN |= {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}
QWEN_VIT = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2048}
QWEN_VIT |= {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304}
QWEN_VIT |= {"deepstack_visual_indexes": [5, 11, 17]}

REAL: dict[str, tuple[Any, dict[str, float]]] = {
    "paligemma": (
        PaliGemmaConfig(text_config=GEMMA, vision_config=SIGLIP, projection_dim=2048),
        {"vision": 412e6, "connector": 2.4e6, "language": 2.51e9},
    ),
    "llava": (
        LlavaConfig(text_config=VICUNA, vision_config=CLIP),
        {"vision": 304e6, "connector": 21e6, "language": 6.6e9},
    ),
    "qwen3-vl": (
        Qwen3VLConfig(text_config=QWEN, vision_config=QWEN_VIT),
        {"vision": 306e6, "connector": 101e6, "language": 1.72e9},
    ),
}
"""Public configurations (``config.json`` of google/paligemma-3b-pt-224, llava-hf/llava-1.5-7b-hf and
Qwen/Qwen3-VL-2B-Instruct) and the parameters that each part must have."""


@pytest.mark.parametrize("kind", REAL)
def test_a_real_size_is_described_without_memory(kind: str) -> None:
    """Every parameter has a subtree, the vocabulary has room for actions, a picture is as long as the menu says."""
    spec, (config, counts) = BACKBONES.get(kind)(), REAL[kind]
    family, text = spec.family(), config.get_text_config()
    with torch.device("meta"):
        model = family.model_of(config)
    assert all(parameter.device.type == "meta" for parameter in model.parameters())
    px = family.native_px(config)
    backbone = Backbone(
        spec,
        family,
        model,
        None,
        layout=Layout(image=0, image_tokens=family.image_tokens(config, px), slot=SLOT, pad=PAD),
        look=Look(image_px=px, mean=HALF, std=HALF),
        tokenizer=WordTokenizer(first=8, capacity=8),
        action_rows=range(text.vocab_size - 1024, text.vocab_size),
    )
    counted = {name: sum(p.numel() for p in part) for name, part in backbone.subtrees().items()}
    assert counted == {name: pytest.approx(count, rel=0.03) for name, count in counts.items()}
    assert (px, backbone.layout.image_tokens) == (spec.hub_px, spec.hub_tokens)
    assert backbone.width == text.hidden_size


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("qwen2-vl", Qwen2VLConfig(vision_config={"patch_size": 14, "spatial_merge_size": 2})),
        ("smolvlm", SmolVLMConfig(vision_config={"patch_size": 16, "image_size": 512}, scale_factor=4)),
        ("idefics3", Idefics3Config(vision_config={"patch_size": 14, "image_size": 364}, scale_factor=2)),
        ("internvl", InternVLConfig(vision_config={"patch_size": [14, 14], "image_size": [448, 448]})),
        ("gemma3", Gemma3Config(vision_config={"patch_size": 14, "image_size": 896}, mm_tokens_per_image=256)),
    ],
)
def test_a_picture_is_as_long_as_the_menu_says(kind: str, config: Any) -> None:
    spec, family = BACKBONES.get(kind), BACKBONES.get(kind)().family()
    px = family.native_px(config)
    assert (px, family.image_tokens(config, px)) == (spec.hub_px, spec.hub_tokens)
