"""Frequency tokens after FAST (arXiv 2501.09747): cosine transform, rounding, byte-pair merges.

A chunk of normalised actions is transformed along time (orthonormal DCT-II, each dimension on its own), scaled and
rounded; the integers are written lowest frequency first, all dimensions of a frequency together, and pairs that often
stand side by side in the training chunks are merged into one token.  Smooth chunks need few tokens.

The loss is bounded: rounding moves a dimension's chunk by at most ``sqrt(L) / (2 scale)`` in Euclidean norm, and so no
action of it by more.

Axis letters: N chunks, L actions of a chunk, A action dimensions.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlactl.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FIRST_CHARACTER = 0x4E00
"""Integers are written as characters from here on, which no tokenizer splits, joins or normalises."""


@functools.cache
def cosines(length: int) -> np.ndarray:
    """(L, L): the orthonormal DCT-II as a matrix; row k is the k-th frequency, the transpose is the inverse."""
    k, n = np.arange(length)[:, None], np.arange(length)[None]
    table = np.sqrt(2 / length) * np.cos(np.pi * (2 * n + 1) * k / (2 * length))
    table[0] /= np.sqrt(2)
    table.setflags(write=False)
    return table


def largest_integer(length: int, scale: float) -> int:
    """What no coefficient of a chunk within [-1, 1] exceeds after scaling: ``|X| <= sqrt(L)``."""
    return math.ceil(scale * math.sqrt(length))


@dataclass(frozen=True, kw_only=True, slots=True)
class FrequencyTokens:
    """A vocabulary of frequency tokens.  ``decode(encode(x))`` differs from ``x`` by rounding only."""

    horizon: int
    action_size: int
    scale: float
    """Integers per unit of a coefficient (FAST: 10)."""
    merges: tuple[tuple[str, str], ...]
    """The byte-pair merges, in the order in which they were learned."""

    @classmethod
    def fit(cls, chunks_NLA: np.ndarray, *, vocabulary: int, scale: float) -> FrequencyTokens:
        """Learn at most as many merges from normalised chunks as give ``vocabulary`` tokens.

        Raises :class:`UsageError` for no chunks, or for fewer tokens than there are integers.
        """
        from tokenizers import Tokenizer
        from tokenizers.models import BPE
        from tokenizers.trainers import BpeTrainer

        if not len(chunks_NLA):
            raise UsageError("frequency tokens are learned from action chunks; there are none", where="one-step-fast",
                             remedy="give the policy the chunks of its source when it is created")
        plain = cls(horizon=chunks_NLA.shape[1], action_size=chunks_NLA.shape[2], scale=scale, merges=())
        if vocabulary < plain.size:
            raise UsageError(f"{vocabulary} tokens are fewer than the {plain.size} integers of {plain.horizon} actions "
                             f"at scale {scale:g}", where="one-step-fast", remedy="take a larger vocabulary")
        tokenizer = Tokenizer(BPE())
        trainer = BpeTrainer(vocab_size=vocabulary, initial_alphabet=list(plain.alphabet), min_frequency=2,
                             show_progress=False)
        tokenizer.train_from_iterator(plain.text(chunks_NLA), trainer)
        learned = json.loads(tokenizer.to_str())["model"]["merges"]
        return cls(horizon=plain.horizon, action_size=plain.action_size, scale=scale,
                   merges=tuple((left, right) for left, right in learned))

    @property
    def alphabet(self) -> str:
        """One character for each integer, smallest first."""
        count = 2 * largest_integer(self.horizon, self.scale) + 1
        return "".join(chr(FIRST_CHARACTER + i) for i in range(count))

    @property
    def size(self) -> int:
        """Tokens of the vocabulary; a language model needs one more, for the end."""
        return len(self.alphabet) + len(self.merges)

    @property
    def longest(self) -> int:
        """No chunk has more tokens."""
        return self.horizon * self.action_size

    def text(self, chunks_NLA: np.ndarray) -> list[str]:
        """Chunks as strings of integers, one character each."""
        most = largest_integer(self.horizon, self.scale)
        coefficients = cosines(self.horizon) @ np.asarray(chunks_NLA, np.float64)
        integers = np.clip(np.rint(coefficients * self.scale), -most, most).astype(np.int64) + most
        return ["".join(chr(FIRST_CHARACTER + i) for i in row) for row in integers.reshape(len(integers), -1)]

    def encode(self, chunks_NLA: np.ndarray) -> list[list[int]]:
        """Normalised chunks -> tokens 0 .. size-1 of each, without an end."""
        return [encoding.ids for encoding in _tokenizer(self).encode_batch(self.text(chunks_NLA))]

    def decode(self, tokens: Sequence[Sequence[int]]) -> np.ndarray:
        """Tokens of N chunks -> float32 (N, L, A).

        A language model may write too few integers, which leaves the highest frequencies at zero, or too many, which
        are cut off.
        """
        words, most = _words(self), largest_integer(self.horizon, self.scale)
        integers = np.zeros((len(tokens), self.longest))
        for row, each in enumerate(tokens):
            text = "".join(words[token] for token in each)[: self.longest]
            integers[row, : len(text)] = [ord(letter) - FIRST_CHARACTER - most for letter in text]
        coefficients = integers.reshape(-1, self.horizon, self.action_size) / self.scale
        return (cosines(self.horizon).T @ coefficients).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        return {"horizon": self.horizon, "action_size": self.action_size, "scale": self.scale,
                "merges": [list(pair) for pair in self.merges]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FrequencyTokens:
        """The inverse of :meth:`to_json`."""
        return cls(**{**document, "merges": tuple((left, right) for left, right in document["merges"])})


@functools.lru_cache(maxsize=8)
def _words(tokens: FrequencyTokens) -> tuple[str, ...]:
    """The integers that each token stands for, as text."""
    return (*tokens.alphabet, *(left + right for left, right in tokens.merges))


@functools.lru_cache(maxsize=8)
def _tokenizer(tokens: FrequencyTokens) -> Tokenizer:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    return Tokenizer(BPE(vocab={word: i for i, word in enumerate(_words(tokens))}, merges=list(tokens.merges)))
