"""What one family of vision-language models tells the shared adapter: its tiny configuration, token layout and quirks.

A family is stateless.  Everything that is the same for all (left padding, slots, masks, loading, decoding) lives in
:mod:`vlactl.backbones.adapter` and :mod:`vlactl.backbones.loading`.

Axis letters: B batch, N tokens of a row, H history, K cameras, V views of a row (H x K), Y X pixels, C colour, S slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vlactl.backbones.prompt import BOS, IMAGE, PAD, SLOT, Layout, Marks, Prompt, States
from vlactl.backbones.spec import TINY_ACTION_ROWS
from vlactl.errors import UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from vlactl.backbones.reading import Reader
    from vlactl.backbones.text import SubwordTokenizer

FIRST_WORD = 8
"""Rows of a tiny vocabulary: eight marks, then words, then the action rows."""
TINY_WORDS = 760
TINY_VOCABULARY = FIRST_WORD + TINY_WORDS + TINY_ACTION_ROWS
TINY_WIDTH = 128
"""Widths and depths of ``tiny_*`` are those that learned best per CPU-second on the tabletop world (one seed each)."""

HALF = (0.5, 0.5, 0.5)
QUARTER = (0.25, 0.25, 0.25)
"""Tiny models see pictures normalised by mean 0.5 and deviation 0.25, as in the tabletop world's best runs."""


class Family:
    """Defaults for a family whose model takes ``pixel_values`` of shape (views, C, Y, X) and causal attention."""

    model_type: str
    any_px = False
    """Whether pretrained weights take other sizes as well."""
    hub_mean: tuple[float, ...] = HALF
    hub_std: tuple[float, ...] = HALF
    hub_marks: Marks
    tiny_px = 64
    slots_apart = False
    """Whether slots are in a decoder's row of their own, after its start mark; :meth:`run` is then the family's own."""
    pads_right = False
    """Whether rows are padded on the right: for encoders with absolute positions, and only with ``slots_apart``."""

    # ---- sizes and tokens ----------------------------------------------------------------------------

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

    # ---- inputs --------------------------------------------------------------------------------------

    def picture_inputs(self, pixels_BVCYX: Tensor, config: Any) -> dict[str, Tensor]:
        """How the model wants its pictures: keyword arguments of ``forward`` and of ``get_image_features``."""
        return {"pixel_values": pixels_BVCYX.flatten(0, 1)}

    def row_inputs(self, prompt: Prompt, config: Any) -> dict[str, Tensor]:
        """Masks and positions of a whole sequence, beyond the attention mask."""
        return {}

    def inputs(self, prompt: Prompt, config: Any) -> dict[str, Any]:
        """The family's own keyword arguments for a whole sequence."""
        if prompt.pixels_BVCYX is None:
            pictures: dict[str, Any] = {"mm_encoder_outputs": {"image": prompt.encoded}}
        else:
            pictures = self.picture_inputs(prompt.pixels_BVCYX, config)
        return {**pictures, **self.row_inputs(prompt, config)}

    def step_inputs(self, prompt: Prompt, config: Any, step: int) -> dict[str, Any]:
        """The family's own keyword arguments for the ``step``-th token after ``prompt`` (from 0), with a cache."""
        return {}

    # ---- passes --------------------------------------------------------------------------------------

    def embedding(self, model: nn.Module) -> nn.Embedding:
        """The word embeddings, whose output the slots are written into."""
        return model.get_input_embeddings()  # pyright: ignore[reportCallIssue, reportReturnType]

    def run(self, model: nn.Module, prompt: Prompt, *, layers: bool = False, cached: bool = False) -> States:
        """One pass over the prompt.  Of a family with ``slots_apart``, ``last_BND`` is the decoder's row."""
        more = {"output_hidden_states": True} if layers else {}
        with prompt.written(self.embedding(model)):
            out = model(
                input_ids=prompt.ids_BN,
                attention_mask=prompt.real_BN.long(),
                use_cache=cached,
                **more,
                **self.inputs(prompt, model.config),
            )
        return self.states(out, layers=layers, cached=cached)

    def states(self, out: Any, *, layers: bool = False, cached: bool = False) -> States:
        """What the library answered, in our words."""
        return States(
            last_BND=out.last_hidden_state,
            layers=tuple(out.hidden_states[1:]) if layers else None,
            cache=self.kept(out) if cached else None,
        )

    def kept(self, out: Any) -> Any:
        """The cache of an answer: what :meth:`step` goes on from."""
        return out.past_key_values

    def going_on(self, cache: Any) -> dict[str, Any]:
        """The keyword arguments by which a pass goes on from what :meth:`kept` kept."""
        return {"past_key_values": cache}

    def step(self, model: nn.Module, prompt: Prompt, slot_B1D: Tensor, cache: Any, step: int) -> States:
        """One slot more after ``prompt`` and ``step`` others (from 0), on the cache of :meth:`run`."""
        ids_B1 = torch.full_like(prompt.ids_BN[:, :1], prompt.layout.slot)
        with prompt.written(self.embedding(model), torch.zeros_like(ids_B1), slot_B1D):
            out = model(
                input_ids=ids_B1,
                attention_mask=F.pad(prompt.real_BN.long(), (0, step + 1), value=1),
                use_cache=True,
                **self.going_on(cache),
                **self.step_inputs(prompt, model.config, step),
            )
        return self.states(out, cached=True)

    # ---- pictures on disk ----------------------------------------------------------------------------

    def look(self, model: nn.Module, pixels_BVCYX: Tensor, connectors: Sequence[str]) -> Tensor:
        """(B x V, P, D) what the vision tower says: what enters the ``connectors``, side by side along D."""
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda _module, args: found.__setitem__(name, args[0])

        hooks = [model.get_submodule(name).register_forward_pre_hook(keep(name)) for name in connectors]
        try:
            model.get_image_features(**self.picture_inputs(pixels_BVCYX, model.config))  # pyright: ignore[reportCallIssue]
        finally:
            for hook in hooks:
                hook.remove()
        views = pixels_BVCYX.shape[0] * pixels_BVCYX.shape[1]
        return torch.cat([found[name].reshape(views, -1, found[name].shape[-1]) for name in connectors], -1)

    def connect(self, model: nn.Module, features_VPD: Tensor, connectors: Sequence[str]) -> Any:
        """What ``get_image_features`` would answer, from what :meth:`look` kept: the connectors run, the tower not."""
        (name,) = connectors
        return BaseModelOutputWithPooling(pooler_output=model.get_submodule(name)(features_VPD))

    # ---- weights -------------------------------------------------------------------------------------

    def config_from(self, document: dict[str, Any]) -> Any:
        """The configuration that ``to_dict`` wrote."""
        return AutoConfig.for_model(**document)

    def model_of(self, config: Any) -> nn.Module:
        """The base model with weights drawn by the library."""
        return AutoModel.from_config(config, dtype=torch.float32)

    def whole_of(self, config: Any) -> nn.Module:
        """The model with its language head, as pretrained weights are stored, with weights drawn by the library."""
        return AutoModelForImageTextToText.from_config(config, dtype=torch.float32)

    def head_of(self, config: Any) -> nn.Module:
        """A language head whose weights are not the word embeddings'."""
        text = config.get_text_config()
        return nn.Linear(text.hidden_size, text.vocab_size, bias=False)

    def settle(self, model: nn.Module) -> None:
        """After a tiny model was drawn: gates and queries that the library leaves at zero or at one are given life."""

    def hub_config(self, reader: Reader) -> Any:
        """The configuration of pretrained weights."""
        return reader.config()

    def hub_tokenizer(self, reader: Reader) -> tuple[SubwordTokenizer, str]:
        """The vocabulary of pretrained weights and its mark for the end of a text."""
        return reader.tokenizer()

    def hub_image_id(self, config: Any, tokenizer: SubwordTokenizer) -> int:
        """The id that stands for a picture's tokens; raises :class:`UsageError` when config and vocabulary differ."""
        image = tokenizer.model.token_to_id(self.hub_marks.image)
        named = getattr(config, "image_token_id", image)  # architectures without placeholders name none
        if image is None or image != named:
            raise UsageError(
                f"the tokenizer's {self.hub_marks.image} has id {image}, the model's config says {named}",
                remedy="take tokenizer and weights from one repository",
            )
        return image

    def read(self, reader: Reader, config: Any) -> nn.Module:
        """The model with its language head, from the hub or a folder, every weight read and used."""
        return reader.weights(AutoModelForImageTextToText)

    def parted(self, whole: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        """Base model and language head; no head when its weights are the word embeddings'."""
        head: Any = whole.lm_head
        tied = head.weight is whole.get_input_embeddings().weight  # pyright: ignore[reportCallIssue]
        assert not tied or getattr(head, "bias", None) is None, "a tied head with a bias would lose it"
        return whole.model, None if tied else head  # pyright: ignore[reportReturnType]


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
