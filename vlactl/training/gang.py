"""The ranks that train one policy together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as distributed
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """The ranks that train one policy together, and this one's place among them."""

    rank: int
    world: int
    device: torch.device

    def barrier(self) -> None:
        if self.world > 1:
            distributed.barrier()

    def sum(self, numbers: list[float | Tensor]) -> list[float]:
        """Each number summed over the ranks; every rank gets the same answer.  An accelerator is waited for once."""
        there = [number.detach().reshape(()).double() for number in numbers if isinstance(number, Tensor)]
        here = iter(torch.stack(there).tolist() if there else [])
        plain = [next(here) if isinstance(number, Tensor) else float(number) for number in numbers]
        if self.world == 1:
            return plain
        together = torch.tensor(plain, dtype=torch.float64, device=self.device)
        distributed.all_reduce(together)
        return together.tolist()
