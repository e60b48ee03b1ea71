"""Films and who watches: every picture in its place, on any screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vlactl.episodes import EpisodeSpec, Observation
from vlactl.errors import UsageError
from vlactl.panels import COLOURS
from vlactl.video import HOLD_S, Film, Watcher

SPEC = EpisodeSpec(key="k", scene="D", start={}, tasks=("lift", "push", "open"), instructions=("a", "b", "c"),
                   max_steps=9, seed=0)


def frames(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def pictures(count: int) -> list[np.ndarray]:
    return [np.full((40, 60, 3), 20 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".MP4"])
def test_a_film_has_every_picture_and_appears_when_it_is_closed(tmp_path, suffix):
    path = tmp_path / "new" / f"film{suffix}"
    film = Film(path, rate_hz=10)
    for picture in pictures(6):
        film.show(picture)
    assert not path.exists()
    film.close()
    shown = frames(path)
    assert len(shown) == 6
    assert [round(float(frame.mean()) / 20) for frame in shown] == list(range(6))
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_outcome_is_held(tmp_path):
    from PIL import Image

    for suffix in (".mp4", ".gif"):
        film = Film(tmp_path / f"film{suffix}", rate_hz=10)
        film.show(pictures(2)[0])
        film.show(pictures(2)[1], hold=True)
        film.close()
    assert len(frames(tmp_path / "film.mp4")) == 2 + round(10 * HOLD_S)
    with Image.open(tmp_path / "film.gif") as gif:
        durations = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
    assert durations == [100, 100 + 1000 * HOLD_S]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_nothing_shown_is_no_file(tmp_path, suffix):
    Film(tmp_path / f"film{suffix}", rate_hz=10).close()
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_of_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"\.mp4 or \.gif"):
        Film(tmp_path / "film.avi", rate_hz=10)
    assert list(tmp_path.iterdir()) == []


@dataclass
class Wall:
    """A screen that remembers."""

    shown: list[tuple[np.ndarray, bool]] = field(default_factory=list)
    closed: int = 0

    def show(self, picture_YXC: np.ndarray, *, hold: bool = False) -> None:
        self.shown.append((picture_YXC, hold))

    def close(self) -> None:
        self.closed += 1


def look(simulations: Any) -> list[Observation]:
    return [Observation(images_KYXC=np.full((2, 32, 32, 3), 90, np.uint8), state_S=np.zeros(1)) for _ in simulations]


def attempt(task: int, steps: int, **simulation: Any) -> Any:
    return SimpleNamespace(spec=SPEC, task=task, steps=steps, instruction=SPEC.instructions[task],
                           simulation=SimpleNamespace(**simulation))


def test_a_watcher_shows_the_same_to_all_and_holds_outcomes():
    walls = [Wall(), Wall()]
    watcher = Watcher(look, walls)
    for success in (None, False, True):
        watcher.see(attempt(1, 3), success)
    watcher.close()
    assert [hold for _, hold in walls[0].shown] == [False, True, True]
    assert all((one == other).all() for (one, _), (other, _) in zip(walls[0].shown, walls[1].shown, strict=True))
    assert [wall.closed for wall in walls] == [1, 1]
    for (picture, _), colour in zip(walls[0].shown, ("now", "failed", "done"), strict=True):
        assert (picture == COLOURS[colour]).all(axis=2).any(), colour


def test_a_watcher_skips_what_only_leads_there():
    wall = Wall()
    watcher = Watcher(look, [wall], skip=2)
    for task in range(3):
        watcher.see(attempt(task, 0))
    assert len(wall.shown) == 1
    assert not (wall.shown[0][0] == COLOURS["now"]).all(axis=2).any(), "one task alone has no marks"


def test_a_step_a_remark_and_a_heading_change_the_picture_in_their_places():
    plain, step, remark, heading = (
        Watcher(look, [], heading=heading).picture(attempt(0, steps, **simulation), None).astype(int)
        for steps, simulation, heading in (
            (1, {}, ""), (2, {}, ""), (1, {"remarks": lambda: (("drawer", "open"),)}, ""), (1, {}, "scene D")))
    assert plain.shape == step.shape == remark.shape == heading.shape
    assert (plain != step)[320:].any()
    assert not (plain != step)[:320].any()
    for other in (remark, heading):
        assert (plain != other)[160:320, 320:].any()
        assert not (plain != other)[:, :320].any()
