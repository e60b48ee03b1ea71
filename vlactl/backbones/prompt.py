"""What a model reads and what it answers: token rows around pictures and slots, and hidden states at the slots.

A row of tokens is ``bos, H x [K pictures, text, S slots]``.  Rows are padded on the left only, as a whole: padding
between text and slots changes the answer in 22 of 30 architectures.  A family with an encoder and a decoder keeps the
slots apart: pictures and text in the encoder's row, ``start, H x S slots`` in the decoder's.

Axis letters: B batch, H history, K cameras, V views of a row (H x K), Y X pixels, C colour, S slots, N tokens of a row,
P patches of a picture, D width, M tokens of an encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

PAD, BOS, SLOT, IMAGE, BEFORE_VIEW, AFTER_VIEW, VIDEO, END = range(8)
"""The marks of a tiny vocabulary; words follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Which marks of a family's vocabulary surround pictures and text; empty strings are left out."""

    bos: str = ""
    before_view: str = ""
    image: str
    after_view: str = ""
    before_text: str = ""
    after_text: str = ""
    end: str = ""
    """What ends an answer; empty takes the tokenizer's own end of sequence."""


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
    end: int = END
    """What ends an answer."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Layout:
        """The inverse of ``dataclasses.asdict`` after a round trip through JSON."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        return cls(**fields)

    def views(self, cameras: int) -> list[int]:
        """The tokens of the pictures of one frame."""
        return [*self.before_view, *[self.image] * self.image_tokens, *self.after_view] * cameras


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What a backbone is shown: pictures, or what its vision tower said of them, and the ids of each row's text."""

    pixels_BHKCYX: Tensor | None
    """Normalised; None when there are features."""
    features_BHKPD: Tensor | None = None
    texts: tuple[tuple[int, ...], ...]

    @property
    def pictures(self) -> Tensor:
        """The tensor that there is, pictures or features: its first axes are B, H, K."""
        shown = self.pixels_BHKCYX if self.features_BHKPD is None else self.features_BHKPD
        assert shown is not None
        return shown


@dataclass(kw_only=True, slots=True)
class Prompt:
    """One batch of token rows, padded, as a family's model is about to read it."""

    ids_BN: Tensor
    real_BN: Tensor
    """True where a token counts, False at padding."""
    slot_BN: Tensor
    """True at slots; nowhere when slots are in a row of their own."""
    image_BN: Tensor
    """True at the tokens that stand for pictures.  By place: in some vocabularies their id has other uses."""
    frame_BN: Tensor
    """Which frame of the history (from 0) a token belongs to; -1 at padding and ``bos``."""
    columns_BS: Tensor
    """Where the slots (H x S of them) are: columns of N, or of the decoder's row."""
    slot_ids_BS: Tensor
    """What stands at the slots: the reserved id, or the answer's tokens."""
    slots_BSD: Tensor | None = None
    """What is written over the input embeddings of the slots; None leaves their ids' own."""
    pixels_BVCYX: Tensor | None
    """Normalised pictures in the order of their placeholders; None when ``encoded`` takes their place."""
    encoded: Any = None
    """What the model's own ``get_image_features`` would answer, made from kept features by :meth:`Family.connect`."""
    views: int
    """V of a row."""
    history: int
    layout: Layout

    def visible(self) -> Tensor:
        """(B, N, V) True where a token may look at a picture: one of its own frame or of an earlier one."""
        cameras = self.views // self.history
        frame_V = torch.arange(self.views, device=self.frame_BN.device) // cameras
        return self.frame_BN[..., None] >= frame_V

    @contextmanager
    def written(
        self, embedding: nn.Module, columns_BS: Tensor | None = None, slots_BSD: Tensor | None = None
    ) -> Iterator[None]:
        """Inside, what ``embedding`` returns has the slots' vectors written into it, or the given ones."""
        columns = self.columns_BS if columns_BS is None else columns_BS
        vectors = self.slots_BSD if slots_BSD is None else slots_BSD
        if vectors is None:
            yield
            return

        def write(_module: nn.Module, _args: tuple[Any, ...], embedded_BND: Tensor) -> Tensor:
            index = columns[..., None].expand(-1, -1, embedded_BND.shape[-1])
            return embedded_BND.scatter(1, index, vectors.to(embedded_BND.dtype))

        hook = embedding.register_forward_hook(write)
        try:
            yield
        finally:
            hook.remove()


@dataclass(frozen=True, kw_only=True, slots=True)
class States:
    """What a family's model answers to a prompt."""

    last_BND: Tensor
    """Last hidden states of the row that holds the slots (the decoder's, where there are two)."""
    layers: tuple[Tensor, ...] | None = None
    """The same after every layer, the last one normalised as ``last_BND``; only when asked for."""
    memory_BMD: Tensor | None = None
    """Last hidden states of an encoder."""
    memory_real_BM: Tensor | None = None
    cache: Any = None
    """What :meth:`Family.step` goes on from; only when asked for."""


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """What :meth:`Backbone.forward` answers.  Not slotted: ZeRO 3 asks what a module returns for its ``vars()``."""

    slots_BHSD: Tensor
    """Last hidden states at the slots."""
    layers: tuple[Tensor, ...] | None = None
    """(B, H, S, D) after every layer, first to last; the last equals ``slots_BHSD``.  Only when asked for."""
    context: tuple[Tensor, ...] | None = None
    """(B, N, D) after every layer at every token.  Of an encoder-decoder every entry begins with the encoder's last
    states, because the decoder's own tokens are slots only.  Only when asked for."""
    real_BN: Tensor
    """False at the padding of ``context``."""
    columns_BHS: Tensor
    """Where in N the slots are."""


def arrange(
    tokens: Tokens,
    layout: Layout,
    slots: int,
    *,
    apart: bool = False,
    pad_right: bool = False,
    answers: Sequence[Sequence[int]] | None = None,
) -> Prompt:
    """Rows with ``slots`` slots in each frame.

    ``apart`` leaves the slots out of the rows: their columns are those of a decoder's row, after its start mark.
    ``answers`` (history 1, one list of ``slots`` ids for each row) stand where the slots are.
    """
    history, cameras = tokens.pictures.shape[1:3]
    views = layout.views(cameras)
    within = 0 if apart else slots
    longest = max(len(text) for text in tokens.texts)
    pictured = [*[False] * len(layout.before_view), *[True] * layout.image_tokens, *[False] * len(layout.after_view)]
    rows, real, frames, shown, columns = [], [], [], [], []
    for text in tokens.texts:
        block = [*views, *layout.before_text, *text, *layout.after_text, *[layout.slot] * within]
        row, counts = list(layout.bos) + block * history, [True] * (len(layout.bos) + history * len(block))
        frame = [-1] * len(layout.bos) + [h for h in range(history) for _ in block]
        words = [False] * (len(block) - len(views))
        image = [False] * len(layout.bos) + [*pictured * cameras, *words] * history
        padding = history * (longest - len(text))
        first = 0 if pad_right else padding
        for line, entries, filler in (
            (rows, row, layout.pad),
            (real, counts, False),
            (frames, frame, -1),
            (shown, image, False),
        ):
            line.append([filler] * first + entries + [filler] * (padding - first))
        last = first + len(layout.bos)
        columns.append([last + (h + 1) * len(block) - slots + s for h in range(history) for s in range(slots)])
    if apart:
        columns = [list(range(1, 1 + history * slots))] * len(rows)
    device = tokens.pictures.device
    ids_BN, columns_BS = torch.tensor(rows, device=device), torch.tensor(columns, device=device)
    wanted = [[layout.slot] * (history * slots)] * len(rows) if answers is None else [list(one) for one in answers]
    slot_ids_BS = torch.tensor(wanted, device=device, dtype=torch.long).view(len(rows), history * slots)
    columns_BS = columns_BS.view(len(rows), history * slots).long()
    slot_BN = torch.zeros_like(ids_BN, dtype=torch.bool)
    return Prompt(
        ids_BN=ids_BN if apart else ids_BN.scatter(1, columns_BS, slot_ids_BS),
        real_BN=torch.tensor(real, device=device),
        slot_BN=slot_BN if apart else slot_BN.scatter(1, columns_BS, True),
        image_BN=torch.tensor(shown, device=device),
        frame_BN=torch.tensor(frames, device=device),
        columns_BS=columns_BS,
        slot_ids_BS=slot_ids_BS,
        pixels_BVCYX=None if tokens.pixels_BHKCYX is None else tokens.pixels_BHKCYX.flatten(1, 2),
        views=history * cameras,
        history=history,
        layout=layout,
    )
