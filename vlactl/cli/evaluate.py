"""``eval``: one policy in one benchmark, outside any sweep."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.screen import ProgressLine, columns, emit, say
from vlactl.errors import UsageError

if TYPE_CHECKING:
    from vlactl.benchmarks import BenchmarkSpec
    from vlactl.episodes import Rollout
    from vlactl.rollout import Actor


def eval_(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            help="A policy's folder, a trial, a stage's digest, or scripted-expert (expert) | random | zero.",
            show_default=False,
        ),
    ],
    benchmark: Annotated[
        str, typer.Option("--benchmark", help="Which benchmark (vlactl list benchmarks).")
    ] = "tabletop",
    n: Annotated[int, typer.Option("--n", min=1, help="How many episodes: the first ones of the frozen list.")] = 50,
    fields: options.Fields = None,
    parallel: Annotated[int, typer.Option(min=1, help="Simulations stepped together.")] = 8,
    device: Annotated[
        str, typer.Option(help="cpu | cuda. Default: cuda where torch finds it.", show_default=False)
    ] = "",
    video: Annotated[Path | None, typer.Option(help="MP4 of the first episode.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the rollouts, one JSON object per line.", show_default=False),
    ] = None,
    json: options.Json = False,
) -> None:
    """Evaluate one policy: chains of tasks, SR@1..5 and average length with 95 % intervals.

    The result is printed, not put in the store: what a table compares is evaluated by sweeps. Fields of the benchmark
    (vlactl show benchmarks tabletop) are given with --set; the scripted expert is the ceiling, random and zero actions
    are the floors, and none of them sees a picture.

    \b
    vlactl eval scripted-expert --benchmark tabletop --n 100
    vlactl eval smolvlm/one-step-continuous/in-domain/seed-0 --n 200 --video film.mp4
    vlactl eval runs/policy --set shift=light+camera --set shift_variant=3
    """
    from vlactl.benchmarks import BENCHMARKS
    from vlactl.rollout import REFERENCES, evaluate, summarise, to_json

    spec = options.parse_spec(BENCHMARKS, benchmark, [*(fields or ()), f"chains={n}"])
    actor: Any = policy if policy in REFERENCES else open_policy(policy, spec, device)
    if output is not None and not output.parent.is_dir():
        raise UsageError("there is no such folder", where=str(output.parent), remedy="make it, or name another file")
    world = spec.build()
    with ProgressLine("evaluating", as_json=json) as progress:
        rollouts = evaluate(world, actor, world.episodes(), batch=parallel, progress=progress, video=video)
    if output is not None:
        output.write_text("".join(jsonlib.dumps(to_json(rollout)) + "\n" for rollout in rollouts))
    document = {
        "policy": policy,
        "reference": REFERENCES.get(policy),
        "benchmark": benchmark,
        **scores(rollouts),
        "summary": summarise(rollouts),
        **protocol(spec),
    }
    if json:
        emit({"type": "evaluation", **document})
    else:
        say(page(document))


def open_policy(wanted: str, spec: BenchmarkSpec, device: str) -> Actor:
    """The policy's actor; raises :class:`~vlactl.errors.IncompatibleSpaces` where it does not fit the benchmark."""
    from vlactl.spaces import require_equal

    folder = policy_folder(wanted)
    import torch

    from vlactl.policy import Actor, Policy

    loaded = Policy.load(folder)
    require_equal(loaded.card.spaces, spec.spaces(), where=f"{folder} in {spec.kind}")
    return Actor(loaded.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), execution=spec.execution,
                 ensemble_decay=spec.ensemble_decay)


def policy_folder(wanted: str) -> Path:
    """Where the policy is that a folder, a trial or a stage's digest means."""
    from vlactl.cli.lookup import find_stage, known_stages
    from vlactl.store import Store, home

    given = Path(wanted)
    for folder in (given, given / "policy", given / "out" / "policy"):
        if (folder / "card.json").is_file():
            return folder
    if given.is_dir():
        raise UsageError(
            "there is no policy in this folder",
            where=wanted,
            expected="card.json, weights.safetensors, tokenizer.json",
            remedy="name the folder that a finetune stage wrote",
        )
    root = home(Path.cwd())
    trained = [stage for stage in known_stages(root) if stage.kind in ("pretrain", "finetune")]
    stage = find_stage(trained, wanted)
    return Path(Store(root).artifact(stage.digest).path) / "policy"


def protocol(spec: BenchmarkSpec) -> dict[str, Any]:
    """A number carries its protocol."""
    from vlactl.identity import digest

    fields = spec.protocol()
    return {"protocol": fields, "protocol_digest": digest(fields)}


def scores(rollouts: tuple[Rollout, ...]) -> dict[str, Any]:
    """Every metric with its interval, over the episodes that were not lost to infrastructure."""
    import numpy as np

    from vlactl import statistics
    from vlactl.rollout import CHAIN

    solved_N = np.array([rollout.solved for rollout in rollouts if rollout.status != "infra_error"], dtype=float)
    if not len(solved_N):
        raise UsageError(
            "no episode could be scored: the simulator failed in all of them", remedy="vlactl doctor --deep"
        )
    rates = {f"sr{k}": statistics.rate(solved_N >= k) for k in range(1, CHAIN + 1)}
    found = {**rates, "avg_len": statistics.score(solved_N, bounds=(0.0, float(CHAIN)))}
    return {
        "episodes": len(solved_N),
        "scores": {name: {"mean": each.mean, "low": each.low, "high": each.high} for name, each in found.items()},
    }


def page(document: dict[str, Any]) -> str:
    from vlactl.report.protocols import protocol_line

    rows = [
        (name, f"{each['mean']:.3f}", f"[{each['low']:.3f}, {each['high']:.3f}]", f"{document['episodes']}")
        for name, each in document["scores"].items()
    ]
    tasks = [(task, f"{won}/{tried}") for task, (won, tried) in document["summary"]["per_task"].items()]
    lost = document["summary"]["infra_errors"]
    return "\n".join(
        [
            f"{document['policy']}: {document['episodes']} episodes"
            + (f", {lost} lost to infrastructure" if lost else "")
            + (", a reference that sees no pictures" if document["reference"] else ""),
            "",
            columns(rows, ("METRIC", "MEAN", "95 %", "N"), right=(1, 3)),
            "",
            columns(tasks, ("TASK", "DONE"), right=(1,)),
            "",
            "protocol: " + protocol_line(document["protocol"], document["protocol_digest"]),
        ]
    )
