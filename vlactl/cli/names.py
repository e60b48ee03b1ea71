"""What the fields of the tabletop world can name: ``vlactl list embodiments | scenes | suites | tasks | shifts``."""

from __future__ import annotations

from collections.abc import Callable


def embodiments() -> dict[str, str]:
    from vlactl.tabletop.embodiments import EMBODIMENTS

    return {
        name: f"fingers open {200 * robot.gripper.opening_m:.1f} cm; at 30 Hz an action of 1.0 moves "
        f"{100 * robot.position_scale_m:g} cm or turns {robot.rotation_scale_rad:g} rad"
        for name, robot in EMBODIMENTS.items()
    }


def scenes() -> dict[str, str]:
    from vlactl.tabletop.layouts import LAYOUTS

    return {
        name: f"{desk.look.desk.texture} desk, button on the {side(desk.button_xy_m[0])}, "
        f"switch on the {side(desk.switch_xy_m[0])}"
        for name, desk in LAYOUTS.items()
    }


def side(x_m: float) -> str:
    return "left" if x_m < 0 else "right"


def suites() -> dict[str, str]:
    from vlactl.benchmarks import CHAIN_LISTS
    from vlactl.tabletop.tasks import SUITES

    return {
        name: f"{len(tasks)} tasks, " + ("1000 frozen chains of five" if name in CHAIN_LISTS else "for data only")
        for name, tasks in SUITES.items()
    }


def tasks() -> dict[str, str]:
    from vlactl.tabletop.tasks import TASKS

    return {name: task.validation for name, task in TASKS.items()}


def shifts() -> dict[str, str]:
    from vlactl.tabletop.perturbations import SHIFTS

    return {
        name: shift.description + (f" (the paper's {shift.unseen})" if shift.unseen else "")
        for name, shift in SHIFTS.items()
    }


NAMES: dict[str, tuple[Callable[[], dict[str, str]], str]] = {
    "embodiments": (embodiments, "robots of the tabletop world"),
    "scenes": (scenes, "its desks: train on A, B and C, test on D"),
    "suites": (suites, "its named sets of tasks"),
    "tasks": (tasks, "what it can be asked, with the held-out instruction"),
    "shifts": (shifts, "what can be unlike training there; joined by +, ten variants each"),
}
"""kind -> names with one line about each, what they are."""
