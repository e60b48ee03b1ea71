"""From a spec, or from a saved policy, to a :class:`Backbone`.  A partial load is an error, never a warning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoTokenizer, PretrainedConfig
from transformers.initialization import no_init_weights

from vlactl.backbones import fingerprint
from vlactl.backbones.adapter import Backbone, Look
from vlactl.backbones.families import FIRST_WORD, HALF, QUARTER, TINY_WORDS, Family, Layout, randomize
from vlactl.backbones.text import SubwordTokenizer, Tokenizer, WordTokenizer, tokenizer_from_json
from vlactl.errors import CheckpointMismatch, FailureClass, StageFailed, UsageError

if TYPE_CHECKING:
    from vlactl.backbones import BackboneSpec

HUB_ACTION_ROWS = 1024
"""Rows offered for discrete actions in a pretrained vocabulary: the last, least used ones (RT-2, OpenVLA)."""


def build(spec: BackboneSpec, seed: int) -> Backbone:
    """A tiny random model, or pretrained weights from the hub or a folder."""
    return _pretrained(spec) if spec.source else _tiny(spec, seed)


def _tiny(spec: BackboneSpec, seed: int) -> Backbone:
    family = spec.family()
    px = spec.image_px or family.tiny_px
    config = family.tiny_config(px)
    rows = range(FIRST_WORD + TINY_WORDS, config.get_text_config().vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config, dtype=torch.float32)
        randomize(model, model.get_input_embeddings(), rows)
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


def _pretrained(spec: BackboneSpec) -> Backbone:
    family = spec.family()
    source = str(spec.folder) if spec.folder is not None else spec.source
    if spec.folder is not None and spec.revision not in (None, found := fingerprint(spec.folder)):
        raise UsageError(
            f"the weights changed since they were planned: their fingerprint is {found}",
            where=source,
            expected=spec.revision or "",
            remedy="plan the sweep again",
        )
    config = _read(spec, AutoConfig, source)
    _require_family(spec, family, config)
    px = _hub_px(spec, family, config)
    tokenizer = SubwordTokenizer(_read(spec, AutoTokenizer, source).backend_tokenizer)
    # Mismatched sizes are let through to the report, so that they are named like every other misfit.
    more = {"dtype": getattr(torch, spec.dtype), "output_loading_info": True, "ignore_mismatched_sizes": True}
    whole, report = _read(spec, AutoModelForImageTextToText, source, **more)
    _require_complete(source, report)
    layout, action_rows = _hub_layout(family, config, tokenizer, px)
    tied = whole.lm_head.weight is whole.get_input_embeddings().weight
    return _assemble(
        spec,
        family,
        whole.model,
        None if tied else whole.lm_head,
        layout=layout,
        tokenizer=tokenizer,
        look=Look(image_px=px, mean=family.hub_mean, std=family.hub_std),
        action_rows=action_rows,
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


def _read(spec: BackboneSpec, what: Any, source: str, **more: Any) -> Any:
    """``what.from_pretrained`` with errors that say what to do."""
    try:
        return what.from_pretrained(
            source, revision=None if spec.folder else spec.revision, trust_remote_code=False, **more
        )
    except (OSError, ValueError) as error:
        here = f"backbone {spec.kind}, weights {source}" + (f" at {spec.revision}" if spec.revision else "")
        first = str(error).strip().splitlines()[0]
        if spec.folder is None and _is_network(error):
            raise StageFailed(
                f"the hub cannot be reached and the weights are not in its cache: {first}",
                where=here,
                failure=FailureClass.INFRASTRUCTURE,
                remedy=(
                    f"where there is a network: hf download {source} --revision {spec.revision}; then copy the "
                    "cache (HF_HOME) here, or name the downloaded folder in `weights`"
                ),
            ) from error
        raise UsageError(
            f"the weights cannot be read: {first}",
            where=here,
            expected="a folder or repository with config.json, tokenizer and safetensors",
            remedy="correct `weights` and `revision`; a gated repository needs HF_TOKEN",
        ) from error


def _is_network(error: BaseException | None) -> bool:
    """Whether the chain of causes holds a failed connection or a cache miss in offline mode."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & {
            "ConnectionError",
            "ConnectError",
            "TimeoutException",
            "LocalEntryNotFoundError",
            "OfflineModeIsEnabled",
        }:
            return True
        error = error.__cause__ or error.__context__
    return False


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


def _require_complete(source: str, report: dict[str, Any]) -> None:
    """Raise :class:`CheckpointMismatch` unless every weight was read and used."""
    wrong = {
        name.replace("_", " "): sorted(map(str, report.get(name) or ()))
        for name in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    }
    CheckpointMismatch.check(wrong, where=source, remedy="download the repository again, or correct `revision`")


def _hub_layout(family: Family, config: Any, tokenizer: SubwordTokenizer, px: int) -> tuple[Layout, list[int]]:
    """Ids of the family's marks, and the vocabulary's last ordinary rows: one for slots, the others for actions."""
    model, marks = tokenizer.model, family.hub_marks
    special = set(model.get_added_tokens_decoder())
    known = {
        name: tuple(model.encode(text, add_special_tokens=False).ids) if text else ()
        for name, text in (
            ("bos", marks.bos),
            ("before_view", marks.before_view),
            ("after_view", marks.after_view),
            ("before_text", marks.before_text),
            ("after_text", marks.after_text),
        )
    }
    image = model.token_to_id(marks.image)
    if image is None or image != config.image_token_id:
        raise UsageError(
            f"the tokenizer's {marks.image} has id {image}, the model's config says {config.image_token_id}",
            remedy="take tokenizer and weights from one repository",
        )
    rows = min(config.get_text_config().vocab_size, model.get_vocab_size(with_added_tokens=False))
    spare = [row for row in range(rows - 1, -1, -1) if row not in special][: HUB_ACTION_ROWS + 1]
    layout = Layout(image=image, image_tokens=family.image_tokens(config, px), slot=spare[0], pad=0, **known)
    return layout, spare[1:]


# ---- saved policies ------------------------------------------------------------------------------


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


def restore(spec: BackboneSpec, document: dict[str, Any], vocabulary: dict[str, Any]) -> Backbone:
    """A backbone of the described architecture with weights yet to be loaded; reads nothing but its arguments."""
    with no_init_weights():  # drawing billions of weights takes minutes
        model = AutoModel.from_config(AutoConfig.for_model(**document["config"]), dtype=torch.float32)
    text = model.config.get_text_config()
    head = nn.Linear(text.hidden_size, text.vocab_size, bias=False) if document["untied_head"] else None
    look = document["look"]
    return _assemble(
        spec,
        spec.family(),
        model,
        head,
        layout=Layout.from_json(document["layout"]),
        look=Look(image_px=look["image_px"], mean=tuple(look["mean"]), std=tuple(look["std"])),
        tokenizer=tokenizer_from_json(vocabulary),
        action_rows=document["action_rows"],
    )
