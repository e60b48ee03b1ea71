"""A backbone, a formulation and a card that fit each other: made, trained, saved and loaded as one.

Axis letters: B batch, H history, K cameras, N chunks, L horizon, A action.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from vlactl.actions import ActionCodec, FrequencyTokens, StateStatistics
from vlactl.backbones import BackboneSpec
from vlactl.backbones.adapter import Backbone
from vlactl.backbones.files import VOCABULARY, WEIGHTS, load_weights, require_files, write_folder
from vlactl.backbones.loading import describe, restore
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formulations import FormulationSpec, WrittenFrequencies
from vlactl.formulations.formulation import Formulation, Parts
from vlactl.policy.card import PolicyCard
from vlactl.spaces import Spaces

if TYPE_CHECKING:
    from vlactl.windows import Batch

CARD = "card.json"


class Policy(nn.Module):
    """A backbone, a formulation and a card that fit each other."""

    def __init__(
        self, backbone: Backbone, formulation: Formulation[Any], card: PolicyCard, vl_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.backbone, self.formulation, self.card = backbone, formulation, card
        self.vl_weight = vl_weight

    @classmethod
    def create(
        cls,
        backbone: BackboneSpec | Backbone,
        formulation: FormulationSpec,
        spaces: Spaces,
        codec: ActionCodec,
        states: StateStatistics,
        texts: Sequence[str],
        seed: int,
        chunks_NLA: np.ndarray | None = None,
        vl_weight: float = 1.0,
        recipe: str = "",
    ) -> Self:
        """A policy to be trained.

        ``backbone`` is a spec, or one that was built (and perhaps trained) already.  ``texts`` are all words that it
        will be told or asked, which a tiny vocabulary is made from.  ``chunks`` are normalised action chunks of the
        source, which frequency tokens are learned from.  ``vl_weight`` is what pictures with words count for beside
        actions.

        Raises :class:`UsageError` when formulation and backbone conflict, :class:`IncompatibleSpaces` when the
        statistics are not those of ``spaces`` or the formulation cannot act there.
        """
        spec = backbone.spec if isinstance(backbone, Backbone) else backbone
        reason = formulation.conflicts(spec)
        if reason:
            raise UsageError(reason, remedy="exclude this pair from the recipe")
        tokens = None
        if isinstance(formulation, WrittenFrequencies):
            chunks = np.empty((0, formulation.horizon, codec.size)) if chunks_NLA is None else chunks_NLA
            tokens = FrequencyTokens.fit(
                chunks, vocabulary=formulation.vocabulary - 1, scale=formulation.frequency_scale
            )
        card = PolicyCard(
            backbone=spec, formulation=formulation, spaces=spaces, codec=codec, states=states, tokens=tokens,
            recipe=recipe,
        )
        card.require_consistent()
        built = backbone if isinstance(backbone, Backbone) else backbone.build(seed)
        built.tokenizer.extend(texts)
        return cls(built, formulation.build(built, states.size, codec.size, seed, tokens), card, vl_weight)

    def adapt(
        self,
        spaces: Spaces,
        codec: ActionCodec,
        states: StateStatistics,
        texts: Sequence[str],
        *,
        vl_weight: float = 1.0,
        recipe: str = "",
    ) -> None:
        """Take over another embodiment's card and words; the weights and the frequency tokens stay.

        Raises :class:`IncompatibleSpaces` when states, actions or cameras have another number of dimensions.
        """
        card = replace(self.card, spaces=spaces, codec=codec, states=states, recipe=recipe)
        card.require_consistent()
        ours, theirs = _sizes(self.card), _sizes(card)
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
        self.card, self.vl_weight = card, vl_weight

    def forward(self, batch: Batch, scale: float = 1.0) -> tuple[Tensor, Parts]:
        return self.loss(batch, scale)

    def loss(self, batch: Batch, scale: float = 1.0) -> tuple[Tensor, Parts]:
        """The scalar to minimise and detached numbers for the log.

        ``scale`` multiplies the actions' part only: a micro-batch's share of the update's control steps.  Pictures
        with words add ``vl_weight`` times their mean loss.
        """
        loss, parts = self.formulation(self.backbone, self._shown(batch))
        loss = loss if scale == 1.0 else loss * scale
        if batch.pairs is None:
            return loss, parts
        pairs = batch.pairs
        each_B, said = self.backbone.language_loss(pairs.images_BKYXC, pairs.questions, pairs.answers)
        words = each_B.mean()
        parts = parts | {f"vl_{name}": number for name, number in said.items()}
        return loss + (self.vl_weight * pairs.scale) * words.to(loss.dtype), parts

    def _shown(self, batch: Batch) -> Batch:
        """The batch as the formulation wants it: its cameras only, states normalised."""
        cameras = self.card.formulation.camera_count(len(self.card.spaces.observation.cameras))
        images, features = batch.images_BHKYXC, batch.features_BHKPD
        return replace(
            batch,
            images_BHKYXC=None if images is None else images[:, :, :cameras],
            features_BHKPD=None if features is None else features[:, :, :cameras],
            states_BHS=self.card.states.normalize(batch.states_BHS),
        )

    # ---- files ---------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the policy to ``folder`` (must not exist) as a whole or not at all.

        The backbone's weights are written in its spec's ``dtype``, all others as they are.
        """
        dtype = getattr(torch, self.card.backbone.dtype)
        weights = {
            name: value.to(dtype) if name.startswith("backbone.") and value.is_floating_point() else value
            for name, value in self.state_dict().items()
        }
        card = {**self.card.to_json(), "architecture": describe(self.backbone)}
        texts = {CARD: json.dumps(card, indent=1), VOCABULARY: json.dumps(self.backbone.tokenizer.to_json())}
        write_folder(folder, weights, texts)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The policy that :meth:`save` wrote, on the CPU.

        Raises :class:`UsageError` when a file is missing and :class:`CheckpointMismatch` when weights do not fit.
        """
        require_files(folder, (WEIGHTS, CARD, VOCABULARY), remedy="name the folder that a finetune stage wrote")
        document = json.loads((folder / CARD).read_text())
        card = PolicyCard.from_json(document)
        with no_init_weights():  # every weight is read from the file below
            backbone = restore(card.backbone, document["architecture"], json.loads((folder / VOCABULARY).read_text()))
            head = card.formulation.build(backbone, card.states.size, card.codec.size, 0, card.tokens)
        policy = cls(backbone, head, card)
        load_weights(policy, folder)
        return policy.eval()



def _sizes(card: PolicyCard) -> dict[str, int]:
    cameras = card.formulation.camera_count(len(card.spaces.observation.cameras))
    return {"state dimensions": card.states.size, "action dimensions": card.codec.size, "cameras": cameras}
