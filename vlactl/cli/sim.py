"""``sim look`` and ``sim view``: a picture and a film of a benchmark's world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlactl.cli import options
from vlactl.cli.screen import emit, say
from vlactl.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from vlactl.benchmarks import Benchmark
    from vlactl.episodes import EpisodeSpec

app = typer.Typer(no_args_is_help=True, help="Look at a benchmark's world.", rich_markup_mode="rich")

World = Annotated[str, typer.Option("--benchmark", help="Which world (vlactl list benchmarks).")]
Number = Annotated[int, typer.Option("--episode", min=0, help="Which episode of the benchmark's frozen list.")]
Pixels = Annotated[int, typer.Option("--image-px", min=16, help="Side of each camera's image in pixels.")]


@app.command("look")
def look(
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path("look.png"),
    benchmark: World = "tabletop",
    fields: options.Fields = None,
    episode: Number = 0,
    image_px: Pixels = 256,
    json: options.Json = False,
) -> None:
    """Render the start of an episode to a PNG, one panel per camera.

    \b
    vlactl sim look --set embodiment=stubby --output stubby.png
    """
    import imageio.v3 as iio
    import numpy as np

    world, spec = open_world(benchmark, [f"image_px={image_px}", *(fields or ())], episode)
    simulation = world.simulation()
    simulation.reset(spec)
    image_YXC: np.ndarray = np.concatenate(list(world.look([simulation])[0].images_KYXC), axis=1)
    iio.imwrite(output, image_YXC)
    height_px, width_px = image_YXC.shape[:2]
    cameras = [name for name, *_ in world.spaces.observation.cameras]
    if json:
        emit({"type": "picture", "path": str(output), "height_px": height_px, "width_px": width_px, "cameras": cameras})
    else:
        say(f"{output}: {width_px}x{height_px} px, cameras {', '.join(cameras)}")


@app.command("view")
def view(
    output: Annotated[Path, typer.Option("--output", "-o", help="MP4 file to write.")] = Path("view.mp4"),
    benchmark: World = "tabletop",
    policy: Annotated[str, typer.Option(help="Who acts: expert | random | zero.")] = "expert",
    fields: options.Fields = None,
    episode: Number = 0,
    image_px: Pixels = 128,
    tasks: Annotated[int, typer.Option(min=1, help="How many tasks of the chain to film.")] = 1,
    json: options.Json = False,
) -> None:
    """Film the scripted expert at the first tasks of an episode, at the speed of the control loop.

    To film a trained policy: vlactl eval POLICY --n 1 --video film.mp4

    \b
    vlactl sim view --episode 3 --tasks 5 --output chain.mp4
    """
    from vlactl.rollout import REFERENCES, evaluate

    if policy not in REFERENCES:
        raise UsageError(
            f"'{policy}' is no reference policy",
            where="--policy",
            expected=" | ".join(REFERENCES),
            remedy="for a trained one: vlactl eval POLICY --n 1 --video FILE",
        )
    world, spec = open_world(benchmark, [f"image_px={image_px}", *(fields or ())], episode)
    spec = replace(spec, tasks=spec.tasks[:tasks], instructions=spec.instructions[:tasks])
    (rollout,) = evaluate(world, policy, [spec], batch=1, progress=lambda *_, **__: None, video=output)  # type: ignore[arg-type]
    if json:
        emit(
            {
                "type": "film",
                "path": str(output),
                "status": rollout.status,
                "tasks": [
                    {"task": each.task, "success": each.success, "steps": each.steps} for each in rollout.verdicts
                ],
            }
        )
        return
    for each in rollout.verdicts:
        say(f"{'done  ' if each.success else 'failed'}  {each.task}  ({each.steps} steps)")
    say(f"{output}: {sum(each.steps for each in rollout.verdicts) / world.spaces.action.rate_hz:.1f} s")


def open_world(name: str, fields: list[str], episode: int) -> tuple[Benchmark, EpisodeSpec]:
    """The benchmark and one of its episodes."""
    from vlactl.benchmarks import BENCHMARKS

    world = options.parse_spec(BENCHMARKS, name, [*fields, f"chains={episode + 1}"]).build()
    return world, world.episodes()[episode]
