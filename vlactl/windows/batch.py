"""What comes out of a stream: windows of demonstrations, and pictures with words."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(slots=True, kw_only=True)
class PairBatch:
    """Pictures and what is true of them."""

    images_BKYXC: Tensor
    """uint8"""
    questions: list[str]
    """One per row; empty where the answer is a caption."""
    answers: list[str]
    """One per row."""
    scale: float = 1.0
    """What the mean loss of these rows counts by, so that the plain mean over all micro-batches of all ranks is the
    mean over all pairs of the update; 1 where every micro-batch has as many."""

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def supervised(self) -> int:
        """How much a mean over these rows is a mean of."""
        return len(self)

    def rows(self, start: int, stop: int) -> PairBatch:
        """Rows ``start`` to ``stop``, as views."""
        return PairBatch(images_BKYXC=self.images_BKYXC[start:stop], questions=self.questions[start:stop],
                         answers=self.answers[start:stop], scale=self.scale)

    def to(self, device: torch.device | str) -> PairBatch:
        return replace(self, images_BKYXC=self.images_BKYXC.to(device, non_blocking=True))


@dataclass(slots=True, kw_only=True)
class Batch:
    """What a policy is trained on.  Position h is supervised with the L actions from its own frame on."""

    images_BHKYXC: Tensor | None
    """uint8; a padded position repeats the last real frame.  None where there are features instead."""
    states_BHS: Tensor
    """float32 in the units of the source."""
    texts: list[str]
    """One instruction per row."""
    actions_BHLA: Tensor
    """float32, already normalised by the codec of the row's source."""
    mask_BHL: Tensor
    """bool; False beyond the end of the episode and at padded positions, which come last."""
    source_B: Tensor
    """int64; which of ``sources`` the row comes from."""
    sources: tuple[str, ...]
    """Names of the sources that are drawn from."""
    noise_B: Tensor
    """int64, not negative; seed of whatever is random about the row, a function of (seed, number of the window)."""
    features_BHKPD: Tensor | None = None
    """What the vision part makes of the images, in the type in which it was stored."""
    pairs: PairBatch | None = None
    """Pictures with words to be learned in the same update."""

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def supervised(self) -> int:
        """Actions under the mask: how much a mean over these rows is a mean of."""
        return int(self.mask_BHL.sum())

    def rows(self, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` and their share of the pairs, as views.

        Parts that do not overlap share out the pairs without loss; a part may get none.
        """
        part = slice(start, stop)
        return Batch(images_BHKYXC=None if self.images_BHKYXC is None else self.images_BHKYXC[part],
                     features_BHKPD=None if self.features_BHKPD is None else self.features_BHKPD[part],
                     states_BHS=self.states_BHS[part], texts=self.texts[part], actions_BHLA=self.actions_BHLA[part],
                     mask_BHL=self.mask_BHL[part], source_B=self.source_B[part], sources=self.sources,
                     noise_B=self.noise_B[part], pairs=self._share_of_pairs(start, stop))

    def _share_of_pairs(self, start: int, stop: int) -> PairBatch | None:
        if self.pairs is None:
            return None
        rows, count = len(self), len(self.pairs)
        first, last = count * start // rows, count * stop // rows
        if first == last:
            return None
        part = self.pairs.rows(first, last)
        part.scale *= (last - first) / count * rows / (stop - start)
        return part

    def to(self, device: torch.device | str) -> Batch:
        def there(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(images_BHKYXC=None if self.images_BHKYXC is None else there(self.images_BHKYXC),
                     features_BHKPD=None if self.features_BHKPD is None else there(self.features_BHKPD),
                     states_BHS=there(self.states_BHS), texts=self.texts, actions_BHLA=there(self.actions_BHLA),
                     mask_BHL=there(self.mask_BHL), source_B=there(self.source_B), sources=self.sources,
                     noise_B=there(self.noise_B), pairs=None if self.pairs is None else self.pairs.to(device))
