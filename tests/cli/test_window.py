"""What keys mean, and the window itself where there is a display."""

from __future__ import annotations

import os

import numpy as np
import pytest

from vlactl.cli.window import AXES, Keyboard, Playback, Window, WindowClosed, action, heard
from vlactl.errors import UsageError
from vlactl.tabletop.interface import ACTION_NAMES


def test_every_key_moves_one_axis_and_its_opposite_cancels_it():
    for key, (axis, sign) in AXES.items():
        found = action({key}, open_gripper=True)
        assert found[axis] == sign
        assert sum(map(abs, found[:6])) == 1
        opposite = next(other for other, (number, _) in AXES.items() if number == axis and other != key)
        assert action({key, opposite}, open_gripper=True)[:6] == (0,) * 6
    assert {axis for axis, _ in AXES.values()} == set(range(6))


def test_keys_command_what_the_spaces_declare():
    assert len(action((), open_gripper=True)) == len(ACTION_NAMES)
    assert action({"right"}, open_gripper=False) == (1, 0, 0, 0, 0, 0, -1)
    assert action({"up", "w", "a"}, open_gripper=True) == (0, 1, 1, 0, 0, 1, 1)
    assert action({"f12", "space"}, open_gripper=True) == (0, 0, 0, 0, 0, 0, 1)
    assert np.abs(action(AXES, open_gripper=True)).max() <= 1, "legal, whatever is held"


def test_pausing_stepping_and_leaving():
    playing = Playback()
    paused = heard(playing, "p")
    assert paused.paused
    assert heard(paused, "p") == playing
    twice = heard(heard(playing, "n"), "n")
    assert (twice.paused, twice.steps) == (True, 2)
    assert heard(twice, "p") == playing, "going on forgets the steps"
    assert heard(playing, "q").over
    assert heard(paused, "escape").over
    assert heard(paused, "right") == paused


def test_without_a_display_a_window_says_so(monkeypatch):
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UsageError, match="no window can be opened") as refused:
        Window("test", rate_hz=10)
    assert "-o view.mp4" in refused.value.remedy


@pytest.mark.skipif(not os.environ.get("DISPLAY"), reason="there is no display (run under xvfb-run to have one)")
def test_a_window_shows_listens_and_closes():
    picture = np.zeros((40, 60, 3), np.uint8)
    window = Window("test", rate_hz=100)
    keyboard = Keyboard(window)
    window.show(picture)
    assert keyboard().tolist() == [0, 0, 0, 0, 0, 0, 1]
    window._press("right")
    window._press("space")
    assert keyboard().tolist() == [1, 0, 0, 0, 0, 0, -1]
    window._release("right")
    window._press("right")
    window.show(picture, hold=True)
    assert "right" in window.held, "a key that repeats is held"
    window._press("p")
    window._press("n")
    window.show(picture)
    assert window.playback == Playback(paused=True)
    window._press("q")
    with pytest.raises(WindowClosed):
        window.show(picture)
    window.close()
