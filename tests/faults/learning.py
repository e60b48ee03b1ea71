"""Bodies that use the heavy libraries, to show that they work in a forked rank."""

from __future__ import annotations

import os
from pathlib import Path


def gradients(work_dir: Path) -> None:
    """Forward, backward and an update with the threads that the rank was given."""
    import torch

    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    before = model[0].weight.clone()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(512, 256)).square().mean().backward()
    optimiser.step()
    assert not torch.equal(before, model[0].weight)


def engine(work_dir: Path) -> None:
    """DeepSpeed on the CPU, as many ranks as there are."""
    import deepspeed
    import torch

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # else it is compiled, for minutes
    deepspeed.init_distributed("gloo")
    model = torch.nn.Linear(8, 1)
    settings = {"train_batch_size": 2 * int(os.environ["WORLD_SIZE"]), "train_micro_batch_size_per_gpu": 2,
                "zero_optimization": {"stage": 1}, "zero_allow_untested_optimizer": True}
    built, _, _, _ = deepspeed.initialize(model=model, config=settings,
                                          optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    loss = built(torch.ones(2, 8)).mean()
    built.backward(loss)
    built.step()


def reduction(work_dir: Path) -> None:
    """gloo over the ranks."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    total_1 = torch.tensor([float(dist.get_rank() + 1)])
    dist.all_reduce(total_1)
    assert total_1.item() == sum(range(1, dist.get_world_size() + 1))
    dist.destroy_process_group()


def kernel(work_dir: Path) -> None:
    """A parallel numba kernel on the rank's threads."""
    import numba
    import numpy as np

    assert numba.get_num_threads() == int(os.environ["NUMBA_NUM_THREADS"])

    @numba.njit(parallel=True)
    def double(values_N: np.ndarray) -> np.ndarray:
        out_N = np.empty_like(values_N)
        for index in numba.prange(len(values_N)):
            out_N[index] = 2 * values_N[index]
        return out_N

    assert np.array_equal(double(np.arange(1000.0)), 2 * np.arange(1000.0))
