"""Menu of backbones: put together here from a vision encoder and a language model that never met.

They answer the question what vision-language pretraining is worth: the parts are pretrained, what connects them is not.
Moondream and UForm, also composites, are on the paper's menu.
"""

from __future__ import annotations

from typing import ClassVar

from vlactl.backbones.spec import BackboneSpec, Repository

SIGLIP_224 = Repository("google/siglip-so400m-patch14-224", "d04cf29fca7b6374f74d8bea1969314492266b5e")
CLIP_224 = Repository("openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41")
DINOV2 = Repository("facebook/dinov2-large", "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c")
LLAMA = Repository("meta-llama/Llama-3.2-1B", "4e20de362430cd3b72f300e6b0f18e50e7166e08")
QWEN = Repository("Qwen/Qwen2.5-0.5B", "060db6499f32faf8b98477b0a26969ef7d8b9987")


class CompositeSpec(BackboneSpec):
    """What all composites share: encoders, a projection drawn anew, a language model."""

    vision = ("encoders",)
    connector = ("projector",)
    language = ("language_model",)
    caches_features = True


class SiglipLlama(CompositeSpec):
    """SigLIP so400m and Llama 3.2 1B, with a two-layer projection drawn anew; VLANeXt's starting point."""

    kind = "siglip-llama"
    hub_parts: ClassVar[dict[str, Repository]] = {"vision": SIGLIP_224, "language": LLAMA}
    family_at = "vlactl.backbones.composites:SiglipLlama"
    hub_px = 224
    hub_tokens = 256


class ClipLlama(CompositeSpec):
    """CLIP large and Llama 3.2 1B, with a two-layer projection drawn anew: LLaVA before it saw its data."""

    kind = "clip-llama"
    hub_parts: ClassVar[dict[str, Repository]] = {"vision": CLIP_224, "language": LLAMA}
    family_at = "vlactl.backbones.composites:ClipLlama"
    hub_px = 224
    hub_tokens = 256


class SiglipQwen2(CompositeSpec):
    """SigLIP so400m and Qwen 2.5 0.5B, with a two-layer projection drawn anew."""

    kind = "siglip-qwen2"
    hub_parts: ClassVar[dict[str, Repository]] = {"vision": SIGLIP_224, "language": QWEN}
    family_at = "vlactl.backbones.composites:SiglipQwen2"
    hub_px = 224
    hub_tokens = 256


class Dinov2SiglipQwen2(CompositeSpec):
    """DINOv2 and SigLIP side by side, and Qwen 2.5 0.5B: the make of Prismatic, OpenVLA and VLA-Adapter."""

    kind = "dinov2-siglip-qwen2"
    hub_parts: ClassVar[dict[str, Repository]] = {
        "vision-dinov2": DINOV2,
        "vision-siglip": SIGLIP_224,
        "language": QWEN,
    }
    family_at = "vlactl.backbones.composites:Dinov2SiglipQwen2"
    hub_px = 224
    hub_tokens = 256
