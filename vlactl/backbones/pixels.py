"""The normalisations that pretrained towers were trained with, other than mean 0.5 and deviation 0.5."""

from __future__ import annotations

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI CLIP's preprocessing, as in ``transformers.image_utils.OPENAI_CLIP_MEAN`` and ``_STD``."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""As in ``transformers.image_utils.IMAGENET_DEFAULT_MEAN`` and ``_STD``."""
