"""KosMos-2: CLIP, a resampler of learned queries, a decoder with sinusoidal positions.

Quirks: which tokens are pictures is told by a mask, because the mark before a picture has the same id; positions count
from the padding id upwards and are passed in, because the library would count a cached row's padding; the projection is
scaled for trained features, so that a fresh model's picture is a thousandth of its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Model, PretrainedConfig

from vlactl.backbones.families import TINY_VOCABULARY, TINY_WIDTH, Family, tiny_vision, whole
from vlactl.backbones.pixels import CLIP_MEAN, CLIP_STD
from vlactl.backbones.prompt import BOS, PAD, Marks, Prompt


class Kosmos2Family(Family):
    """4 queries for each view when tiny; 64 at 224 px when real."""

    model_type = "kosmos-2"
    hub_mean, hub_std = CLIP_MEAN, CLIP_STD
    hub_marks = Marks(bos="<s>", before_view="<image>", image="<image>", after_view="</image>", end="</s>")

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return Kosmos2Config(
            text_config={
                "vocab_size": TINY_VOCABULARY,
                "embed_dim": TINY_WIDTH,
                "layers": 2,
                "ffn_dim": 2 * TINY_WIDTH,
                "attention_heads": 4,
                "max_position_embeddings": 4096,
                "dropout": 0.0,
                "attention_dropout": 0.0,
                # Trained embeddings are small and multiplied by 45 here; a tiny model's are drawn large.
                "scale_embedding": False,
                "pad_token_id": PAD,
                "bos_token_id": BOS,
                "eos_token_id": None,
            },
            vision_config=tiny_vision(image_px=image_px),
            latent_query_num=4,
            tie_word_embeddings=True,
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        whole(image_px, image_px=image_px, multiple=config.vision_config.patch_size)
        return config.latent_query_num

    def inputs(self, prompt: Prompt, config: Any) -> dict[str, Any]:
        first = config.text_config.pad_token_id + 1
        rows = {
            "image_embeds_position_mask": prompt.image_BN.long(),
            "position_ids": prompt.real_BN.cumsum(1) * prompt.real_BN + first - 1,
        }
        if prompt.pixels_BVCYX is None:
            return {"image_embeds": prompt.encoded, **rows}
        return {**self.picture_inputs(prompt.pixels_BVCYX, config), **rows}

    def step_inputs(self, prompt: Prompt, config: Any, step: int) -> dict[str, Any]:
        first = config.text_config.pad_token_id + 1
        # The pictures are in the cache, yet the library asks for them; with a cache it reads none of this.
        return {
            "image_embeds": prompt.real_BN.new_zeros(0),
            "position_ids": prompt.real_BN.sum(1, keepdim=True) + first + step,
        }

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        (name,) = connectors
        return model.get_submodule(name)(features_VPD)[0]

    def model_of(self, config: Any) -> nn.Module:
        return Kosmos2Model._from_config(config, dtype=torch.float32)

    def parted(self, whole: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        assert isinstance(whole, Kosmos2ForConditionalGeneration)
        head = whole.text_model.lm_head
        with torch.device("meta"):
            model = Kosmos2Model(whole.config)
        model.text_model.model = whole.text_model.model
        model.vision_model = whole.vision_model
        model.image_to_text_projection = whole.image_to_text_projection
        tied = head.weight is whole.get_input_embeddings().weight
        return model, None if tied else head

    def head_of(self, config: Any) -> nn.Module:
        return nn.Linear(config.text_config.embed_dim, config.text_config.vocab_size, bias=False)

    @torch.no_grad()
    def settle(self, model: nn.Module) -> None:
        # Features come normalised to length one: entries of one eighth at width 64.
        projection: Any = model.image_to_text_projection
        projection.dense.weight *= projection.dense.in_features**0.5
        # Positions of size 0.7, half of which hardly change from one token to the next, would speak loudest.
        self.embedding(model).weight *= 1.5
        projection.x_attn.out_proj.weight *= 6  # what is averaged over patches is small
