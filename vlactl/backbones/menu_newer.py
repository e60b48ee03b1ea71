"""Menu of backbones: native families that came after the paper or that later studies build on."""

from __future__ import annotations

from vlactl.backbones.spec import BackboneSpec


class PaliGemma2(BackboneSpec):
    """SigLIP, a linear projection and Gemma 2; as PaliGemma, a prefix language model.

    Its weights share PaliGemma's architecture name; without the ids that say what is prefix it would be causal.
    """

    kind = "paligemma2"
    hub_id = "google/paligemma2-3b-pt-224"
    hub_revision = "96eeb174da13ca1a2b247e4d0867436296c36420"
    family_at = "vlactl.backbones.paligemma:PaliGemma2Family"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 256
    mask = "prefix"


class Qwen25VL(BackboneSpec):
    """Qwen2-VL with a ViT that attends within windows, and Qwen 2.5; a common base of newer policies (starVLA)."""

    kind = "qwen2.5-vl"
    hub_id = "Qwen/Qwen2.5-VL-3B-Instruct"
    hub_revision = "66285546d2b821cf421d4f5eb2576359d3770cd3"
    family_at = "vlactl.backbones.qwen_vl:Qwen25VLFamily"
    vision = ("visual",)
    connector = ("visual.merger",)
    language = ("language_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 64


class Qwen3VL(BackboneSpec):
    """A ViT of any resolution whose features also enter the first language layers, and Qwen 3 with 3-D positions."""

    kind = "qwen3-vl"
    hub_id = "Qwen/Qwen3-VL-2B-Instruct"
    hub_revision = "89644892e4d85e24eaac8bacfd4f463576704203"
    family_at = "vlactl.backbones.qwen_vl:Qwen3VLFamily"
    vision = ("visual",)
    connector = ("visual.merger", "visual.deepstack_merger_list")
    language = ("language_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 49


class Qwen35(BackboneSpec):
    """A ViT of any resolution and Qwen 3.5, most of whose layers are linear attention, a recurrence over tokens."""

    kind = "qwen3.5"
    hub_id = "Qwen/Qwen3.5-2B"
    hub_revision = "15852e8c16360a2fea060d615a32b45270f8a8fc"
    family_at = "vlactl.backbones.qwen_vl:Qwen35Family"
    vision = ("visual",)
    connector = ("visual.merger",)
    language = ("language_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 49


class Glm4v(BackboneSpec):
    """A ViT of any resolution, 2 x 2 patches merged by a convolution, and GLM 4 with 3-D positions, as GLM-4.1V."""

    kind = "glm4v"
    hub_id = "zai-org/GLM-4.1V-9B-Thinking"
    family_at = "vlactl.backbones.qwen_vl:Glm4vFamily"
    vision = ("visual",)
    connector = ("visual.merger",)
    language = ("language_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 64


class InternVL(BackboneSpec):
    """InternViT, pixel shuffle and Qwen 2.5 or 3, as InternVL 3 and 3.5."""

    kind = "internvl"
    hub_id = "OpenGVLab/InternVL3-1B-hf"
    hub_revision = "014c0583a0d4bedf29fbe2dbff4f865eb998e171"
    family_at = "vlactl.backbones.internvl:InternVLFamily"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    caches_features = True
    hub_px = 448
    hub_tokens = 256


class AyaVision(BackboneSpec):
    """SigLIP, pixel shuffle and Cohere's Command R7B; many languages."""

    kind = "aya-vision"
    hub_id = "CohereLabs/aya-vision-8b"
    family_at = "vlactl.backbones.internvl:AyaVisionFamily"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    caches_features = True
    hub_px = 364
    hub_tokens = 169


class SmolVLM(BackboneSpec):
    """SigLIP, pixel shuffle and a small Llama; the backbone of SmolVLA."""

    kind = "smolvlm"
    hub_id = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    hub_revision = "7b375e1b73b11138ff12fe22c8f2822d8fe03467"
    family_at = "vlactl.backbones.idefics:SmolVLMFamily"
    vision = ("vision_model",)
    connector = ("connector",)
    language = ("text_model",)
    caches_features = True
    hub_px = 512
    hub_tokens = 64


class Idefics2(BackboneSpec):
    """SigLIP, a perceiver of 64 latents and Mistral 7B: Flamingo's resampler without its cross-attention."""

    kind = "idefics2"
    hub_id = "HuggingFaceM4/idefics2-8b"
    hub_revision = "2c42686c57fe21cf0348c9ce1077d094b72e7698"
    family_at = "vlactl.backbones.idefics:Idefics2Family"
    vision = ("vision_model",)
    connector = ("connector",)
    language = ("text_model",)
    caches_features = True
    hub_px = 378
    hub_tokens = 64


class Idefics3(BackboneSpec):
    """SigLIP, pixel shuffle and Llama 3; SmolVLM's larger predecessor."""

    kind = "idefics3"
    hub_id = "HuggingFaceM4/Idefics3-8B-Llama3"
    hub_revision = "fddb4ff79181e55a994674777e06cd5456ce3dc3"
    family_at = "vlactl.backbones.idefics:Idefics3Family"
    vision = ("vision_model",)
    connector = ("connector",)
    language = ("text_model",)
    caches_features = True
    hub_px = 364
    hub_tokens = 169


class Florence2(BackboneSpec):
    """DaViT and BART, whose encoder reads pictures and text both ways; the base of FLOWER and X-VLA.

    Slots are in the decoder.  Rows are padded on the right, because the encoder's positions are absolute.
    """

    kind = "florence2"
    hub_id = "florence-community/Florence-2-base"
    hub_revision = "00921df66db728a9ceb750f5eca43e5c203a2051"
    family_at = "vlactl.backbones.florence2:Florence2Family"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    decoder_only = False
    caches_features = True
    hub_px = 224
    hub_tokens = 50
    mask = "encoder-decoder"
    padding = "right"


class Gemma3(BackboneSpec):
    """SigLIP, average pooling and Gemma 3; the tokens of one picture see each other both ways, all else is causal."""

    kind = "gemma3"
    hub_id = "google/gemma-3-4b-it"
    hub_revision = "093f9f388b31de276ce2de164bdc2081324b9767"
    family_at = "vlactl.backbones.gemma3:Gemma3Family"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    caches_features = True
    hub_px = 896
    hub_tokens = 256
    mask = "picture-blocks"


class LlavaOnevision(BackboneSpec):
    """SigLIP, a two-layer projection and Qwen 2, as LLaVA-OneVision; each view is one tile."""

    kind = "llava-onevision"
    hub_id = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    hub_revision = "0d50680527681998e456c7b78950205bedd8a068"
    family_at = "vlactl.backbones.llava:LlavaOnevisionFamily"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector", "image_newline")
    language = ("language_model",)
    caches_features = True
    hub_px = 384
    hub_tokens = 730


class Blip2(BackboneSpec):
    """EVA-CLIP, a Q-Former whose 32 queries ask the picture, and OPT 2.7B; the first to freeze both ends."""

    kind = "blip2"
    hub_id = "Salesforce/blip2-opt-2.7b"
    hub_revision = "59a1ef6c1e5117b3f65523d1c6066825bcf315e3"
    family_at = "vlactl.backbones.blip2:Blip2Family"
    vision = ("vision_model",)
    connector = ("query_tokens", "qformer", "language_projection")
    language = ("language_model",)
    caches_features = True
    hub_px = 224
    hub_tokens = 32


class Mllama(BackboneSpec):
    """Llama 3.2 Vision, some of whose language layers look at pictures through a gate; Flamingo's design at 11B.

    Which tokens see which pictures is a mask, so frames and slots can alternate in one causal sequence.
    """

    kind = "mllama"
    hub_id = "meta-llama/Llama-3.2-11B-Vision-Instruct"
    hub_revision = "9eb2daaa8597bf192a8b0e73f848f3a102794df5"
    family_at = "vlactl.backbones.gated:MllamaFamily"
    vision = ("vision_model",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)
    caches_features = True
    hub_px = 448
    hub_tokens = 1025
    mask = "cross-attention"
