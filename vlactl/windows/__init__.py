"""Recorded episodes -> windows of history and horizon -> batches, and pictures with words beside them.

A stream has no state: which windows update ``u`` trains on is a function of (seed, u), and a rank takes its part of
them.  So resuming is exact, and neither the number of ranks nor the micro-batch changes what is learned from.  Images
stay in their memory-mapped files until a window asks for them.

``draw`` decides which items of which source come when, ``cut`` which frames a window holds, ``mixture`` and ``pairs``
read them, ``batch`` is what comes out, and ``part`` cuts a source down or converts its actions beforehand.
Axis letters as in :mod:`vlactl.episodes`; N frames of a source, B windows, H history, L horizon, P patches, D width.
"""

from __future__ import annotations

from vlactl.windows.batch import Batch, PairBatch
from vlactl.windows.cut import Frames, cut
from vlactl.windows.draw import BLOCK, Draw, per_block
from vlactl.windows.mixture import MixtureStream
from vlactl.windows.pairs import PairStream
from vlactl.windows.part import Demonstrations, Part, aligned, subset

__all__ = ["BLOCK", "Batch", "Demonstrations", "Draw", "Frames", "MixtureStream", "PairBatch", "PairStream", "Part",
           "aligned", "cut", "per_block", "subset"]
