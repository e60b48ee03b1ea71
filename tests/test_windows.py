from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vlactl.actions import ActionNormalizer
from vlactl.episodes import Episode
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.windows import BLOCK, Batch, MixtureStream, cut, per_block

LENGTHS = (9, 14, 1, 5)


def spaces(px: int) -> Spaces:
    return Spaces(embodiment="test", observation=ObservationSpace(
        cameras=(("static", px, px), ("wrist", px, px)), state=("frame", "x_m")), action=ActionSpace(
        names=("dx", "dy", "gripper"), control="relative-eef-pose", frame="world", position_scale_m=0.02,
        rotation_scale_rad=0.05, rate_hz=10.0))


def record(path: Path, lengths: tuple[int, ...] = LENGTHS, px: int = 8) -> RecordedEpisodes:
    """State 0 and the first pixel of frame N are N; the first action is N / 1000."""
    draw = np.random.default_rng(0)
    first = 0
    with EpisodeWriter(path, spaces(px)) as writer:
        for number, length in enumerate(lengths):
            frames = np.arange(first, first + length)
            images = draw.integers(0, 256, (length, 2, px, px, 3), dtype=np.uint8)
            images[:, 0, 0, 0, 0] = frames % 256
            states = np.stack([frames, draw.normal(size=length)], 1).astype(np.float32)
            actions = np.stack([frames / 1000, draw.uniform(-1, 1, length), draw.choice([-1, 1], length)], 1)
            writer.add(Episode(task="t", instruction=f"do {number}", embodiment="test", images_TKYXC=images,
                               states_TS=states, actions_TA=actions.astype(np.float32)))
            first += length
    return RecordedEpisodes(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RecordedEpisodes:
    return record(tmp_path_factory.mktemp("source") / "a")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> RecordedEpisodes:
    return record(tmp_path_factory.mktemp("other") / "b", (3, 20))


def stream(*weighted: tuple[RecordedEpisodes, float], **changes: int) -> MixtureStream:
    chosen = {"history": 1, "horizon": 4, "execute": 2, "batch_windows": 8, "seed": 5, **changes}
    return MixtureStream([(source, ActionNormalizer.fit(source.actions_NA), weight) for source, weight in weighted],
                         **chosen)


def frames_of(batch: Batch) -> list[int]:
    """The anchors: the frame of the last real position of each row."""
    last = batch.mask_BHL[:, :, 0].sum(1) - 1
    return batch.states_BHS[torch.arange(len(batch)), last, 0].int().tolist()


@pytest.mark.parametrize(("history", "horizon", "execute"), [(1, 1, 1), (1, 4, 2), (3, 4, 2), (5, 6, 3), (8, 2, 1)])
def test_windows_are_what_a_loop_over_frames_says(source: RecordedEpisodes, history: int, horizon: int,
                                                  execute: int) -> None:
    anchors = np.arange(len(source.episode_of_N))
    found = cut(source, anchors, history=history, horizon=horizon, execute=execute)
    for row, anchor in enumerate(anchors):
        episode = source.episode_of_N[anchor]
        start, end = source.starts[episode], source.ends[episode]
        frames = [f for f in (anchor - back * execute for back in range(history - 1, -1, -1)) if f >= start]
        padded = frames + [anchor] * (history - len(frames))
        assert found.images_BH[row].tolist() == padded
        for position, frame in enumerate(padded):
            for ahead in range(horizon):
                real = position < len(frames) and frame + ahead < end
                assert found.mask_BHL[row, position, ahead] == real
                if real:
                    assert found.actions_BHL[row, position, ahead] == frame + ahead
    assert found.mask_BHL[:, 0, 0].all(), "position 0 is always a real frame"


def test_a_batch_holds_the_frames_actions_and_words_of_its_windows(source: RecordedEpisodes) -> None:
    batch = stream((source, 1.0), history=3).at(2)
    assert batch.images_BHKYXC.shape == (8, 3, 2, 8, 8, 3)
    assert batch.images_BHKYXC.dtype == torch.uint8
    assert (batch.states_BHS.dtype, batch.actions_BHLA.dtype, batch.mask_BHL.dtype) == (
        torch.float32, torch.float32, torch.bool)
    encoded_NA = ActionNormalizer.fit(source.actions_NA).encode(source.actions_NA)
    for row in range(8):
        for position in range(3):
            frame = int(batch.states_BHS[row, position, 0])
            np.testing.assert_array_equal(batch.images_BHKYXC[row, position], source.images_NKYXC[frame])
            np.testing.assert_array_equal(batch.states_BHS[row, position], source.states_NS[frame])
            assert batch.texts[row] == source.instructions[source.episode_of_N[frame]]
            for ahead in range(4):
                if batch.mask_BHL[row, position, ahead]:
                    np.testing.assert_array_equal(batch.actions_BHLA[row, position, ahead], encoded_NA[frame + ahead])


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


def test_a_mixture_has_its_shares_and_each_source_its_epochs(source: RecordedEpisodes, other: RecordedEpisodes) -> None:
    mixed = stream((source, 0.7), (other, 0.3), batch_windows=100)
    texts = [text for update in range(BLOCK // 100) for text in mixed.at(update).texts]
    assert len(texts) == BLOCK
    per_epoch = BLOCK * 0.3 / len(other.episode_of_N)
    assert mixed.epochs(BLOCK // 100) == pytest.approx([0.7 * BLOCK / len(source.episode_of_N), per_epoch])
    rows = [row for update in range(10) for row in zip(*origin(mixed, update), strict=True)]
    assert Counter(index for index, _ in rows) == {0: 700, 1: 300}
    of_other = Counter(frame for index, frame in rows if index == 1)
    assert set(of_other) == set(range(len(other.episode_of_N)))
    assert max(of_other.values()) - min(of_other.values()) == 1, "epochs, not draws with replacement"


def origin(mixed: MixtureStream, update: int) -> tuple[list[int], list[int]]:
    """Source and anchor of each row, found by comparing pictures."""
    batch = mixed.at(update)
    frames = frames_of(batch)
    sources = []
    for row, frame in enumerate(frames):
        matches = [index for index, source in enumerate(mixed.sources) if frame < len(source.images_NKYXC)
                   and np.array_equal(batch.images_BHKYXC[row, 0], source.images_NKYXC[frame])
                   and source.instructions[source.episode_of_N[frame]] == batch.texts[row]
                   and np.array_equal(batch.states_BHS[row, 0], source.states_NS[frame])]
        sources.append(matches[-1] if len(matches) == 1 else matches[0])
    return sources, frames


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_batch_of_one_rank(source: RecordedEpisodes, other: RecordedEpisodes, world: int) -> None:
    both = ((source, 0.6), (other, 0.4))
    alone = stream(*both)
    ranks = [stream(*both, rank=rank, world=world) for rank in range(world)]
    for update in (0, 7, 400):
        whole, parts = alone.at(update), [rank.at(update) for rank in ranks]
        assert whole.texts == [text for part in parts for text in part.texts]
        assert torch.equal(whole.images_BHKYXC, torch.cat([part.images_BHKYXC for part in parts]))
        assert torch.equal(whole.mask_BHL, torch.cat([part.mask_BHL for part in parts]))
        assert all(rank.supervised(update) == int(whole.mask_BHL.sum()) for rank in ranks)


def test_the_stream_has_no_memory(source: RecordedEpisodes, other: RecordedEpisodes) -> None:
    """Any update can be asked for in any order: that is what makes resuming exact."""
    both = ((source, 0.6), (other, 0.4))
    forward, fresh = stream(*both), stream(*both)
    seen = [forward.at(update) for update in range(200)]
    for update in (199, 3, 77, 0):
        assert torch.equal(fresh.at(update).images_BHKYXC, seen[update].images_BHKYXC)
        assert fresh.at(update).texts == seen[update].texts


def test_seeds_differ(source: RecordedEpisodes) -> None:
    assert frames_of(stream((source, 1.0), seed=1).at(0)) != frames_of(stream((source, 1.0), seed=2).at(0))


def test_rows_are_views(source: RecordedEpisodes) -> None:
    batch = stream((source, 1.0)).at(0)
    part = batch.rows(2, 5)
    assert part.texts == batch.texts[2:5]
    assert part.images_BHKYXC.data_ptr() == batch.images_BHKYXC[2].data_ptr()


def test_weights_become_exact_counts() -> None:
    assert per_block([1.0]) == [BLOCK]
    assert per_block([2, 1, 1]) == [500, 250, 250]
    assert per_block([1, 1, 1]) == [334, 333, 333]
    assert per_block([1e6, 1.0]) == [BLOCK - 1, 1]
    for bad in ([0.0, 1.0], [-1.0, 2.0]):
        with pytest.raises(UsageError, match="not all positive"):
            per_block(bad)


def test_sources_of_different_shapes_are_refused(source: RecordedEpisodes, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleSpaces, match="images_NKYXC"):
        stream((source, 0.5), (record(tmp_path / "large", (3,), px=16), 0.5))


def test_ranks_must_divide_the_batch(source: RecordedEpisodes) -> None:
    with pytest.raises(UsageError, match="3 ranks do not divide 8 windows"):
        stream((source, 1.0), world=3)


def test_sampling_costs_little_beyond_the_copies() -> None:
    """16 windows of two 64 px cameras among 22,000 frames: below a millisecond (measured: 0.12)."""
    frames = 22_500
    flat = SimpleNamespace(
        images_NKYXC=np.zeros((frames, 2, 64, 64, 3), np.uint8), states_NS=np.zeros((frames, 9), np.float32),
        actions_NA=np.zeros((frames, 7), np.float32), starts=np.arange(0, frames, 15),
        ends=np.arange(0, frames, 15) + 15, episode_of_N=np.repeat(np.arange(frames // 15), 15),
        instructions=["open the drawer"] * (frames // 15))
    drawn = MixtureStream([(flat, ActionNormalizer(low=(-1.0,) * 6, high=(1.0,) * 6), 1.0)], history=1, horizon=6,
                          execute=3, batch_windows=16, seed=0)
    drawn.at(0)
    times = []
    for update in range(60):
        began = time.perf_counter()
        drawn.at(update)
        times.append(time.perf_counter() - began)
    assert sorted(times)[len(times) // 4] < 1e-3
