"""From a spec to the module that it describes."""

from __future__ import annotations

from typing import Any

import torch

from vlactl.actions import FrequencyTokens
from vlactl.backbones.adapter import Backbone
from vlactl.errors import UsageError
from vlactl.formulations import Expert, FormulationSpec, InterleavedDiscrete, OneStepDiscrete, OneStepFast, ReadsSlot
from vlactl.formulations.formulation import Formulation
from vlactl.formulations.generative import Generative
from vlactl.formulations.reading import Read
from vlactl.formulations.written import BinsAtOnce, BinsOneByOne, Frequencies


def build(
    spec: FormulationSpec,
    backbone: Backbone,
    state_size: int,
    action_size: int,
    seed: int,
    tokens: FrequencyTokens | None = None,
) -> Formulation[Any]:
    """Random weights drawn from ``seed``; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(spec, ReadsSlot):
            return Read(spec, backbone, state_size, action_size)
        if isinstance(spec, Expert):
            return Generative(spec, backbone, state_size, action_size)
        if isinstance(spec, OneStepFast):
            if tokens is None:
                raise UsageError("frequency tokens are learned from action chunks; there are none", where=spec.kind,
                                 remedy="give Policy.create the chunks of the source (chunks_NLA)")
            return Frequencies(spec, backbone, state_size, action_size, tokens)
        if isinstance(spec, OneStepDiscrete) and spec.decoding == "one-by-one":
            return BinsOneByOne(spec, backbone, state_size, action_size)
        assert isinstance(spec, OneStepDiscrete | InterleavedDiscrete), spec
        return BinsAtOnce(spec, backbone, state_size, action_size)
