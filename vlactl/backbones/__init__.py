"""Menu of vision-language backbones: what a recipe may name.  Imports neither torch nor transformers.

Every family stands behind one adapter (:mod:`vlactl.backbones.adapter`): pictures and text in, hidden states at a few
learnable *slots* out.  ``weights: tiny`` builds a random model of about a million parameters with the family's own
classes, masks and token layout, so that a laptop runs the code that a cluster runs; it says nothing about how good the
real model is.  A family's file holds its tiny configuration and its quirks; everything else is shared.

The members are in three files: the paper's families, newer native ones, and composites of our own.
"""

from __future__ import annotations

from vlactl.backbones.menu_composites import ClipLlama, Dinov2SiglipQwen2, SiglipLlama, SiglipQwen2
from vlactl.backbones.menu_newer import (
    AyaVision,
    Blip2,
    Florence2,
    Gemma3,
    Glm4v,
    Idefics2,
    Idefics3,
    InternVL,
    LlavaOnevision,
    Mllama,
    PaliGemma2,
    Qwen3VL,
    Qwen25VL,
    Qwen35,
    SmolVLM,
)
from vlactl.backbones.menu_paper import Flamingo, Kosmos2, Llava, Moondream, PaliGemma, Qwen2VL, UForm
from vlactl.backbones.spec import TINY_ACTION_ROWS, BackboneSpec, Repository, fingerprint
from vlactl.registry import Registry

__all__ = ["BACKBONES", "TINY_ACTION_ROWS", "BackboneSpec", "PaliGemma", "Repository", "SmolVLM", "fingerprint"]

BACKBONES: Registry[BackboneSpec] = Registry("backbones", "backbone")

for member in (
    # the paper's
    *(Flamingo, Kosmos2, PaliGemma, Llava, Qwen2VL, Moondream, UForm),
    # newer native ones
    *(SmolVLM, Idefics3, Idefics2, PaliGemma2, Gemma3, Qwen25VL, Qwen3VL, Qwen35, Glm4v, InternVL, AyaVision),
    *(LlavaOnevision, Florence2, Blip2, Mllama),
    # put together here
    *(SiglipLlama, ClipLlama, SiglipQwen2, Dinov2SiglipQwen2),
):
    BACKBONES.add(member)
