"""Weights and what belongs to them in a folder, written as a whole or not at all and read strictly."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlactl.errors import CheckpointMismatch, UsageError

WEIGHTS, VOCABULARY = "weights.safetensors", "tokenizer.json"


def write_folder(folder: Path, weights: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write ``weights`` and the files ``texts`` (name -> content) to ``folder``, which must not exist."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, draft / WEIGHTS)
    for name, text in texts.items():
        (draft / name).write_text(text)
    os.replace(draft, folder)


def require_files(folder: Path, names: tuple[str, ...], *, remedy: str) -> None:
    """Raise :class:`UsageError` that names the first file which is not there."""
    for name in names:
        if not (folder / name).is_file():
            raise UsageError(f"{name} is missing", where=str(folder), expected=", ".join(names), remedy=remedy)


def load_weights(module: nn.Module, folder: Path) -> None:
    """Fill ``module`` with the weights in ``folder``; raises :class:`CheckpointMismatch` unless all fit."""
    weights = load_file(folder / WEIGHTS)
    require_fit(module.state_dict(), weights, where=str(folder / WEIGHTS))
    module.load_state_dict(weights, strict=True)


def require_fit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, where: str) -> None:
    """Raise :class:`CheckpointMismatch` that names the first ten keys of each kind of difference."""
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & found.keys())
        if wanted[key].shape != found[key].shape
    ]
    kinds = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of another shape": shapes,
    }
    remedy = "train it again, or load it with the vlactl that wrote it"
    CheckpointMismatch.check(kinds, where=where, remedy=remedy)
