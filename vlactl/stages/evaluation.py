"""Body of evaluate stages: every episode of the protocol, once."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vlactl.disk import replace_text
from vlactl.errors import FailureClass, StageFailed
from vlactl.stages.work import Heartbeat, Work, accelerator, read_rows, spec_of

if TYPE_CHECKING:
    from vlactl.benchmarks import Benchmark, BenchmarkSpec
    from vlactl.policy import Actor


def attempt(work: Work, beat: Heartbeat) -> None:
    """Attempt every episode of the protocol that has no record yet; scores go to ``result.json``."""
    from vlactl.benchmarks import BENCHMARKS
    from vlactl.identity import digest, plain
    from vlactl.rollout import evaluate, from_json, summarise, to_json

    started = time.monotonic()
    beat(0, None, unit="rollouts", step="opening the benchmark")
    spec = BENCHMARKS.parse(spec_of(work, "evaluation"))
    protocol = work.identity["protocol"]
    if plain(spec.protocol()) != protocol:
        raise StageFailed("this machine's benchmark is not the one that was planned", failure=FailureClass.USER_ERROR,
                          expected=changed_fields(protocol, spec.protocol()),
                          remedy="plan again on this machine, or install the versions that were planned with")
    benchmark = spec.build()
    actor = work.identity.get("policy") or open_actor(work, spec, benchmark)
    episodes = benchmark.episodes()
    records, video = work.out / "rollouts.jsonl", work.out / "rollout.mp4"
    done = {row["key"]: from_json(row) for row in read_rows(records)}
    replace_text(records, "".join(json.dumps(to_json(rollout)) + "\n" for rollout in done.values()))
    with open(records, "a", buffering=1) as file:
        rollouts = evaluate(benchmark, actor, episodes, batch=work.execution.get("rollouts_in_parallel", 25),
                            progress=beat, on_rollout=lambda rollout: print(json.dumps(to_json(rollout)), file=file),
                            done=done, video=None if video.exists() else video)
    work.finish({**summarise(rollouts), "protocol": protocol, "protocol_digest": digest(protocol),
                 "seconds": round(time.monotonic() - started, 3)})


def open_actor(work: Work, spec: BenchmarkSpec, benchmark: Benchmark) -> Actor:
    """The trained policy, ready to act in ``benchmark`` as ``spec`` executes plans; raises where spaces differ."""
    from vlactl.policy import Actor, Policy
    from vlactl.spaces import require_equal

    policy = Policy.load(work.inputs["policy"] / "policy")
    require_equal(policy.card.spaces, benchmark.spaces, where=work.label)
    return Actor(policy.to(accelerator()), execution=spec.execution, ensemble_decay=spec.ensemble_decay)


def changed_fields(planned: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """``mujoco: 4.0.0 (here 3.3.0)`` for each field that differs."""
    from vlactl.identity import difference

    return "; ".join(f"{key}: {old} (here {new})" for key, old, new in difference(planned, here))
