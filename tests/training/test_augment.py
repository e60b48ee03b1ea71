from __future__ import annotations

import torch

from vlactl.training import TrainingSettings
from vlactl.training.augment import augment, shift


def images(windows: int = 4) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (windows, 2, 2, 8, 8, 3), dtype=torch.uint8, generator=draw)


def changed(settings: TrainingSettings, update: int, windows: torch.Tensor, first: int = 0) -> torch.Tensor:
    return augment(windows, settings, seed=1, update=update, first=first, windows=4)


def test_it_is_a_function_of_seed_update_and_window() -> None:
    settings, batch = TrainingSettings(shift_px=2), images()
    once = changed(settings, 7, batch)
    assert once.dtype == torch.uint8
    assert torch.equal(once, changed(settings, 7, batch))
    assert not torch.equal(once, changed(settings, 8, batch))
    assert torch.equal(once[2:], changed(settings, 7, batch[2:], first=2)), "a rank's part looks the same"


def test_off_means_untouched() -> None:
    batch = images()
    assert changed(TrainingSettings(brightness=0), 0, batch) is batch


def test_brightness_scales_and_offsets_within_its_bounds() -> None:
    grey = torch.full((4, 1, 1, 2, 2, 3), 100, dtype=torch.uint8)
    levels = torch.stack([changed(TrainingSettings(brightness=0.15), update, grey)[:, 0, 0, 0, 0, 0]
                          for update in range(100)]).float()
    assert levels.min() >= 100 * 0.85 - 0.15 * 64 - 0.5
    assert levels.max() <= 100 * 1.15 + 0.15 * 64 + 0.5
    assert 98 < levels.mean() < 102
    assert levels.std() > 5


def test_all_frames_and_cameras_of_a_window_change_alike() -> None:
    same = images(4)[:, :1, :1].expand(4, 3, 2, 8, 8, 3).contiguous()
    after = changed(TrainingSettings(shift_px=3), 0, same)
    assert torch.equal(after, after[:, :1, :1].expand_as(after))


def test_shift_moves_and_repeats_the_edge() -> None:
    batch = images(2)
    moved = shift(batch, torch.tensor([[2, -1], [0, 0]]))
    assert torch.equal(moved[1], batch[1])
    assert torch.equal(moved[0, :, :, 2:, :-1], batch[0, :, :, :-2, 1:])
    assert torch.equal(moved[0, :, :, 0, :-1], batch[0, :, :, 0, 1:])
    assert torch.equal(moved[0, :, :, 2:, -1], batch[0, :, :, :-2, -1])
