"""What of a policy is trained: frozen parts, low-rank adapters, a learning rate of its own for each part.

LoRA comes from peft.  Adapters go into the linear layers of the chosen subtrees, which are found by their weights:
names such as ``q_proj`` occur in vision towers as well, and some towers have one ``qkv``.  They are merged at the end,
so that a saved policy does not tell how it was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vlactl.errors import UsageError
from vlactl.training import TrainingSettings

REST = "formulation"
"""What the parameters outside the backbone are called: slots and heads."""


@contextmanager
def tuned(policy: Any, settings: TrainingSettings, *, seed: int) -> Iterator[None]:
    """While it lasts, ``policy`` requires gradients, and has adapters, as ``settings.tuning`` says.

    ``seed`` draws the adapters.  Left without an error, it merges them: ``policy`` must be whole then, or its
    parameters empty (as on all ranks but the first after ZeRO 3).

    Raises:
        UsageError: the backbone lacks a part that ``settings.tuning`` speaks of, or nothing is left to train.
    """
    before = {parameter: parameter.requires_grad for parameter in policy.parameters()}
    merge = False
    try:
        freeze(policy, settings)
        if settings.tuning == "lora":
            adapt(policy, settings, seed)
        if not any(parameter.requires_grad for parameter in policy.parameters()):
            raise UsageError("nothing is left to train", where="training.tuning",
                             remedy="freeze less of the backbone")
        yield
        merge = True
    finally:
        if settings.tuning == "lora":
            detach(policy, merge=merge)
        for parameter, wanted in before.items():
            parameter.requires_grad_(wanted)


def freeze(policy: Any, settings: TrainingSettings) -> None:
    """Let the parts of the backbone that ``settings.frozen`` names stay as they are."""
    parts = policy.backbone.subtrees()
    needed = {"frozen-vision": ("vision",), "connector": ("connector",), "lora": settings.lora_parts}
    for name in needed.get(settings.tuning, ()):
        if not parts.get(name):
            raise UsageError(f"tuning {settings.tuning}: the backbone has no {name} with weights of its own",
                             where="training.tuning", expected=" | ".join(name for name in parts if parts[name]))
    for name in settings.frozen:
        for parameter in parts.get(name, ()):
            parameter.requires_grad_(False)


def counted(policy: Any) -> dict[str, int]:
    """Trained parameters of every part of the backbone, and of the rest."""
    parts = {name: sum(p.numel() for p in parameters if p.requires_grad)
             for name, parameters in policy.backbone.subtrees().items()}
    return {**parts, REST: sum(p.numel() for p in policy.parameters() if p.requires_grad) - sum(parts.values())}


def adamw(policy: Any, settings: TrainingSettings) -> torch.optim.AdamW:
    """torch's fused AdamW over what is trained; vectors do not decay.  A group's ``multiplier`` is its part's rate."""
    rate_of = {parameter: settings.rates.get(name, 1.0)
               for name, parameters in policy.backbone.subtrees().items() for parameter in parameters}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in policy.parameters():
        if parameter.requires_grad:
            groups.setdefault((rate_of.get(parameter, 1.0), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "weight_decay": settings.weight_decay if decays else 0.0, "multiplier": multiplier,
          "lr": settings.learning_rate * multiplier} for (multiplier, decays), parameters in groups.items()],
        lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True)


# ---- LoRA ----------------------------------------------------------------------------------------


def linear_layers(backbone: Any, parts: tuple[str, ...]) -> list[str]:
    """Names of the linear layers in the backbone's ``parts``; without the vocabulary's, as peft's "all-linear"."""
    subtrees = backbone.subtrees()
    inside = {parameter for name in parts for parameter in subtrees[name]}
    vocabulary = getattr(backbone, "head", None)
    return [name for name, module in backbone.named_modules()
            # A subclass (nn.MultiheadAttention's output) is not called, its weights are used elsewhere.
            if type(module) is nn.Linear and module.weight in inside and module is not vocabulary]


def adapt(policy: Any, settings: TrainingSettings, seed: int) -> None:
    """Put adapters beside the linear layers of ``settings.lora_parts``."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    backbone = policy.backbone
    names = linear_layers(backbone, settings.lora_parts)
    config = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha,  # pyright: ignore[reportArgumentType] - any number
                        lora_dropout=settings.lora_dropout,
                        target_modules=[f"backbone.{name}" for name in names], bias="none")
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # In a plain box: to the library's own models, and their names, peft applies rules of its own.
        inject_adapter_in_model(config, nn.ModuleDict({"backbone": backbone}))
    adapted = [name for name, module in backbone.named_modules() if isinstance(module, LoraLayer)]
    if sorted(adapted) != sorted(names):
        raise AssertionError(f"peft adapted other layers than it was told: {set(adapted) ^ set(names)}")
    for parameter in trained:
        parameter.requires_grad_(True)


def detach(policy: Any, *, merge: bool) -> None:
    """Put the plain layers back, with what their adapters learned added to their weights if ``merge``."""
    from peft.tuners.lora import LoraLayer

    backbone = policy.backbone
    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            plain: Any = module.get_base_layer()
            if merge and plain.weight.numel():
                with torch.no_grad():
                    plain.weight += module.get_delta_weight("default")  # pyright: ignore[reportAttributeAccessIssue]
            parent, _, leaf = name.rpartition(".")
            setattr(backbone.get_submodule(parent), leaf, plain)
