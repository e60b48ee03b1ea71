"""Resumable training state that survives a kill at any instant, and a change of the number of ranks.

``checkpoints/step-N/`` holds ``rank-K.safetensors`` (whole trained parameters with their two moments and, where it is
wanted, their running average; rank K writes every world-th of them), ``state.json`` and, written last, ``COMPLETE``
with the size and SHA-256 of each file.  It is built as ``step-N.tmp`` and renamed.  Random numbers, the order of the
data and the learning rate are functions of the update's number, so that number is all the state they have.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vlactl.errors import CheckpointMismatch
from vlactl.training.gang import Gang

KEEP = 2
"""Whole checkpoints kept: should the newest turn out damaged, the one before it is still there."""
FORMAT = 1
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's names of its two moments."""
AVERAGE = "average"
"""The running average of a parameter.  It lies beside the moments in the optimiser's state, so that it is sharded,
gathered, saved and handed to another number of ranks as they are, whatever the ZeRO stage."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where training goes on."""

    path: Path
    update: int
    """Updates that were done; also the number of the next one."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the loop wrote into the checkpoint for itself."""


class Checkpoints:
    """The checkpoints of one work directory, seen by one rank of a gang."""

    def __init__(self, root: Path, gang: Gang) -> None:
        self.root, self.gang = root, gang
        if gang.rank == 0:
            root.mkdir(parents=True, exist_ok=True)
            for unfinished in root.glob("step-*.tmp"):
                LOG.warning("%s was never finished: removed", unfinished)
                shutil.rmtree(unfinished)
        gang.barrier()

    def newest(self) -> Resume | None:
        """The newest whole checkpoint; a damaged one is named in the log and passed over."""
        chosen = -1
        if self.gang.rank == 0:
            chosen = next((number_of(path) for path in self._all() if is_whole(path)), -1)
        # The same choice on every rank: one of them might read a file system that lags behind.
        chosen = int(self.gang.sum([chosen if self.gang.rank == 0 else 0])[0])
        if chosen < 0:
            return None
        path = self.root / f"step-{chosen}"
        state = json.loads((path / "state.json").read_text())
        return Resume(path=path, update=state["update"], notes=state["notes"])

    def save(self, update: int, engine: Any, policy: nn.Module, notes: dict[str, Any]) -> Path:
        """Write the state after ``update`` updates; every rank must call it."""
        draft, final = self.root / f"step-{update}.tmp", self.root / f"step-{update}"
        draft.mkdir(exist_ok=True)
        file = draft / f"rank-{self.gang.rank}.safetensors"
        save_file(self._share(engine, policy), file)
        write(draft / f"{file.name}.sum", json.dumps(measure(file)))
        sync(file)
        self.gang.barrier()
        if self.gang.rank == 0:
            self._finish(draft, final, {"format": FORMAT, "update": update, "world": self.gang.world, "notes": notes})
        self.gang.barrier()
        return final

    def _finish(self, draft: Path, final: Path, state: dict[str, Any]) -> None:
        write(draft / "state.json", json.dumps(state))
        sums = {"state.json": measure(draft / "state.json")}
        for note in sorted(draft.glob("*.sum")):
            sums[note.stem] = json.loads(note.read_text())
            note.unlink()
        write(draft / "COMPLETE", json.dumps(sums))
        sync(draft)
        if final.exists():
            shutil.rmtree(final)
        os.rename(draft, final)
        sync(self.root)
        for old in self._all()[KEEP:]:
            shutil.rmtree(old)

    def _share(self, engine: Any, policy: nn.Module) -> dict[str, Tensor]:
        """This rank's share of the whole state on the CPU; putting it together needs all ranks."""
        share: dict[str, Tensor] = {}
        for index, (name, parameter) in enumerate(trained(policy)):
            mine = index % self.gang.world == self.gang.rank
            for key, value in full_state(engine, parameter):
                if mine:
                    share[f"{key}/{name}"] = value.detach().to("cpu").contiguous()
        if self.gang.rank == 0:
            share.update({f"buffer/{name}": value.detach().to("cpu").contiguous().clone()
                          for name, value in policy.named_buffers()})
        return share

    def _all(self) -> list[Path]:
        """Checkpoint directories, newest first."""
        return sorted((path for path in self.root.glob("step-*") if number_of(path) >= 0), key=number_of, reverse=True)


def trained(policy: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """What a checkpoint covers; the frozen rest is as the stage's inputs made it."""
    return ((name, parameter) for name, parameter in policy.named_parameters() if parameter.requires_grad)


def full_state(engine: Any, parameter: nn.Parameter) -> Iterator[tuple[str, Tensor]]:
    """``parameter`` and its moments as whole float32 tensors, whatever ZeRO stage shards them."""
    yield "parameter", full(engine, parameter, "parameter")
    for key in kept(engine):
        yield key, full(engine, parameter, key)


def full(engine: Any, parameter: nn.Parameter, key: str) -> Tensor:
    """``parameter`` or what the optimiser keeps for it as ``key``, whole; every rank must ask."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if not engine.zero_optimization():
        return parameter if key == "parameter" else engine.basic_optimizer.state[parameter][key]
    value = (safe_get_full_fp32_param(parameter) if key == "parameter"
             else safe_get_full_optimizer_state(parameter, key))
    assert value is not None, "every trained parameter has a master copy and moments"
    return value


def load_weights(resume: Resume, policy: nn.Module) -> None:
    """Copy parameters and buffers into ``policy``, before an engine shards it.

    Raises:
        CheckpointMismatch: the checkpoint belongs to another policy or another choice of frozen parts.
    """
    ours = {**{f"parameter/{name}": value for name, value in trained(policy)},
            **{f"buffer/{name}": value for name, value in policy.named_buffers()}}
    theirs = {name: value for name, value in tensors(resume.path) if name.split("/")[0] in ("parameter", "buffer")}
    wrong = sorted(set(ours) ^ set(theirs)) or [name for name in ours if ours[name].shape != theirs[name].shape]
    if wrong:
        raise CheckpointMismatch(f"{len(wrong)} tensors do not fit the policy: {', '.join(wrong[:5])}",
                                 where=str(resume.path), remedy="delete the work directory to start over")
    with torch.no_grad():
        for name, value in ours.items():
            value.copy_(theirs[name])


def load_moments(resume: Resume, engine: Any, policy: nn.Module) -> None:
    """Fill the engine's allocated moments with what they were."""
    keys = kept(engine)
    moments = {name: value for name, value in tensors(resume.path) if name.split("/")[0] in keys}
    for name, parameter in trained(policy):
        for key in keys:
            set_full(engine, parameter, key, moments[f"{key}/{name}"].to(engine.device))


def set_full(engine: Any, parameter: nn.Parameter, key: str, value: Tensor) -> None:
    """The inverse of :func:`full` for what the optimiser keeps."""
    from deepspeed.utils import (
        safe_get_local_optimizer_state,
        safe_set_full_optimizer_state,
        safe_set_local_optimizer_state,
    )

    if not engine.zero_optimization():
        engine.basic_optimizer.state[parameter][key].copy_(value)
    elif hasattr(parameter, "ds_id"):
        # DeepSpeed's own way of setting the whole fails where the ranks do not divide the parameter.
        mine, rank = safe_get_local_optimizer_state(parameter, key).numel(), engine.global_rank
        padded = nn.functional.pad(value.flatten(), (0, mine * engine.world_size - value.numel()))
        safe_set_local_optimizer_state(parameter, padded[rank * mine:(rank + 1) * mine], key)
    else:
        safe_set_full_optimizer_state(parameter, value, key)


def allocate_moments(engine: Any, updates: int, *, average: bool) -> None:
    """Give AdamW zero moments and a count of updates, for whatever tensors it updates under the engine's ZeRO stage.

    By itself it makes them in its first update, which is too late to load them; and ZeRO 1 and 2 of DeepSpeed 0.19 step
    one parameter group at a time but link the moments of all groups to parameters after the first of these steps, so
    that the later groups would stay without.  With ``average``, a running average begins at the weights themselves.
    """
    for master in masters(engine):
        engine.basic_optimizer.state[master] = {
            "step": torch.tensor(float(updates), device=master.device),
            **{key: torch.zeros_like(master, memory_format=torch.preserve_format) for key in MOMENTS},
            **({AVERAGE: master.detach().clone()} if average else {})}
    if engine.zero_optimization() and not engine.zero_optimization_partition_weights():
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def masters(engine: Any) -> list[Tensor]:
    """The float32 tensors that AdamW updates on this rank: parameters, or flat shards of many of them."""
    if engine.zero_optimization_partition_weights():
        return engine.optimizer.fp32_partitioned_groups_flat
    return [tensor for group in engine.basic_optimizer.param_groups for tensor in group["params"]]


def kept(engine: Any) -> tuple[str, ...]:
    """What the optimiser keeps for every parameter beside the parameter itself."""
    state = engine.basic_optimizer.state[masters(engine)[0]]
    return tuple(key for key in (*MOMENTS, AVERAGE) if key in state)


@torch.no_grad()
def follow(engine: Any, decay: float, updates: int) -> None:
    """Move the running averages towards the weights after ``updates`` updates.

    The decay begins small, as in ``tf.train.ExponentialMovingAverage(num_updates=...)``: the first weights are random,
    and a share of them would stay for thousands of updates.
    """
    weights = masters(engine)
    averages = [engine.basic_optimizer.state[master][AVERAGE] for master in weights]
    weight = 1 - min(decay, (1 + updates) / (10 + updates))
    torch._foreach_lerp_(averages, list(weights), weight)  # pyright: ignore[reportPrivateImportUsage] - as AdamW does


def tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a checkpoint, from however many ranks wrote it."""
    for file in sorted(path.glob("rank-*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                yield name, stored.get_tensor(name)


def is_whole(path: Path) -> bool:
    """Whether every file is there as COMPLETE says; what is wrong goes to the log."""
    try:
        sums = json.loads((path / "COMPLETE").read_text())
        damaged = [name for name, expected in sums.items() if measure(path / name) != expected]
        state = json.loads((path / "state.json").read_text())
        if state["format"] != FORMAT:
            damaged.append(f"format {state['format']}")
    except (OSError, ValueError, KeyError) as error:
        damaged = [str(error)]
    if damaged:
        LOG.warning("%s is damaged and passed over: %s", path, ", ".join(damaged))
    return not damaged


def number_of(path: Path) -> int:
    """N of ``step-N``, -1 for any other name."""
    digits = path.name.removeprefix("step-")
    return int(digits) if digits.isdigit() else -1


def measure(file: Path) -> dict[str, Any]:
    with open(file, "rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def write(file: Path, text: str) -> None:
    file.write_text(text)
    sync(file)


def sync(path: Path) -> None:
    """Force a file or a directory's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
