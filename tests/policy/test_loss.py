"""What a policy's loss adds to its formulation's: words, kept features, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.toy_policies import batch, pictures, policy
from vlactl.formulations import FORMULATIONS
from vlactl.policy import Policy
from vlactl.windows import Batch, PairBatch


def pairs(count: int = 3) -> PairBatch:
    return PairBatch(images_BKYXC=pictures(count, 2, seed=4), questions=["", "open the drawer", ""][:count],
                     answers=["the red block", "push the button", "lift the door"][:count])


def losses(model: Policy, window: Batch, scale: float = 1.0) -> tuple[float, dict[str, float]]:
    with torch.no_grad():
        loss, parts = model.loss(window, scale)
    return float(loss), {name: float(part) for name, part in parts.items()}


def test_pictures_with_words_add_their_weighted_mean_and_scale_does_not_touch_them() -> None:
    model = policy("one-step-continuous").eval()
    alone, _ = losses(model, batch(1))
    with torch.no_grad():
        words = float(model.backbone.language_loss(pairs().images_BKYXC, pairs().questions, pairs().answers)[0].mean())
    both, parts = losses(model, replace(batch(1), pairs=pairs()))
    assert both == pytest.approx(alone + words, rel=1e-5)
    assert parts["vl_loss"] == pytest.approx(words, rel=1e-5)
    assert words > 0.1
    model.vl_weight = 0.25
    scaled, _ = losses(model, replace(batch(1), pairs=replace(pairs(), scale=0.5)), scale=2.0)
    assert scaled == pytest.approx(2 * alone + 0.25 * 0.5 * words, rel=1e-5)


def test_micro_batches_share_out_what_one_batch_learns() -> None:
    """The sum over parts, each with its share of control steps, has the gradient of the whole."""
    model = policy("policy-head-continuous").eval()
    window = replace(batch(4), pairs=pairs(2))
    window.mask_BHL[0, :, 2:] = False
    steps = int(window.mask_BHL.sum())

    def gradient(parts: list[Batch]) -> torch.Tensor:
        model.zero_grad()
        for part in parts:
            scale = int(part.mask_BHL.sum()) / steps * len(parts)
            (model.loss(part, scale)[0] / len(parts)).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole, halves = gradient([window]), gradient([window.rows(0, 2), window.rows(2, 4)])
    torch.testing.assert_close(halves, whole, atol=1e-5, rtol=1e-3)
    assert whole.abs().max() > 1e-3


@pytest.mark.parametrize("kind", list(FORMULATIONS))
def test_kept_features_say_what_the_pictures_do(kind: str) -> None:
    model = policy(kind).eval()
    window = batch(model.card.formulation.history, rows=2)
    window.mask_BHL[0, 1:] = False
    assert window.images_BHKYXC is not None
    seen, _ = losses(model, window)
    with torch.no_grad():
        kept = model.backbone.picture_features(window.images_BHKYXC.flatten(0, 1))
    features = kept.unflatten(0, window.images_BHKYXC.shape[:2])
    again, _ = losses(model, replace(window, images_BHKYXC=None, features_BHKPD=features))
    assert again == pytest.approx(seen, rel=5e-6)
    other, _ = losses(model, replace(window, images_BHKYXC=None, features_BHKPD=features.flip(2)))
    assert other != pytest.approx(seen, rel=2e-5)
