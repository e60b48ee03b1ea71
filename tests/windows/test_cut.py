"""Which frames a window holds, against a loop over frames."""

from __future__ import annotations

import numpy as np
import pytest

from vlactl.formats.recorded import RecordedEpisodes
from vlactl.windows import cut


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
        assert found.episodes_B[row] == episode
        assert found.images_BH[row].tolist() == padded
        for position, frame in enumerate(padded):
            for ahead in range(horizon):
                real = position < len(frames) and frame + ahead < end
                assert found.mask_BHL[row, position, ahead] == real
                assert found.actions_BHL[row, position, ahead] == min(frame + ahead, end - 1)
    assert found.mask_BHL[:, 0, 0].all(), "position 0 is always a real frame"


def test_a_repeated_present_fills_every_position_and_is_supervised_everywhere(source: RecordedEpisodes) -> None:
    anchors = np.arange(len(source.episode_of_N))
    repeated = cut(source, anchors, history=4, horizon=3, execute=2, repeat_current=True)
    alone = cut(source, anchors, history=1, horizon=3, execute=2)
    for name in ("images_BH", "actions_BHL", "mask_BHL"):
        expected = np.repeat(getattr(alone, name), 4, 1)
        np.testing.assert_array_equal(getattr(repeated, name), expected)
