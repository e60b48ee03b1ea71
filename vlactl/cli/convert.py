"""``data convert``: demonstrations in and out of other people's formats."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlactl.cli import options
from vlactl.cli.screen import ProgressLine, emit, say
from vlactl.errors import StoreError, UsageError

if TYPE_CHECKING:
    from vlactl.spaces import Spaces


Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A folder in any of the formats, or a dataset of the store (its name, or how its digest begins).",
        show_default=False,
    ),
]
To = Annotated[str, typer.Option("--to", metavar="calvin|lerobot|vlactl", help="Format to write.")]
From = Annotated[str, typer.Option("--from", metavar="auto|calvin|lerobot|vlactl", help="Format to read.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write; must be empty or absent.", show_default=False)
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="TRAIN_VAL",
        help="To calvin: which scenes are for training and which for validation, such as ABC_D. CALVIN's own loaders "
        "want both. Default: all for training.",
        show_default=False,
    ),
]
Video = Annotated[
    bool,
    typer.Option("--video", help="To lerobot: films instead of lossless images; smaller, and not equal any more."),
]
ImagePx = Annotated[
    int | None,
    typer.Option(
        "--image-px",
        metavar="N",
        help="From CALVIN's own dataset: resize both cameras to N x N pixels.",
        min=16,
        max=512,
        show_default=False,
    ),
]
SpacesFile = Annotated[
    Path | None,
    typer.Option(
        "--spaces",
        metavar="FILE",
        help="From somebody else's LeRobot dataset: JSON that declares what its states and actions mean.",
        show_default=False,
    ),
]


def convert(
    dataset: Dataset,
    to: To,
    output: Output,
    from_: From = "auto",
    split: Split = "",
    video: Video = False,
    image_px: ImagePx = None,
    spaces: SpacesFile = None,
    json: options.Json = False,
) -> None:
    """Convert demonstrations to CALVIN's directory format, to LeRobot v3.0, or back.

    What is read back equals what was written, frame by frame, unless --video made films of the images.
    The folder appears when it is whole; after an interruption, run the same command again.

    \b
    vlactl data convert demonstrations/ --to lerobot -o exported/
    vlactl data convert exported/ --to vlactl -o demonstrations-again/
    """
    from vlactl.cli.data import directory
    from vlactl.formats import exchange

    declared = None if spaces is None else _spaces(spaces)
    try:
        episodes = exchange.open_episodes(directory(dataset), from_, image_px=image_px, spaces=declared)
        with ProgressLine("converting", as_json=json) as progress:
            summary = exchange.convert(episodes, output, to, progress, split=split, video=video)
    except OSError as error:
        raise StoreError(
            f"cannot write: {error.strerror or error}",
            where=str(error.filename or output),
            remedy="free some space or mend the permissions, and run the same command again",
        ) from error
    if json:
        emit({"type": "dataset", "path": str(output), **summary})
        return
    size = f"{summary['bytes'] / 1e6:.1f} MB, {summary['bytes'] / 1e3 / summary['frames']:.1f} kB a frame"
    say(f"{output}: {summary['episodes']} episodes, {summary['frames']} frames in format {to}; {size}")
    if "psnr_db" in summary:
        quality = ", ".join(f"{camera} {value:g} dB" for camera, value in summary["psnr_db"].items())
        say(f"the images are films with loss, {summary['codec']}: PSNR {quality}")


def _spaces(file: Path) -> Spaces:
    from vlactl.spaces import Spaces

    try:
        return Spaces.from_json(json_.loads(file.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"cannot be read ({type(error).__name__}: {error})",
            where=str(file),
            expected="the spaces of a dataset, as in the spaces.json of an episode directory",
        ) from error
