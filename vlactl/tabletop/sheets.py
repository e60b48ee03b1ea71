"""Contact sheets: every task as three pictures of the scripted expert at work, and the scenes with their robots.

What the expert fails is shown as failed.  Everything here is a function of the names given: the same sheets come out
whenever they are drawn on one machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlactl.errors import UnknownName
from vlactl.panels import Caption, captioned, row, tiled
from vlactl.tabletop.embodiments import EMBODIMENTS
from vlactl.tabletop.layouts import LAYOUTS
from vlactl.tabletop.perturbations import SHIFTS, colour_words
from vlactl.tabletop.phrasings import recoloured
from vlactl.tabletop.rehearsal import Route, perform, route
from vlactl.tabletop.rendering import open_renderer
from vlactl.tabletop.tasks import SUITES, TASKS, start_states
from vlactl.tabletop.world import World

if TYPE_CHECKING:
    import numpy as np

    from vlactl.tabletop.rendering import Renderer

PER_PAGE, COLUMNS, SHIFT_COLUMNS = 12, 2, 3
IMAGE_PX = 224
ANTIALIAS = 2
SAMPLE_START = 5
"""Of the start states, the one that shows the scenes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One task as it was done."""

    task: str
    instruction: str
    images: tuple[np.ndarray, ...]
    """Start, middle and end, each (Y, X, 3) uint8."""
    success: bool
    note: str
    """How many steps it took, or what went wrong."""


def strips(embodiment: str, scene: str, tasks: Iterable[str], *, shift: str = "none", number: int = 0,
           image_px: int = IMAGE_PX) -> Iterator[Strip]:
    """Each of ``tasks`` done by the expert, from different starts, seen by the static camera; another ``number``, other
    starts."""
    world = World(embodiment, scene, shift=shift)
    renderer = open_renderer("raycast", world.model, image_px=image_px, antialias=ANTIALIAS, cameras=("static",))
    for index, task in enumerate(tasks):
        yield strip(world, renderer, route(task, number + index), seed=number + index)


def strip(world: World, renderer: Renderer, way: Route, seed: int) -> Strip:
    """The last task of a route, begun when the expert has done what comes before."""
    world.reset(way.start, seed)
    task = TASKS[way.tasks[-1]]
    instruction = recoloured(task.validation, colour_words(world.shift))
    for name in way.before:
        if perform(world, name) is None:
            return Strip(task=task.name, instruction=instruction, images=(picture(world, renderer),) * 3,
                         success=False, note=f"not begun: {name} failed before it")
    images = [picture(world, renderer)]
    steps = perform(world, task.name, watch=lambda: images.append(picture(world, renderer)))
    after = f" after {', '.join(way.before)}" if way.before else ""
    return Strip(task=task.name, instruction=instruction, success=steps is not None,
                 images=(images[0], images[len(images) // 2], images[-1]),
                 note=f"{len(images) - 1} steps" + after)


def picture(world: World, renderer: Renderer) -> np.ndarray:
    """The world as the renderer's first camera sees it, (Y, X, 3) uint8."""
    return renderer.render([world.data], [world.colors()])[0, 0]


def pages(done: Sequence[Strip], title: str) -> list[np.ndarray]:
    """Strips on pages of PER_PAGE, in their order; the title says how many succeeded."""
    count = -(-len(done) // PER_PAGE)
    solved = f"{sum(each.success for each in done)} of {len(done)} tasks done"
    return [tiled([panel(each) for each in done[page * PER_PAGE:(page + 1) * PER_PAGE]], COLUMNS,
                  f"{title}   {solved}   page {page + 1} of {count}") for page in range(count)]


def panel(done: Strip) -> np.ndarray:
    """A strip with its instruction, name and outcome under it."""
    return captioned(row(done.images, ("start", "middle", "end")),
                     Caption(title=done.instruction, subtitle=f"{done.task}   {done.note}",
                             verdict="done" if done.success else "failed"))


def overview(*, scenes: Sequence[str] = tuple(LAYOUTS), embodiments: Sequence[str] = tuple(EMBODIMENTS),
             image_px: int = IMAGE_PX) -> np.ndarray:
    """One page: a row for each embodiment, a column for each scene, at the start of an episode."""
    return tiled([captioned(_sample(embodiment, scene, "none", image_px),
                            Caption(title=f"scene {scene}", subtitle=embodiment))
                  for embodiment in embodiments for scene in scenes], len(scenes))


def shifts(embodiment: str, scene: str, *, image_px: int = IMAGE_PX) -> np.ndarray:
    """One page: the same start under every shift that can be seen."""
    seen = [shift for shift in SHIFTS.values() if shift.name != "description"]
    return tiled([captioned(_sample(embodiment, scene, shift.name, image_px),
                            Caption(title=shift.description, subtitle=shift.name)) for shift in seen],
                 SHIFT_COLUMNS, f"Tabletop, scene {scene}, {embodiment}: shifts")


def _sample(embodiment: str, scene: str, shift: str, image_px: int) -> np.ndarray:
    """The start of an episode as the static camera sees it, (Y, X, 3) uint8."""
    world = World(embodiment, scene, shift=shift)
    world.reset(start_states()[SAMPLE_START], seed=0)
    return picture(world, open_renderer("raycast", world.model, image_px=image_px, antialias=ANTIALIAS,
                                        cameras=("static",)))


def selected(words: str) -> tuple[str, ...]:
    """The tasks of a suite, or those named with commas between them; all for an empty string.

    Raises :class:`UnknownName`.
    """
    if not words:
        return tuple(TASKS)
    if words in SUITES:
        return SUITES[words]
    names = tuple(name.strip() for name in words.split(","))
    for name in names:
        if name not in TASKS:
            raise UnknownName("suite or task", name, (*SUITES, *TASKS))
    return names
