"""Bodies of data stages: recordings of a source, and features that a frozen vision tower makes of them."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from vlactl.stages.work import Heartbeat, Work, accelerator, spec_of

if TYPE_CHECKING:
    from vlactl.backbones.adapter import Backbone

FEATURES = "features.npy"
"""float32 (N, K, P, D): what the vision tower says of every picture of a recording."""
PICTURES_AT_ONCE = 64
"""Frames in one pass of the vision tower."""


def record(work: Work, beat: Heartbeat) -> None:
    """Write a source's episodes to ``out/``; what an attempt before this one recorded is used where the source can."""
    from vlactl.formats import SOURCES

    source = SOURCES.parse(spec_of(work, "source"))
    if not source.goes_on:
        shutil.rmtree(work.out)
        work.out.mkdir()
    started = time.monotonic()
    summary = source.record(work.out, beat)
    work.finish({**summary, "seconds": round(time.monotonic() - started, 3)})


def see(work: Work, beat: Heartbeat) -> None:
    """Write the features of every picture of a recording to ``out/features.npy``; an attempt begins anew."""
    import numpy as np
    import torch

    from vlactl.formats.recorded import RecordedEpisodes

    started = time.monotonic()
    beat(0, None, unit="frames", step="building the backbone")
    episodes = RecordedEpisodes(work.inputs["episodes"])
    device = accelerator()
    backbone = first_backbone(work).to(device).eval()
    images_NKYXC = episodes.images_NKYXC
    total, partial = len(images_NKYXC), work.out / f"{FEATURES}.partial"
    features_NKPD = None
    with torch.inference_mode():
        for first in range(0, total, PICTURES_AT_ONCE):
            rows = slice(first, min(first + PICTURES_AT_ONCE, total))
            seen = backbone.picture_features(torch.from_numpy(np.array(images_NKYXC[rows])).to(device))
            if features_NKPD is None:
                shape = (total, *seen.shape[1:])
                features_NKPD = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
            features_NKPD[rows] = seen.float().cpu().numpy()
            beat(rows.stop, total, unit="frames")
    assert features_NKPD is not None, "a recording has at least one frame"
    features_NKPD.flush()
    partial.rename(work.out / FEATURES)
    work.finish({"frames": total, "shape": list(features_NKPD.shape), "seconds": round(time.monotonic() - started, 3)})


def first_backbone(work: Work) -> Backbone:
    """The backbone that training begins with: pretrained on words by an earlier stage, or as its spec builds it."""
    from vlactl.backbones import BACKBONES
    from vlactl.backbones.loading import load_backbone

    spec = BACKBONES.parse(spec_of(work, "backbone"))
    if "words" in work.inputs:
        return load_backbone(spec, work.inputs["words"] / "backbone")
    return spec.build(work.identity.get("seed", 0))
