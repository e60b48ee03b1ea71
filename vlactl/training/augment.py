"""Changes to a window's images that do not change what should be done: a function of (seed, update, window)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlactl.training import TrainingSettings

OFFSET_LEVELS = 64
"""Grey levels that a brightness of 1 adds or removes; brightness 0.15 gives the ± 10 of reference/learning.md."""


def augmented(batch: Any, settings: TrainingSettings, *, seed: int, update: int, rank: int, world: int) -> Any:
    """A rank's batch of windows or of pictures with words, with its images changed; features stay as they are.

    Pictures with words are never moved: a caption may say where something lies.
    """
    still = settings.model_copy(update={"shift_px": 0})
    if hasattr(batch, "images_BKYXC"):
        # One picture is a window of one frame.  They have random numbers of their own beside the windows' ones.
        images_BHKYXC = augment(batch.images_BKYXC[:, None], still, seed=seed, stream=5, update=update,
                                first=rank * len(batch), windows=world * len(batch))
        return replace(batch, images_BKYXC=images_BHKYXC[:, 0])
    changed: dict[str, Any] = {}
    if batch.images_BHKYXC is not None:
        changed["images_BHKYXC"] = augment(batch.images_BHKYXC, settings, seed=seed, update=update,
                                           first=rank * len(batch), windows=world * len(batch))
    if batch.pairs is not None:
        changed["pairs"] = augmented(batch.pairs, still, seed=seed, update=update, rank=rank, world=world)
    return replace(batch, **changed)


def augment(images_BHKYXC: Tensor, settings: TrainingSettings, *, seed: int, update: int, first: int,
            windows: int, stream: int = 3) -> Tensor:
    """Images (uint8) of the windows from number ``first`` of an update's ``windows``; all frames of a window alike.

    ``stream`` tells random numbers for different things in one update apart.
    """
    if not (settings.brightness or settings.shift_px):
        return images_BHKYXC
    # Drawn for the whole global batch, so that a window looks the same whatever rank and micro-batch it falls into.
    draw = np.random.default_rng([seed, stream, update])
    gains_W, offsets_W = draw.uniform(-settings.brightness, settings.brightness, (2, windows))
    shifts_W2 = draw.integers(-settings.shift_px, settings.shift_px, (windows, 2), endpoint=True)
    mine = slice(first, first + len(images_BHKYXC))
    device = images_BHKYXC.device
    if settings.shift_px:
        images_BHKYXC = shift(images_BHKYXC, torch.from_numpy(shifts_W2[mine]).to(device))
    if not settings.brightness:
        return images_BHKYXC
    gain_B = torch.from_numpy(1 + gains_W[mine]).to(device, torch.float32).view(-1, 1, 1, 1, 1, 1)
    # The half rounds to the nearest level.
    offset_B = torch.from_numpy(offsets_W[mine] * OFFSET_LEVELS + 0.5).to(device, torch.float32).view(-1, 1, 1, 1, 1, 1)
    return images_BHKYXC.float().mul_(gain_B).add_(offset_B).clamp_(0, 255).to(torch.uint8)


def shift(images_BHKYXC: Tensor, shifts_B2: Tensor) -> Tensor:
    """Every window moved down and right by its own pixels; what comes in repeats the edge."""
    windows, _, _, rows, columns, _ = images_BHKYXC.shape
    every = torch.arange(windows, device=images_BHKYXC.device)[:, None, None]
    down_BY = (torch.arange(rows, device=shifts_B2.device) - shifts_B2[:, :1]).clamp_(0, rows - 1)
    right_BX = (torch.arange(columns, device=shifts_B2.device) - shifts_B2[:, 1:]).clamp_(0, columns - 1)
    moved_BYXHKC = images_BHKYXC[every, :, :, down_BY[:, :, None], right_BX[:, None, :]]
    return moved_BYXHKC.permute(0, 3, 4, 1, 2, 5)
