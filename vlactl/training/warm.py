"""Importing this imports everything heavy that training needs, so that a process forked afterwards starts at once.

``torch._dynamo`` is not used, but the first optimiser of a process imports it: 2 seconds.  Without DS_ACCELERATOR
DeepSpeed probes for every accelerator that there is and, on a machine without one, complains on standard output; with
PYTORCH_NVML_BASED_CUDA_CHECK looking for a GPU does not open it, which would make the process unfit to be forked.
"""

from __future__ import annotations

import os

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import torch

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")

import deepspeed
import deepspeed.comm
import deepspeed.runtime.zero.stage3
import torch._dynamo

__all__ = ["deepspeed", "torch"]
