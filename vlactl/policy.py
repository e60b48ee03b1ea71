"""Policy = Backbone + Formulation + PolicyCard; Actor = Policy + what each running episode has seen.

The card holds everything that a score depends on beside the weights: spaces, action and state statistics, vocabulary,
architecture.  A saved policy is a folder of ``weights.safetensors``, ``card.json`` and ``tokenizer.json`` and needs
neither the hub nor the recipe.

Axis letters: B batch, K cameras, Y X pixels, C colour, S state, A action, E executed actions.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from vlactl.actions import ActionNormalizer, StateStatistics
from vlactl.backbones import BACKBONES, BackboneSpec
from vlactl.backbones.adapter import Backbone
from vlactl.backbones.loading import describe, restore
from vlactl.episodes import Observation
from vlactl.errors import CheckpointMismatch, IncompatibleSpaces, UsageError
from vlactl.formulations import FORMULATIONS, FormulationSpec
from vlactl.formulations.formulation import Formulation, Frames, Memory
from vlactl.spaces import Spaces

if TYPE_CHECKING:
    from vlactl.windows import Batch

FORMAT = 1
WEIGHTS, CARD, VOCABULARY = "weights.safetensors", "card.json", "tokenizer.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyCard:
    """What a policy is, apart from its weights."""

    backbone: BackboneSpec
    formulation: FormulationSpec
    spaces: Spaces
    """What it sees and how its actions are meant."""
    normalizer: ActionNormalizer
    states: StateStatistics

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "backbone": _document(self.backbone),
            "formulation": _document(self.formulation),
            "spaces": self.spaces.to_json(),
            "normalizer": self.normalizer.to_json(),
            "states": self.states.to_json(),
            "versions": {name: version(name) for name in ("torch", "transformers", "vlactl")},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PolicyCard:
        """The inverse of :meth:`to_json`; raises :class:`UsageError` for a card of another format."""
        if document.get("format") != FORMAT:
            raise UsageError(
                f"this policy card has format {document.get('format')!r}",
                expected=str(FORMAT),
                remedy="use the vlactl that wrote it, or train again",
            )
        return cls(
            backbone=BACKBONES.parse(document["backbone"]),
            formulation=FORMULATIONS.parse(document["formulation"]),
            spaces=Spaces.from_json(document["spaces"]),
            normalizer=ActionNormalizer.from_json(document["normalizer"]),
            states=StateStatistics.from_json(document["states"]),
        )


def _document(spec: BackboneSpec | FormulationSpec) -> dict[str, Any]:
    return {"kind": spec.kind, **spec.model_dump(mode="json")}


class Policy(nn.Module):
    """A backbone, a formulation and a card that fit each other."""

    def __init__(self, backbone: Backbone, formulation: Formulation[Any], card: PolicyCard) -> None:
        super().__init__()
        self.backbone, self.formulation, self.card = backbone, formulation, card

    @classmethod
    def create(
        cls,
        backbone: BackboneSpec,
        formulation: FormulationSpec,
        spaces: Spaces,
        normalizer: ActionNormalizer,
        states: StateStatistics,
        texts: Sequence[str],
        seed: int,
    ) -> Self:
        """A policy to be trained.  ``texts`` are the instructions that a tiny vocabulary is made from.

        Raises :class:`UsageError` when formulation and backbone conflict, :class:`IncompatibleSpaces` when the
        statistics are not those of ``spaces``.
        """
        reason = formulation.conflicts(backbone)
        if reason:
            raise UsageError(reason, remedy="exclude this pair from the recipe")
        _require_sizes(spaces, normalizer, states)
        built = backbone.build(seed)
        built.tokenizer.extend(texts)
        head = formulation.build(built, states.size, normalizer.size, seed)
        return cls(
            built,
            head,
            PolicyCard(backbone=backbone, formulation=formulation, spaces=spaces, normalizer=normalizer, states=states),
        )

    def adapt(
        self, spaces: Spaces, normalizer: ActionNormalizer, states: StateStatistics, texts: Sequence[str]
    ) -> None:
        """Take over another embodiment's card and words; the weights stay.

        Raises :class:`IncompatibleSpaces` when states or actions have another number of dimensions.
        """
        _require_sizes(spaces, normalizer, states)
        ours = {"state dimensions": self.card.states.size, "action dimensions": self.card.normalizer.size}
        theirs = {"state dimensions": states.size, "action dimensions": normalizer.size}
        if ours != theirs:
            raise IncompatibleSpaces(
                "; ".join(
                    f"{theirs[name]} {name}, the policy was made for {ours[name]}"
                    for name in ours
                    if ours[name] != theirs[name]
                ),
                where=f"embodiment {spaces.embodiment}",
                remedy="pretrain on an embodiment with the same state and action sizes",
            )
        self.backbone.tokenizer.extend(texts)
        self.card = replace(self.card, spaces=spaces, normalizer=normalizer, states=states)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(batch)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise and detached numbers for the log."""
        return self.formulation(self.backbone, replace(batch, states_BHS=self.card.states.normalize(batch.states_BHS)))

    # ---- files ---------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the policy to ``folder`` (must not exist) as a whole or not at all.

        The backbone's weights are written in its spec's ``dtype``, all others as they are.
        """
        dtype = getattr(torch, self.card.backbone.dtype)
        weights = {
            name: (value.to(dtype) if name.startswith("backbone.") and value.is_floating_point() else value)
            .detach()
            .cpu()
            .contiguous()
            for name, value in self.state_dict().items()
        }
        draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save_file(weights, draft / WEIGHTS)
        card = {**self.card.to_json(), "architecture": describe(self.backbone)}
        (draft / CARD).write_text(json.dumps(card, indent=1))
        (draft / VOCABULARY).write_text(json.dumps(self.backbone.tokenizer.to_json()))
        os.replace(draft, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The policy that :meth:`save` wrote, on the CPU.

        Raises :class:`UsageError` when a file is missing and :class:`CheckpointMismatch` when weights do not fit.
        """
        for name in (WEIGHTS, CARD, VOCABULARY):
            if not (folder / name).is_file():
                raise UsageError(
                    f"{name} is missing",
                    where=str(folder),
                    expected=f"{WEIGHTS}, {CARD}, {VOCABULARY}",
                    remedy="name the folder that a finetune stage wrote",
                )
        document = json.loads((folder / CARD).read_text())
        card = PolicyCard.from_json(document)
        with no_init_weights():  # every weight is read from the file below
            backbone = restore(card.backbone, document["architecture"], json.loads((folder / VOCABULARY).read_text()))
            head = card.formulation.build(backbone, card.states.size, card.normalizer.size, seed=0)
        policy = cls(backbone, head, card)
        weights = load_file(folder / WEIGHTS)
        require_fit(policy.state_dict(), weights, where=str(folder / WEIGHTS))
        policy.load_state_dict(weights, strict=True)
        return policy.eval()


def require_fit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, where: str) -> None:
    """Raise :class:`CheckpointMismatch` that names the first ten keys of each kind of difference."""
    shapes = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & found.keys())
        if wanted[key].shape != found[key].shape
    ]
    kinds = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of another shape": shapes,
    }
    remedy = "train this policy again, or load it with the vlactl that wrote it"
    CheckpointMismatch.check(kinds, where=where, remedy=remedy)


def _require_sizes(spaces: Spaces, normalizer: ActionNormalizer, states: StateStatistics) -> None:
    wrong = [
        f"{name} statistics have {found} dimensions, the spaces {declared}"
        for name, found, declared in (
            ("action", normalizer.size, spaces.action.size),
            ("state", states.size, len(spaces.observation.state)),
        )
        if found != declared
    ]
    if wrong:
        raise IncompatibleSpaces("; ".join(wrong), where=f"embodiment {spaces.embodiment}")


# ---- acting --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One episode asks for its next actions."""

    key: Hashable
    """The name under which the episode was reset."""
    observation: Observation
    instruction: str


class Actor:
    """Plans for many episodes at once.  An episode's actions depend on its own observations only."""

    def __init__(self, policy: Policy, *, execute: int | None = None) -> None:
        """``execute`` actions are returned for each request; the formulation's own number when None.

        Raises :class:`UsageError` when more are asked for than are predicted, or when another number would move the
        frames of a history away from where they lay in training.
        """
        spec = policy.card.formulation
        self.execute = spec.execute if execute is None else execute
        if not 1 <= self.execute <= spec.horizon:
            raise UsageError(
                f"{self.execute} actions cannot be executed: {spec.kind} predicts {spec.horizon}",
                expected=f"1 to {spec.horizon}",
            )
        if spec.history > 1 and self.execute != spec.execute:
            raise UsageError(
                f"execute {self.execute}: this policy learned from frames {spec.execute} control steps apart",
                expected=str(spec.execute),
                remedy="train it with the other execute",
            )
        self.policy = policy.eval()
        self._memories: dict[Hashable, deque[Memory]] = {}

    def reset(self, key: Hashable, noise_seed: int = 0) -> None:
        """Forget what ``key`` has seen: a new task begins.

        ``noise_seed`` is for policies that draw noise; every formulation on the menu is deterministic.
        """
        self._memories[key] = deque(maxlen=self.policy.card.formulation.history)

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
        policy, card = self.policy, self.policy.card
        frames = self._frames(requests)
        memories = [self._memories[key] for key in keys]
        for memory, left in zip(memories, policy.formulation.remember(policy.backbone, frames), strict=True):
            memory.append(left)
        predicted = policy.formulation.predict(
            policy.backbone, [list(memory) for memory in memories], frames.texts, self.execute
        )
        return [np.clip(card.normalizer.decode(actions_EA), -1, 1) for actions_EA in predicted.float().cpu().numpy()]

    def _frames(self, requests: Sequence[Request]) -> Frames:
        seen = self.policy.card.spaces.observation
        for request in requests:
            cameras, states = len(request.observation.images_KYXC), request.observation.state_S.shape
            if cameras != len(seen.cameras) or states != (len(seen.state),):
                raise IncompatibleSpaces(
                    f"{cameras} pictures and a state of shape {states}",
                    where=f"episode {request.key}",
                    expected=f"{len(seen.cameras)} pictures ({', '.join(name for name, *_ in seen.cameras)}) "
                    f"and {len(seen.state)} state dimensions",
                )
        device = next(self.policy.parameters()).device
        images = torch.from_numpy(np.stack([request.observation.images_KYXC for request in requests]))
        states = torch.from_numpy(np.stack([request.observation.state_S for request in requests]).astype(np.float32))
        return Frames(
            images_BKYXC=images.to(device),
            states_BS=self.policy.card.states.normalize(states.to(device)),
            texts=[request.instruction for request in requests],
        )
