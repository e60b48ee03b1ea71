"""Bodies of pretrain and finetune stages: a policy learns from demonstrations, a backbone from pictures with words."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlactl.stages.recording import FEATURES, first_backbone
from vlactl.stages.work import Curve, Heartbeat, Work, place, spec_of

if TYPE_CHECKING:
    import numpy as np

    from vlactl.actions import ActionCodec
    from vlactl.formulations import FormulationSpec
    from vlactl.policy import Policy
    from vlactl.spaces import Spaces
    from vlactl.training import TrainingSettings
    from vlactl.windows import Demonstrations, MixtureStream, PairStream

CHUNKS = 4096
"""Chunks of actions that a vocabulary of frequency tokens is learned from."""


def learn(work: Work, beat: Heartbeat) -> None:
    """Train a policy (a pretrain or a finetune stage) and write it to ``out/policy``."""
    from vlactl.formulations import FORMULATIONS
    from vlactl.training.loop import train

    identity, rank = work.identity, place("RANK", 0)
    settings = settings_of(work)
    formulation = FORMULATIONS.parse(spec_of(work, "formulation"))
    beat(0, identity["updates"], unit="updates", step="building the policy")
    mixture = open_mixture(work, formulation)
    stream = open_stream(work, formulation, settings, mixture)
    policy = begin_policy(work, formulation, mixture, stream)
    summary = train(policy, stream, settings, work.path, updates=identity["updates"], progress=beat,
                    log=Curve(work.out / "metrics.jsonl"))
    if rank == 0:
        shutil.rmtree(work.out / "policy", ignore_errors=True)
        policy.save(work.out / "policy")
        clipped = {source.role: round(source.clipped, 6) for source in mixture if source.clipped}
        work.finish({**summary, **({"clipped_actions": clipped} if clipped else {})})


def speak(work: Work, beat: Heartbeat) -> None:
    """Pretrain a bare backbone on captions and questions and write it to ``out/backbone``."""
    from vlactl.backbones import BACKBONES
    from vlactl.backbones.loading import save_backbone
    from vlactl.training import TrainingSettings
    from vlactl.training.caption import Captioner
    from vlactl.training.loop import train

    identity = work.identity
    beat(0, identity["updates"], unit="updates", step="building the backbone")
    spec = BACKBONES.parse(spec_of(work, "backbone"))
    settings = divided(work, TrainingSettings(updates=identity["updates"], global_batch=spec.vl_batch,
                                              learning_rate=spec.vl_learning_rate))
    backbone = spec.build(identity["seed"])
    stream = open_words(work, identity["words"], spec.vl_batch)
    backbone.tokenizer.extend(stream.texts())
    summary = train(Captioner(backbone), stream, settings, work.path, updates=identity["updates"], progress=beat,
                    log=Curve(work.out / "metrics.jsonl"))
    if place("RANK", 0) == 0:
        shutil.rmtree(work.out / "backbone", ignore_errors=True)
        save_backbone(backbone, work.out / "backbone")
        work.finish(summary)


def settings_of(work: Work) -> TrainingSettings:
    """The identity's settings with the execution settings of this attempt."""
    from vlactl.training import TrainingSettings

    return divided(work, TrainingSettings(**spec_of(work, "training"), updates=work.identity["updates"]))


def divided(work: Work, settings: TrainingSettings) -> TrainingSettings:
    """The settings with the micro-batch of this attempt: divided after each oom."""
    return settings.divided(work.execution.get("micro_batch_divisor", 1), place("WORLD_SIZE", 1))


# ---- what is trained on ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedSource:
    """One source of a mixture, opened."""

    role: str
    episodes: Demonstrations
    codec: ActionCodec
    weight: float
    clipped: float
    """Share of arm values that were beyond what the target can command, where actions were converted to its scale."""


def open_mixture(work: Work, formulation: FormulationSpec) -> list[MixedSource]:
    """The sources of the stage's mixture, in-domain ones first: the first says what the policy will act in.

    Sources of equal spaces share one codec, because one policy has to decode for all of them.  Converted ones have the
    target's.
    """
    from vlactl.actions import ActionCodec
    from vlactl.formats.recorded import RecordedEpisodes
    from vlactl.strategies import IN_DOMAIN
    from vlactl.windows import aligned, subset

    weights: Mapping[str, float] = work.identity["mixture"]
    parts: Mapping[str, Mapping[str, Any]] = work.identity.get("parts", {})
    roles = sorted(weights, key=lambda role: (not role.startswith(IN_DOMAIN), role))
    opened: dict[str, Demonstrations] = {
        role: subset(RecordedEpisodes(work.inputs[role]), **parts.get(role, {})) for role in roles}
    target, clipped = opened[roles[0]].spaces, dict.fromkeys(roles, 0.0)
    for role in roles if work.identity.get("align") == "physical" else ():
        if opened[role].spaces != target:
            opened[role], clipped[role] = aligned(opened[role], target)
    codecs: list[tuple[Spaces, ActionCodec]] = []
    for role in roles:
        spaces = opened[role].spaces
        if all(spaces != known for known, _ in codecs):
            alike = [other for other in opened.values() if other.spaces == spaces]
            codecs.append((spaces, codecs[0][1] if codecs and work.identity.get("align") == "physical"
                           else ActionCodec.fit(formulation, spaces, alike)))
    return [MixedSource(role=role, episodes=opened[role], weight=weights[role], clipped=clipped[role],
                        codec=next(codec for spaces, codec in codecs if spaces == opened[role].spaces))
            for role in roles]


def open_stream(work: Work, formulation: FormulationSpec, settings: TrainingSettings,
                mixture: list[MixedSource]) -> MixtureStream:
    """The stage's batches: windows of the mixture, and beside them its share of pictures with words."""
    import numpy as np

    from vlactl.strategies import split_frames
    from vlactl.windows import MixtureStream

    rank, world, words = place("RANK", 0), place("WORLD_SIZE", 1), work.identity.get("words")
    share = words["share"] if words else 0.0
    windows, pairs = split_frames(share, settings.frames(formulation.history), history=formulation.history, ranks=world)
    seen = formulation.camera_count(len(mixture[0].episodes.spaces.observation.cameras))
    features = [np.load(work.inputs[f"features-of-{source.role}"] / FEATURES, mmap_mode="r", allow_pickle=False)
                if source.weight else None for source in mixture] if settings.cache_vision else None
    return MixtureStream([(source.episodes, source.codec, source.weight) for source in mixture],
                         names=[source.role for source in mixture], history=formulation.history,
                         horizon=formulation.horizon, execute=formulation.execute, batch_windows=windows,
                         seed=work.identity["seed"], rank=rank, world=world, cameras=seen, features=features,
                         temperature=work.identity.get("temperature"), repeat_current=formulation.repeat_current,
                         pairs=open_words(work, words["mixture"], pairs, cameras=seen) if words else None)


def open_words(work: Work, weights: Mapping[str, float], pairs: int, cameras: int | None = None) -> PairStream:
    """``pairs`` pictures with words per update, over all ranks."""
    from vlactl.formats.recorded import RecordedEpisodes
    from vlactl.windows import PairStream

    return PairStream([(RecordedEpisodes(work.inputs[role]), weight) for role, weight in sorted(weights.items())],
                      batch_windows=pairs, seed=work.identity["seed"], rank=place("RANK", 0),
                      world=place("WORLD_SIZE", 1), cameras=cameras)


# ---- what is trained ---------------------------------------------------------------------------------------------


def begin_policy(work: Work, formulation: FormulationSpec, mixture: list[MixedSource],
                 stream: MixtureStream) -> Policy:
    """A new policy, or the pretrained one turned to the first source's embodiment."""
    import numpy as np

    from vlactl.actions import StateStatistics
    from vlactl.policy import Policy

    target = mixture[0]
    spaces = target.episodes.spaces
    states = StateStatistics.fit(np.concatenate([source.episodes.states_NS for source in mixture
                                                 if source.episodes.spaces == spaces]))
    texts = {text for source in mixture for text in source.episodes.instructions}
    texts |= set(stream.pairs.texts()) if stream.pairs else set()
    vl_weight = work.identity.get("words", {}).get("weight", 1.0)
    if "pretrain" in work.inputs:
        policy = Policy.load(work.inputs["pretrain"] / "policy")
        policy.adapt(spaces, target.codec, states, sorted(texts), vl_weight=vl_weight, recipe=work.digest)
        return policy
    return Policy.create(first_backbone(work), formulation, spaces, target.codec, states, sorted(texts),
                         work.identity["seed"], chunks_NLA=some_chunks(target, formulation), vl_weight=vl_weight,
                         recipe=work.digest)


def some_chunks(source: MixedSource, formulation: FormulationSpec) -> np.ndarray | None:
    """Normalised chunks of actions (N, L, A), evenly spaced over a source; None where no tokens are learned from them.
    """
    import numpy as np

    from vlactl.formulations import WrittenFrequencies
    from vlactl.windows import cut

    if not isinstance(formulation, WrittenFrequencies):
        return None
    episodes = source.episodes
    frames = len(episodes.states_NS)
    anchors = np.unique(np.linspace(0, frames - 1, min(CHUNKS, frames)).astype(np.int64))
    found = cut(episodes, anchors, history=1, horizon=formulation.horizon, execute=formulation.execute)
    return source.codec.encode(episodes.actions_NA[found.actions_BHL], episodes.states_NS[found.images_BH])[:, 0]
