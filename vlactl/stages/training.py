"""Bodies of pretrain and finetune stages: a policy on windows of demonstrations, a bare backbone on pictures with words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlactl.stages.work import Curve, Heartbeat, Work, place, spec_of

if TYPE_CHECKING:
    import numpy as np

    from vlactl.actions import ActionCodec
    from vlactl.formats.recorded import RecordedEpisodes
    from vlactl.formulations import FormulationSpec
    from vlactl.policy import Policy
    from vlactl.training import TrainingSettings
    from vlactl.windows import MixtureStream, PairStream

CHUNKS = 4096
"""Chunks of actions that a vocabulary of frequency tokens is learned from."""


def learn(work: Work, beat: Heartbeat) -> None:
    """Train a policy (a pretrain or a finetune stage) and write it to ``out/policy``."""
    from vlactl.formulations import FORMULATIONS
    from vlactl.training.loop import train

    identity, rank, world = work.identity, place("RANK", 0), place("WORLD_SIZE", 1)
    settings = settings_of(work, world)
    formulation = FORMULATIONS.parse(spec_of(work, "formulation"))
    beat(0, identity["updates"], unit="updates", step="building the policy")
    mixture = open_mixture(work, formulation)
    stream = open_stream(work, formulation, settings, mixture)
    policy = begin_policy(work, formulation, mixture, stream)
    summary = train(policy, stream, settings, work.path, updates=identity["updates"], progress=beat,
                    log=Curve(work.out / "metrics.jsonl"))
    if rank == 0:
        shutil.rmtree(work.out / "policy", ignore_errors=True)
        policy.save(work.out / "policy")
        work.finish(summary)


def speak(work: Work, beat: Heartbeat) -> None:
    """Pretrain a bare backbone on captions and questions and write it to ``out/backbone``."""
    from vlactl.backbones import BACKBONES
    from vlactl.backbones.loading import save_backbone
    from vlactl.training.caption import Captioner
    from vlactl.training.loop import train

    identity = work.identity
    beat(0, identity["updates"], unit="updates", step="building the backbone")
    backbone = BACKBONES.parse(spec_of(work, "backbone")).build(identity["seed"])
    settings = words_settings(work)
    stream = open_pairs(work, identity["words"], settings.global_batch)
    captioner = Captioner(backbone)
    backbone.tokenizer.extend(stream.texts())
    summary = train(captioner, stream, settings, work.path, updates=identity["updates"], progress=beat,
                    log=Curve(work.out / "metrics.jsonl"))
    if place("RANK", 0) == 0:
        shutil.rmtree(work.out / "backbone", ignore_errors=True)
        save_backbone(backbone, work.out / "backbone")
        work.finish(summary)
