"""Which frames a window holds: index arithmetic alone, no pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vlactl.windows.part import Demonstrations


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Which frames of one source some windows hold; indices into the source's flat arrays."""

    episodes_B: np.ndarray
    images_BH: np.ndarray
    actions_BHL: np.ndarray
    mask_BHL: np.ndarray


def cut(source: Demonstrations, anchors_B: np.ndarray, *, history: int, horizon: int, execute: int,
        repeat_current: bool = False) -> Frames:
    """The windows anchored at ``anchors_B``: frames t - (H-1) * execute, ..., t, real ones first.

    Frames before the start of the episode are dropped and the row is padded at the end with its anchor, so that
    position 0 is always a real frame, as it is in the first steps of a rollout.

    ``repeat_current``: every position holds the anchor's frame and is supervised with the anchor's actions, which is
    what a policy meets that is shown its present frame H times; nothing is padded then.
    """
    episodes_B = np.searchsorted(source.starts, anchors_B, side="right") - 1
    starts_B, ends_B = source.starts[episodes_B], source.ends[episodes_B]
    positions = np.arange(history)
    if repeat_current:
        real_B = np.full_like(anchors_B, history)
        images_BH = np.repeat(anchors_B[:, None], history, 1)
    else:
        real_B = np.minimum((anchors_B - starts_B) // execute + 1, history)
        images_BH = anchors_B[:, None] - np.maximum(real_B[:, None] - 1 - positions, 0) * execute
    actions_BHL = images_BH[:, :, None] + np.arange(horizon)
    ends_B11 = ends_B[:, None, None]
    mask_BHL = (actions_BHL < ends_B11) & (positions < real_B[:, None])[:, :, None]
    return Frames(episodes_B=episodes_B, images_BH=images_BH, mask_BHL=mask_BHL,
                  actions_BHL=np.minimum(actions_BHL, ends_B11 - 1))
