"""``data list``, ``data show``, ``data record`` and ``data convert``: demonstrations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.convert import convert
from vlactl.cli.screen import ProgressLine, columns, emit, remark, say
from vlactl.errors import UsageError

if TYPE_CHECKING:
    from vlactl.formats.recorded import RecordedEpisodes

app = typer.Typer(no_args_is_help=True, help="Record, convert and inspect demonstrations.", rich_markup_mode="rich")
app.command("convert")(convert)

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write: new, empty, or one to go on with.")]
Format = Annotated[str, typer.Argument(metavar="FORMAT", help="Which source (vlactl list formats).")]
Scenes = Annotated[
    str | None, typer.Option(metavar="LETTERS", help="Desks to record at, such as ABC.", show_default=False)
]
Episodes = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Demonstrations in all, spread evenly over tasks and scenes.", min=1, show_default=False
    ),
]
Embodiment = Annotated[str | None, typer.Option(metavar="NAME", help="Which robot.", show_default=False)]
Tasks = Annotated[
    str | None, typer.Option(metavar="SUITE", help="Which suite of tasks: full, core, ...", show_default=False)
]
ImagePx = Annotated[
    int | None, typer.Option(metavar="PX", help="Side of every camera image in pixels.", min=16, show_default=False)
]
Pairs = Annotated[
    int | None,
    typer.Option(metavar="N", help="Captions and questions to write about each episode.", min=0, show_default=False),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Processes. Default: one per CPU.", min=1, show_default=False)
]
Seed = Annotated[
    int | None, typer.Option(metavar="N", help="Of start states, instructions and noise.", show_default=False)
]


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the datasets in the store, as sweeps recorded them."""
    from vlactl.store import Store, home

    artifacts = Store(home(Path.cwd())).manifests("data")
    if json:
        for artifact in artifacts:
            emit(
                {
                    "type": "dataset",
                    "digest": artifact.digest,
                    "path": str(artifact.path),
                    "source": artifact.identity.get("source"),
                    "result": artifact.result,
                }
            )
        return
    if not artifacts:
        remark("no dataset has been recorded yet: a sweep records what it needs, or use 'vlactl data record'")
        return
    say(
        columns(
            [
                (
                    artifact.path.name,
                    artifact.result.get("episodes", "-"),
                    artifact.result.get("frames", "-"),
                    len(artifact.result.get("tasks", {})),
                )
                for artifact in artifacts
            ],
            ("DATASET", "EPISODES", "FRAMES", "TASKS"),
            right=(1, 2, 3),
        )
    )


@app.command("show")
def show(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="An episode directory, or a dataset of the store (its name, or the beginning of its digest).",
            show_default=False,
        ),
    ],
    json: options.Json = False,
) -> None:
    """Show what a dataset holds: spaces, scenes, episodes per task, instructions, ranges of the actions.

    \b
    vlactl data show demonstrations/
    """
    from vlactl.formats.recorded import RecordedEpisodes

    path = directory(dataset)
    episodes = RecordedEpisodes(path)
    about = describe(episodes)
    if json:
        emit({"type": "dataset", "path": str(path), **about})
        return
    say(f"{path}: {about['episodes']} episodes, {about['frames']} frames, digest {about['digest']}")
    say("\n".join(facts(episodes, about)))
    say()
    say(
        columns(
            [(name, *(f"{value:+.3f}" for value in values)) for name, values in about["actions"].items()],
            ("ACTION", "1%", "50%", "99%"),
            right=(1, 2, 3),
        )
    )
    say()
    say(
        columns(
            [
                (task, facts["episodes"], f"{facts['mean_length']:.0f}", facts["instructions"], facts["instruction"])
                for task, facts in about["tasks"].items()
            ],
            ("TASK", "EPISODES", "STEPS", "PHRASINGS", "FOR EXAMPLE"),
            right=(1, 2, 3),
        )
    )


def facts(episodes: RecordedEpisodes, about: Mapping[str, Any]) -> Iterator[str]:
    """Lines about a dataset as a whole."""
    spaces = episodes.spaces
    cameras = ", ".join(f"{name} {width}x{height}" for name, height, width in spaces.observation.cameras)
    yield f"embodiment {spaces.embodiment}, cameras {cameras}, {spaces.action.rate_hz:g} Hz"
    if spaces.observation.pictures:
        yield f"pictures {spaces.observation.pictures}"
    if named := {scene: count for scene, count in about["scenes"].items() if scene}:
        yield "scenes " + ", ".join(f"{scene} ({count} episodes)" for scene, count in named.items())
    if about["simulated"]:
        yield "also holds the " + " and ".join(f"{name}'s state" for name in about["simulated"])
    if about["pairs"]:
        yield "pairs of picture and words: " + ", ".join(f"{n} {kind}s" for kind, n in about["pairs"].items())


@app.command("record")
def record(
    format: Format = "tabletop",
    output: Output = Path("demonstrations"),
    scenes: Scenes = None,
    episodes: Episodes = None,
    embodiment: Embodiment = None,
    tasks: Tasks = None,
    image_px: ImagePx = None,
    pairs: Pairs = None,
    workers: Workers = None,
    seed: Seed = None,
    fields: options.Fields = None,
    json: options.Json = False,
) -> None:
    """Record demonstrations into a folder of your own, outside the store.

    The same command again goes on where it was interrupted. What is recorded depends on the fields of the source
    (vlactl show formats tabletop) only, never on the number of workers.

    \b
    vlactl data record tabletop --scenes ABC --episodes 3000 --embodiment panda -o demonstrations/
    vlactl data record --tasks full --pairs 4 --set noise=0.2 -o pretraining/
    """
    from vlactl.disk import storage_errors
    from vlactl.formats import SOURCES
    from vlactl.launchers.processes import usable_cpus

    if workers is None and "workers" in SOURCES.get(format).model_fields:
        workers = usable_cpus()
    given = {
        "scenes": scenes,
        "episodes": episodes,
        "embodiment": embodiment,
        "tasks": tasks,
        "image_px": image_px,
        "pairs_per_episode": pairs,
        "workers": workers,
        "seed": seed,
    }
    settings = [f"{name}={value}" for name, value in given.items() if value is not None]
    source = options.parse_spec(SOURCES, format, [*settings, *(fields or ())])
    if not source.goes_on and output.exists() and any(output.iterdir()):
        raise UsageError("the folder is not empty", where=str(output), remedy="choose an empty or new one")
    complete = (output / "index.json").exists()
    with storage_errors("record", output), ProgressLine("recording", as_json=json) as progress:
        output.mkdir(parents=True, exist_ok=True)
        try:
            summary = source.record(output, progress)
        except KeyboardInterrupt:
            if source.goes_on:
                remark(f"\nthe same command goes on from here, until {output} is complete")
            raise
    if json:
        emit({"type": "dataset", "path": str(output), "was_complete": complete, **summary})
    else:
        say("\n".join(outcome(output, summary, complete)))


def outcome(output: Path, summary: Mapping[str, Any], complete: bool) -> Iterator[str]:
    """Lines about a recording that is complete."""
    was = " (it was complete already)" if complete else ""
    yield f"{output}: {summary['episodes']} episodes, {summary['frames']} frames, digest {summary['digest']}{was}"
    if summary.get("frames_per_s"):
        yield f"{summary['frames_per_s']:g} frames/s over all workers"
    if dropped := summary.get("dropped"):
        worst = sorted(dropped, key=lambda task: -dropped[task])
        listed = ", ".join(f"{task} {dropped[task]}" for task in worst[:4]) + (", ..." if len(worst) > 4 else "")
        yield f"{sum(dropped.values())} attempts of the expert failed and were left out: {listed}"


def directory(dataset: str) -> Path:
    """The episode directory that ``dataset`` names."""
    from vlactl.store import Store, home

    if Path(dataset).is_dir():
        return Path(dataset)
    matching = [
        artifact
        for artifact in Store(home(Path.cwd())).manifests("data")
        if dataset in (artifact.path.name, artifact.manifest.get("label")) or artifact.digest.startswith(dataset)
    ]
    if len(matching) != 1:
        raise UsageError(
            f"{'several datasets match' if matching else 'no folder and no dataset is called'} '{dataset}'",
            expected=" | ".join(artifact.path.name for artifact in matching),
            remedy="vlactl data list",
        )
    return matching[0].path


def describe(episodes: RecordedEpisodes) -> dict[str, Any]:
    """Plain facts of a dataset."""
    import numpy as np

    quantiles_QA = np.quantile(episodes.actions_NA, (0.01, 0.5, 0.99), axis=0)
    lengths = episodes.ends - episodes.starts
    tasks = {}
    for task in sorted(set(episodes.tasks)):
        positions = [position for position, name in enumerate(episodes.tasks) if name == task]
        tasks[task] = {
            "episodes": len(positions),
            "mean_length": float(lengths[positions].mean()),
            "instruction": episodes.instructions[positions[0]],
            "instructions": len({episodes.instructions[position] for position in positions}),
        }
    return {
        "episodes": len(episodes),
        "frames": int(lengths.sum()),
        "digest": episodes.digest(),
        "spaces": episodes.spaces.to_json(),
        "scenes": dict(sorted(Counter(episodes.scenes).items())),
        "simulated": [name for name in ("robot", "scene") if name in episodes.index.shapes],
        "pairs": dict(sorted(Counter(pair["kind"] for pair in episodes.pairs()).items())),
        "actions": {
            name: [float(value) for value in quantiles_QA[:, index]]
            for index, name in enumerate(episodes.spaces.action.names)
        },
        "tasks": tasks,
    }
