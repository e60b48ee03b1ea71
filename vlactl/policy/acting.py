"""A policy at work: plans for many episodes at once, and what each of them has seen and planned.

What is done with a plan is the evaluation's ``execution``:

* ``chunk``: the first ``execute`` actions are carried out before the next plan.
* ``first``: a plan at every control step, of which the first action is carried out.
* ``ensemble``: a plan at every control step; carried out is the weighted mean of what all plans so far have for it
  (temporal ensembling of ACT, arXiv 2304.13705).

An episode keeps one memory per plan.  Frames of a history lie the formulation's ``execute`` control steps apart in all
three, as in training: where plans are more frequent, memories are read with a stride.

Axis letters: B batch, K cameras, Y X pixels, C colour, S state, L horizon, A action, E returned actions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vlactl.actions import ActionCodec, sign
from vlactl.episodes import Observation
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formulations.formulation import Frames, Memory
from vlactl.policy.model import Policy

EXECUTIONS = ("chunk", "first", "ensemble")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One episode asks for its next actions."""

    key: Hashable
    """The name under which the episode was reset."""
    observation: Observation
    instruction: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """What one episode has seen and planned since its task began."""

    memories: deque[Memory]
    """One per plan, the newest last."""
    plans: deque[np.ndarray]
    """Whole chunks (L, A) that may still say something about the present, the newest last; for ensembles."""
    noise: torch.Generator


class Actor:
    """Plans for many episodes at once.  An episode's actions depend on its own observations only."""

    def __init__(
        self,
        policy: Policy,
        *,
        execution: str = "chunk",
        ensemble_decay: float = 0.01,
        execute: int | None = None,
    ) -> None:
        """``execute`` actions are returned for each request of ``chunk``; the formulation's own number when None.

        Raises :class:`UsageError` when more are asked for than are predicted, or when the frames of a history would
        not lie where they lay in training.
        """
        spec = policy.card.formulation
        if execution not in EXECUTIONS:
            raise UsageError(f"unknown execution {execution!r}", expected=" | ".join(EXECUTIONS))
        if execution != "chunk" and execute is not None:
            raise UsageError(f"execution {execution} plans at every control step, and takes no execute",
                             remedy="leave execute out, or take execution chunk")
        self.execution, self.ensemble_decay = execution, ensemble_decay
        self.execute = 1 if execution != "chunk" else spec.execute if execute is None else execute
        if not 1 <= self.execute <= spec.horizon:
            raise UsageError(
                f"{self.execute} actions cannot be executed: {spec.kind} predicts {spec.horizon}",
                expected=f"1 to {spec.horizon}",
            )
        if spec.history > 1 and spec.execute % self.execute:
            raise UsageError(
                f"execute {self.execute}: this policy learned from frames {spec.execute} control steps apart",
                expected=f"a divisor of {spec.execute}",
                remedy="train it with the other execute",
            )
        self.policy = policy.eval()
        self.stride = max(spec.execute // self.execute, 1)
        self._tracks: dict[Hashable, Track] = {}

    def reset(self, key: Hashable, noise_seed: int = 0) -> None:
        """Forget what ``key`` has seen: a new task begins.

        ``noise_seed`` decides the noise of formulations that draw any (flow matching, diffusion).
        """
        spec = self.policy.card.formulation
        seen = 1 if spec.repeat_current else (spec.history - 1) * self.stride + 1
        self._tracks[key] = Track(memories=deque(maxlen=seen), plans=deque(maxlen=spec.horizon),
                                  noise=torch.Generator().manual_seed(noise_seed))

    @torch.inference_mode()
    def act(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """One array (E, A) for each request, in the environment's units [-1, 1], the gripper -1 or +1.

        Raises :class:`IncompatibleSpaces` when an observation does not have the policy's cameras or state, ``KeyError``
        for a key that was never reset, ``ValueError`` for two requests of one key.
        """
        if not requests:
            return []
        keys = [request.key for request in requests]
        if len(set(keys)) < len(keys):
            raise ValueError("one episode asked twice in one call")
        policy, codec = self.policy, self.policy.card.codec
        frames, tracks = self._frames(requests), [self._tracks[key] for key in keys]
        for track, left in zip(tracks, policy.formulation.remember(policy.backbone, frames), strict=True):
            track.memories.append(left)
        whole = self.execution == "ensemble"
        predicted = policy.formulation.predict(
            policy.backbone,
            [self._history(track) for track in tracks],
            frames.texts,
            policy.card.formulation.horizon if whole else self.execute,
            [track.noise for track in tracks],
        )
        chunks = predicted.float().cpu().numpy()
        states = [request.observation.state_S for request in requests]
        if whole:
            acted = [self._ensemble(codec, *each) for each in zip(tracks, chunks, states, strict=True)]
        else:
            acted = [codec.decode(chunk_EA, state_S) for chunk_EA, state_S in zip(chunks, states, strict=True)]
        return [np.clip(actions_EA, -1, 1) for actions_EA in acted]

    def _history(self, track: Track) -> list[Memory]:
        """The frames of the formulation's history, oldest first: every stride-th memory, the present included."""
        spec = self.policy.card.formulation
        if spec.repeat_current:
            return [track.memories[-1]] * spec.history
        return list(track.memories)[:: -1][:: self.stride][: spec.history][::-1]

    def _ensemble(self, codec: ActionCodec, track: Track, chunk_LA: np.ndarray, state_S: np.ndarray) -> np.ndarray:
        """(1, A): the mean of all plans for this control step, the oldest weighing most."""
        track.plans.append(codec.comparable(chunk_LA, state_S))
        newest = len(track.plans) - 1
        said_PA = np.stack([plan_LA[newest - i] for i, plan_LA in enumerate(track.plans)]).astype(np.float64)
        weight_P = np.exp(-self.ensemble_decay * np.arange(len(said_PA)))
        mean_A = weight_P @ said_PA / weight_P.sum()
        mean_A[-1] = sign(mean_A[-1])
        return codec.command(mean_A, state_S)[None]

    def _frames(self, requests: Sequence[Request]) -> Frames:
        card = self.policy.card
        seen = card.spaces.observation
        for request in requests:
            cameras, states = len(request.observation.images_KYXC), request.observation.state_S.shape
            if cameras != len(seen.cameras) or states != (len(seen.state),):
                raise IncompatibleSpaces(
                    f"{cameras} pictures and a state of shape {states}",
                    where=f"episode {request.key}",
                    expected=f"{len(seen.cameras)} pictures ({', '.join(name for name, *_ in seen.cameras)}) "
                    f"and {len(seen.state)} state dimensions",
                )
        shown = card.formulation.camera_count(len(seen.cameras))
        device = next(self.policy.parameters()).device
        images = torch.from_numpy(np.stack([request.observation.images_KYXC[:shown] for request in requests]))
        states = torch.from_numpy(np.stack([request.observation.state_S for request in requests]).astype(np.float32))
        return Frames(
            images_BKYXC=images.to(device),
            states_BS=card.states.normalize(states.to(device)),
            texts=[request.instruction for request in requests],
        )
