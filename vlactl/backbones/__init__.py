"""Menu of vision-language backbones: what a recipe may name.  Imports neither torch nor transformers.

Every family stands behind one adapter (:mod:`vlactl.backbones.adapter`): pictures and text in, hidden states at a few
learnable *slots* out.  ``weights: tiny`` builds a random model of about a million parameters with the family's own
classes, masks and token layout, so that a laptop runs the code that a cluster runs; it says nothing about how good the
real model is.  A family's file holds its tiny configuration and its quirks; everything else is shared.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from vlactl.errors import UsageError
from vlactl.registry import Registry, Spec

if TYPE_CHECKING:
    from vlactl.backbones.adapter import Backbone
    from vlactl.backbones.families import Family

TINY_ACTION_ROWS = 256
"""Vocabulary rows that a tiny model keeps for discrete actions (256 bins: RoboVLMs ``action_tokenizer.py``)."""
FINGERPRINT_BYTES = 4 * 2**20
"""How much of each file of a weight folder is hashed: the tensors' names, shapes and the first weights."""


class BackboneSpec(Spec):
    """A vision-language model and where its weights come from."""

    weights: str = Field("tiny", min_length=1)
    """``tiny`` (random, about a million parameters), ``pretrained`` (the family's hub id), another hub id, or a folder
    (begins with ``/``, ``./``, ``../`` or ``~``)."""
    revision: str | None = None
    """Commit of the hub repository, required because names move; of a folder, its fingerprint."""
    image_px: int | None = Field(None, ge=16, le=1024)
    """Side to which every picture is resized; null is the family's own size (64 for tiny)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of the backbone in a saved policy and in rollouts; training keeps float32 masters of its own."""
    gradient_checkpointing: bool = Field(False, json_schema_extra={"execution": True})
    """Recompute activations in the backward pass: less memory, about a third slower, the same gradients."""

    hub_id: ClassVar[str]
    """Repository of the pretrained weights on the Hugging Face hub."""
    decoder_only: ClassVar[bool] = True
    """Whether frames and slots can alternate in one causal sequence, which ``interleaved-*`` needs."""
    vision: ClassVar[tuple[str, ...]]
    """Parameter name prefixes of the vision tower inside the family's base model."""
    connector: ClassVar[tuple[str, ...]]
    """Parameter name prefixes of what carries vision features to the language model; wins over ``vision``."""
    language: ClassVar[tuple[str, ...]]
    """Parameter name prefixes of the language model, word embeddings included."""

    @model_validator(mode="after")
    def _hub_weights_are_pinned(self) -> BackboneSpec:
        if self.source and self.folder is None and self.revision is None:
            raise ValueError(
                f"'{self.source}' comes from the hub and needs `revision`: the commit to use, "
                f"see https://huggingface.co/{self.source}/commits/main"
            )
        if self.revision is not None and not self.source:
            raise ValueError("`revision` says which pretrained weights are meant; tiny weights have none")
        return self

    @property
    def source(self) -> str:
        """Hub id or folder that the weights are read from; empty for tiny."""
        return "" if self.weights == "tiny" else self.hub_id if self.weights == "pretrained" else self.weights

    @property
    def folder(self) -> Path | None:
        """The weight folder, when ``weights`` is a path."""
        return Path(self.weights).expanduser() if self.weights.startswith(("/", "./", "../", "~")) else None

    def identity(self) -> dict[str, Any]:
        """As :meth:`Spec.identity`; a folder counts by its content, which is its ``revision``, not by its place."""
        identity = super().identity()
        if self.folder is not None:
            identity |= {"weights": "./", "revision": self.revision or fingerprint(self.folder)}
        return identity

    def execution(self) -> dict[str, Any]:
        """As :meth:`Spec.execution`, and the place of a weight folder, which the identity leaves out."""
        return super().execution() | ({"weights": str(self.folder.resolve())} if self.folder is not None else {})

    def family(self) -> Family:
        """The family's tiny configuration and quirks (imports torch and transformers)."""
        raise NotImplementedError

    def build(self, seed: int) -> Backbone:
        """The model on the CPU.  ``seed`` draws tiny weights; the caller's random state is left as it was.

        Raises :class:`UsageError` when weights cannot be had, :class:`CheckpointMismatch` when they do not fit.
        """
        from vlactl.backbones.loading import build

        return build(self, seed)


def fingerprint(folder: Path) -> str:
    """Digest of the names, sizes and first 4 MiB of a weight folder's files."""
    if not (folder / "config.json").is_file():
        raise UsageError(
            "no weights here: config.json is missing",
            where=str(folder),
            expected="a folder written by save_pretrained",
            remedy="correct `weights` in the recipe",
        )
    seen = hashlib.sha256()
    for path in sorted(item for item in folder.iterdir() if item.is_file() and not item.name.startswith(".")):
        with path.open("rb") as file:
            seen.update(f"{path.name}:{path.stat().st_size}:".encode() + file.read(FINGERPRINT_BYTES))
    return seen.hexdigest()[:16]


BACKBONES: Registry[BackboneSpec] = Registry("backbones", "backbone")


@BACKBONES.add
class PaliGemma(BackboneSpec):
    """SigLIP, a linear projection and Gemma; a prefix language model: pictures and text see each other both ways."""

    kind = "paligemma"
    hub_id = "google/paligemma-3b-pt-224"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)

    def family(self) -> Family:
        from vlactl.backbones.paligemma import PaliGemmaFamily

        return PaliGemmaFamily()


@BACKBONES.add
class Llava(BackboneSpec):
    """CLIP, a two-layer projection and Llama."""

    kind = "llava"
    hub_id = "llava-hf/llava-1.5-7b-hf"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)

    def family(self) -> Family:
        from vlactl.backbones.llava import LlavaFamily

        return LlavaFamily()


@BACKBONES.add
class SmolVLM(BackboneSpec):
    """SigLIP, pixel shuffle and a small Llama; the backbone of SmolVLA."""

    kind = "smolvlm"
    hub_id = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    vision = ("vision_model",)
    connector = ("connector",)
    language = ("text_model",)

    def family(self) -> Family:
        from vlactl.backbones.smolvlm import SmolVLMFamily

        return SmolVLMFamily()


@BACKBONES.add
class Idefics3(BackboneSpec):
    """SmolVLM's larger predecessor: SigLIP, pixel shuffle and Llama 3."""

    kind = "idefics3"
    hub_id = "HuggingFaceM4/Idefics3-8B-Llama3"
    vision = ("vision_model",)
    connector = ("connector",)
    language = ("text_model",)

    def family(self) -> Family:
        from vlactl.backbones.smolvlm import Idefics3Family

        return Idefics3Family()


@BACKBONES.add
class Qwen3VL(BackboneSpec):
    """A ViT of any resolution whose features also enter the first language layers, and Qwen3 with 3-D positions."""

    kind = "qwen3-vl"
    hub_id = "Qwen/Qwen3-VL-2B-Instruct"
    vision = ("visual",)
    connector = ("visual.merger", "visual.deepstack_merger_list")
    language = ("language_model",)

    def family(self) -> Family:
        from vlactl.backbones.qwen3_vl import Qwen3VLFamily

        return Qwen3VLFamily()


@BACKBONES.add
class InternVL(BackboneSpec):
    """InternViT, pixel shuffle and Qwen3."""

    kind = "internvl"
    hub_id = "OpenGVLab/InternVL3_5-1B-HF"
    vision = ("vision_tower",)
    connector = ("multi_modal_projector",)
    language = ("language_model",)

    def family(self) -> Family:
        from vlactl.backbones.internvl import InternVLFamily

        return InternVLFamily()
