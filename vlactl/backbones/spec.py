"""What a recipe says about a backbone, and what a family says about itself on the menu.  Imports nothing heavy.

A menu entry is a class with a docstring, its hub repository, its three subtrees and ``family_at``; about ten lines.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from vlactl.errors import UsageError
from vlactl.registry import Spec

if TYPE_CHECKING:
    from vlactl.backbones.adapter import Backbone
    from vlactl.backbones.families import Family

TINY_ACTION_ROWS = 256
"""Vocabulary rows that a tiny model keeps for discrete actions (256 bins: RoboVLMs ``action_tokenizer.py``)."""
FINGERPRINT_BYTES = 4 * 2**20
"""How much of each file of a weight folder is hashed: the tensors' names, shapes and the first weights."""
COMMIT = re.compile(r"[0-9a-f]{40}")


class Repository(NamedTuple):
    """A repository of the Hugging Face hub at one commit."""

    hub_id: str
    revision: str | None = None
    """None when a recipe has to say it."""


class BackboneSpec(Spec):
    """A vision-language model and where its weights come from."""

    weights: str = Field("tiny", min_length=1)
    """``tiny`` (random, about a million parameters), ``pretrained`` (the family's hub id), another size of the family,
    another hub id, or a folder (begins with ``/``, ``./``, ``../`` or ``~``)."""
    revision: str | None = None
    """Commit of the hub repository, because names move; null takes the commit that the menu pins, if it pins one.  Of a
    folder, its fingerprint."""
    image_px: int | None = Field(None, ge=16, le=1024)
    """Side to which every picture is resized; null is the family's own size (64 for tiny)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the backbone in a saved policy and in rollouts; training keeps float32 masters of its own."""
    vl_pretrain: bool | None = None
    """Whether the backbone has learned from pictures with words before it learns actions; null is true for pretrained
    weights, false for tiny.  False on pretrained weights keeps architecture and tokenizer and draws the weights anew;
    true on tiny trains the tiny backbone on the recipe's vision-language sources first."""
    vl_updates: int = Field(800, ge=1)
    """Optimiser updates of the vision-language stage of a tiny backbone with ``vl_pretrain``."""
    vl_batch: int = Field(32, ge=1)
    """Pictures with words in each update of that stage."""
    vl_learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of that stage."""
    gradient_checkpointing: bool = Field(False, json_schema_extra={"execution": True})
    """Recompute activations in the backward pass: less memory, about a third slower, the same gradients."""

    family_at: ClassVar[str]
    """Where the family is written, ``module:Class``; imported when it is built."""
    hub_id: ClassVar[str] = ""
    """Repository of the pretrained weights on the Hugging Face hub."""
    hub_revision: ClassVar[str | None] = None
    """The commit of ``hub_id`` that a recipe gets when it names none; None leaves it to the recipe."""
    hub_sizes: ClassVar[dict[str, Repository]] = {}
    """Other sizes of the family that ``weights`` may name."""
    hub_parts: ClassVar[dict[str, Repository]] = {}
    """Of a backbone put together by vlactl: part -> repository.  ``pretrained`` reads every part from its own; a
    folder has one subfolder for each part.  What connects them is drawn from the seed."""
    hub_px: ClassVar[int | None] = None
    """Side of the pictures that the pretrained weights see, or that ``image_px: null`` takes; None: read from them."""
    hub_tokens: ClassVar[int | None] = None
    """Tokens of one such picture."""
    remote_code: ClassVar[bool] = False
    """Whether the architecture lies in the repository as code.  It then runs only at the commit that is named."""
    mask: ClassVar[Literal["causal", "prefix", "picture-blocks", "cross-attention", "encoder-decoder"]] = "causal"
    """Who sees whom: every token the earlier ones; or pictures and text also each other; or the tokens of one picture
    also each other; or words look at pictures that have no tokens; or pictures and text in an encoder, slots in a
    decoder."""
    padding: ClassVar[Literal["left", "right", "none"]] = "left"
    """Where shorter rows are filled up."""
    decoder_only: ClassVar[bool] = True
    """Whether frames and slots can alternate in one causal sequence, which ``interleaved-*`` needs."""
    caches_features: ClassVar[bool] = False
    """Whether what the vision tower says of a picture can be kept on disk and fed back (frozen towers only)."""
    vision: ClassVar[tuple[str, ...]]
    """Parameter name prefixes of the vision tower inside the family's base model."""
    connector: ClassVar[tuple[str, ...]]
    """Parameter name prefixes of what carries vision features to the language model; wins over ``vision``."""
    language: ClassVar[tuple[str, ...]]
    """Parameter name prefixes of the language model, word embeddings included."""

    @model_validator(mode="after")
    def _hub_weights_are_pinned(self) -> BackboneSpec:
        if self.revision is not None and self.weights == "tiny":
            raise ValueError("`revision` says which pretrained weights are meant; tiny weights have none")
        if self.weights == "tiny" or self.folder is not None:
            return self
        loose = [f"'{place.hub_id}'" for place in self.repositories().values() if place.revision is None]
        if loose:
            raise ValueError(
                f"{', '.join(loose)} comes from the hub and needs `revision`: the commit to use, "
                f"see https://huggingface.co/{loose[0][1:-1]}/commits/main"
            )
        if self.remote_code and not all(COMMIT.fullmatch(str(r.revision)) for r in self.repositories().values()):
            raise ValueError("this family runs code of its repository: `revision` must be a whole commit, 40 digits")
        return self

    @property
    def source(self) -> str:
        """Hub id or folder that the weights are read from; empty for tiny."""
        if self.weights == "tiny":
            return ""
        return self.weights if self.folder is not None else "+".join(r.hub_id for r in self.repositories().values())

    @property
    def folder(self) -> Path | None:
        """The weight folder, when ``weights`` is a path."""
        return Path(self.weights).expanduser() if self.weights.startswith(("/", "./", "../", "~")) else None

    def repositories(self) -> dict[str, Repository]:
        """Part -> repository at its commit, for weights of the hub; a family of transformers has one part, ``""``."""
        if self.hub_parts and self.weights == "pretrained":
            given = self.revision.split("+") if self.revision else [None] * len(self.hub_parts)
            if len(given) != len(self.hub_parts):
                raise ValueError(f"`revision` needs one commit for each of {', '.join(self.hub_parts)}, joined by +")
            return {
                part: Repository(place.hub_id, commit or place.revision)
                for (part, place), commit in zip(self.hub_parts.items(), given, strict=True)
            }
        if self.hub_parts:
            raise ValueError(f"{self.kind} is put together from {', '.join(self.hub_parts)}: name a folder of those")
        own = {"pretrained": Repository(self.hub_id, self.hub_revision), **self.hub_sizes}
        place = own.get(self.weights, Repository(self.weights))
        return {"": Repository(place.hub_id, self.revision or place.revision)}

    @property
    def learned_from_pictures(self) -> bool:
        """``vl_pretrain`` with its default filled in."""
        return self.weights != "tiny" if self.vl_pretrain is None else self.vl_pretrain

    @property
    def needs_vl_stage(self) -> bool:
        """Whether a stage of ours has to train the bare backbone on pictures with words."""
        return self.weights == "tiny" and self.learned_from_pictures

    @property
    def draws_weights(self) -> bool:
        """Whether the seed decides some of the first weights: all of them, or those between parts of the hub."""
        return self.weights == "tiny" or not self.learned_from_pictures or bool(self.hub_parts)

    def identity(self) -> dict[str, Any]:
        """As :meth:`Spec.identity`; a folder counts by its content, which is its ``revision``, not by its place.

        ``vl_pretrain`` counts where it is not the default, the other ``vl_`` fields where that stage is run.
        """
        identity = super().identity()
        if self.learned_from_pictures == (self.weights != "tiny"):
            del identity["vl_pretrain"]
        if not self.needs_vl_stage:
            for name in ("vl_updates", "vl_batch", "vl_learning_rate"):
                del identity[name]
        if self.folder is not None:
            identity |= {"weights": "./", "revision": self.revision or fingerprint(self.folder, tuple(self.hub_parts))}
        elif self.weights != "tiny":
            identity["revision"] = "+".join(str(place.revision) for place in self.repositories().values())
        return identity

    def execution_settings(self) -> dict[str, Any]:
        """As :meth:`Spec.execution_settings`, and the place of a weight folder, which the identity leaves out."""
        return super().execution_settings() | (
            {"weights": str(self.folder.resolve())} if self.folder is not None else {}
        )

    def family(self) -> Family:
        """The family's tiny configuration and quirks (imports torch and transformers)."""
        module, name = self.family_at.split(":")
        return getattr(importlib.import_module(module), name)()

    def build(self, seed: int) -> Backbone:
        """The model on the CPU.  ``seed`` draws tiny weights; the caller's random state is left as it was.

        Raises :class:`UsageError` when weights cannot be had, :class:`CheckpointMismatch` when they do not fit.
        """
        from vlactl.backbones.loading import build

        return build(self, seed)


def fingerprint(folder: Path, parts: tuple[str, ...] = ()) -> str:
    """Digest of the names, sizes and first 4 MiB of a weight folder's files, or of those of its ``parts``."""
    seen = hashlib.sha256()
    for place in [folder / part for part in parts] or [folder]:
        if not (place / "config.json").is_file():
            raise UsageError(
                "no weights here: config.json is missing",
                where=str(place),
                expected="a folder written by save_pretrained",
                remedy="correct `weights` in the recipe",
            )
        for path in sorted(item for item in place.iterdir() if item.is_file() and not item.name.startswith(".")):
            with path.open("rb") as file:
                seen.update(f"{path.name}:{path.stat().st_size}:".encode() + file.read(FINGERPRINT_BYTES))
    return seen.hexdigest()[:16]
