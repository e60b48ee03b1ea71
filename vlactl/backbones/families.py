"""What one family of vision-language models tells the shared adapter: its tiny configuration, token layout and quirks.

A family is stateless.  Everything that is the same for all (left padding, slots, masks, loading, decoding) lives in
:mod:`vlactl.backbones.adapter` and :mod:`vlactl.backbones.loading`.

Axis letters: B batch, N tokens of a row, H history, K cameras, V views of a row (H x K), Y X pixels, C colour, S slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vlactl.backbones import TINY_ACTION_ROWS
from vlactl.errors import UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

PAD, BOS, SLOT, IMAGE, BEFORE_VIEW, AFTER_VIEW, VIDEO = range(7)
FIRST_WORD = 8
"""Rows of a tiny vocabulary: seven marks, one spare, then words, then the action rows."""
TINY_WORDS = 760
TINY_VOCABULARY = FIRST_WORD + TINY_WORDS + TINY_ACTION_ROWS
TINY_WIDTH = 128
"""Widths and depths of ``tiny_*`` are those that learned best per CPU-second on the tabletop world (one seed each)."""

HALF = (0.5, 0.5, 0.5)
QUARTER = (0.25, 0.25, 0.25)
"""Tiny models see pictures normalised by mean 0.5 and deviation 0.25, as in the tabletop world's best runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Which marks of a family's vocabulary surround pictures and text; empty strings are left out."""

    bos: str = ""
    before_view: str = ""
    image: str
    after_view: str = ""
    before_text: str = ""
    after_text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Token ids of ``bos, H x [K x (before_view, image..., after_view), before_text, text, after_text, slots]``."""

    bos: tuple[int, ...] = ()
    before_view: tuple[int, ...] = ()
    image: int
    image_tokens: int
    """Placeholders for one picture."""
    after_view: tuple[int, ...] = ()
    before_text: tuple[int, ...] = ()
    after_text: tuple[int, ...] = ()
    slot: int
    pad: int

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Layout:
        """The inverse of ``dataclasses.asdict`` after a round trip through JSON."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        return cls(**fields)

    def views(self, cameras: int) -> list[int]:
        """The tokens of the pictures of one frame."""
        return [*self.before_view, *[self.image] * self.image_tokens, *self.after_view] * cameras


@dataclass(kw_only=True, slots=True)
class Prompt:
    """One batch of token rows, left-padded, as a family's model is about to read it."""

    ids_BN: Tensor
    real_BN: Tensor
    """True where a token counts, False at padding."""
    slot_BN: Tensor
    """True at slots."""
    pixels_BVCYX: Tensor
    """Normalised pictures in the order of their placeholders."""
    history: int
    layout: Layout


class Family:
    """Defaults for a family whose model takes ``pixel_values`` of shape (views, C, Y, X) and causal attention."""

    model_type: str
    any_px = False
    """Whether pretrained weights take other sizes as well."""
    hub_mean: tuple[float, ...] = HALF
    hub_std: tuple[float, ...] = HALF
    hub_marks: Marks
    tiny_px = 64

    def native_px(self, config: Any) -> int:
        """Side of the pictures that pretrained weights expect."""
        return config.vision_config.image_size

    def tiny_config(self, image_px: int) -> PretrainedConfig:
        """A configuration of 0.5 to 1.5 million parameters."""
        raise NotImplementedError

    def tiny_layout(self, config: Any, image_px: int) -> Layout:
        """The marks that a tiny model needs: as few as the family's code allows, because tokens are time."""
        return Layout(bos=(BOS,), image=IMAGE, image_tokens=self.image_tokens(config, image_px), slot=SLOT, pad=PAD)

    def image_tokens(self, config: Any, image_px: int) -> int:
        """Placeholders for one picture of ``image_px``; raises :class:`UsageError` when the size does not fit."""
        raise NotImplementedError

    def inputs(self, prompt: Prompt, config: Any) -> dict[str, Tensor]:
        """The family's own keyword arguments for a whole sequence."""
        return {"pixel_values": prompt.pixels_BVCYX.flatten(0, 1)}

    def step_inputs(self, prompt: Prompt, config: Any, step: int) -> dict[str, Tensor]:
        """The family's own keyword arguments for the ``step``-th token after ``prompt`` (from 0), with a cache."""
        return {}


@torch.no_grad()
def randomize(model: nn.Module, embedding: nn.Embedding, action_rows: Sequence[int]) -> None:
    """Draw a tiny model's weights so that every layer passes on signals of size one.

    The library draws with deviation 0.02, meant for widths of thousands: at width 128 a picture then barely reaches the
    slots.  Regressing the place of a red square beside a blue one (500 updates of 16, AdamW 1e-3) went from R2 0.00
    (SmolVLM) to 0.98 and more in all families.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=1 / embed_scale(module))
    # These rows are scored against hidden states as well, and scores should begin near one.
    embedding.weight[list(action_rows)] *= embedding.embedding_dim**-0.5


def embed_scale(embedding: nn.Module) -> float:
    """What a word embedding multiplies its rows by (Gemma: the square root of the width)."""
    return float(getattr(embedding, "scalar_embed_scale", 1.0))


def whole(side: float, *, image_px: int, multiple: int) -> int:
    """``side`` as an integer; raises :class:`UsageError` when ``image_px`` is no multiple of ``multiple``."""
    if image_px % multiple:
        raise UsageError(
            f"image_px {image_px} cannot be cut into patches",
            expected=f"a multiple of {multiple}",
            remedy="set the backbone's image_px to such a number",
        )
    return int(side)


def tiny_text(model_type: str, *, layers: int = 2, **more: Any) -> dict[str, Any]:
    """A tiny decoder: width 128, four heads of 32, feed-forward 256."""
    return {
        "model_type": model_type,
        "vocab_size": TINY_VOCABULARY,
        "hidden_size": TINY_WIDTH,
        "intermediate_size": 2 * TINY_WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": None,
        "tie_word_embeddings": True,
        **more,
    }


def tiny_vision(*, image_px: int, patch_px: int = 16, **more: Any) -> dict[str, Any]:
    """A tiny vision transformer: width 64, two layers, two heads of 32."""
    return {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": image_px,
        "patch_size": patch_px,
        **more,
    }
