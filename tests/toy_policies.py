"""Spaces, batches and tiny policies that the tests of backbones, formulations and policies share."""

from __future__ import annotations

import functools

import numpy as np
import torch

from vlactl.actions import ActionCodec, ActionNormalizer, StateStatistics
from vlactl.backbones import BACKBONES
from vlactl.backbones.adapter import Backbone
from vlactl.episodes import Observation
from vlactl.formulations import FORMULATIONS
from vlactl.policy import Policy, Request
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.windows import Batch

torch.set_num_threads(1)  # models of a million parameters: a second thread waits more than it works

TEXTS = ("push the button", "open the drawer all the way", "lift the red block", "slide the door to the left side")
STATES = 9


def spaces(embodiment: str = "panda", cameras: int = 2, states: int = STATES) -> Spaces:
    return Spaces(
        observation=ObservationSpace(
            cameras=tuple((f"camera-{i}", 64, 64) for i in range(cameras)),
            state=tuple(f"joint_{i}_rad" for i in range(states)),
        ),
        action=ActionSpace(
            names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
            control="relative-eef-pose",
            frame="world",
            position_scale_m=0.02,
            rotation_scale_rad=0.05,
            rate_hz=10.0,
        ),
        embodiment=embodiment,
    )


def codec(scale: float = 1.0) -> ActionCodec:
    return ActionCodec(normalizer=ActionNormalizer(low=(-0.8 * scale,) * 6, high=(0.9 * scale,) * 6))


def chunks(horizon: int = 6, count: int = 64) -> np.ndarray:
    """Smooth normalised chunks (N, L, 7), which frequency tokens are learned from."""
    random = np.random.default_rng(0)
    arm = np.cumsum(random.normal(size=(count, horizon, 6)) * 0.2, 1).clip(-1, 1)
    return np.concatenate([arm, np.repeat(random.choice([-1.0, 1.0], (count, 1, 1)), horizon, 1)], -1)


def statistics(states: int = STATES) -> StateStatistics:
    return StateStatistics(mean=(0.5,) * states, std=(2.0,) * states)


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    """uint8 (*shape, 64, 64, 3)"""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, 64, 64, 3), generator=generator, dtype=torch.uint8)


@functools.cache
def _backbone(kind: str) -> Backbone:
    backbone = BACKBONES.get(kind)().build(seed=0)
    backbone.tokenizer.extend(TEXTS)
    return backbone.eval()


def backbone_of(kind: str) -> Backbone:
    """One shared tiny backbone per family; tests must leave its weights alone."""
    return _backbone(kind)


def policy(formulation: str, backbone: str = "smolvlm", seed: int = 0, **fields: object) -> Policy:
    spec = FORMULATIONS.get(formulation)(**fields)
    return Policy.create(BACKBONES.get(backbone)(), spec, spaces(), codec(), statistics(), TEXTS, seed,
                         chunks(spec.horizon))


def batch(history: int, horizon: int = 6, rows: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    arm = torch.rand(rows, history, horizon, 6, generator=generator) * 2 - 1
    gripper = (torch.rand(rows, history, horizon, 1, generator=generator) > 0.5) * 2.0 - 1
    return Batch(
        images_BHKYXC=pictures(rows, history, 2, seed=seed),
        states_BHS=torch.randn(rows, history, STATES, generator=generator),
        texts=[TEXTS[i % len(TEXTS)] for i in range(rows)],
        actions_BHLA=torch.cat([arm, gripper], -1),
        mask_BHL=torch.ones(rows, history, horizon, dtype=torch.bool),
        source_B=torch.zeros(rows, dtype=torch.int64),
        sources=("toy",),
        noise_B=torch.arange(rows) + 1000 * seed,
    )


def request(key: object, frame: int, text: str | None = None) -> Request:
    """What episode ``key`` (an int) sees at its ``frame``-th replanning."""
    seed = hash((key, frame)) % 2**31
    state = np.random.default_rng(seed).normal(size=STATES).astype(np.float32)
    seen = Observation(images_KYXC=pictures(2, seed=seed).numpy(), state_S=state)
    return Request(key=key, observation=seen, instruction=text or TEXTS[hash(key) % len(TEXTS)])
