"""Reading configurations, vocabularies and weights from the hub or a folder.  A partial load is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from vlactl.backbones.spec import Repository, fingerprint
from vlactl.backbones.text import SubwordTokenizer
from vlactl.errors import CheckpointMismatch, FailureClass, StageFailed, UsageError

if TYPE_CHECKING:
    from vlactl.backbones import BackboneSpec


class Reader:
    """Where a spec's weights are: one place for each part of the backbone, at one commit each."""

    def __init__(self, spec: BackboneSpec) -> None:
        """Raises :class:`UsageError` when the files of a folder are not those that were planned with."""
        self.spec = spec
        parts = tuple(spec.hub_parts)
        folder = spec.folder
        if folder is None:
            self._places = spec.repositories()
            return
        self._places = {part: Repository(str(folder / part)) for part in parts or ("",)}
        if spec.revision not in (None, found := fingerprint(folder, parts)):
            raise UsageError(
                f"the weights changed since they were planned: their fingerprint is {found}",
                where=str(folder),
                expected=spec.revision or "",
                remedy="plan the sweep again",
            )

    def place(self, part: str = "") -> str:
        """Hub id or folder of a part."""
        return self._places[part].hub_id

    def config(self, part: str = "") -> Any:
        """The configuration of a part."""
        return self._read(AutoConfig, part)

    def tokenizer(self, part: str = "") -> tuple[SubwordTokenizer, str]:
        """The vocabulary of a part and its mark for the end of a text (empty when it has none)."""
        read = self._read(AutoTokenizer, part)
        return SubwordTokenizer(read.backend_tokenizer), read.eos_token or ""

    def weights(self, what: Any, part: str = "", *, unused: tuple[str, ...] = (), **more: Any) -> nn.Module:
        """``what.from_pretrained`` of a part.

        Raises :class:`CheckpointMismatch` unless every weight was there and was used; ``unused`` are prefixes of those
        that a part has beside what is wanted of it (the text tower of CLIP).
        """
        # Mismatched sizes are let through to the report, so that they are named like every other misfit.  Weights are
        # read from safetensors only: the older format is a program that runs when it is read.
        options = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
        model, report = self._read(what, part, dtype=getattr(torch, self.spec.dtype), **options, **more)
        wrong = {
            name.replace("_", " "): sorted(map(str, report.get(name) or ()))
            for name in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        }
        wrong["unexpected keys"] = [key for key in wrong["unexpected keys"] if not key.startswith(unused or ("\0",))]
        remedy = "download the repository again, or correct `revision`"
        CheckpointMismatch.check(wrong, where=self.place(part), remedy=remedy)
        return model

    def _read(self, what: Any, part: str, **more: Any) -> Any:
        """``what.from_pretrained`` with errors that say what to do."""
        spec, place = self.spec, self._places[part]
        try:
            return what.from_pretrained(
                place.hub_id, revision=place.revision, trust_remote_code=spec.remote_code, **more
            )
        except (OSError, ValueError) as error:
            here = f"backbone {spec.kind}, weights {place.hub_id}" + (f" at {place.revision}" if place.revision else "")
            first = str(error).strip().splitlines()[0]
            if spec.folder is None and _is_network(error):
                raise StageFailed(
                    f"the hub cannot be reached and the weights are not in its cache: {first}",
                    where=here,
                    failure=FailureClass.INFRASTRUCTURE,
                    remedy=(
                        f"where there is a network: hf download {place.hub_id} --revision {place.revision}; then copy "
                        "the cache (HF_HOME) here, or name the downloaded folder in `weights`"
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
