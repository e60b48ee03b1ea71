"""DeepSpeed, started by hand: no launcher, no compiled extension, no banner; and the way back to a plain policy."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from vlactl.errors import UsageError
from vlactl.training import TrainingSettings, deepspeed_config
from vlactl.windows import Batch

PATIENCE = timedelta(minutes=10)
"""How long a collective waits for a rank that does not come; a rank that died is noticed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """The ranks that train one policy together, and this one's place among them."""

    rank: int
    world: int
    device: torch.device

    def barrier(self) -> None:
        if self.world > 1:
            distributed.barrier()

    def sum(self, numbers: list[float]) -> list[float]:
        """Each number summed over the ranks; every rank gets the same answer."""
        if self.world == 1:
            return numbers
        together = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        distributed.all_reduce(together)
        return together.tolist()


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
    # DeepSpeed 0.19 calls collectives by the names that torch 2.13 is about to retire, with a warning for every call.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed", message=".*is deprecated")


class Objective(nn.Module):
    """A policy's loss as a module's forward, which is what DeepSpeed hooks into."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch, scale: float) -> tuple[Tensor, dict[str, Tensor | float]]:
        """The loss times ``scale``, and its parts without gradient."""
        loss, parts = self.policy.loss(batch)
        return (loss if scale == 1.0 else loss * scale,
                {name: part.detach() if isinstance(part, Tensor) else part for name, part in parts.items()})


def freeze(policy: Any, subtrees: Iterable[str]) -> None:
    """Let the backbone's named subtrees stay as they are.

    Raises:
        UsageError: the backbone has no such subtree, or nothing is left to train.
    """
    names = tuple(subtrees)
    if names:
        parts = policy.backbone.subtrees()
        for name in names:
            if name not in parts:
                raise UsageError(f"the backbone has no subtree '{name}'", where="training.freeze",
                                 expected=" | ".join(parts))
            for parameter in parts[name]:
                parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in policy.parameters()):
        raise UsageError("nothing is left to train", where="training.freeze", remedy="freeze fewer subtrees")


def adamw(policy: nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """torch's fused AdamW over what is not frozen; vectors do not decay."""
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    groups = [{"params": [parameter for parameter in trained if parameter.ndim > 1],
               "weight_decay": settings.weight_decay},
              {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate,
                             betas=settings.betas, eps=settings.epsilon, fused=True)


def start(policy: nn.Module, settings: TrainingSettings, gang: Gang, *, windows: int, micro_windows: int) -> Any:
    """A DeepSpeed engine over ``policy.loss``; ``policy`` becomes float32 on the gang's device."""
    import deepspeed

    policy.float().train()
    engine, *_ = deepspeed.initialize(
        model=Objective(policy), optimizer=adamw(policy, settings), dist_init_required=False,
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


def settle(engine: Any, policy: nn.Module, gang: Gang) -> None:
    """End the engine and leave ``policy`` a plain module on the CPU; under ZeRO 3 it is whole on rank 0 only."""
    finished: list[tuple[nn.Parameter, Tensor]] = []
    for parameter in policy.parameters():
        with whole(parameter):
            keep = gang.rank == 0 or not hasattr(parameter, "ds_id")
            finished.append((parameter, parameter.detach().to("cpu", copy=True) if keep else torch.empty(0)))
    engine.destroy()
    for parameter, value in finished:
        parameter.grad = None
        parameter.data = value
    policy.to("cpu").eval()
