"""Batches of windows: what they hold, in which shares, and the same whoever asks when."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.windows.small import Codec, flat, frames_of, record, spaces, stream
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats.recorded import RecordedEpisodes
from vlactl.windows import BLOCK, Batch, MixtureStream, Part, subset


def equal(one: Batch, two: Batch) -> bool:
    """Every bit of every field."""
    return (one.texts == two.texts and one.sources == two.sources and all(
        torch.equal(getattr(one, name), getattr(two, name)) for name in
        ("images_BHKYXC", "states_BHS", "actions_BHLA", "mask_BHL", "source_B", "noise_B")))


def test_a_batch_holds_the_frames_actions_and_words_of_its_windows(source: RecordedEpisodes) -> None:
    batch = stream((source, 1.0), history=3).at(2)
    assert batch.images_BHKYXC is not None
    assert batch.images_BHKYXC.shape == (8, 3, 2, 8, 8, 3)
    assert [tensor.dtype for tensor in (batch.images_BHKYXC, batch.states_BHS, batch.actions_BHLA, batch.mask_BHL,
                                        batch.source_B, batch.noise_B)] == [
        torch.uint8, torch.float32, torch.float32, torch.bool, torch.int64, torch.int64]
    for row in range(8):
        for position in range(3):
            frame = int(batch.states_BHS[row, position, 0])
            np.testing.assert_array_equal(batch.images_BHKYXC[row, position], source.images_NKYXC[frame])
            np.testing.assert_array_equal(batch.states_BHS[row, position], source.states_NS[frame])
            assert batch.texts[row] == source.instructions[source.episode_of_N[frame]]
            for ahead in range(4):
                if batch.mask_BHL[row, position, ahead]:
                    np.testing.assert_allclose(batch.actions_BHLA[row, position, ahead],
                                               source.actions_NA[frame + ahead] + frame, rtol=1e-6)


def test_every_frame_is_the_anchor_of_one_window_per_epoch(source: RecordedEpisodes) -> None:
    size = len(source.episode_of_N)
    drawn = stream((source, 1.0), batch_windows=1)
    epochs = [[frames_of(drawn.at(epoch * size + n))[0] for n in range(size)] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(size))
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_may_hold_several_epochs_of_a_small_source(tmp_path: Path) -> None:
    tiny = record(tmp_path / "tiny", (3,))
    assert Counter(frames_of(stream((tiny, 1.0), batch_windows=12).at(4))) == {0: 4, 1: 4, 2: 4}


def test_a_mixture_has_its_shares_and_each_source_its_epochs_and_codec(source: RecordedEpisodes,
                                                                       other: RecordedEpisodes) -> None:
    mixed = stream((source, 0.7), (other, 0.3), batch_windows=100, names=("ours", "theirs"))
    per_epoch = BLOCK * 0.3 / len(other.episode_of_N)
    assert mixed.epochs(BLOCK // 100) == pytest.approx([0.7 * BLOCK / len(source.episode_of_N), per_epoch])
    seen: list[Counter[int]] = [Counter(), Counter()]
    for update in range(BLOCK // 100):
        batch = mixed.at(update)
        assert batch.sources == ("ours", "theirs")
        for row, (index, frame) in enumerate(zip(batch.source_B.tolist(), frames_of(batch), strict=True)):
            seen[index][frame] += 1
            of = mixed.sources[index]
            assert batch.images_BHKYXC is not None
            np.testing.assert_array_equal(batch.images_BHKYXC[row, 0], of.images_NKYXC[frame])
            np.testing.assert_allclose(batch.actions_BHLA[row, 0, 0], of.actions_NA[frame] + frame + index, rtol=1e-6)
    assert [sum(counts.values()) for counts in seen] == [700, 300]
    for counts, of in zip(seen, (source, other), strict=True):
        assert set(counts) == set(range(len(of.episode_of_N)))
        assert max(counts.values()) - min(counts.values()) <= 1, "epochs, not draws with replacement"


def test_a_source_of_weight_zero_is_never_drawn(source: RecordedEpisodes, other: RecordedEpisodes) -> None:
    both = stream((source, 0.0), (other, 1.0), names=("ours", "theirs"), batch_windows=40)
    assert (both.names, both.epochs(23)) == (("theirs",), [40.0])
    texts = {text for update in range(5) for text in both.at(update).texts}
    assert texts == {"do 0", "do 1"}
    with pytest.raises(UsageError, match="no source of the mixture has a weight above 0"):
        stream((source, 0.0))


@pytest.mark.parametrize(("temperature", "share"), [(None, 0.5), (1.0, 0.8), (2.0, 2 / 3), (1e9, 0.5)])
def test_a_temperature_weighs_sources_by_their_frames(temperature: float | None, share: float) -> None:
    """Four times the frames are drawn 4 ** (1 / T) times as often."""
    mixed = stream((flat(400), 1.0), (flat(100), 1.0), batch_windows=BLOCK, temperature=temperature)
    assert (mixed.at(0).source_B == 0).float().mean().item() == pytest.approx(share, abs=1e-3)


@given(weights=st.lists(st.floats(0.05, 5), min_size=1, max_size=4), history=st.integers(1, 3),
       world=st.sampled_from([2, 4, 8]), update=st.integers(0, 300), seed=st.integers(0, 20), repeat=st.booleans())
@settings(max_examples=25, deadline=None)
def test_ranks_share_the_batch_of_one_rank(source: RecordedEpisodes, other: RecordedEpisodes, weights: list[float],
                                           history: int, world: int, update: int, seed: int, repeat: bool) -> None:
    mixture = [((source, other)[index % 2], weight) for index, weight in enumerate(weights)]
    same = {"history": history, "seed": seed, "repeat_current": repeat}
    whole = stream(*mixture, **same).at(update)
    ranks = [stream(*mixture, **same, rank=rank, world=world) for rank in range(world)]
    parts = [rank.at(update) for rank in ranks]
    assert whole.texts == [text for part in parts for text in part.texts]
    for name in ("images_BHKYXC", "states_BHS", "actions_BHLA", "mask_BHL", "source_B", "noise_B"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts])), name
    assert {rank.supervised(update) for rank in ranks} == {whole.supervised} == {int(whole.mask_BHL.sum())}


@given(updates=st.lists(st.integers(0, 500), min_size=1, max_size=6), windows=st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_the_stream_has_no_memory(source: RecordedEpisodes, other: RecordedEpisodes, updates: list[int],
                                  windows: int) -> None:
    """Any update can be asked for in any order, in the middle of an epoch too: that is what makes resuming exact."""
    both = ((source, 0.6), (other, 0.4))
    used = stream(*both, batch_windows=windows)
    seen = {update: used.at(update) for update in range(max(updates) - 2, max(updates) + 1) if update >= 0}
    for update in updates:
        assert equal(used.at(update), stream(*both, batch_windows=windows).at(update))
    assert all(equal(batch, used.at(update)) for update, batch in seen.items())


def test_the_batch_size_does_not_change_what_is_drawn(source: RecordedEpisodes, other: RecordedEpisodes) -> None:
    """Window number n is the same however the windows are divided into updates, its noise included."""
    both = ((source, 0.6), (other, 0.4))
    one, many = stream(*both, batch_windows=24).at(1), [stream(*both, batch_windows=6).at(n) for n in range(4, 8)]
    assert torch.equal(one.noise_B, torch.cat([batch.noise_B for batch in many]))
    assert frames_of(one) == [frame for batch in many for frame in frames_of(batch)]


def test_seeds_differ(source: RecordedEpisodes) -> None:
    one, two = stream((source, 1.0), seed=1).at(0), stream((source, 1.0), seed=2).at(0)
    assert frames_of(one) != frames_of(two)
    assert not set(one.noise_B.tolist()) & set(two.noise_B.tolist())


def test_rows_are_views(source: RecordedEpisodes) -> None:
    batch = stream((source, 1.0)).at(0)
    part = batch.rows(2, 5)
    assert part.texts == batch.texts[2:5]
    assert batch.images_BHKYXC is not None
    assert part.images_BHKYXC is not None
    assert part.images_BHKYXC.data_ptr() == batch.images_BHKYXC[2].data_ptr()
    assert torch.equal(part.noise_B, batch.noise_B[2:5])


def test_only_the_cameras_that_are_asked_for_are_read(source: RecordedEpisodes) -> None:
    both, one = stream((source, 1.0)).at(3), stream((source, 1.0), cameras=1).at(3)
    assert both.images_BHKYXC is not None
    assert one.images_BHKYXC is not None
    assert torch.equal(one.images_BHKYXC, both.images_BHKYXC[:, :, :1])
    with pytest.raises(IncompatibleSpaces, match="2 of 3 cameras"):
        stream((source, 1.0), cameras=3)


def test_a_repeated_present_is_the_same_frame_with_the_same_actions(source: RecordedEpisodes) -> None:
    repeated = stream((source, 1.0), history=3, repeat_current=True).at(3)
    alone = stream((source, 1.0), history=1).at(3)
    for name in ("images_BHKYXC", "states_BHS", "actions_BHLA", "mask_BHL"):
        once = getattr(alone, name)
        assert torch.equal(getattr(repeated, name), once.expand(-1, 3, *once.shape[2:])), name


def numbered(source: RecordedEpisodes) -> np.ndarray:
    """Features that say which frame and camera they are of."""
    frames, cameras = source.images_NKYXC.shape[:2]
    return (np.arange(frames)[:, None, None, None] * 10 + np.arange(cameras)[:, None, None]
            + np.zeros((1, 1, 3, 2))).astype(np.float16)


@pytest.mark.parametrize("cap", [None, 1])
def test_features_are_of_the_frames_whose_images_they_replace(tmp_path: Path, source: RecordedEpisodes,
                                                              cap: int | None) -> None:
    """Of a part of a source too, from the features of the whole."""
    two = record(tmp_path / "two", (6, 4, 7), tasks="aab", px=4)
    part = subset(two, per_task=cap)
    assert isinstance(part, Part) == (cap is not None)
    drawn = stream((source, 0.0), (part, 0.5), (source, 0.5), history=2, cameras=1,
                   features=[None, numbered(two), numbered(source)])
    for update in range(6):
        batch = drawn.at(update)
        assert batch.images_BHKYXC is None
        assert batch.features_BHKPD is not None
        assert (batch.features_BHKPD.shape, batch.features_BHKPD.dtype) == ((8, 2, 1, 3, 2), torch.float16)
        expected = 10 * batch.states_BHS[:, :, 0]
        assert torch.equal(batch.features_BHKPD[:, :, 0, 0, 0].float(), expected)
        assert batch.rows(2, 4).to("cpu").features_BHKPD is not None


def test_features_must_be_of_every_frame_that_is_drawn(source: RecordedEpisodes) -> None:
    with pytest.raises(UsageError, match="there are features of 3 frames"):
        stream((source, 1.0), features=[numbered(source)[:3]])
    with pytest.raises(UsageError, match="no features of a source"):
        stream((source, 1.0), features=[None])


def test_sources_of_different_shapes_are_refused(source: RecordedEpisodes, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleSpaces, match="images_NKYXC"):
        stream((source, 0.5), (record(tmp_path / "large", (3,), px=16), 0.5))
    names = ("dx", "rotation_z", "gripper")
    assert stream((source, 0.5), (record(tmp_path / "equal", (3,), of=spaces(names=names)), 0.5)).at(0)


def test_ranks_must_divide_the_batch(source: RecordedEpisodes) -> None:
    with pytest.raises(UsageError, match="3 ranks do not divide 8 windows"):
        stream((source, 1.0), world=3)


def test_sampling_costs_little_beyond_the_copies() -> None:
    """16 windows of two 64 px cameras among 22,000 frames: below a millisecond (measured: 0.16)."""
    frames = 22_500
    full = SimpleNamespace(
        path="full", images_NKYXC=np.zeros((frames, 2, 64, 64, 3), np.uint8), starts=np.arange(0, frames, 15),
        states_NS=np.zeros((frames, 9), np.float32), actions_NA=np.zeros((frames, 7), np.float32),
        ends=np.arange(0, frames, 15) + 15, instructions=["open the drawer"] * (frames // 15))
    drawn = MixtureStream([(full, Codec(), 1.0)], history=1, horizon=6,  # type: ignore[list-item]
                          execute=3, batch_windows=16, seed=0)
    assert quarter_fastest(drawn) < 1e-3


def test_ten_million_frames_cost_an_update_no_more() -> None:
    """Neither a table of the order nor a copy of an array: the first update comes at once (measured: 0.5 ms)."""
    drawn = stream((flat(10_000_000), 1.0), batch_windows=16)
    began = time.perf_counter()
    drawn.at(0)
    assert time.perf_counter() - began < 0.1
    assert quarter_fastest(drawn) < 2e-3


def quarter_fastest(drawn: MixtureStream) -> float:
    """Seconds of an update, as the quarter of the fastest says: the machine is shared."""
    times = []
    for update in range(60):
        began = time.perf_counter()
        drawn.at(update)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 4]
