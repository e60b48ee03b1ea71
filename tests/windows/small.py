"""Small recorded sources whose frames can be told apart, and a codec that leaves a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from vlactl.episodes import Episode
from vlactl.formats.recorded import EpisodeWriter, PairRow, RecordedEpisodes
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.windows import Batch, MixtureStream

LENGTHS = (9, 14, 1, 5)


def spaces(px: int = 8, *, embodiment: str = "test", scale_m: float = 0.02, scale_rad: float = 0.05,
           rate_hz: float = 10.0, names: tuple[str, ...] = ("dx", "rotation_z", "gripper")) -> Spaces:
    return Spaces(embodiment=embodiment, observation=ObservationSpace(
        cameras=(("static", px, px), ("wrist", px, px)), state=("frame", "x_m")), action=ActionSpace(
        names=names, control="relative-eef-pose", frame="world", position_scale_m=scale_m,
        rotation_scale_rad=scale_rad, rate_hz=rate_hz))


def record(path: Path, lengths: Sequence[int] = LENGTHS, *, px: int = 8, tasks: Sequence[str] = (), words: int = 0,
           of: Spaces | None = None, seed: int = 0) -> RecordedEpisodes:
    """State 0 and the first pixel of frame N are N; the first action is N / 1000; frames below ``words`` have a pair.
    """
    draw = np.random.default_rng(seed)
    first, declared = 0, of or spaces(px)
    with EpisodeWriter(path, declared) as writer:
        for number, length in enumerate(lengths):
            frames = np.arange(first, first + length)
            images = draw.integers(0, 256, (length, 2, px, px, 3), dtype=np.uint8)
            images[:, 0, 0, 0, 0] = frames % 256
            states = np.stack([frames, draw.normal(size=length)], 1).astype(np.float32)
            actions = np.stack([frames / 1000, draw.uniform(-1, 1, length), draw.choice([-1, 1], length)], 1)
            pairs = [PairRow(frame=int(frame - first), kind="question" if frame % 2 else "caption",
                             question="which frame?" if frame % 2 else "", answer=f"frame {frame}")
                     for frame in frames if frame < words]
            writer.add(Episode(task=tasks[number] if tasks else "t", instruction=f"do {number}",
                               embodiment=declared.embodiment, images_TKYXC=images, states_TS=states,
                               actions_TA=actions.astype(np.float32)), pairs)
            first += length
    return RecordedEpisodes(path)


def flat(frames: int, length: int = 15, px: int = 1) -> SimpleNamespace:
    """A source of any size that occupies no pictures: every frame shows the same."""
    images = np.broadcast_to(np.zeros((1, 1, px, px, 3), np.uint8), (frames, 1, px, px, 3))
    starts = np.arange(0, frames, length)
    states = np.broadcast_to(np.arange(frames, dtype=np.float32)[:, None], (frames, 1))
    return SimpleNamespace(path="flat", images_NKYXC=images, states_NS=states, starts=starts,
                           actions_NA=np.broadcast_to(np.zeros((1, 2), np.float32), (frames, 2)),
                           ends=np.minimum(starts + length, frames), instructions=["go"] * len(starts))


@dataclass(frozen=True, slots=True)
class Codec:
    """Adds the state at the start of each chunk and a number of its own: what was encoded with what can be read off."""

    number: float = 0.0

    def encode(self, actions_BHLA: np.ndarray, states_BHS: np.ndarray) -> np.ndarray:
        assert actions_BHLA.shape[:2] == states_BHS.shape[:2]
        return (actions_BHLA + states_BHS[:, :, None, :1] + self.number).astype(np.float32)


def stream(*weighted: tuple[object, float], **changes: object) -> MixtureStream:
    chosen = {"history": 1, "horizon": 4, "execute": 2, "batch_windows": 8, "seed": 5, **changes}
    return MixtureStream([(source, Codec(index), weight) for index, (source, weight) in enumerate(weighted)],
                         **chosen)  # type: ignore[arg-type]


def frames_of(batch: Batch) -> list[int]:
    """The anchors: the frame of the last real position of each row."""
    last = batch.mask_BHL[:, :, 0].sum(1) - 1
    return [int(batch.states_BHS[row, last[row], 0]) for row in range(len(batch))]
