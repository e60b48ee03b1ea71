"""Seconds of a training on GPUs, from the number of parameters: a rough figure for plans that nothing else is known of.

A transformer of N parameters needs about 6 N operations for each token that it learns from (2 forward, 4 backward), and
2 N more where activations are recomputed.  A pass over a frame has its cameras' image tokens and its words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vlactl.backbones import BACKBONES

OPERATIONS_PER_S = 312e12
"""Of one A100 in bfloat16 without sparsity (NVIDIA's data sheet), the paper's card."""
UTILISATION = 0.3
"""Share of it that a training of this kind is assumed to reach."""
WORDS = 32
"""Tokens of an instruction with its template and slots, rounded up."""
SIZE = re.compile(r"(?<![0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z])")
"""``3b`` or ``500m`` in a repository's name."""
UNNAMED_B = {
    "microsoft/kosmos-2-patch14-224": 1.66,
    "microsoft/phi-1_5": 1.3,
    "openai/clip-vit-large-patch14": 0.3,
    "facebook/dinov2-large": 0.3,
    "florence-community/Florence-2-base": 0.23,
}
"""Billions of parameters of repositories whose names do not say it (their model cards)."""


def parameters_b(backbone: Mapping[str, Any]) -> float | None:
    """Billions of parameters of a backbone's identity; None for tiny ones, folders and sizes that no name says."""
    if backbone.get("weights") in (None, "tiny", "./") or backbone.get("kind") not in BACKBONES:
        return None
    spec = BACKBONES.get(backbone["kind"])
    if backbone["weights"] != "pretrained":
        sized = spec.hub_sizes.get(backbone["weights"])
        places = [sized.hub_id if sized else str(backbone["weights"])]
    else:
        places = [place.hub_id for place in spec.hub_parts.values()] or [spec.hub_id]
    sizes = [size_of(place) for place in places]
    return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)


def size_of(repository: str) -> float | None:
    """``google/paligemma-3b-pt-224`` -> 3.0; None where the name says nothing."""
    if repository in UNNAMED_B:
        return UNNAMED_B[repository]
    found = SIZE.findall(repository.rpartition("/")[2].lower())
    return float(found[-1][0]) / (1 if found[-1][1] == "b" else 1000) if found else None


def frames(identity: Mapping[str, Any]) -> float:
    """Frames that one update learns from."""
    training = identity.get("training")
    if training is None:  # words: a bare backbone learns pictures with words
        return (identity.get("backbone") or {}).get("vl_batch", 1)
    history = (identity.get("formulation") or {}).get("history", 1) if training.get("batch_counts") == "windows" else 1
    return training.get("global_batch", 1) * history


def training_s(identity: Mapping[str, Any], execution: Mapping[str, Any], gpus: float) -> float | None:
    """Seconds of a pretrain or finetune stage on ``gpus``; None where the backbone's size or pictures are not known."""
    backbone = identity.get("backbone") or {}
    billions = parameters_b(backbone) if gpus else None
    if billions is None:
        return None
    tokens = BACKBONES.get(backbone["kind"]).hub_tokens
    if tokens is None:
        return None
    cameras = 1 if (identity.get("formulation") or {}).get("cameras") == "static" else 2
    each = 8 if (execution.get("backbone") or {}).get("gradient_checkpointing") else 6
    learned = identity.get("updates", 0) * frames(identity) * (cameras * tokens + WORDS)
    return each * billions * 1e9 * learned / (gpus * OPERATIONS_PER_S * UTILISATION)
