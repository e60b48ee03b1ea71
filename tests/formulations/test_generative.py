"""What an expert learned to make out of noise is what it makes when it acts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.toy_policies import TEXTS, batch, chunks, policy


class Still:
    """A backbone that has seen everything already, so that a test trains the expert only."""

    def __init__(self, hidden: Any) -> None:
        self.hidden = hidden

    def embed(self, *_: Any) -> None:
        return None

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self.hidden


UPDATES = 120


def tiled(values: torch.Tensor, copies: int) -> torch.Tensor:
    return values.repeat(copies, *[1] * (values.ndim - 1))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("flow-matching", {}), ("flow-matching", {"time_sampling": "uniform"}), ("diffusion", {}),
     ("diffusion", {"predict": "sample"})],
)
def test_chunks_learned_by_heart_come_out_of_any_noise(kind: str, fields: dict[str, Any]) -> None:
    """Trained on two windows with ever new noise, and asked again: the same two chunks, whatever the episode's seed."""
    model = policy(kind, expert_width=64, expert_layers=2, **fields)
    formulation, window = model.formulation, batch(1, rows=2)
    window.actions_BHLA = torch.from_numpy(chunks()[:2, None]).float()
    shown = model._shown(window)
    copies = 16
    with torch.no_grad():
        tokens = model.backbone.embed(window.images_BHKYXC, window.texts)
        hidden = model.backbone(tokens, formulation.slots(shown.states_BHS), context=True)
    still: Any = Still(hidden)
    many = replace(shown, actions_BHLA=tiled(shown.actions_BHLA, copies), mask_BHL=tiled(shown.mask_BHL, copies),
                   states_BHS=tiled(shown.states_BHS, copies))
    context: Any = Still(replace(hidden, context=tuple(tiled(layer, copies) for layer in hidden.context),
                                 real_BN=tiled(hidden.real_BN, copies)))
    optimizer = torch.optim.AdamW(formulation.expert.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, UPDATES)
    for update in range(UPDATES):
        many.noise_B = torch.arange(2 * copies) + 2 * copies * update
        loss = formulation(context, many)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    memories = [[(window.images_BHKYXC[i, 0], shown.states_BHS[i, 0])] for i in range(2)]  # pyright: ignore
    wanted = window.actions_BHLA[:, 0]
    for seed in (0, 100):
        noise = [torch.Generator().manual_seed(seed + i) for i in range(2)]
        with torch.no_grad():
            made = formulation.predict(still, memories, TEXTS[:2], 6, noise)
        assert (made - wanted)[..., :-1].abs().mean() < 0.15
        assert torch.equal(made[..., -1] > 0, wanted[..., -1] > 0)
    assert (wanted[0] - wanted[1])[..., :-1].abs().mean() > 0.3
