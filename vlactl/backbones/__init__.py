"""Menu of vision-language backbones: what a recipe may name.  Imports neither torch nor transformers.

Every family stands behind one adapter (:mod:`vlactl.backbones.adapter`): pictures and text in, hidden states at a few
learnable *slots* out.  ``weights: tiny`` builds a random model of about a million parameters with the family's own
classes, masks and token layout, so that a laptop runs the code that a cluster runs; it says nothing about how good the
real model is.  A family's file holds its tiny configuration and its quirks; everything else is shared.
"""

from __future__ import annotations

from vlactl.backbones.spec import TINY_ACTION_ROWS, BackboneSpec, Repository, fingerprint
from vlactl.registry import Registry

__all__ = ["BACKBONES", "TINY_ACTION_ROWS", "BackboneSpec", "Repository", "fingerprint"]

BACKBONES: Registry[BackboneSpec] = Registry("backbones", "backbone")


@BACKBONES.add
class PaliGemma(BackboneSpec):
    """SigLIP, a linear projection and Gemma; a prefix language model: pictures and text see each other both ways."""

    kind = "paligemma"
    hub_id = "google/paligemma-3b-pt-224"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    family_at = "vlactl.backbones.paligemma:PaliGemmaFamily"
    caches_features = True


@BACKBONES.add
class Llava(BackboneSpec):
    """CLIP, a two-layer projection and Llama."""

    kind = "llava"
    hub_id = "llava-hf/llava-1.5-7b-hf"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    family_at = "vlactl.backbones.llava:LlavaFamily"
    caches_features = True


@BACKBONES.add
class SmolVLM(BackboneSpec):
    """SigLIP, pixel shuffle and a small Llama; the backbone of SmolVLA."""

    kind = "smolvlm"
    hub_id = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    vision = ("vision_model",)
    connector = ("connector",)
    language = ("text_model",)
    family_at = "vlactl.backbones.smolvlm:SmolVLMFamily"
    caches_features = True


@BACKBONES.add
class Idefics3(BackboneSpec):
    """SmolVLM's larger predecessor: SigLIP, pixel shuffle and Llama 3."""

    kind = "idefics3"
    hub_id = "HuggingFaceM4/Idefics3-8B-Llama3"
    vision = ("vision_model",)
    connector = ("connector",)
    language = ("text_model",)
    family_at = "vlactl.backbones.smolvlm:Idefics3Family"
    caches_features = True


@BACKBONES.add
class Qwen3VL(BackboneSpec):
    """A ViT of any resolution whose features also enter the first language layers, and Qwen3 with 3-D positions."""

    kind = "qwen3-vl"
    hub_id = "Qwen/Qwen3-VL-2B-Instruct"
    vision = ("visual",)
    connector = ("visual.merger", "visual.deepstack_merger_list")
    language = ("language_model",)
    family_at = "vlactl.backbones.qwen_vl:Qwen3VLFamily"
    caches_features = True


@BACKBONES.add
class InternVL(BackboneSpec):
    """InternViT, pixel shuffle and Qwen3."""

    kind = "internvl"
    hub_id = "OpenGVLab/InternVL3_5-1B-HF"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    family_at = "vlactl.backbones.internvl:InternVLFamily"
    caches_features = True
