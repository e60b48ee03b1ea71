"""Parts of sources, and sources whose actions are converted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.windows.small import frames_of, record, spaces, stream
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats.recorded import RecordedEpisodes
from vlactl.windows import Part, aligned, subset
from vlactl.windows.part import chosen_episodes

TASKS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=80) | st.integers(1, 9).map(lambda n: [*"abcde"] * n)


def chosen(tasks: list[str], portion: float, per_task: int | None, seed: int) -> set[int]:
    return set(chosen_episodes(tasks, portion, per_task, seed))


@given(tasks=TASKS, seed=st.integers(0, 50), portions=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
       caps=st.tuples(st.integers(1, 20), st.integers(1, 20)))
@settings(max_examples=80, deadline=None)
def test_subsets_are_nested(tasks: list[str], seed: int, portions: tuple[float, float], caps: tuple[int, int]) -> None:
    (less, more), (few, many) = sorted(portions), sorted(caps)
    assert chosen(tasks, less, few, seed) <= chosen(tasks, more, many, seed)
    assert chosen(tasks, less, None, seed) <= chosen(tasks, more, None, seed)
    assert chosen(tasks, less, few, seed) <= chosen(tasks, less, None, seed)
    assert chosen(tasks, 1.0, None, seed) == set(range(len(tasks)))


@given(tasks=TASKS, seed=st.integers(0, 50), portion=st.floats(0.01, 1), cap=st.integers(1, 20))
@settings(max_examples=80, deadline=None)
def test_every_task_keeps_its_share(tasks: list[str], seed: int, portion: float, cap: int) -> None:
    found = chosen(tasks, portion, None, seed)
    assert len(found) == max(1, round(portion * len(tasks)))
    had, has = Counter(tasks), Counter(tasks[episode] for episode in found)
    most = 1 if len(set(had.values())) == 1 else 3
    assert all(abs(has[task] - portion * had[task]) <= most for task in had)
    capped = Counter(tasks[episode] for episode in chosen(tasks, 1.0, cap, seed))
    assert capped == {task: min(count, cap) for task, count in had.items()}


def test_a_tenth_of_equal_tasks_is_a_tenth_of_each() -> None:
    tasks = [task for task in "abcdefgh" for _ in range(30)]
    assert Counter(tasks[episode] for episode in chosen(tasks, 0.1, None, 0)) == dict.fromkeys("abcdefgh", 3)


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> RecordedEpisodes:
    return record(tmp_path_factory.mktemp("demonstrated") / "a", (5, 3, 8, 4, 6, 2), tasks="abaabb", words=40)


@pytest.mark.parametrize("cap", [1, 2])
def test_a_part_reads_like_a_source_that_has_nothing_else(demonstrated: RecordedEpisodes, cap: int) -> None:
    part = subset(demonstrated, per_task=cap)
    assert isinstance(part, Part)
    assert Counter(part.tasks) == {"a": cap, "b": cap}
    numbers = [int(text.removeprefix("do ")) for text in part.instructions]
    ranges = [np.arange(demonstrated.starts[n], demonstrated.ends[n]) for n in numbers]
    np.testing.assert_array_equal(part.frames_N, np.concatenate(ranges))
    assert (part.ends - part.starts).tolist() == [len(frames) for frames in ranges]
    for name in ("images_NKYXC", "states_NS", "actions_NA"):
        whole, some = getattr(demonstrated, name), getattr(part, name)
        assert some.shape == (len(part.frames_N), *whole.shape[1:])
        np.testing.assert_array_equal(some[np.arange(len(part.frames_N))], whole[part.frames_N])
    assert [part.frames_N[pair["frame"]] for pair in part.pairs()] == part.frames_N.tolist()
    assert all(pair["answer"] == f"frame {part.frames_N[pair['frame']]}" for pair in part.pairs())


def test_a_part_of_a_part_knows_the_frames_of_the_whole(demonstrated: RecordedEpisodes) -> None:
    outer = subset(demonstrated, portion=0.7, seed=2)
    inner = subset(outer, per_task=1)
    assert isinstance(outer, Part)
    assert isinstance(inner, Part)
    assert outer.frames_N[0] > 0, "so that its own numbers are other ones"
    np.testing.assert_array_equal(inner.states_NS[:, 0], inner.frames_N)
    np.testing.assert_array_equal(inner.images_NKYXC[np.arange(len(inner.frames_N))],
                                  demonstrated.images_NKYXC[inner.frames_N])


def test_windows_of_a_part_show_its_frames_only(demonstrated: RecordedEpisodes) -> None:
    part = subset(demonstrated, per_task=1)
    assert isinstance(part, Part)
    drawn = stream((part, 1.0), batch_windows=len(part.frames_N), history=2)
    batch = drawn.at(3)
    assert sorted(frames_of(batch)) == part.frames_N.tolist(), "one epoch"
    for row in range(len(batch)):
        for position in range(2):
            frame = int(batch.states_BHS[row, position, 0])
            assert batch.images_BHKYXC is not None
            np.testing.assert_array_equal(batch.images_BHKYXC[row, position], demonstrated.images_NKYXC[frame])


def test_the_whole_is_the_source_itself_and_nonsense_is_refused(demonstrated: RecordedEpisodes) -> None:
    assert subset(demonstrated) is demonstrated
    assert subset(demonstrated, per_task=3) is demonstrated
    for wrong in ({"portion": 0.0}, {"portion": 1.5}, {"per_task": 0}):
        with pytest.raises(UsageError, match="a portion above 0"):
            subset(demonstrated, **wrong)


def test_converted_actions_command_the_same_metres_and_radians(tmp_path: Path) -> None:
    theirs = record(tmp_path / "their", (40,), of=spaces(embodiment="long", scale_m=0.03, scale_rad=0.02))
    ours = spaces(embodiment="short", scale_m=0.02, scale_rad=0.05)
    part, clipped = aligned(theirs, ours)
    wanted = theirs.actions_NA * [1.5, 0.4, 1.0]
    np.testing.assert_allclose(part.actions_NA, np.clip(wanted, -1, 1), rtol=1e-6)
    assert clipped == pytest.approx((np.abs(wanted[:, :2]) > 1).mean())
    assert part.spaces.action == ours.action
    assert part.spaces.embodiment == "long"
    assert part.images_NKYXC is theirs.images_NKYXC, "no copy of the images"


def test_what_is_out_of_reach_is_clipped_and_counted(tmp_path: Path) -> None:
    theirs = record(tmp_path / "their", (40,), of=spaces(embodiment="long", scale_m=0.02, scale_rad=0.2))
    part, clipped = aligned(theirs, spaces())
    assert np.abs(part.actions_NA).max() <= 1
    assert clipped == pytest.approx((np.abs(theirs.actions_NA[:, 1]) > 0.25).mean() / 2)
    assert clipped > 0.2


def test_another_rate_cannot_be_converted(tmp_path: Path) -> None:
    theirs = record(tmp_path / "their", (4,), of=spaces(rate_hz=30.0))
    with pytest.raises(IncompatibleSpaces, match=r"rate_hz 30\.0 is not 10\.0"):
        aligned(theirs, spaces())
