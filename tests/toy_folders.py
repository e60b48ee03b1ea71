"""Folders of pretrained weights, as ``save_pretrained`` writes them, around tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from vlactl.backbones import BACKBONES
from vlactl.backbones.families import TINY_VOCABULARY
from vlactl.backbones.prompt import IMAGE

SENTENCE = "push the red button"
END = "[end]"


def vocabulary(kind: str, image_id: int) -> PreTrainedTokenizerFast:
    """A word-level vocabulary of the tiny size that has the family's own marks as special tokens."""
    marks = BACKBONES.get(kind)().family().hub_marks
    special = {marks.image: image_id} if marks.image else {}
    if not marks.end:
        special[END] = image_id + 1
    for text in (marks.bos, marks.before_view, marks.after_view, marks.before_text, marks.end):
        for piece in filter(None, text.replace("><", "> <").split()):
            special.setdefault(piece, image_id + 1 + len(special))
    words = {f"word{i}": i for i in range(TINY_VOCABULARY)}
    by_id = {identity: word for word, identity in words.items()}
    for piece, identity in special.items():
        by_id[identity] = piece
    for offset, word in enumerate(SENTENCE.split()):
        by_id[100 + offset] = word
    model = Tokenizer(WordLevel({word: identity for identity, word in by_id.items()}, unk_token="word50"))
    model.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, eos_token=marks.end or END, additional_special_tokens=list(special)
    )


def written(kind: str, folder: Path, *, tied: bool = False) -> Path:
    """A tiny model of the family, as ``save_pretrained`` writes it."""
    family = BACKBONES.get(kind)().family()
    config: Any = family.tiny_config(64)
    config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = tied
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole: Any = family.whole_of(config)
    whole.save_pretrained(folder)
    vocabulary(kind, getattr(config, "image_token_id", IMAGE)).save_pretrained(folder)
    return folder


def written_parts(kind: str, folder: Path) -> Path:
    """The tiny parts of a backbone that is put together here, each in its subfolder."""
    spec = BACKBONES.get(kind)()
    config: Any = spec.family().tiny_config(64)
    config.text_config.tie_word_embeddings = False
    seeing = [part for part in spec.hub_parts if part != "language"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole: Any = spec.family().whole_of(config)
        for part, encoder in zip(seeing, whole.model.encoders, strict=True):
            encoder.save_pretrained(folder / part)
        AutoModelForCausalLM.from_config(config.text_config).save_pretrained(folder / "language")
    vocabulary(kind, IMAGE).save_pretrained(folder / "language")
    return folder
