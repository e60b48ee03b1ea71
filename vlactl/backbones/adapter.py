"""The one adapter: pictures and text in, hidden states at learnable slots out, for every family.

Slots enter through the model's own ``input_ids`` path: a reserved id stands for each slot and a hook on the input
embeddings writes the slot's vector there.  So masks, 3-D positions and deepstack stay the library's business; to
scatter by hand and call the language model is silently wrong in 8 of 30 architectures.

Axis letters: those of :mod:`vlactl.backbones.prompt`; R rows of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlactl.backbones.families import Family, embed_scale
from vlactl.backbones.language import answer_loss
from vlactl.backbones.prompt import Hidden, Layout, Prompt, States, Tokens, arrange
from vlactl.backbones.text import Tokenizer

if TYPE_CHECKING:
    from vlactl.backbones import BackboneSpec


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
        return self.family.embedding(self.model)

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

    def embed(self, images_BHKYXC: Tensor | None, texts: Sequence[str], features_BHKPD: Tensor | None = None) -> Tokens:
        """uint8 pictures and one instruction per row, ready for :meth:`forward`.

        ``features`` are what :meth:`picture_features` said of the pictures, which then need not be there.
        """
        known: dict[str, tuple[int, ...]] = {}
        for text in texts:
            if text not in known:
                known[text] = tuple(self.tokenizer.encode(text))
        written = tuple(known[text] for text in texts)
        if features_BHKPD is not None:
            weight = self.embedding.weight
            return Tokens(
                pixels_BHKCYX=None, features_BHKPD=features_BHKPD.to(weight.device, weight.dtype), texts=written
            )
        if images_BHKYXC is None:
            raise ValueError("neither pictures nor features of pictures")
        return Tokens(pixels_BHKCYX=self._normalised(images_BHKYXC), texts=written)

    def _normalised(self, images_BHKYXC: Tensor) -> Tensor:
        weight = self.embedding.weight
        # Contiguous before the conversion: a transposed float tensor makes the patch embedding several times slower.
        pixels = images_BHKYXC.to(weight.device).movedim(-1, -3).contiguous().float()
        if pixels.shape[-2:] != (self.look.image_px, self.look.image_px):
            pixels = resized(pixels, self.look.image_px)
        mean, std = (pixels.new_tensor(values).view(-1, 1, 1) for values in (self.look.mean, self.look.std))
        return pixels.mul_(1 / (255 * std)).sub_(mean / std).to(weight.dtype)

    def picture_features(self, images_BKYXC: Tensor) -> Tensor:
        """(B, K, P, D) what the vision tower says of uint8 pictures, before anything that ``connector`` names.

        A frozen tower says it once; :meth:`embed` takes it instead of the pictures.  Raises ``ValueError`` for a
        family whose pictures cannot be kept (``caches_features``).
        """
        if not self.spec.caches_features:
            raise ValueError(f"{self.spec.kind} cannot keep what its vision tower says")
        pixels_BKCYX = self._normalised(images_BKYXC[:, None])[:, 0]
        return self.family.look(self.model, pixels_BKCYX, self._connectors()).unflatten(0, pixels_BKCYX.shape[:2])

    def _connectors(self) -> tuple[str, ...]:
        """The modules that vision features enter: those of the ``connector`` prefixes, lists by their members."""
        names: list[str] = []
        for name in self.spec.connector:
            place, _, last = name.rpartition(".")
            module = getattr(self.model.get_submodule(place), last)
            if not isinstance(module, nn.Module):
                continue  # a parameter by itself, such as a learned line feed, is nothing to enter
            names += [f"{name}.{i}" for i in range(len(module))] if isinstance(module, nn.ModuleList) else [name]
        return tuple(names)

    def prompt(self, tokens: Tokens, slots: int, answers: Sequence[Sequence[int]] | None = None) -> Prompt:
        """Padded rows with ``slots`` slots in each frame, as the family's model reads them; see :func:`arrange`."""
        family = self.family
        prompt = arrange(
            tokens, self.layout, slots, apart=family.slots_apart, pad_right=family.pads_right, answers=answers
        )
        if tokens.features_BHKPD is not None:
            prompt.encoded = family.connect(self.model, tokens.features_BHKPD.flatten(0, 2), self._connectors())
        return prompt

    # ---- outputs -------------------------------------------------------------------------------------

    def forward(self, tokens: Tokens, slots_BHSD: Tensor, *, layers: bool = False, context: bool = False) -> Hidden:
        """Hidden states at the slots; after every layer with ``layers``, at every token with ``context``.

        A block never sees a later one.
        """
        shape = slots_BHSD.shape
        prompt = self.prompt(tokens, shape[2])
        prompt.slots_BSD = slots_BHSD.flatten(1, 2)
        states = self.family.run(self.model, prompt, layers=layers or context)
        index_BSD = prompt.columns_BS[..., None].expand(-1, -1, shape[3])
        everywhere = states.layers or ()
        real_BN, columns_BS = _places(prompt, states)
        return Hidden(
            slots_BHSD=states.last_BND.gather(1, index_BSD).view(shape),
            layers=tuple(layer.gather(1, index_BSD).view(shape) for layer in everywhere) if layers else None,
            context=tuple(_with_memory(states, layer) for layer in everywhere) if context else None,
            real_BN=real_BN,
            columns_BHS=columns_BS.view(shape[:3]),
        )

    def language_loss(
        self, images_BKYXC: Tensor, questions: Sequence[str], answers: Sequence[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) mean cross-entropy of each answer's tokens, its end mark included, and detached numbers for the log.

        The answer follows pictures and question where slots would be: causally, also in a prefix language model.  An
        empty question makes it a caption.  A tiny vocabulary must know the words (``tokenizer.extend``).
        """
        return answer_loss(self, self.embed(images_BKYXC[:, None], questions), answers)

    def logits(self, hidden: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Scores (..., R) of the vocabulary's ``rows`` (all when None) from last hidden states (..., D)."""
        if self.head is not None:
            scores = self.head(hidden)
            return scores if rows is None else scores[..., self._index(rows)]
        # Calling the embedding, rather than reading its weight, also gathers it under ZeRO-3.
        wanted = range(self.embedding.num_embeddings) if rows is None else rows
        table_RD = self.embedding(self._index(wanted)) / embed_scale(self.embedding)
        return hidden @ table_RD.T.to(hidden.dtype)

    def word_scores(self, hidden: Tensor) -> Tensor:
        """Scores (..., R) of the whole vocabulary for the next word of an answer.

        The words of a tiny model have input vectors of size one, which as output vectors would begin with scores in
        the tens; their scores are scaled as T5 scales those of its shared embeddings (by the root of the width).
        """
        if self.spec.weights == "tiny" and self.head is None:
            hidden = hidden * (embed_scale(self.embedding) * self.width**-0.5)
        return self.logits(hidden)

    def action_rows(self, count: int) -> tuple[int, ...]:
        """``count`` vocabulary rows that no instruction uses; raises ``ValueError`` when there are fewer."""
        if count > len(self._action_rows):
            raise ValueError(f"{self.spec.kind} keeps {len(self._action_rows)} rows for actions, not {count}")
        return self._action_rows[:count]

    def embed_rows(self, rows: Sequence[int], choice: Tensor) -> Tensor:
        """Input embeddings (..., D) of ``rows[choice]``."""
        return self.embedding(self._index(rows)[choice])

    @torch.no_grad()
    def decode(
        self, tokens: Tokens, first_B1D: Tensor, rows: Sequence[int], count: int, *, stop: int | None = None
    ) -> Tensor:
        """Greedy choices (B, count) among ``rows``: slot 0 is ``first``, slot i the embedding of choice i-1.

        One pass over the prompt, then one token at a time on a key-value cache.  Fewer than ``count`` when every row
        has chosen ``stop`` before; what a row chooses after its ``stop`` means nothing.
        """
        prompt = self.prompt(tokens, 1)
        prompt.slots_BSD = first_B1D
        states = self.family.run(self.model, prompt, cached=True)
        choices: list[Tensor] = []
        for step in range(count):
            choices.append(self.logits(states.last_BND[:, -1], rows).argmax(-1))
            if stop is not None and bool((torch.stack(choices) == stop).any(0).all()):
                break
            if step + 1 < count:
                slot_B1D = self.embed_rows(rows, choices[-1])[:, None]
                states = self.family.step(self.model, prompt, slot_B1D, states.cache, step)
        return torch.stack(choices, 1)

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(list(rows), device=self.embedding.weight.device)


def _places(prompt: Prompt, states: States) -> tuple[Tensor, Tensor]:
    """Which columns of the context count, and where in it the slots are."""
    if states.memory_BMD is None or states.memory_real_BM is None:
        return prompt.real_BN, prompt.columns_BS
    decoder_BN = torch.ones(states.last_BND.shape[:2], dtype=torch.bool, device=prompt.real_BN.device)
    return torch.cat([states.memory_real_BM, decoder_BN], 1), prompt.columns_BS + states.memory_BMD.shape[1]


def _with_memory(states: States, layer_BND: Tensor) -> Tensor:
    return layer_BND if states.memory_BMD is None else torch.cat([states.memory_BMD, layer_BND], 1)


def resized(pixels_BHKCYX: Tensor, side_px: int) -> Tensor:
    """Square pictures of ``side_px`` with values in [0, 255]; bicubic with antialiasing, as image processors do."""
    flat = F.interpolate(
        pixels_BHKCYX.flatten(0, 2), size=(side_px, side_px), mode="bicubic", antialias=True, align_corners=False
    )
    return flat.clamp_(0, 255).view(*pixels_BHKCYX.shape[:4], side_px, side_px)
