"""Instructions -> token ids.  Tiny backbones learn whole words; pretrained ones bring their own subword vocabulary."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from tokenizers import Tokenizer as SubwordModel

from vlactl.errors import UsageError

WORD = re.compile(r"[a-z0-9']+")
log = logging.getLogger(__name__)


class Tokenizer(Protocol):
    """What the adapter asks of a vocabulary."""

    def encode(self, text: str) -> list[int]:
        """Ids of ``text`` without any marks."""
        ...

    def extend(self, texts: Iterable[str]) -> None:
        """Make room for the words of ``texts``; ids given earlier stay as they are."""
        ...

    def to_json(self) -> dict[str, Any]: ...


class WordTokenizer:
    """One id per lower-case word, given in the order in which :meth:`extend` first saw them (sorted within a call).

    A word that was never learned is left out: a random embedding would say nothing, and the rest of the sentence then
    reads as it did in training.
    """

    def __init__(self, words: Sequence[str] = (), *, first: int, capacity: int) -> None:
        self.first, self.capacity = first, capacity
        self._ids: dict[str, int] = {}
        self._told: set[str] = set()
        self._add(words)

    def _add(self, words: Iterable[str]) -> None:
        for word in words:
            self._ids.setdefault(word, self.first + len(self._ids))
        if len(self._ids) > self.capacity:
            raise UsageError(
                f"the instructions hold {len(self._ids)} words; a tiny vocabulary has room for {self.capacity}",
                remedy="use fewer phrasings, or a pretrained backbone with its own vocabulary",
            )

    def encode(self, text: str) -> list[int]:
        words = WORD.findall(text.lower())
        unknown = {word for word in words if word not in self._ids} - self._told
        if unknown:
            self._told |= unknown
            log.warning("left out of an instruction, because no training text has them: %s", ", ".join(sorted(unknown)))
        return [self._ids[word] for word in words if word in self._ids]

    def extend(self, texts: Iterable[str]) -> None:
        self._add(sorted({word for text in texts for word in WORD.findall(text.lower())} - self._ids.keys()))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "words", "first": self.first, "capacity": self.capacity, "words": list(self._ids)}


class SubwordTokenizer:
    """A pretrained vocabulary; it covers every text, so :meth:`extend` has nothing to do."""

    def __init__(self, model: SubwordModel) -> None:
        self.model = model

    def encode(self, text: str) -> list[int]:
        return self.model.encode(text, add_special_tokens=False).ids

    def extend(self, texts: Iterable[str]) -> None:
        """Nothing: subwords spell any text."""

    def to_json(self) -> dict[str, Any]:
        return {"kind": "subwords", "model": json.loads(self.model.to_str())}


def tokenizer_from_json(document: dict[str, Any]) -> Tokenizer:
    """The inverse of ``to_json``; raises :class:`UsageError` for another kind of file."""
    if document.get("kind") == "words":
        return WordTokenizer(document["words"], first=document["first"], capacity=document["capacity"])
    if document.get("kind") == "subwords":
        return SubwordTokenizer(SubwordModel.from_str(json.dumps(document["model"])))
    raise UsageError("this tokenizer file was not written by vlactl", expected='"kind": words | subwords')
