"""A window that shows pictures and listens to keys, with tkinter and Pillow: what ``sim view --window`` opens.

What keys mean is decided by two pure functions: :func:`heard` for stopping, stepping and leaving, :func:`action` for
moving an arm.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlactl.errors import ExitCode, UsageError, VlactlError

if TYPE_CHECKING:
    import numpy as np

HELP = "p pause, n one step, q quit"
PLAY_HELP = "arrows: left right away near; w s: up down; a d: turn; r f, t g: tilt; space: gripper; " + HELP
POLL_S = 0.004
HELD_PICTURES = 8
"""For so many pictures' time an outcome is shown."""
RELEASE_MS = 40
"""X11 repeats a key that is held as release and press: a release counts when no press follows within this."""
AXES = {
    "right": (0, 1.0),
    "left": (0, -1.0),
    "up": (1, 1.0),
    "down": (1, -1.0),
    "w": (2, 1.0),
    "s": (2, -1.0),
    "r": (3, 1.0),
    "f": (3, -1.0),
    "t": (4, 1.0),
    "g": (4, -1.0),
    "a": (5, 1.0),
    "d": (5, -1.0),
}
"""Key -> position in a relative-eef-pose action (x, y, z, then turns about them) and its sign."""


class WindowClosed(VlactlError):
    """Whoever watched has seen enough."""

    exit_code = ExitCode.OK


@dataclass(frozen=True, slots=True)
class Playback:
    """Whether pictures follow each other by themselves."""

    paused: bool = False
    steps: int = 0
    """Pictures still to be shown while paused."""
    over: bool = False


def heard(playback: Playback, key: str) -> Playback:
    """What pressing ``key`` (tk's name of it, in small letters) makes of ``playback``."""
    if key in ("q", "escape"):
        return replace(playback, over=True)
    if key == "p":
        return Playback(paused=not playback.paused)
    if key == "n":
        return Playback(paused=True, steps=playback.steps + 1)
    return playback


def action(held: Collection[str], *, open_gripper: bool) -> tuple[float, ...]:
    """The action (7,) that the ``held`` keys command, each axis -1, 0 or 1; opposite keys cancel, others mean
    nothing."""
    axes = [0.0] * 6
    for key in held:
        axis, sign = AXES.get(key, (0, 0.0))
        axes[axis] += sign
    return (*axes, 1.0 if open_gripper else -1.0)


class Keyboard:
    """Asked for an action at every step, it answers with what is held down in the window; space moves the gripper."""

    def __init__(self, window: Window) -> None:
        self.window = window

    def __call__(self) -> np.ndarray:
        import numpy as np

        return np.array(action(self.window.held, open_gripper=self.window.presses["space"] % 2 == 0), np.float32)


class Window:
    """A screen (see :class:`vlactl.video.Screen`) that shows ``rate_hz`` pictures a second.

    Raises :class:`UsageError` where there is no display, and :class:`WindowClosed` from :meth:`show` when it is shut.
    """

    def __init__(self, title: str, *, rate_hz: float, keys: str = HELP) -> None:
        self._root, self._pictures = open_display(title, keys)
        self.rate_s, self.playback = 1 / rate_hz, Playback()
        self.held: set[str] = set()
        """Keys that are down now, by tk's names in small letters."""
        self.presses: Counter[str] = Counter()
        """How often each key went down so far."""
        self._releases: dict[str, str] = {}
        self._due_s, self._outcome, self._shut = time.monotonic(), False, False
        self._root.bind("<KeyPress>", lambda event: self._press(event.keysym.lower()))
        self._root.bind("<KeyRelease>", lambda event: self._release(event.keysym.lower()))
        self._root.bind("<FocusOut>", lambda _: self.held.clear())
        self._root.protocol("WM_DELETE_WINDOW", lambda: self._press("q"))

    def show(self, picture_YXC: np.ndarray, *, hold: bool = False) -> None:
        """Show a picture until the next is due, or for as long as the window is paused."""
        from PIL import Image, ImageTk

        self._shown = ImageTk.PhotoImage(Image.fromarray(picture_YXC), master=self._root)  # tk keeps no reference
        self._pictures.configure(image=self._shown)
        self._outcome = hold
        self._due_s = max(self._due_s + self.rate_s * (HELD_PICTURES if hold else 1), time.monotonic())
        while not self.playback.over:
            self._root.update()
            if self.playback.paused and self.playback.steps:
                self.playback = replace(self.playback, steps=self.playback.steps - 1)
                return
            if not self.playback.paused and time.monotonic() >= self._due_s:
                return
            time.sleep(POLL_S)
        raise WindowClosed("the window was closed")

    def close(self) -> None:
        """Shut the window; one that shows an outcome stays until whoever watches leaves it."""
        if self._shut:
            return
        self._shut = True
        try:
            while self._outcome and not self.playback.over:
                self._root.update()
                time.sleep(POLL_S)
        finally:
            self._root.destroy()

    def _press(self, key: str) -> None:
        if key in self._releases:
            self._root.after_cancel(self._releases.pop(key))
        if key not in self.held:
            self.held.add(key)
            self.presses[key] += 1
            self.playback = heard(self.playback, key)

    def _release(self, key: str) -> None:
        def forget() -> None:
            self.held.discard(key)
            self._releases.pop(key, None)

        self._releases[key] = self._root.after(RELEASE_MS, forget)


def open_display(title: str, keys: str) -> tuple[Any, Any]:
    """A tk window and the label in it that pictures go to; raises :class:`UsageError` where there can be none."""
    try:
        import tkinter
    except ImportError as error:
        raise UsageError(
            "this Python has no tkinter, so there are no windows",
            where="--window",
            remedy="install your system's python3-tk, or write a film: -o view.mp4",
        ) from error
    try:
        root = tkinter.Tk()
    except tkinter.TclError as error:
        display = os.environ.get("DISPLAY")
        raise UsageError(
            f"no window can be opened: {error}",
            where="--window",
            expected="a display" + ("" if display or sys.platform != "linux" else "; $DISPLAY is not set"),
            remedy="write a film instead: -o view.mp4",
        ) from error
    root.title(title)
    root.configure(background="#18191f")
    pictures = tkinter.Label(root, borderwidth=0)
    pictures.pack()
    tkinter.Label(root, text=keys, background="#18191f", foreground="#969ca6").pack(pady=4)
    root.focus_force()
    return root, pictures
