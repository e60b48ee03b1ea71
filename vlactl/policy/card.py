"""What a policy is, apart from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from vlactl.actions import ActionCodec, FrequencyTokens, StateStatistics
from vlactl.backbones import BACKBONES, BackboneSpec
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formulations import FORMULATIONS, FormulationSpec
from vlactl.spaces import Spaces

FORMAT = 2


def installed() -> dict[str, str]:
    """Versions of what a policy's numbers come from."""
    return {name: version(name) for name in ("torch", "transformers", "vlactl")}


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyCard:
    """Everything that a score depends on beside the weights, and where the policy comes from."""

    backbone: BackboneSpec
    formulation: FormulationSpec
    spaces: Spaces
    """What it sees and how its actions are meant."""
    codec: ActionCodec
    states: StateStatistics
    tokens: FrequencyTokens | None = None
    """The vocabulary of a formulation that writes frequency tokens."""
    recipe: str = ""
    """Digest of the training that made it; empty where nobody said."""
    versions: Mapping[str, str] = field(default_factory=installed)
    """Of torch, transformers and vlactl when it was made."""

    @property
    def revision(self) -> str:
        """Which weights the backbone began with: a commit, a folder's fingerprint, or ``tiny``."""
        return self.backbone.identity().get("revision") or self.backbone.weights

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "backbone": _document(self.backbone),
            "formulation": _document(self.formulation),
            "spaces": self.spaces.to_json(),
            "codec": self.codec.to_json(),
            "states": self.states.to_json(),
            "tokens": None if self.tokens is None else self.tokens.to_json(),
            "provenance": {"backbone_revision": self.revision, "recipe": self.recipe, "versions": dict(self.versions)},
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
        tokens, origin = document["tokens"], document["provenance"]
        return cls(
            backbone=BACKBONES.parse(document["backbone"]),
            formulation=FORMULATIONS.parse(document["formulation"]),
            spaces=Spaces.from_json(document["spaces"]),
            codec=ActionCodec.from_json(document["codec"]),
            states=StateStatistics.from_json(document["states"]),
            tokens=None if tokens is None else FrequencyTokens.from_json(tokens),
            recipe=origin["recipe"],
            versions=origin["versions"],
        )

    def require_consistent(self) -> None:
        """Raise where statistics, spaces and formulation do not belong together."""
        where = f"embodiment {self.spaces.embodiment}"
        wrong = [
            f"{name} statistics have {found} dimensions, the spaces {declared}"
            for name, found, declared in (
                ("action", self.codec.size, self.spaces.action.size),
                ("state", self.states.size, len(self.spaces.observation.state)),
            )
            if found != declared
        ]
        if wrong:
            raise IncompatibleSpaces("; ".join(wrong), where=where)
        reason = self.formulation.space_conflict(self.spaces)
        if reason:
            raise IncompatibleSpaces(reason, where=where)
        if self.codec.actions != self.formulation.actions:
            raise UsageError(
                f"the codec is for {self.codec.actions} actions, the formulation predicts {self.formulation.actions}",
                where=where,
                remedy="fit the codec with this formulation",
            )


def _document(spec: BackboneSpec | FormulationSpec) -> dict[str, Any]:
    return {"kind": spec.kind, **spec.model_dump(mode="json")}
