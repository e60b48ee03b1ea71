"""BLIP-2: EVA-CLIP, a Q-Former whose learned queries ask the picture, OPT with learned positions.

Quirks: the library has no model without a language head and none of its base classes runs the whole chain, so the chain
is written out here (a test holds it equal to the library's); its queries are all zero in a fresh model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2Config, Blip2ForConditionalGeneration, PretrainedConfig

from vlactl.backbones.families import TINY_VOCABULARY, TINY_WIDTH, Family, tiny_vision, whole
from vlactl.backbones.pixels import CLIP_MEAN, CLIP_STD
from vlactl.backbones.prompt import BOS, IMAGE, PAD, Marks, Prompt, States


class Blip2Family(Family):
    """4 queries for each view when tiny; 32 at 224 px when real."""

    model_type = "blip-2"
    hub_mean, hub_std = CLIP_MEAN, CLIP_STD
    hub_marks = Marks(image="<image>", before_text="</s>")

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return Blip2Config(
            vision_config=tiny_vision(image_px=image_px),
            qformer_config={
                "vocab_size": TINY_VOCABULARY,
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "encoder_hidden_size": 64,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
            },
            text_config={
                "model_type": "opt",
                "vocab_size": TINY_VOCABULARY,
                "hidden_size": TINY_WIDTH,
                "word_embed_proj_dim": TINY_WIDTH,
                "ffn_dim": 2 * TINY_WIDTH,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "max_position_embeddings": 1024,
                "dropout": 0.0,
                "attention_dropout": 0.0,
                "pad_token_id": PAD,
                "bos_token_id": BOS,
                "eos_token_id": None,
                "tie_word_embeddings": True,
            },
            num_query_tokens=4,
            image_token_index=IMAGE,
            tie_word_embeddings=True,  # pyright: ignore[reportCallIssue]
        )

    def image_tokens(self, config: Any, image_px: int) -> int:
        whole(image_px, image_px=image_px, multiple=config.vision_config.patch_size)
        return config.num_query_tokens

    def run(self, model: nn.Module, prompt: Prompt, *, layers: bool = False, cached: bool = False) -> States:
        assert isinstance(model, Blip2ForConditionalGeneration)
        seen: Tensor = prompt.encoded
        if prompt.pixels_BVCYX is not None:
            seen = model.get_image_features(prompt.pixels_BVCYX.flatten(0, 1)).pooler_output  # pyright: ignore
        with prompt.written(self.embedding(model)):
            words_BND = self.embedding(model)(prompt.ids_BN)
        out = model.language_model(
            inputs_embeds=words_BND.masked_scatter(prompt.image_BN[..., None], seen.to(words_BND.dtype)),
            attention_mask=prompt.real_BN.long(),
            use_cache=cached,
            output_hidden_states=layers,
        )
        return self.states(out, layers=layers, cached=cached)

    def step(self, model: nn.Module, prompt: Prompt, slot_B1D: Tensor, cache: Any, step: int) -> States:
        assert isinstance(model, Blip2ForConditionalGeneration)
        out = model.language_model(
            inputs_embeds=slot_B1D,
            attention_mask=F.pad(prompt.real_BN.long(), (0, step + 1), value=1),
            past_key_values=cache,
            use_cache=True,
        )
        return self.states(out, cached=True)

    def look(self, model: nn.Module, pixels_BVCYX: Tensor, connectors: Sequence[str]) -> Tensor:
        return model.vision_model(pixel_values=pixels_BVCYX.flatten(0, 1)).last_hidden_state  # pyright: ignore

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        assert isinstance(model, Blip2ForConditionalGeneration)
        asked = model.qformer(
            query_embeds=model.query_tokens.expand(len(features_VPD), -1, -1), encoder_hidden_states=features_VPD
        )
        return model.language_projection(asked.last_hidden_state.to(features_VPD.dtype))

    def model_of(self, config: Any) -> nn.Module:
        return self.parted(self.whole_of(config))[0]

    def whole_of(self, config: Any) -> nn.Module:
        return Blip2ForConditionalGeneration._from_config(config, dtype=torch.float32)

    def parted(self, whole: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        assert isinstance(whole, Blip2ForConditionalGeneration)
        causal: Any = whole.language_model
        tied = causal.lm_head.weight is causal.get_input_embeddings().weight
        whole.language_model = causal.model
        return whole, None if tied else causal.lm_head

    @torch.no_grad()
    def settle(self, model: nn.Module) -> None:
        nn.init.normal_(model.query_tokens)  # pyright: ignore[reportArgumentType]
