"""Florence-2: DaViT, a projection, BART; pictures and text in an encoder, slots in a decoder.

FLOWER and X-VLA build on it.  Quirks: positions are learned and absolute, so the encoder's rows are padded on the
right, which its mask makes exact; three modules hold one table of word embeddings, of which one is kept; the library
accepts kept picture features and ignores them, so encoder and decoder are called one after the other here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Florence2Config, Florence2Model, PretrainedConfig

from vlactl.backbones.families import TINY_VOCABULARY, TINY_WIDTH, Family, whole
from vlactl.backbones.pixels import IMAGENET_MEAN, IMAGENET_STD
from vlactl.backbones.prompt import BOS, IMAGE, PAD, Marks, Prompt, States
from vlactl.errors import UsageError

STRIDE_PX = 32
"""DaViT's four stages shrink a picture by 4, 2, 2 and 2."""


class Florence2Family(Family):
    """2 x 2 patches and their mean for each view when tiny; 7 x 7 and their mean at 224 px when real."""

    model_type = "florence2"
    any_px = True  # up to 50 patches a side
    hub_mean, hub_std = IMAGENET_MEAN, IMAGENET_STD
    hub_marks = Marks(image="<image>", before_text="<s>", after_text="</s>", end="</s>")
    slots_apart = True
    pads_right = True

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        return Florence2Config(
            text_config={
                "model_type": "bart",
                "vocab_size": TINY_VOCABULARY,
                "d_model": TINY_WIDTH,
                "encoder_layers": 1,
                "decoder_layers": 2,
                "encoder_attention_heads": 4,
                "decoder_attention_heads": 4,
                "encoder_ffn_dim": 2 * TINY_WIDTH,
                "decoder_ffn_dim": 2 * TINY_WIDTH,
                "max_position_embeddings": 512,
                "dropout": 0.0,
                "attention_dropout": 0.0,
                "activation_dropout": 0.0,
                "pad_token_id": PAD,
                "bos_token_id": BOS,
                "eos_token_id": None,
                "decoder_start_token_id": BOS,
                "forced_eos_token_id": None,
                "tie_word_embeddings": True,
            },
            vision_config={
                "embed_dim": [16, 32, 64, 64],
                "num_heads": [1, 1, 2, 2],
                "num_groups": [1, 1, 2, 2],
                "depths": [1, 1, 1, 1],
                "window_size": 4,
                "projection_dim": TINY_WIDTH,
                "max_position_embeddings": 32,
                "max_temporal_embeddings": 4,
                "drop_path_rate": 0.0,
            },
            image_token_id=IMAGE,
            tie_word_embeddings=True,
        )

    def native_px(self, config: Any) -> int:
        # As FLOWER.  The repository's preprocessor says 768, which is 577 tokens a view: two views and a text would be
        # longer than the 1024 positions of BART's encoder.
        return 224

    def image_tokens(self, config: Any, image_px: int) -> int:
        return whole(image_px // STRIDE_PX, image_px=image_px, multiple=STRIDE_PX) ** 2 + 1

    def run(self, model: nn.Module, prompt: Prompt, *, layers: bool = False, cached: bool = False) -> States:
        assert isinstance(model, Florence2Model)
        table = self.embedding(model)
        seen = prompt.encoded if prompt.pixels_BVCYX is None else self._seen(model, prompt.pixels_BVCYX)
        words_BMD = table(prompt.ids_BN)
        memory_BMD = model.language_model.encoder(
            inputs_embeds=words_BMD.masked_scatter(prompt.image_BN[..., None], seen.to(words_BMD.dtype)),
            attention_mask=prompt.real_BN.long(),
        ).last_hidden_state
        text: Any = model.config.text_config
        start_B1 = torch.full_like(prompt.ids_BN[:, :1], text.decoder_start_token_id)
        with prompt.written(table):
            slots_BND = table(torch.cat([start_B1, prompt.slot_ids_BS], 1))
        out = model.language_model.decoder(
            inputs_embeds=slots_BND,
            encoder_hidden_states=memory_BMD,
            encoder_attention_mask=prompt.real_BN.long(),
            use_cache=cached,
            output_hidden_states=layers,
        )
        return States(
            last_BND=out.last_hidden_state,
            layers=tuple(out.hidden_states[1:]) if layers else None,
            memory_BMD=memory_BMD,
            memory_real_BM=prompt.real_BN,
            cache=(out.past_key_values, memory_BMD) if cached else None,
        )

    def step(self, model: nn.Module, prompt: Prompt, slot_B1D: Tensor, cache: Any, step: int) -> States:
        assert isinstance(model, Florence2Model)
        past, memory_BMD = cache
        out = model.language_model.decoder(
            inputs_embeds=slot_B1D,
            encoder_hidden_states=memory_BMD,
            encoder_attention_mask=prompt.real_BN.long(),
            past_key_values=past,
            use_cache=True,
        )
        return States(last_BND=out.last_hidden_state, cache=(out.past_key_values, memory_BMD))

    def _seen(self, model: Florence2Model, pixels_BVCYX: Tensor) -> Tensor:
        seen: Any = model.get_image_features(pixels_BVCYX.flatten(0, 1))
        return seen.pooler_output

    def look(self, model: nn.Module, pixels_BVCYX: Tensor, connectors: Sequence[str]) -> Tensor:
        seen_VDYX = model.vision_tower(pixels_BVCYX.flatten(0, 1)).last_hidden_state  # pyright: ignore
        return seen_VDYX.flatten(2).mT

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        side = round(features_VPD.shape[1] ** 0.5)
        return model.multi_modal_projector(features_VPD.mT.unflatten(2, (side, side)))  # pyright: ignore

    def embedding(self, model: nn.Module) -> nn.Embedding:
        assert isinstance(model, Florence2Model)
        return model.language_model.shared

    def model_of(self, config: Any) -> nn.Module:
        return _one_table(Florence2Model._from_config(config, dtype=torch.float32))

    def parted(self, whole: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        model, head = super().parted(whole)
        assert isinstance(model, Florence2Model)
        language = model.language_model
        if any(part.embed_tokens.weight is not language.shared.weight for part in (language.encoder, language.decoder)):
            raise UsageError(
                "these weights hold different word embeddings for encoder and decoder",
                expected="one table for both, as in every published Florence-2",
                remedy="take the weights of the family's own repository",
            )
        return _one_table(model), head


def _one_table(model: nn.Module) -> nn.Module:
    """Without the two other names of the word embeddings: they are read here only, and saved once."""
    assert isinstance(model, Florence2Model)
    model.language_model.encoder.embed_tokens = None
    model.language_model.decoder.embed_tokens = None
    return model
