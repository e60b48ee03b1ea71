"""DeepSpeed, started by hand: no launcher, no compiled extension, no banner; and the way back to a plain policy."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from vlactl.training import TrainingSettings, deepspeed_config
from vlactl.training.checkpoint import AVERAGE, full
from vlactl.training.gang import Gang
from vlactl.training.tuning import adamw

PATIENCE = timedelta(minutes=10)
"""How long a collective waits for a rank that does not come; a rank that died is noticed at once."""


def join() -> Gang:
    """Join the ranks that RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT name; unset, a gang of one."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cpu")
    os.environ.setdefault("LOCAL_RANK", "0")   # DeepSpeed's engine refuses to start without
    if on_gpu:
        # A launcher may show a rank only its own GPU, which is number 0 then.
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    elif "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if not distributed.is_initialized():
        backend = "nccl" if on_gpu else "gloo"
        if world == 1:   # no port to find and none to collide with
            store = distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage] - public, badly exported
            distributed.init_process_group(backend, store=store, rank=0, world_size=1)
        else:
            distributed.init_process_group(backend, rank=rank, world_size=world, timeout=PATIENCE)
    _join_deepspeed(device)
    return Gang(rank=rank, world=world, device=device)


def _join_deepspeed(device: torch.device) -> None:
    """Give DeepSpeed the process group that exists, without its shared-memory extension.

    On a CPU ``deepspeed.comm.torch.TorchBackend`` compiles ``deepspeed_shm_comm`` (1 to 3 minutes, and there must be a
    compiler) if ``deepspeed.ops.__compatible_ops__`` calls it compatible.  It serves ``inference_all_reduce`` only, for
    tensor-parallel inference.  Training goes through torch.distributed, so it is declared incompatible here.
    """
    from vlactl.training.warm import deepspeed  # before anything of DeepSpeed's

    accelerator = deepspeed.accelerator.get_accelerator()
    if device.type == "cpu" and accelerator and accelerator.device_name() != "cpu":
        # Forked, with every GPU hidden, from a process that could see one.
        from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator
        deepspeed.accelerator.set_accelerator(CPU_Accelerator())
    if not deepspeed.comm.is_initialized():
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend=distributed.get_backend(), auto_mpi_discovery=False, verbose=False)
    # It writes to standard output: that torch's AdamW is untested, and of every update that is left out.
    deepspeed.utils.logger.setLevel(logging.ERROR)
    # DeepSpeed 0.19 calls collectives by the names that torch 2.13 is about to retire, with a warning for every call.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed", message=".*is deprecated")


class Objective(nn.Module):
    """A policy's loss as a module's forward, which is what DeepSpeed hooks into."""

    def __init__(self, policy: Any, is_half: bool) -> None:
        super().__init__()
        self.policy, self.is_half = policy, is_half

    def forward(self, batch: Any, scale: float) -> tuple[Tensor, dict[str, Tensor | float]]:
        """The loss, with its action part times ``scale``, and its parts without gradient."""
        if self.is_half:
            with torch.autocast(next(self.policy.parameters()).device.type, torch.float16):
                loss, parts = self.policy.loss(batch, scale)
        else:
            loss, parts = self.policy.loss(batch, scale)
        return loss, {name: part.detach() if isinstance(part, Tensor) else part for name, part in parts.items()}


def start(policy: Any, settings: TrainingSettings, gang: Gang, *, windows: int, micro_windows: int) -> Any:
    """A DeepSpeed engine over ``policy.loss``; ``policy`` becomes float32 on the gang's device."""
    import deepspeed

    policy.float().train()
    engine, *_ = deepspeed.initialize(
        model=Objective(policy, settings.precision == "fp16"), optimizer=adamw(policy, settings),
        dist_init_required=False,
        config=deepspeed_config(settings, world_size=gang.world, windows=windows, micro_windows=micro_windows))
    if gang.world == 1 and settings.zero_stage == 0:
        engine.enable_backward_allreduce = False   # it would copy every gradient to sum it with nobody's
    return engine


@contextmanager
def whole(parameter: nn.Parameter) -> Iterator[None]:
    """While it lasts, ``parameter.data`` is the full tensor, also where ZeRO 3 shards it.  All ranks must enter."""
    if hasattr(parameter, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            yield
    else:
        yield


def settle(engine: Any, policy: nn.Module, gang: Gang, *, average: bool) -> None:
    """End the engine and leave ``policy`` a plain module on the CPU; under ZeRO 3 it is whole on rank 0 only.

    With ``average``, its trained weights are their running average.
    """
    finished: list[tuple[nn.Parameter, Tensor]] = []
    for parameter in policy.parameters():
        keep = gang.rank == 0 or not hasattr(parameter, "ds_id")
        if average and parameter.requires_grad:
            value = full(engine, parameter, AVERAGE)
            finished.append((parameter, value.detach().to("cpu", copy=True) if keep else torch.empty(0)))
            continue
        with whole(parameter):
            finished.append((parameter, parameter.detach().to("cpu", copy=True) if keep else torch.empty(0)))
    engine.destroy()
    for parameter, value in finished:
        parameter.grad = None
        parameter.data = value
    policy.to("cpu").eval()
