"""``sim look``, ``sim view`` and ``sim sheets``: pictures, films and contact sheets of a benchmark's world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.screen import ProgressLine, columns, emit, remark, say
from vlactl.errors import UsageError, VlactlError

if TYPE_CHECKING:
    import numpy as np

    from vlactl.benchmarks import Benchmark, BenchmarkSpec
    from vlactl.cli.window import Window
    from vlactl.episodes import EpisodeSpec, Rollout
    from vlactl.rollout import Actor
    from vlactl.tabletop.sheets import Strip
    from vlactl.video import Film

app = typer.Typer(no_args_is_help=True, help="Look at a benchmark's world.", rich_markup_mode="rich")

World = Annotated[str, typer.Option("--benchmark", help="Which world (vlactl list benchmarks).")]
Number = Annotated[int, typer.Option("--episode", min=0, help="Which episode of the benchmark's frozen list.")]
Pixels = Annotated[int, typer.Option("--image-px", min=16, help="Side of the first camera's picture.")]
Scene = Annotated[str | None, typer.Option("--scene", metavar="D", help="Which scene.", show_default=False)]
Embodiment = Annotated[str | None, typer.Option("--embodiment", help="Which robot.", show_default=False)]
Shift = Annotated[
    str | None,
    typer.Option("--shift", metavar="NAME[+NAME][#N]", help="In what it is unlike training.", show_default=False),
]

ANTIALIAS = 2
"""Rays per pixel and side: people look closer than policies."""


@app.command("look")
def look(
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path("look.png"),
    benchmark: World = "tabletop",
    scene: Annotated[
        str | None,
        typer.Option("--scene", metavar="D|ABCD", help="Which scene; of several, a page.", show_default=False),
    ] = None,
    embodiment: Embodiment = None,
    shift: Shift = None,
    fields: options.Fields = None,
    episode: Number = 0,
    image_px: Pixels = 512,
    small: Annotated[bool, typer.Option("--small", help="With a palette: a third of the size.")] = False,
    json: options.Json = False,
) -> None:
    """Draw the start of an episode: every camera and the state in words; of several scenes, a page of them.

    \b
    vlactl sim look --scene D -o desk.png
    vlactl sim look --scene ABCD --embodiment stubby -o scenes.png
    """
    from vlactl import panels

    shown = []
    for letter in scene if scene and benchmark == "tabletop" else (scene,):
        asked = {"scene": letter, "embodiment": embodiment, "shift": shift}
        shown.append(still(open_spec(benchmark, asked, fields, episode, image_px), episode))
    picture_YXC = shown[0] if len(shown) == 1 else panels.tiled(shown, 2)
    panels.write(output, picture_YXC, small=small)
    height_px, width_px = picture_YXC.shape[:2]
    if json:
        size = {"height_px": height_px, "width_px": width_px}
        emit({"type": "picture", "path": str(output), **size, "scenes": len(shown)})
    else:
        say(f"{output}: {width_px}x{height_px} px")


@app.command("view")
def view(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="MP4 or GIF file to write. Default: view.mp4, or none with --window.",
            show_default=False,
        ),
    ] = None,
    benchmark: World = "tabletop",
    policy: Annotated[
        str, typer.Option(help="Who acts: expert | random | zero | keyboard, or a policy's folder, trial or stage.")
    ] = "expert",
    scene: Scene = None,
    embodiment: Embodiment = None,
    shift: Shift = None,
    fields: options.Fields = None,
    episode: Number = 0,
    task: Annotated[
        str | None,
        typer.Option(help="This task and no chain; the expert leads to it, unseen.", show_default=False),
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, help="How many tasks of the chain to show.")] = 1,
    image_px: Pixels = 480,
    window: Annotated[bool, typer.Option("--window", help="Show it in a window: p pauses, n steps, q quits.")] = False,
    json: options.Json = False,
) -> None:
    """Film the first tasks of an episode, or watch them in a window, at the speed of the control loop.

    Instruction, step, state and outcome are drawn in. A trained policy sees pictures of its own size, people see
    them in --image-px. With --policy keyboard you play, in a window.

    \b
    vlactl sim view --episode 3 --tasks 5 -o chain.mp4
    vlactl sim view --task open_drawer --scene D -o drawer.gif
    vlactl sim view --policy keyboard --task lift_red_block_table
    """
    from vlactl.rollout import REFERENCES
    from vlactl.video import Film

    asked = {"scene": scene, "embodiment": embodiment, "shift": shift}
    drawn = open_spec(benchmark, asked, fields, episode, image_px)
    trained = policy not in (*REFERENCES, "keyboard")
    spec = open_spec(benchmark, asked, fields, episode) if trained else drawn
    rate_hz = spec.spaces().action.rate_hz
    shown = open_window(spec, plays=policy == "keyboard") if window or policy == "keyboard" else None
    acting = actor(policy, spec, shown)
    world = spec.build()
    attempted, before = chosen(world, episode, task, tasks)
    file = output or (None if shown else Path("view.mp4"))
    film = Film(file, rate_hz=rate_hz) if file else None
    screens = [screen for screen in (film, shown) if screen is not None]
    look = (drawn.build() if trained else world).look
    rollout = play(world, acting, attempted, before, look, screens, place(spec, attempted))
    tell(rollout, before, file, rate_hz, as_json=json)


@app.command("sheets")
def sheets(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("pictures"),
    scene: Annotated[str, typer.Option("--scene", metavar="D", help="Which scene.")] = "D",
    embodiment: Annotated[str, typer.Option("--embodiment", help="Which robot.")] = "panda",
    shift: Shift = None,
    suite: Annotated[str, typer.Option("--tasks", help="A suite, or tasks with commas. Default: all.")] = "",
    number: Annotated[int, typer.Option("--episode", min=0, help="Another number, other starts.")] = 0,
    image_px: Annotated[int, typer.Option("--image-px", min=64, help="Side of each picture.")] = 224,
    json: options.Json = False,
) -> None:
    """Draw contact sheets of the tabletop's tasks (start, middle, end, by the expert), and its scenes and robots.

    \b
    vlactl sim sheets -o pictures
    vlactl sim sheets -o pictures/A --scene A --embodiment stubby
    """
    from vlactl import panels
    from vlactl.tabletop import sheets as contact

    names = contact.selected(suite)
    say_if_compiling("tabletop")
    done = []
    with ProgressLine("drawing", as_json=json) as progress:
        for strip in contact.strips(embodiment, scene, names, shift=shift or "none", number=number, image_px=image_px):
            done.append(strip)
            progress(len(done), len(names), unit="tasks")
    title = f"Tabletop, scene {scene}, {embodiment}" + (f", {shift}" if shift else "")
    written = []
    for page, picture_YXC in enumerate(contact.pages(done, title), start=1):
        written.append(output / f"tasks-{scene}-{embodiment}-{page}.png")
        panels.write(written[-1], picture_YXC)
    pages = {
        "worlds": contact.overview(image_px=image_px * 4 // 3),
        f"shifts-{scene}-{embodiment}": contact.shifts(embodiment, scene, image_px=image_px * 4 // 3),
    }
    for name, picture_YXC in pages.items():
        written.append(output / f"{name}.png")
        panels.write(written[-1], picture_YXC)
    tell_sheets(done, written, as_json=json)


def open_spec(
    name: str, asked: Mapping[str, str | None], fields: options.Words, episode: int, image_px: int | None = None
) -> BenchmarkSpec:
    """The benchmark with enough episodes and, with ``image_px``, with pictures for people.

    Raises :class:`UsageError` where something is ``asked`` of it that it does not have.
    """
    from vlactl.benchmarks import BENCHMARKS

    say_if_compiling(name)
    has = BENCHMARKS.get(name).model_fields
    for option, value in asked.items():
        if value is not None and option not in has:
            raise UsageError(
                f"the benchmark '{name}' has no {option} to choose",
                where=f"--{option}",
                expected="its fields are " + " | ".join(has),
                remedy=f"vlactl show benchmarks {name}",
            )
    wanted: dict[str, Any] = {**asked, "chains": episode + 1}
    if (shift := asked["shift"]) and "#" in shift:
        wanted["shift"], _, wanted["shift_variant"] = shift.partition("#")
    if image_px is not None:
        wanted |= {"image_px": image_px, "antialias": ANTIALIAS}
    settings = [f"{field}={value}" for field, value in wanted.items() if value is not None and field in has]
    return options.parse_spec(BENCHMARKS, name, [*settings, *(fields or ())])


@cache
def say_if_compiling(benchmark: str) -> None:
    """The first picture on a machine takes a while: say why."""
    from vlactl.tabletop.kernel_cache import cache_directory

    if benchmark == "tabletop" and not cache_directory().is_dir():
        remark("compiling the renderer: up to a minute, once on this machine")


def numbered(world: Benchmark, episode: int) -> EpisodeSpec:
    """The ``episode``-th of the frozen list; raises :class:`UsageError` beyond its end."""
    episodes = world.episodes()
    if episode >= len(episodes):
        raise UsageError(f"there is no episode {episode}", where="--episode", expected=f"0 .. {len(episodes) - 1}")
    return episodes[episode]


def chosen(world: Benchmark, episode: int, task: str | None, tasks: int) -> tuple[EpisodeSpec, int]:
    """What to attempt, and how many of its tasks only lead to the one that is to be seen."""
    if task is None:
        spec = numbered(world, episode)
        return replace(spec, tasks=spec.tasks[:tasks], instructions=spec.instructions[:tasks]), 0
    make: Callable[..., EpisodeSpec] | None = getattr(world, "episode", None)
    if make is None:
        raise UsageError("this benchmark has only the episodes of its list", where="--task", remedy="use --episode")
    from vlactl.tabletop.rehearsal import route

    way = route(task, episode)
    return make(way.start, way.tasks), len(way.before)


def play(
    world: Benchmark,
    actor: Actor | Callable[[], np.ndarray] | str,
    spec: EpisodeSpec,
    before: int,
    look: Callable[..., Any],
    screens: list[Film | Window],
    heading: str,
) -> Rollout:
    """The rollout of ``actor`` on ``screens``; what is there when it is interrupted is kept.

    Raises :class:`VlactlError` when the expert fails at one of the ``before`` tasks that nobody sees.
    """
    from vlactl.rollout import evaluate
    from vlactl.video import Watcher

    watcher = Watcher(look, screens, heading=heading, skip=before)
    try:
        (rollout,) = evaluate(
            world, actor, [spec], batch=1, video=watcher, rehearsed=before, progress=lambda *_, **__: None
        )
    except BaseException:  # the film as far as it went is kept, whatever happened
        watcher.close()
        raise
    if len(rollout.verdicts) <= before and rollout.status == "ok":
        failed, wanted = rollout.verdicts[-1].task, spec.tasks[before]
        raise VlactlError(
            f"nothing to see: the expert failed at {failed}, which comes before {wanted}",
            where="--task",
            remedy="try another start, with another --episode",
        )
    return rollout


def place(spec: BenchmarkSpec, episode: EpisodeSpec) -> str:
    """Where it happens, in a few words."""
    shift, variant = getattr(spec, "shift", "none"), getattr(spec, "shift_variant", 0)
    return f"scene {episode.scene}, {spec.spaces().embodiment}" + ("" if shift == "none" else f", {shift}#{variant}")


def still(spec: BenchmarkSpec, episode: int) -> np.ndarray:
    """The start of an episode (Y, X, 3): cameras, state, and what is to be done first."""
    from vlactl.panels import Caption, beside, captioned

    world = spec.build()
    start = numbered(world, episode)
    simulation: Any = world.simulation()
    simulation.reset(start)
    instruction = simulation.begin(0)
    images_KYXC = world.look([simulation])[0].images_KYXC
    picture_YXC = beside(list(images_KYXC), getattr(simulation, "remarks", tuple)())
    return captioned(
        picture_YXC, Caption(title=place(spec, start), subtitle=f"episode {episode}, first task: {instruction}")
    )


def open_window(spec: BenchmarkSpec, *, plays: bool) -> Window:
    """A window for a film, or for somebody who plays."""
    from vlactl.cli.window import HELP, PLAY_HELP, Window

    action = spec.spaces().action
    if plays and (action.control, action.size) != ("relative-eef-pose", 7):
        raise UsageError(
            f"the keyboard cannot command '{action.control}' with {action.size} numbers",
            where="--policy keyboard",
            expected="relative-eef-pose with 7",
        )
    return Window(f"vlactl: {spec.kind}", rate_hz=action.rate_hz, keys=PLAY_HELP if plays else HELP)


def actor(policy: str, spec: BenchmarkSpec, window: Window | None) -> Actor | Callable[[], np.ndarray] | str:
    """Who acts, for :func:`vlactl.rollout.evaluate`."""
    from vlactl.cli.evaluate import open_policy
    from vlactl.cli.window import Keyboard
    from vlactl.rollout import REFERENCES

    if policy == "keyboard" and window is not None:
        return Keyboard(window)
    return policy if policy in REFERENCES else open_policy(policy, spec, "")


def tell(rollout: Rollout, before: int, file: Path | None, rate_hz: float, *, as_json: bool) -> None:
    """How the tasks that were shown ended."""
    shown = rollout.verdicts[before:]
    if as_json:
        verdicts = [{"task": each.task, "success": each.success, "steps": each.steps} for each in shown]
        led = [each.task for each in rollout.verdicts[:before]]
        path = None if file is None else str(file)
        emit({"type": "film", "path": path, "status": rollout.status, "tasks": verdicts, "before": led})
        return
    for each in shown:
        say(f"{'done  ' if each.success else 'failed'}  {each.task}  ({each.steps} steps)")
    if rollout.detail:
        remark(f"{rollout.status}: {rollout.detail}")
    if file is not None:
        say(f"{file}: {sum(each.steps for each in shown) / rate_hz:.1f} s")


def tell_sheets(done: list[Strip], written: list[Path], *, as_json: bool) -> None:
    """What was drawn, and what the expert failed at."""
    if as_json:
        rows = [{"task": each.task, "success": each.success, "note": each.note} for each in done]
        emit({"type": "sheets", "paths": [str(path) for path in written], "tasks": rows})
        return
    if failed := [(each.task, each.note) for each in done if not each.success]:
        say(f"the expert failed at {len(failed)} of {len(done)} tasks")
        say(columns(failed))
    for path in written:
        say(str(path))
