"""Menu of backbones: the families of "What matters in building vision-language-action models" (RoboVLMs)."""

from __future__ import annotations

from typing import ClassVar

from vlactl.backbones.menu_composites import CompositeSpec
from vlactl.backbones.spec import BackboneSpec, Repository


class Flamingo(BackboneSpec):
    """CLIP, a perceiver and a decoder that looks at pictures through gates, by way of Idefics, its open reproduction.

    The paper uses OpenFlamingo 3B, 4B and 9B, whose weights run only as code of an old library; Idefics is the same
    design (CLIP, a perceiver of 64 latents, gated cross-attention into a Llama) at 9B.  Pictures are no tokens.  The
    paper counts it as encoder-decoder and leaves interleaved formulations out, and so does this menu.
    """

    kind = "flamingo"
    hub_id = "HuggingFaceM4/idefics-9b"
    family_at = "vlactl.backbones.gated:FlamingoFamily"
    vision = ("vision_model",)
    connector = ("perceiver_resampler", "gated_cross_attn_layers")
    language = ("embed_tokens", "layers", "norm")
    decoder_only = False
    caches_features = True
    hub_px = 224
    hub_tokens = 64
    mask = "cross-attention"


class Kosmos2(BackboneSpec):
    """CLIP, 64 learned queries and a decoder of 1.6B that was trained to ground words in pictures; the paper's best.

    Its ablations of formulation, data and history run on this family.
    """

    kind = "kosmos-2"
    hub_id = "microsoft/kosmos-2-patch14-224"
    hub_revision = "e91cfbcb4ce051b6a55bfb5f96165a3bbf5eb82c"
    family_at = "vlactl.backbones.kosmos2:Kosmos2Family"
    vision = ("vision_model",)
    connector = ("image_to_text_projection",)
    language = ("text_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 64


class PaliGemma(BackboneSpec):
    """SigLIP, a linear projection and Gemma; a prefix language model: pictures and text see each other both ways.

    Slots are its suffix and causal.  Of the paper's backbones the one with most vision-language pretraining; the base
    of pi-0.
    """

    kind = "paligemma"
    hub_id = "google/paligemma-3b-pt-224"
    hub_revision = "35e4f46485b4d07967e7e9935bc3786aad50687c"
    family_at = "vlactl.backbones.paligemma:PaliGemmaFamily"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 256
    mask = "prefix"


class Llava(BackboneSpec):
    """CLIP, a two-layer projection and Llama, as LLaVA 1.5.

    The paper puts a resampler of 64 queries behind CLIP; here all patches go in, as in the original.
    """

    kind = "llava"
    hub_id = "llava-hf/llava-1.5-7b-hf"
    hub_revision = "b234b804b114d9e37bb655e11cbbb5f5e971b7a9"
    family_at = "vlactl.backbones.llava:LlavaFamily"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    caches_features = True
    hub_px = 336
    hub_tokens = 576


class Qwen2VL(BackboneSpec):
    """A ViT of any resolution, 2 x 2 patches merged, and Qwen 2 with 3-D positions.

    Stands for the paper's Qwen-VL 9B, whose weights are code of their repository; this is its native successor.
    """

    kind = "qwen2-vl"
    hub_id = "Qwen/Qwen2-VL-2B-Instruct"
    hub_revision = "895c3a49bc3fa70a340399125c650a463535e71c"
    family_at = "vlactl.backbones.qwen_vl:Qwen2VLFamily"
    vision = ("visual",)
    connector = ("visual.merger",)
    language = ("language_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 64


class Moondream(CompositeSpec):
    """A composite of Moondream 2's make, not its weights: SigLIP, a projection drawn anew, and Phi 1.5.

    Moondream itself runs only as code of its repository.  What it learned from pictures with words is not in here, so
    its row of the paper's table is not reproduced by this member.
    """

    kind = "moondream"
    hub_parts: ClassVar[dict[str, Repository]] = {
        "vision": Repository("google/siglip-so400m-patch14-384", "9fdffc58afc957d1a03a25b10dba0329ab15c2a3"),
        "language": Repository("microsoft/phi-1_5", "675aa382d814580b22651a30acb1a585d7c25963"),
    }
    family_at = "vlactl.backbones.composites:MoondreamFamily"
    hub_px = 384
    hub_tokens = 729


class UForm(CompositeSpec):
    """A composite of uform-gen2-qwen-500m's make, not its weights: CLIP, a projection drawn anew, and Qwen 1.5 0.5B.

    UForm itself runs only as code of its repository.  What it learned from pictures with words is not in here, so its
    row of the paper's table is not reproduced by this member.
    """

    kind = "uform"
    hub_parts: ClassVar[dict[str, Repository]] = {
        "vision": Repository("openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41"),
        "language": Repository("Qwen/Qwen1.5-0.5B-Chat", "4d14e384a4b037942bb3f3016665157c8bcb70ea"),
    }
    family_at = "vlactl.backbones.composites:UFormFamily"
    hub_px = 224
    hub_tokens = 256
