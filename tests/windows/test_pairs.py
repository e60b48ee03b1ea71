"""Pictures with words: drawn once per epoch, alone or beside windows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.windows.small import frames_of, record, stream
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats.recorded import RecordedEpisodes
from vlactl.windows import Batch, PairBatch, PairStream, subset


def test_pictures_come_with_what_is_true_of_them(other: RecordedEpisodes) -> None:
    batch = PairStream([(other, 1.0)], batch_windows=12, seed=0).at(5)
    assert batch.images_BKYXC.dtype == torch.uint8
    assert Counter(batch.answers) == dict.fromkeys((f"frame {frame}" for frame in range(12)), 1), "one epoch"
    for row, answer in enumerate(batch.answers):
        frame = int(answer.removeprefix("frame "))
        np.testing.assert_array_equal(batch.images_BKYXC[row], other.images_NKYXC[frame])
        assert batch.questions[row] == ("which frame?" if frame % 2 else ""), "a caption has no question"


def test_a_stream_of_words_has_what_training_asks_for(other: RecordedEpisodes) -> None:
    drawn = PairStream([(other, 1.0)], batch_windows=4, seed=9)
    assert (drawn.history, drawn.batch_windows, drawn.seed, drawn.supervised(7)) == (1, 4, 9, 4)
    assert drawn.epochs(6) == [2.0]
    assert drawn.texts() == sorted({"which frame?", *(f"frame {frame}" for frame in range(12))})


def test_sources_of_words_have_their_shares_and_ranks_share_the_batch(tmp_path: Path, other: RecordedEpisodes) -> None:
    more = record(tmp_path / "more", (30,), words=30)
    both = [(other, 0.25), (more, 0.75)]
    alone = PairStream(both, batch_windows=100, seed=0)
    ranks = [PairStream(both, batch_windows=100, seed=0, rank=rank, world=4) for rank in range(4)]
    questions: Counter[str] = Counter()
    for update in range(10):
        whole, parts = alone.at(update), [rank.at(update) for rank in ranks]
        assert whole.answers == [answer for part in parts for answer in part.answers]
        assert torch.equal(whole.images_BKYXC, torch.cat([part.images_BKYXC for part in parts]))
        questions.update(whole.answers)
    assert sum(count for answer, count in questions.items() if int(answer.split()[1]) >= 12) == 750 * 18 // 30


def test_a_source_without_words_says_how_to_record_some(source: RecordedEpisodes) -> None:
    with pytest.raises(UsageError, match="pairs_per_episode"):
        PairStream([(source, 1.0)], batch_windows=4, seed=0)


def test_words_of_other_pictures_and_ranks_that_do_not_divide_are_refused(other: RecordedEpisodes,
                                                                          tmp_path: Path) -> None:
    with pytest.raises(IncompatibleSpaces, match="16, 16"):
        PairStream([(other, 0.5), (record(tmp_path / "large", (3,), px=16, words=3), 0.5)], batch_windows=4, seed=0)
    with pytest.raises(UsageError, match="3 ranks do not divide 4 pairs"):
        PairStream([(other, 1.0)], batch_windows=4, seed=0, world=3)


def test_a_part_of_a_source_has_the_words_about_it(other: RecordedEpisodes) -> None:
    part = subset(other, portion=0.5)
    batch = PairStream([(part, 1.0)], batch_windows=len(part.pairs()), seed=0, cameras=1).at(0)
    assert batch.images_BKYXC.shape[1] == 1
    assert len(batch) == len(part.pairs()) > 0
    for row, answer in enumerate(batch.answers):
        np.testing.assert_array_equal(batch.images_BKYXC[row, 0], other.images_NKYXC[int(answer.split()[1]), 0])


def test_words_are_not_drawn_in_the_order_of_the_windows(tmp_path: Path) -> None:
    """Not even from the same recording with the same seed: a picture would come with its action each time."""
    both = record(tmp_path / "both", (30,), words=30)
    batch = stream((both, 1.0), batch_windows=30, pairs=PairStream([(both, 1.0)], batch_windows=30, seed=5)).at(0)
    assert batch.pairs is not None
    same = [f"frame {frame}" == answer for frame, answer in zip(frames_of(batch), batch.pairs.answers, strict=True)]
    assert sum(same) < 10


def with_words(source: RecordedEpisodes, other: RecordedEpisodes, pairs: int, **place: int) -> Batch:
    words = PairStream([(other, 1.0)], batch_windows=pairs, seed=2, **place)
    return stream((source, 1.0), pairs=words, **place).at(1)


@pytest.mark.parametrize("pairs", [2, 3, 8, 12])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_rows_share_out_the_pairs_so_that_a_mean_of_means_is_the_mean(source: RecordedEpisodes,
                                                                      other: RecordedEpisodes, pairs: int,
                                                                      size: int) -> None:
    whole = with_words(source, other, pairs)
    parts = [whole.rows(start, start + size) for start in range(0, len(whole), size)]
    held = [part.pairs for part in parts if part.pairs is not None]
    assert whole.pairs is not None
    assert whole.pairs.answers == [answer for part in held for answer in part.answers]
    losses = np.arange(pairs) ** 2.0
    ends = np.cumsum([len(part) for part in held])
    means = [losses[end - len(part): end].mean() for part, end in zip(held, ends, strict=True)]
    mean = sum(part.scale * each for part, each in zip(held, means, strict=True)) / len(parts)
    assert mean == pytest.approx(losses.mean())
    assert all(part.scale == pytest.approx(1.0) for part in held) or pairs % len(parts)


def test_words_beside_windows_are_those_of_the_update_on_every_rank(source: RecordedEpisodes,
                                                                    other: RecordedEpisodes) -> None:
    whole = with_words(source, other, 6)
    parts = [with_words(source, other, 6, rank=rank, world=2) for rank in range(2)]
    assert whole.pairs is not None
    assert whole.pairs.answers == [answer for part in parts if part.pairs for answer in part.pairs.answers]
    assert whole.supervised == sum(part.supervised for part in parts)
    moved = whole.to("cpu")
    assert isinstance(moved.pairs, PairBatch)
    assert moved.pairs.supervised == 6
