"""``data list``, ``data show`` and ``data record``: demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.screen import ProgressLine, columns, emit, remark, say
from vlactl.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Record and inspect demonstrations.", rich_markup_mode="rich")


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
    """Show what a dataset holds: spaces, episodes per task, instructions, ranges of the actions.

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
    spaces = episodes.spaces
    say(
        f"embodiment {spaces.embodiment}, cameras "
        + ", ".join(f"{name} {width}x{height}" for name, height, width in spaces.observation.cameras)
        + f", {spaces.action.rate_hz:g} Hz"
    )
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
                (task, facts["episodes"], f"{facts['mean_length']:.0f}", facts["instruction"])
                for task, facts in about["tasks"].items()
            ],
            ("TASK", "EPISODES", "STEPS", "FOR EXAMPLE"),
            right=(1, 2),
        )
    )


@app.command("record")
def record(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; must be empty or absent.", show_default=False)
    ],
    kind: Annotated[str, typer.Option("--format", help="Which source (vlactl list formats).")] = "tabletop",
    fields: options.Fields = None,
    json: options.Json = False,
) -> None:
    """Record demonstrations into a folder of your own, outside the store.

    \b
    vlactl data record --set episodes_per_task=20 --set embodiment=stubby -o demonstrations/
    """
    from vlactl.formats import SOURCES

    source = options.parse_spec(SOURCES, kind, fields or ())
    if output.exists() and any(output.iterdir()):
        raise UsageError("the folder is not empty", where=str(output), remedy="choose an empty or new one")
    output.mkdir(parents=True, exist_ok=True)
    with ProgressLine("recording", as_json=json) as progress:
        summary = source.record(output, progress)
    if json:
        emit({"type": "dataset", "path": str(output), **summary})
    else:
        say(f"{output}: {summary['episodes']} episodes, {summary['frames']} frames, digest {summary['digest']}")


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


def describe(episodes: Any) -> dict[str, Any]:
    """Plain facts of a :class:`~vlactl.formats.recorded.RecordedEpisodes`."""
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
        "actions": {
            name: [float(value) for value in quantiles_QA[:, index]]
            for index, name in enumerate(episodes.spaces.action.names)
        },
        "tasks": tasks,
    }
