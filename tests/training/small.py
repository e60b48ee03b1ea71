"""A recorded source, a policy of 4,000 parameters and stage-like training functions, for tests of the loop.

The functions at the end run in a fresh process (see ``nursery.py``) and leave what they saw in files.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vlactl.actions import ActionCodec, ActionNormalizer, StateStatistics
from vlactl.backbones import BACKBONES
from vlactl.episodes import Episode
from vlactl.formats.recorded import EpisodeWriter, RecordedEpisodes
from vlactl.formulations import FORMULATIONS
from vlactl.formulations.formulation import by_source
from vlactl.policy import Policy
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.training import TrainingSettings
from vlactl.windows import Batch, MixtureStream

SPACES = Spaces(embodiment="test", observation=ObservationSpace(
    cameras=(("static", 8, 8), ("wrist", 8, 8)), state=("x_m", "y_m", "z_m")), action=ActionSpace(
    names=("dx", "dy", "gripper"), control="relative-eef-pose", frame="world", position_scale_m=0.02,
    rotation_scale_rad=0.05, rate_hz=10.0))
HORIZON, EXECUTE = 4, 2


def record(path: Path, *, lengths: tuple[int, ...], seed: int = 0) -> RecordedEpisodes:
    """Episodes whose action is a function of state and image, so that there is something to learn.

    The first pixel of frame N is N, and so is the first state in thousandths, to tell frames apart.
    """
    draw = np.random.default_rng(seed)
    with EpisodeWriter(path, SPACES) as writer:
        frame = 0
        for number, length in enumerate(lengths):
            images = draw.integers(0, 255, (length, 2, 8, 8, 3), dtype=np.uint8)
            states = draw.normal(size=(length, 3)).astype(np.float32)
            images[:, 0, 0, 0, 0] = np.arange(frame, frame + length) % 256
            states[:, 0] = np.arange(frame, frame + length) / 1000
            actions = np.stack([np.tanh(states[:, 1]), np.tanh(states[:, 2]), np.sign(states[:, 1])], 1)
            writer.add(Episode(task="t", instruction=f"do {number}", embodiment="test", images_TKYXC=images,
                               states_TS=states, actions_TA=actions.astype(np.float32)))
            frame += length
    return RecordedEpisodes(path)


@dataclass(frozen=True)
class Codec:
    normalizer: ActionNormalizer

    def encode(self, actions_BHLA: np.ndarray, states_BHS: np.ndarray) -> np.ndarray:
        return self.normalizer.encode(actions_BHLA)


def weighted(source: RecordedEpisodes, weight: float = 1.0) -> tuple[RecordedEpisodes, Codec, float]:
    return source, Codec(ActionNormalizer.fit(source.actions_NA)), weight


def mixture(folder: Path, *, windows: int = 8, history: int = 1, rank: int = 0, world: int = 1) -> MixtureStream:
    """70 % of one source and 30 % of another, with masks of many sizes."""
    sources = []
    for name, lengths, seed, weight in (("a", (9, 14, 5, 11), 0, 0.7), ("b", (6, 7), 1, 0.3)):
        path = folder / name
        source = RecordedEpisodes(path) if (path / "index.json").exists() else record(path, lengths=lengths, seed=seed)
        sources.append(weighted(source, weight))
    return MixtureStream(sources, names=("a", "b"), history=history, horizon=HORIZON, execute=EXECUTE,
                         batch_windows=windows, seed=3, rank=rank, world=world)


class Backbone(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.vision, self.connector, self.language = nn.Linear(6, 16), nn.Linear(16, 32), nn.Linear(3, 32)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> torch.Tensor:
        colours = batch.images_BHKYXC.float().mean((3, 4)).flatten(2) / 255
        seen = self.connector(torch.tanh(self.vision(colours)))
        return self.dropout(torch.tanh(seen + self.language(batch.states_BHS)))

    def subtrees(self) -> dict[str, list[nn.Parameter]]:
        return {name: list(getattr(self, name).parameters()) for name in ("vision", "connector", "language")}


class SmallPolicy(nn.Module):
    """Predicts HORIZON actions from every frame by itself."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.backbone, self.head = Backbone(dropout), nn.Linear(32, HORIZON * 3)
            # Three numbers, which two ranks do not divide.
            self.gain = nn.Parameter(torch.ones(3))

    def loss(self, batch: Batch, scale: float = 1.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        predicted = self.head(self.backbone(batch)).view(batch.actions_BHLA.shape) * self.gain
        errors_BHL = (predicted - batch.actions_BHLA).square().mean(-1)
        loss = (errors_BHL * batch.mask_BHL).sum() / batch.mask_BHL.sum()
        return scale * loss, {"squared": loss.detach(), **by_source(errors_BHL.detach(), batch)}


def learn(work: Path, stream: MixtureStream, policy: SmallPolicy | None = None, updates: int = 6,
          **settings: object) -> tuple[SmallPolicy, dict, list[dict], list[tuple]]:
    """Train in this process: the policy, its result, the rows of its curve and its heartbeats."""
    from vlactl.training.loop import train

    policy, rows, beats = policy or SmallPolicy(), [], []
    frames = stream.batch_windows * stream.history
    chosen = TrainingSettings.model_validate({"global_batch": frames, "learning_rate": 1e-2, **settings})
    result = train(policy, stream, chosen, work, updates=updates, log=rows.append,
                   progress=lambda done, total, **numbers: beats.append((done, total, numbers)))
    return policy, result, rows, beats


def fingerprint(policy: nn.Module) -> str:
    """Digest of every bit of every parameter."""
    total = hashlib.sha256()
    for _, parameter in sorted(policy.named_parameters()):
        total.update(parameter.detach().numpy().tobytes())
    return total.hexdigest()


def run(*, folder: str, name: str, updates: int = 12, dropout: float = 0.1, kill_after: int | None = None,
        kill_at_sync: int | None = None, terminate_after: int | None = None, stumble_at: int | None = None,
        stumble_rank: int | None = None, first_scale: float | None = None, formulation: str | None = None,
        **settings: object) -> None:
    """Train in ``folder/name`` and leave ``curve.jsonl`` (rank 0), ``weights.npz`` and ``result.json`` there.

    With a ``formulation`` it is a real policy on a tiny backbone, saved as ``policy``.
    """
    from vlactl.training import checkpoint, loop, scaling

    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    work = Path(folder) / name
    work.mkdir(exist_ok=True)
    if kill_at_sync is not None:
        die_at_sync(checkpoint, kill_at_sync)

    def log(row: dict) -> None:
        with open(work / "curve.jsonl", "a") as curve:
            curve.write(json.dumps(row) + "\n")
        if row["update"] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if row["update"] == terminate_after:
            os.kill(os.getpid(), signal.SIGTERM)

    if first_scale is not None:
        scaling.FIRST = first_scale
    policy = SmallPolicy(dropout) if formulation is None else real(Path(folder), formulation)
    stream = mixture(Path(folder), rank=rank, world=world)
    if stumble_at is not None and stumble_rank in (None, rank):
        stumble(policy, stumble_at)
    chosen = TrainingSettings.model_validate({"global_batch": 8, "log_every": 1, "learning_rate": 1e-2, **settings})
    result = loop.train(policy, stream, chosen, work, updates=updates, progress=lambda *_, **__: None, log=log)
    if rank == 0:
        if formulation is not None:
            policy.save(work / "policy")
        np.savez(work / "weights.npz", **{key: value.numpy() for key, value in policy.state_dict().items()})
        (work / "result.json").write_text(json.dumps({**result, "fingerprint": fingerprint(policy)}))


def die_at_sync(checkpoint: object, count: int) -> None:
    """Kill this process in the middle of a save: at the ``count``-th time that something is forced to the disk."""
    real, seen = checkpoint.sync, [0]

    def sync(path: Path) -> None:
        seen[0] += 1
        if seen[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        real(path)

    checkpoint.sync = sync


def real(folder: Path, formulation: str, **backbone: object) -> Policy:
    """A policy of the menu's formulation on tiny SmolVLM, one frame, for the sources of :func:`mixture`."""
    spec = FORMULATIONS.get(formulation)(horizon=HORIZON, execute=EXECUTE)
    stream = mixture(folder)
    source = stream.sources[0]
    return Policy.create(BACKBONES.get("smolvlm")(**backbone), spec, SPACES, ActionCodec.fit(spec, SPACES, [source]),
                         StateStatistics.fit(source.states_NS), [f"do {number}" for number in range(4)], 0,
                         chunks_NLA=stream.at(0).actions_BHLA.flatten(0, 1).numpy())


def stumble(policy: SmallPolicy, at: int) -> None:
    """An infinite loss, with a finite gradient, in the forward pass number ``at``."""
    real, seen = policy.loss, [0]

    def loss(batch: Batch, scale: float = 1.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        seen[0] += 1
        value, parts = real(batch, scale)
        return (value + float("inf") if seen[0] == at + 1 else value), parts

    policy.loss = loss
