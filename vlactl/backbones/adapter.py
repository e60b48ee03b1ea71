"""The one adapter: pictures and text in, last hidden states at learnable slots out, for every family.

Slots enter through the model's own ``input_ids`` path: a reserved id stands for each slot and a hook on the input
embeddings writes the slot's vector there.  So masks, 3-D positions and deepstack stay the library's business; to
scatter by hand and call the language model is silently wrong in 8 of 30 architectures.

A row of tokens is ``bos, H x [K pictures, text, S slots]``.  Rows are padded on the left only, as a whole: padding
between text and slots changes the answer in 22 of 30 architectures.

Axis letters: B batch, H history, K cameras, V views (H x K), Y X pixels, C colour, S slots, N tokens of a row, D width,
R rows of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlactl.backbones.families import Family, Layout, Prompt, embed_scale
from vlactl.backbones.text import Tokenizer

if TYPE_CHECKING:
    from vlactl.backbones import BackboneSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What a backbone is shown: normalised pictures and the ids of each row's text."""

    pixels_BHKCYX: Tensor
    texts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How pictures are prepared."""

    image_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Backbone(nn.Module):
    """A vision-language model of any family, its vocabulary and its token layout."""

    def __init__(
        self,
        spec: BackboneSpec,
        family: Family,
        model: nn.Module,
        head: nn.Module | None,
        *,
        layout: Layout,
        look: Look,
        tokenizer: Tokenizer,
        action_rows: Sequence[int],
    ) -> None:
        super().__init__()
        self.spec, self.family, self.layout, self.look, self.tokenizer = spec, family, layout, look, tokenizer
        self.model = model
        self.head = head
        self._action_rows = tuple(action_rows)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def embedding(self) -> nn.Embedding:
        return self.model.get_input_embeddings()  # pyright: ignore[reportCallIssue, reportReturnType]

    @property
    def width(self) -> int:
        """D of the hidden states."""
        return self.embedding.embedding_dim

    @property
    def embedding_std(self) -> float:
        """How large an entry of a word's input vector is; fresh slots are drawn alike."""
        return self.embedding.weight.detach().float().std().item() * embed_scale(self.embedding)

    @property
    def action_capacity(self) -> int:
        """Vocabulary rows that discrete actions can have."""
        return len(self._action_rows)

    def subtrees(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter, once, under ``vision``, ``connector`` or ``language``."""
        found: dict[str, list[nn.Parameter]] = {"vision": [], "connector": [], "language": []}
        for name, parameter in self.model.named_parameters():
            for part in ("connector", "vision", "language"):  # the connector may lie inside the vision tower
                if any(name == prefix or name.startswith(prefix + ".") for prefix in getattr(self.spec, part)):
                    found[part].append(parameter)
                    break
            else:
                raise AssertionError(f"{self.spec.kind}: {name} is in no subtree")
        if self.head is not None:
            found["language"].extend(self.head.parameters())
        return found

    # ---- inputs --------------------------------------------------------------------------------------

    def embed(self, images_BHKYXC: Tensor, texts: Sequence[str]) -> Tokens:
        """uint8 pictures and one instruction per row, ready for :meth:`forward`."""
        weight = self.embedding.weight
        # Contiguous before the conversion: a transposed float tensor makes the patch embedding several times slower.
        pixels = images_BHKYXC.to(weight.device).movedim(-1, -3).contiguous().float()
        if pixels.shape[-2:] != (self.look.image_px, self.look.image_px):
            pixels = resized(pixels, self.look.image_px)
        mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (self.look.mean, self.look.std))
        pixels = pixels.mul_(1 / (255 * std)).sub_(mean / std)
        known: dict[str, tuple[int, ...]] = {}
        for text in texts:
            if text not in known:
                known[text] = tuple(self.tokenizer.encode(text))
        return Tokens(pixels_BHKCYX=pixels.to(weight.dtype), texts=tuple(known[text] for text in texts))

    def prompt(self, tokens: Tokens, slots: int) -> tuple[Prompt, Tensor]:
        """Left-padded rows with ``slots`` slots in each block, and where the slots are: (B, H x S) columns."""
        layout, (_batch, history, cameras) = self.layout, tokens.pixels_BHKCYX.shape[:3]
        views = layout.views(cameras)
        longest = max(len(text) for text in tokens.texts)
        rows, real, columns = [], [], []
        for text in tokens.texts:
            block = [*views, *layout.before_text, *text, *layout.after_text, *[layout.slot] * slots]
            padding = history * (longest - len(text))
            row = [layout.pad] * padding + list(layout.bos) + block * history
            rows.append(row)
            real.append([False] * padding + [True] * (len(row) - padding))
            first = len(row) - history * len(block)
            columns.append([first + (h + 1) * len(block) - slots + s for h in range(history) for s in range(slots)])
        device = tokens.pixels_BHKCYX.device
        ids_BN, columns_BS = torch.tensor(rows, device=device), torch.tensor(columns, device=device)
        prompt = Prompt(
            ids_BN=ids_BN,
            real_BN=torch.tensor(real, device=device),
            layout=layout,
            history=history,
            slot_BN=torch.zeros_like(ids_BN, dtype=torch.bool).scatter(1, columns_BS, True),
            pixels_BVCYX=tokens.pixels_BHKCYX.flatten(1, 2),
        )
        return prompt, columns_BS

    # ---- outputs -------------------------------------------------------------------------------------

    def forward(self, tokens: Tokens, slots_BHSD: Tensor) -> Tensor:
        """Last hidden states (B, H, S, D) at the slots.  A block never sees a later one."""
        batch, history, slots, width = slots_BHSD.shape
        prompt, columns_BS = self.prompt(tokens, slots)
        with self._writing(columns_BS, slots_BHSD.flatten(1, 2)):
            hidden_BND = self.model(
                input_ids=prompt.ids_BN,
                attention_mask=prompt.real_BN.long(),
                use_cache=False,
                **self.family.inputs(prompt, self.config),
            ).last_hidden_state
        picked = hidden_BND.gather(1, columns_BS[..., None].expand(-1, -1, width))
        return picked.view(batch, history, slots, width)

    def logits(self, hidden: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Scores (..., R) of the vocabulary's ``rows`` (all when None) from last hidden states (..., D)."""
        if self.head is not None:
            scores = self.head(hidden)
            return scores if rows is None else scores[..., self._index(rows)]
        # Calling the embedding, rather than reading its weight, also gathers it under ZeRO-3.
        wanted = range(self.embedding.num_embeddings) if rows is None else rows
        table_RD = self.embedding(self._index(wanted)) / embed_scale(self.embedding)
        return hidden @ table_RD.T.to(hidden.dtype)

    def action_rows(self, count: int) -> tuple[int, ...]:
        """``count`` vocabulary rows that no instruction uses; raises ``ValueError`` when there are fewer."""
        if count > len(self._action_rows):
            raise ValueError(f"{self.spec.kind} keeps {len(self._action_rows)} rows for actions, not {count}")
        return self._action_rows[:count]

    def embed_rows(self, rows: Sequence[int], choice: Tensor) -> Tensor:
        """Input embeddings (..., D) of ``rows[choice]``."""
        return self.embedding(self._index(rows)[choice])

    @torch.no_grad()
    def decode(self, tokens: Tokens, first_B1D: Tensor, rows: Sequence[int], count: int) -> Tensor:
        """Greedy choices (B, count) among ``rows``: slot 0 is ``first``, slot i the embedding of choice i-1.

        One pass over the prompt, then one token at a time on a key-value cache.
        """
        prompt, columns_BS = self.prompt(tokens, 1)
        inputs = self.family.inputs(prompt, self.config)
        ids, real, slot_B1D, cache = prompt.ids_BN, prompt.real_BN.long(), first_B1D, None
        choices: list[Tensor] = []
        for step in range(count):
            with self._writing(columns_BS, slot_B1D):
                out = self.model(input_ids=ids, attention_mask=real, past_key_values=cache, use_cache=True, **inputs)
            choices.append(self.logits(out.last_hidden_state[:, -1], rows).argmax(-1))
            cache, slot_B1D = out.past_key_values, self.embed_rows(rows, choices[-1])[:, None]
            ids, real = prompt.ids_BN[:, -1:], F.pad(real, (0, 1), value=1)
            columns_BS = torch.zeros_like(columns_BS)
            inputs = self.family.step_inputs(prompt, self.config, step)
        return torch.stack(choices, 1)

    # ---- the hook ------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, columns_BS: Tensor, slots_BSD: Tensor) -> Iterator[None]:
        """Inside, what the input embeddings return has the slots' vectors written into it."""

        def write(_module: nn.Module, _args: tuple[Any, ...], embedded_BND: Tensor) -> Tensor:
            index = columns_BS[..., None].expand(-1, -1, embedded_BND.shape[-1])
            return embedded_BND.scatter(1, index, slots_BSD.to(embedded_BND.dtype))

        hook = self.embedding.register_forward_hook(write)
        try:
            yield
        finally:
            hook.remove()

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(list(rows), device=self.embedding.weight.device)


def resized(pixels_BHKCYX: Tensor, side_px: int) -> Tensor:
    """Square pictures of ``side_px`` with values in [0, 255]; bicubic with antialiasing, as image processors do."""
    flat = F.interpolate(
        pixels_BHKCYX.flatten(0, 2), size=(side_px, side_px), mode="bicubic", antialias=True, align_corners=False
    )
    return flat.clamp_(0, 255).view(*pixels_BHKCYX.shape[:4], side_px, side_px)
