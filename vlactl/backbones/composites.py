"""Backbones put together here: one or two vision encoders, a two-layer projection, a language model.

What is between the parts is drawn anew and has to be learned, so these know nothing of pictures and words together;
their parts are pretrained.  Encoders of one composite see the same square of patches, and their features are put side
by side (Prismatic, OpenVLA).  No quirk: one causal sequence, plain positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    CLIPVisionModel,
    Dinov2Model,
    PretrainedConfig,
    PreTrainedModel,
    SiglipVisionModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vlactl.backbones.families import HALF, Family, tiny_text, tiny_vision
from vlactl.backbones.pixels import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from vlactl.backbones.prompt import IMAGE, Marks

if TYPE_CHECKING:
    from vlactl.backbones.reading import Reader
    from vlactl.backbones.text import SubwordTokenizer

LANGUAGE = "language"
"""Name of the part that speaks; every other part sees."""
SEEING: dict[str, tuple[Any, tuple[str, ...], tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "siglip_vision_model": (SiglipVisionModel, ("text_model.", "logit_"), (HALF, HALF)),
    "clip_vision_model": (
        CLIPVisionModel,
        ("text_model.", "text_projection.", "visual_projection.", "logit_scale"),
        (CLIP_MEAN, CLIP_STD),
    ),
    "dinov2": (Dinov2Model, (), (IMAGENET_MEAN, IMAGENET_STD)),
}
"""Architecture -> class, what its repository holds beside it, and the normalisation that it was trained with."""


class CompositeConfig(PretrainedConfig):
    """Configurations of the parts; ``looks`` are (mean, std) for each encoder, empty where pictures come prepared."""

    model_type = "vlactl-composite"
    has_no_defaults_at_init = True

    def __init__(
        self,
        encoders: Sequence[Any] = (),
        text_config: Any = None,
        image_token_id: int = IMAGE,
        looks: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        self.encoders = [_config(encoder) for encoder in encoders]
        self.text_config = _config(text_config) if text_config is not None else PretrainedConfig()
        self.image_token_id = image_token_id
        self.looks = [[list(values) for values in look] for look in looks]
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; the parts by their own ``to_dict``."""
        return super().to_dict() | {
            "encoders": [encoder.to_dict() for encoder in self.encoders],
            "text_config": self.text_config.to_dict(),
        }


def _config(document: Any) -> Any:
    return AutoConfig.for_model(**document) if isinstance(document, dict) else document


class Composite(PreTrainedModel):
    """Vision features take the places of their placeholders among the words' embeddings."""

    config_class = CompositeConfig
    supports_gradient_checkpointing = True

    def __init__(
        self, config: CompositeConfig, encoders: Sequence[nn.Module] | None = None, language: Any = None
    ) -> None:
        """Parts that are not given are drawn."""
        super().__init__(config)
        if encoders is None:
            encoders = [AutoModel.from_config(encoder) for encoder in config.encoders]
        self.encoders = nn.ModuleList(encoders)
        seen, width = sum(encoder.hidden_size for encoder in config.encoders), config.text_config.hidden_size
        self.projector = nn.Sequential(nn.Linear(seen, width), nn.GELU(), nn.Linear(width, width))
        self.language_model = AutoModel.from_config(config.text_config) if language is None else language

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_image_features(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        """(V, P, D) of pictures (V, C, Y, X)"""
        patches = []
        for i, encoder in enumerate(self.encoders):
            seen = encoder(pixel_values=self._prepared(pixel_values, i)).last_hidden_state
            patches.append(seen[:, -self._patches(pixel_values, i) :])
        return BaseModelOutputWithPooling(pooler_output=self.projector(torch.cat(patches, -1)))

    def _patches(self, pixels_VCYX: Tensor, encoder: int) -> int:
        """How many; before them come a class token and registers."""
        return (pixels_VCYX.shape[-1] // self.config.encoders[encoder].patch_size) ** 2

    def _prepared(self, pixels_VCYX: Tensor, encoder: int) -> Tensor:
        """As this encoder was trained, from mean and deviation 0.5."""
        if not self.config.looks:
            return pixels_VCYX
        mean, std = (pixels_VCYX.new_tensor(values).view(-1, 1, 1) for values in self.config.looks[encoder])
        return (pixels_VCYX * 0.5 + 0.5 - mean) / std

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **more: Any,
    ) -> Any:
        """What the language model answers; pictures as pixels or as what :meth:`get_image_features` said."""
        words_BND = self.get_input_embeddings()(input_ids)
        seen = (mm_encoder_outputs or {}).get("image")
        if pixel_values is not None:
            seen = self.get_image_features(pixel_values)
        if seen is not None:
            picture_BN1 = (input_ids == self.config.image_token_id)[..., None]
            words_BND = words_BND.masked_scatter(picture_BN1, seen.pooler_output.to(words_BND.dtype))  # pyright: ignore
        return self.language_model(inputs_embeds=words_BND, attention_mask=attention_mask, **more)


class Speaking(nn.Module):
    """A composite and its language model's head."""

    def __init__(self, model: Composite, lm_head: nn.Module) -> None:
        super().__init__()
        self.model, self.lm_head = model, lm_head

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()


class CompositeFamily(Family):
    """4 patches of 32 px for each view when tiny."""

    model_type = CompositeConfig.model_type
    hub_marks = Marks(image="")
    seeing: tuple[str, ...]
    """Architectures of the encoders."""
    speaking: str
    """Architecture of the language model."""

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        encoders = [tiny_vision(image_px=image_px, patch_px=32, model_type=name, **TINY[name]) for name in self.seeing]
        return CompositeConfig(
            encoders=encoders, text_config=tiny_text(self.speaking, **TINY.get(self.speaking, {})), image_token_id=IMAGE
        )

    def native_px(self, config: Any) -> int:
        # DINOv2 adapts its positions to any size, the others do not.
        return min(encoder.image_size for encoder in config.encoders)

    def image_tokens(self, config: Any, image_px: int) -> int:
        (patch,) = {encoder.patch_size for encoder in config.encoders}
        return (image_px // patch) ** 2  # 384 px hold 27 whole patches of 14 px a side

    # ---- weights -------------------------------------------------------------------------------------

    def config_from(self, document: dict[str, Any]) -> Any:
        return CompositeConfig(**{name: value for name, value in document.items() if name != "model_type"})

    def model_of(self, config: Any) -> nn.Module:
        return Composite(config).float()

    def whole_of(self, config: Any) -> nn.Module:
        causal = AutoModelForCausalLM.from_config(config.text_config, dtype=torch.float32)
        return self._joined(config, [AutoModel.from_config(encoder) for encoder in config.encoders], causal)

    def hub_config(self, reader: Reader) -> Any:
        encoders = [reader.config(part) for part in reader.spec.hub_parts if part != LANGUAGE]
        encoders = [getattr(encoder, "vision_config", encoder) for encoder in encoders]
        tokenizer, _ = self.hub_tokenizer(reader)
        text = reader.config(LANGUAGE)
        special = tokenizer.model.get_added_tokens_decoder()
        rows = min(text.vocab_size, tokenizer.model.get_vocab_size(with_added_tokens=False))
        return CompositeConfig(
            encoders=encoders,
            text_config=text,
            image_token_id=next(row for row in range(rows - 1, -1, -1) if row not in special),
            looks=[SEEING[encoder.model_type][2] for encoder in encoders],
        )

    def hub_tokenizer(self, reader: Reader) -> tuple[SubwordTokenizer, str]:
        return reader.tokenizer(LANGUAGE)

    def hub_image_id(self, config: Any, tokenizer: SubwordTokenizer) -> int:
        return config.image_token_id  # no text vocabulary has one: its last ordinary row

    def read(self, reader: Reader, config: Any) -> nn.Module:
        encoders = []
        for part in (part for part in reader.spec.hub_parts if part != LANGUAGE):
            what, unused, _ = SEEING[config.encoders[len(encoders)].model_type]
            encoders.append(reader.weights(what, part, unused=unused))
        return self._joined(config, encoders, reader.weights(AutoModelForCausalLM, LANGUAGE))

    def _joined(self, config: Any, encoders: Sequence[nn.Module], causal: nn.Module) -> Speaking:
        model = Composite(config, encoders, causal.model)  # pyright: ignore[reportArgumentType]
        return Speaking(model, causal.lm_head)  # pyright: ignore[reportArgumentType]


TINY: dict[str, dict[str, Any]] = {
    "siglip_vision_model": {"vision_use_head": False},
    "clip_vision_model": {"projection_dim": 64},
    "dinov2": {"mlp_ratio": 2},
    "phi": {"partial_rotary_factor": 0.5},
}
"""What a tiny part needs beside its sizes."""


class SiglipLlama(CompositeFamily):
    """SigLIP and Llama."""

    seeing, speaking = ("siglip_vision_model",), "llama"
    hub_marks = Marks(bos="<|begin_of_text|>", image="")


class ClipLlama(CompositeFamily):
    """CLIP and Llama."""

    seeing, speaking = ("clip_vision_model",), "llama"
    hub_marks = Marks(bos="<|begin_of_text|>", image="")


class SiglipQwen2(CompositeFamily):
    """SigLIP and Qwen 2.5."""

    seeing, speaking = ("siglip_vision_model",), "qwen2"


class Dinov2SiglipQwen2(CompositeFamily):
    """DINOv2 and SigLIP side by side, and Qwen 2.5."""

    seeing, speaking = ("dinov2", "siglip_vision_model"), "qwen2"


class MoondreamFamily(CompositeFamily):
    """SigLIP and Phi, whose language head has a bias."""

    seeing, speaking = ("siglip_vision_model",), "phi"

    def head_of(self, config: Any) -> nn.Module:
        text = config.get_text_config()
        return nn.Linear(text.hidden_size, text.vocab_size)


class UFormFamily(CompositeFamily):
    """CLIP and Qwen 1.5, whose architecture is Qwen 2's."""

    seeing, speaking = ("clip_vision_model",), "qwen2"
