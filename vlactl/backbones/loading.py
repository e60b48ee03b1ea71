"""From a spec, or from saved files, to a :class:`Backbone`, and back.  A partial load is an error, never a warning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.initialization import no_init_weights

from vlactl.backbones.adapter import Backbone, Look
from vlactl.backbones.families import FIRST_WORD, HALF, QUARTER, TINY_WORDS, Family, randomize
from vlactl.backbones.files import VOCABULARY, WEIGHTS, load_weights, require_files, write_folder
from vlactl.backbones.prompt import Layout
from vlactl.backbones.reading import Reader
from vlactl.backbones.text import SubwordTokenizer, Tokenizer, WordTokenizer, tokenizer_from_json
from vlactl.errors import UsageError

if TYPE_CHECKING:
    from vlactl.backbones import BackboneSpec

HUB_ACTION_ROWS = 1024
"""Rows offered for discrete actions in a pretrained vocabulary: the last, least used ones (RT-2, OpenVLA)."""
DOCUMENT = "backbone.json"


def build(spec: BackboneSpec, seed: int) -> Backbone:
    """A tiny random model; or weights from the hub or a folder, or their architecture with weights drawn anew."""
    return _pretrained(spec, seed) if spec.source else _tiny(spec, seed)


def _tiny(spec: BackboneSpec, seed: int) -> Backbone:
    family = spec.family()
    px = spec.image_px or family.tiny_px
    config = family.tiny_config(px)
    rows = range(FIRST_WORD + TINY_WORDS, config.get_text_config().vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family.model_of(config)
        randomize(model, family.embedding(model), rows)
        family.settle(model)
    return _assemble(
        spec,
        family,
        model,
        None,
        layout=family.tiny_layout(config, px),
        action_rows=rows,
        look=Look(image_px=px, mean=HALF, std=QUARTER),
        tokenizer=WordTokenizer(first=FIRST_WORD, capacity=TINY_WORDS),
    )


def _assemble(
    spec: BackboneSpec,
    family: Family,
    model: nn.Module,
    head: nn.Module | None,
    *,
    layout: Layout,
    look: Look,
    tokenizer: Tokenizer,
    action_rows: Sequence[int],
) -> Backbone:
    if spec.gradient_checkpointing:
        model.activation_checkpointing_enable()  # pyright: ignore[reportCallIssue]
    dtype = getattr(torch, spec.dtype)
    for part in (model, head):
        if part is not None:
            part.to(dtype)
    return Backbone(spec, family, model, head, layout=layout, look=look, tokenizer=tokenizer, action_rows=action_rows)


# ---- pretrained weights --------------------------------------------------------------------------


def _pretrained(spec: BackboneSpec, seed: int) -> Backbone:
    """Architecture and vocabulary of a repository or folder, and its weights unless ``vl_pretrain`` is false."""
    family, reader = spec.family(), Reader(spec)
    config = family.hub_config(reader)
    _require_family(spec, family, config)
    px = _hub_px(spec, family, config)
    tokenizer, end = family.hub_tokenizer(reader)
    with torch.random.fork_rng(devices=[]):  # also around reading: what no repository has is drawn
        torch.manual_seed(seed)
        whole = family.read(reader, config) if spec.learned_from_pictures else family.whole_of(config)
    model, head = family.parted(whole)
    layout, action_rows = _hub_layout(family, config, tokenizer, end, px)
    return _assemble(
        spec,
        family,
        model,
        head,
        layout=layout,
        tokenizer=tokenizer,
        look=Look(image_px=px, mean=family.hub_mean, std=family.hub_std),
        action_rows=action_rows,
    )


def _require_family(spec: BackboneSpec, family: Family, config: PretrainedConfig) -> None:
    if config.model_type != family.model_type:
        raise UsageError(
            f"these weights are of the architecture '{config.model_type}'",
            where=f"backbone {spec.kind}, weights {spec.weights}",
            expected=family.model_type,
            remedy="name the backbone that fits the weights",
        )


def _hub_px(spec: BackboneSpec, family: Family, config: Any) -> int:
    native = family.native_px(config)
    if spec.image_px not in (None, native) and not family.any_px:
        raise UsageError(
            f"these {spec.kind} weights see pictures of {native} px only, not {spec.image_px}",
            remedy="leave image_px out",
        )
    return spec.image_px or native


def _hub_layout(
    family: Family, config: Any, tokenizer: SubwordTokenizer, end: str, px: int
) -> tuple[Layout, list[int]]:
    """Ids of the family's marks, and the vocabulary's last ordinary rows: one for slots, the others for actions."""
    model, marks = tokenizer.model, family.hub_marks
    special = set(model.get_added_tokens_decoder())
    known = {
        name: tuple(model.encode(text, add_special_tokens=False).ids) if text else ()
        for name in ("bos", "before_view", "after_view", "before_text", "after_text")
        for text in (getattr(marks, name),)
    }
    image = family.hub_image_id(config, tokenizer)
    end_id = model.token_to_id(marks.end or end)
    if end_id is None:
        raise UsageError(
            f"the tokenizer has no mark for the end of an answer ({marks.end or end or 'none named'})",
            remedy="take tokenizer and weights from one repository",
        )
    rows = min(config.get_text_config().vocab_size, model.get_vocab_size(with_added_tokens=False))
    spare = [row for row in range(rows - 1, -1, -1) if row not in special | {image}][: HUB_ACTION_ROWS + 1]
    tokens = family.image_tokens(config, px)
    return Layout(image=image, image_tokens=tokens, slot=spare[0], pad=0, end=end_id, **known), spare[1:]


# ---- saved policies and backbones ----------------------------------------------------------------


def describe(backbone: Backbone) -> dict[str, Any]:
    """Everything but weights and vocabulary that :func:`restore` needs; plain JSON, independent of the hub."""
    config = backbone.config.to_dict()
    rows = backbone.action_rows(backbone.action_capacity)
    return {
        "config": config,
        "layout": asdict(backbone.layout),
        "look": asdict(backbone.look),
        "action_rows": list(rows),
        "untied_head": backbone.head is not None,
    }


def restore(spec: BackboneSpec, document: Mapping[str, Any], vocabulary: dict[str, Any]) -> Backbone:
    """A backbone of the described architecture with weights yet to be loaded; reads nothing but its arguments."""
    family = spec.family()
    with no_init_weights():  # drawing billions of weights takes minutes
        model = family.model_of(family.config_from(dict(document["config"])))
        head = family.head_of(model.config) if document["untied_head"] else None
    look = document["look"]
    return _assemble(
        spec,
        family,
        model,
        head,
        layout=Layout.from_json(document["layout"]),
        look=Look(image_px=look["image_px"], mean=tuple(look["mean"]), std=tuple(look["std"])),
        tokenizer=tokenizer_from_json(vocabulary),
        action_rows=document["action_rows"],
    )


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Write weights (in the spec's ``dtype``), architecture and vocabulary to ``folder`` (must not exist)."""
    dtype = getattr(torch, backbone.spec.dtype)
    weights = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in backbone.state_dict().items()
    }
    document = {"kind": backbone.spec.kind, "architecture": describe(backbone)}
    texts = {DOCUMENT: json.dumps(document, indent=1), VOCABULARY: json.dumps(backbone.tokenizer.to_json())}
    write_folder(folder, weights, texts)


def load_backbone(spec: BackboneSpec, folder: Path) -> Backbone:
    """The backbone that :func:`save_backbone` wrote, on the CPU, as ``spec`` would have it built.

    Raises :class:`UsageError` when a file is missing or of another kind of backbone, :class:`CheckpointMismatch` when
    weights do not fit.
    """
    require_files(folder, (WEIGHTS, DOCUMENT, VOCABULARY), remedy="name the folder that save_backbone wrote")
    document = json.loads((folder / DOCUMENT).read_text())
    if document["kind"] != spec.kind:
        raise UsageError(f"this is a backbone of the kind {document['kind']}", where=str(folder), expected=spec.kind)
    backbone = restore(spec, document["architecture"], json.loads((folder / VOCABULARY).read_text()))
    load_weights(backbone, folder)
    return backbone
