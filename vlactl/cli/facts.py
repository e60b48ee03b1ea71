"""What a member of a menu is, beyond its fields: weights, pictures and legal partners of a backbone, the paper's places
of a formulation, the phases of a strategy, what a benchmark or source lacks on this machine.

Facts are ``(label, text)``; everything comes from the menus and imports neither torch nor a simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vlactl.backbones import BackboneSpec
    from vlactl.formulations import FormulationSpec
    from vlactl.strategies import Phase

Facts = list[tuple[str, str]]

MASKS = {
    "causal": "every token sees the earlier ones",
    "prefix": "pictures and text see each other both ways, slots the earlier ones",
    "picture-blocks": "the tokens of one picture see each other both ways, others the earlier ones",
    "cross-attention": "words look at pictures, which have no tokens of their own",
    "encoder-decoder": "pictures and text in an encoder, slots in a decoder",
}
EQUATIONS = {
    "one-step-continuous": "eq. 10",
    "one-step-discrete": "eq. 11",
    "interleaved-continuous": "eq. 12",
    "policy-head-continuous": "eq. 13-14",
}
"""Where RoboVLMs (arXiv 2412.14058v3) writes a formulation down."""
EXAMPLE = {
    "in-domain": ("panda",),
    "cross-embodiment": ("stubby", "gantry"),
    "vision-language": ("captions",),
}
"""Sources with which a strategy is shown."""


def facts_of(kind: str, model: type[BaseModel]) -> Facts:
    """What is known of a member of the family ``kind``; empty where its fields say all."""
    tellers: Mapping[str, Callable[[Any], Facts]] = {
        "backbones": backbone_facts,
        "formulations": formulation_facts,
        "strategies": strategy_facts,
        "benchmarks": running_facts,
        "formats": running_facts,
    }
    member: Any = model
    return tellers[kind](member) if kind in tellers else []


def brief(kind: str, model: type[BaseModel]) -> list[str]:
    """The columns between name and description in a list of the family, under :func:`heads`."""
    if kind == "backbones":
        spec: Any = model
        pretrained = " + ".join(place.hub_id for place in spec.hub_parts.values()) or spec.hub_id
        picture = f"{spec.hub_px or '?'} px, {spec.hub_tokens or '?'} tokens"
        return [pretrained, picture, spec.mask]
    if kind == "formulations":
        return [EQUATIONS.get(getattr(model, "kind", ""), "-"), str(getattr(made(model), "history", "-"))]
    return []


def heads(kind: str) -> list[str]:
    return {"backbones": ["PRETRAINED", "PICTURE", "WHO SEES WHOM"], "formulations": ["PAPER", "FRAMES"]}.get(kind, [])


def made(model: type[BaseModel]) -> Any:
    """The member with its defaults; None where a field must be given."""
    from pydantic import ValidationError

    try:
        return model()
    except ValidationError:
        return None


# ---- backbones ----


def backbone_facts(model: type[BackboneSpec]) -> Facts:
    found: Facts = [("weights", "tiny (random, about a million parameters) or pretrained")]
    if model.hub_parts:
        found += [(f"pretrained {part}", placed(place)) for part, place in model.hub_parts.items()]
    elif model.hub_id:
        found.append(("pretrained", placed((model.hub_id, model.hub_revision))))
    found += [(f"size {name}", placed(place)) for name, place in model.hub_sizes.items()]
    if model.remote_code:
        found.append(("remote code", "runs code of its repository, only at a commit that is named"))
    found.append(("picture", picture(model)))
    found += [(part, ", ".join(getattr(model, part))) for part in ("vision", "connector", "language")]
    kind = "decoder-only" if model.decoder_only else "not decoder-only"
    found.append(("sequence", f"{kind}; {model.mask}: {MASKS.get(model.mask, model.mask)}; padding {model.padding}"))
    found.append(("features", "a frozen vision tower's can be cached (training.cache_vision)" if model.caches_features
                  else "cannot be cached"))
    legal, illegal = partners(model)
    found.append(("formulations", ", ".join(legal) or "none"))
    found += [("not", f"{name}: {reason}") for name, reason in illegal]
    return found + published_of("backbone", getattr(model, "kind", ""))


def placed(place: Any) -> str:
    """``google/paligemma-3b-pt-224 at 35e4f464…``"""
    hub_id, revision = place
    return f"{hub_id} at {revision}" if revision else f"{hub_id}, at the commit that the recipe names as revision"


def picture(model: type[BackboneSpec]) -> str:
    side = f"{model.hub_px} px" if model.hub_px else "a side that its weights say"
    tokens = f", {model.hub_tokens} tokens" if model.hub_tokens else ""
    return f"pretrained: {side}{tokens} for each camera; tiny: 64 px; image_px changes it"


def partners(model: type[BackboneSpec]) -> tuple[list[str], list[tuple[str, str]]]:
    """Formulations that can be asked of a backbone, and the others with the reason."""
    from vlactl.formulations import FORMULATIONS

    backbone = made(model)
    specs = {name: made(FORMULATIONS.get(name)) for name in FORMULATIONS} if backbone is not None else {}
    found = {name: spec.conflicts(backbone) for name, spec in specs.items() if spec is not None}
    return ([name for name, reason in found.items() if reason is None],
            [(name, reason) for name, reason in found.items() if reason is not None])


# ---- formulations ----


def formulation_facts(model: type[FormulationSpec]) -> Facts:
    from vlactl.backbones import BACKBONES

    spec = made(model)
    kind = getattr(model, "kind", "")
    found: Facts = [("paper", EQUATIONS[kind])] if kind in EQUATIONS else []
    if spec is None:
        return found
    found.append(("frames", f"{spec.history} seen, {spec.horizon} actions predicted, {spec.execute} of them executed"))
    backbones = {name: made(BACKBONES.get(name)) for name in BACKBONES}
    reasons = {name: spec.conflicts(each) for name, each in backbones.items() if each is not None}
    legal = [name for name, reason in reasons.items() if reason is None]
    found.append(("backbones", "all" if len(legal) == len(reasons) else ", ".join(legal)))
    found += [("not", f"{name}: {reason}") for name, reason in reasons.items() if reason is not None]
    return found + published_of("formulation", kind)


# ---- strategies ----


def strategy_facts(model: type[BaseModel]) -> Facts:
    """The phases that the defaults make of example sources."""
    strategy = made(model)
    if strategy is None:
        return [("phases", "as the recipe writes them out")]
    found: Facts = [("needs", ", ".join(f"a source of role {role}" for role in strategy.needs()))]
    roles = "; ".join(f"{role}: {', '.join(names)}" for role, names in EXAMPLE.items())
    found.append(("example", f"with the sources {roles}"))
    found += [(f"phase {number}", phase_text(phase)) for number, phase in enumerate(strategy.phases(EXAMPLE), start=1)]
    return found + published_of("strategy", getattr(model, "kind", ""))


def phase_text(phase: Phase) -> str:
    """``pretrain, 50 % of the updates: stubby 50 %, gantry 50 %``"""
    drawn = [f"{item.source} {100 * item.weight:g} %{part_text(item)}" for item in phase.mixture if item.weight]
    silent = [item.source for item in phase.mixture if not item.weight]
    text = f"{phase.kind}, {100 * phase.share:g} % of the updates: {', '.join(drawn)}"
    text += f"; statistics only: {', '.join(silent)}" if silent else ""
    text += f"; {100 * phase.vl_share:g} % of the frames are pictures with words" if phase.vl_share else ""
    text += f"; weights by size at temperature {phase.temperature:g}" if phase.temperature is not None else ""
    text += f"; tuning {phase.tuning}" if phase.tuning else ""
    return text + ("; shared by all trials that go on from it" if phase.kind == "pretrain" else "; then it is tested")


def part_text(item: Any) -> str:
    """Which of a source's demonstrations; empty for all."""
    parts = [f"{100 * item.portion:g} % of them"] if item.portion != 1 else []
    parts += [f"{item.per_task} of each task"] if item.per_task is not None else []
    return f" ({', '.join(parts)})" if parts else ""


# ---- benchmarks, sources, published numbers ----


def running_facts(model: type[BaseModel]) -> Facts:
    """Whether the defaults can run on this machine."""
    spec = made(model)
    lacks = spec.missing() if spec is not None else ()
    if spec is None:
        return []
    return [("here", "lacks nothing")] if not lacks else [("here it lacks", text) for text in lacks]


def published_of(coordinate: str, value: str) -> Facts:
    """The published tables with rows of this member."""
    from vlactl import published

    found = [
        f"{table.id}, {table.place}"
        for table in map(published.table, published.names())
        if coordinate in table.coordinates and any(value in row.cell.get(coordinate, ()) for row in table.rows)
    ]
    return [("published", "; ".join(found))] if found else []
