"""Hidden states of every layer and token, and pictures that are kept as features."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.toy_policies import TEXTS, backbone_of, pictures
from vlactl.backbones import BACKBONES
from vlactl.backbones.adapter import Backbone
from vlactl.backbones.families import Family
from vlactl.backbones.prompt import Layout, Tokens, arrange

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
KINDS = list(BACKBONES)
CACHED = [kind for kind in KINDS if BACKBONES.get(kind).caches_features]
LAYOUT = Layout(bos=(1,), before_view=(4,), image=3, image_tokens=2, after_text=(9,), slot=2, pad=0)


def slots(backbone: Backbone, rows: int, history: int, count: int) -> torch.Tensor:
    return torch.randn(rows, history, count, backbone.width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_and_context_hold_the_same_states(kind: str) -> None:
    backbone = backbone_of(kind)
    tokens = backbone.embed(pictures(2, 1, 2), TEXTS[:2])
    vectors = slots(backbone, 2, 1, 3)
    with torch.no_grad():
        plain = backbone(tokens, vectors)
        both = backbone(tokens, vectors, layers=True, context=True)
    assert plain.layers is None
    assert plain.context is None
    torch.testing.assert_close(both.slots_BHSD, plain.slots_BHSD, **CLOSE)
    assert len(both.layers) == len(both.context) >= 2
    torch.testing.assert_close(both.layers[-1], plain.slots_BHSD, **CLOSE)
    assert (both.layers[0] - both.layers[-1]).abs().max() > 1e-2
    assert both.real_BN.shape == both.context[0].shape[:2]
    assert not both.real_BN.all(), "the shorter row is padded"
    for layer_BHSD, context_BND in zip(both.layers, both.context, strict=True):
        index = both.columns_BHS.flatten(1)[..., None].expand(-1, -1, backbone.width)
        assert torch.equal(context_BND.gather(1, index).view_as(layer_BHSD), layer_BHSD)
    assert both.real_BN.gather(1, both.columns_BHS.flatten(1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_shows_the_picture_or_what_was_made_of_it(kind: str) -> None:
    """An expert that attends to the context, slots left out, can see the picture."""
    backbone = backbone_of(kind)
    vectors = slots(backbone, 1, 1, 1)
    with torch.no_grad():
        one, other = (
            backbone(backbone.embed(images, TEXTS[:1]), vectors, context=True)
            for images in (pictures(1, 1, 2), pictures(1, 1, 2, seed=8))
        )
    before = one.columns_BHS.min()
    assert (one.context[-1][:, :before] - other.context[-1][:, :before]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", CACHED)
def test_kept_features_stand_for_the_picture(kind: str) -> None:
    backbone = copy.deepcopy(backbone_of(kind))
    images, texts = pictures(2, 3, 2), TEXTS[:2]
    vectors = slots(backbone, 2, 3, 1)
    with torch.no_grad():
        features = torch.stack([backbone.picture_features(images[:, frame]) for frame in range(3)], 1)
        assert features.shape[:3] == (2, 3, 2)
        seen = backbone(backbone.embed(images, texts), vectors).slots_BHSD
        kept = backbone(backbone.embed(None, texts, features), vectors).slots_BHSD
    torch.testing.assert_close(kept, seen, **CLOSE)
    rows, first = backbone.action_rows(64), vectors[:, 0]
    assert torch.equal(
        backbone.decode(backbone.embed(None, texts, features[:, :1]), first, rows, 5),
        backbone.decode(backbone.embed(images[:, :1], texts), first, rows, 5),
    )
    backbone.train()
    backbone(backbone.embed(None, texts, features), vectors).slots_BHSD.pow(2).sum().backward()
    parts = backbone.subtrees()
    assert all(parameter.grad is None for parameter in parts["vision"]), "the tower is not run"
    assert any(float(p.grad.abs().sum()) > 0 for p in parts["connector"] if p.grad is not None)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in CACHED])
def test_a_family_that_cannot_keep_features_says_so(kind: str) -> None:
    with pytest.raises(ValueError, match="cannot keep"):
        backbone_of(kind).picture_features(pictures(1, 2))


def test_something_must_be_shown() -> None:
    with pytest.raises(ValueError, match="neither pictures nor features"):
        backbone_of("smolvlm").embed(None, TEXTS[:1])


def tokens(*texts: tuple[int, ...], history: int, cameras: int) -> Tokens:
    return Tokens(pixels_BHKCYX=torch.zeros(len(texts), history, cameras, 3, 2, 2), texts=texts)


def test_rows_are_written_as_laid_out() -> None:
    prompt = arrange(tokens((20, 21), (22,), history=2, cameras=1), LAYOUT, 1)
    block, short = [4, 3, 3, 20, 21, 9, 2], [4, 3, 3, 22, 9, 2]
    assert prompt.ids_BN.tolist() == [[1, *block, *block], [0, 0, 1, *short, *short]]
    assert prompt.real_BN.tolist() == [[True] * 15, [False] * 2 + [True] * 13]
    assert prompt.columns_BS.tolist() == [[7, 14], [8, 14]]
    assert prompt.slot_BN.nonzero().tolist() == [[0, 7], [0, 14], [1, 8], [1, 14]]
    assert prompt.image_BN.nonzero().tolist() == [[0, 2], [0, 3], [0, 9], [0, 10], [1, 4], [1, 5], [1, 10], [1, 11]]
    assert prompt.frame_BN[1].tolist() == [-1, -1, -1, *[0] * 6, *[1] * 6]
    assert prompt.visible()[1, [2, 3, 8, 9, 14]].tolist() == [
        [False, False],
        [True, False],
        [True, False],
        [True, True],
        [True, True],
    ]


def test_slots_of_a_decoder_are_in_a_row_of_their_own() -> None:
    shown = tokens((20, 21), (22,), history=1, cameras=2)
    prompt = arrange(shown, LAYOUT, 3, apart=True, pad_right=True)
    assert prompt.ids_BN.tolist() == [[1, 4, 3, 3, 4, 3, 3, 20, 21, 9], [1, 4, 3, 3, 4, 3, 3, 22, 9, 0]]
    assert prompt.columns_BS.tolist() == [[1, 2, 3]] * 2
    assert prompt.slot_ids_BS.tolist() == [[2, 2, 2]] * 2
    assert not prompt.slot_BN.any()
    answered = arrange(shown, LAYOUT, 2, answers=[[30, 31], [32, 7]])
    assert answered.ids_BN[:, -2:].tolist() == [[30, 31], [32, 7]]


def test_the_hook_is_gone_after_a_failed_pass() -> None:
    backbone = backbone_of("smolvlm")

    class Broken(Family):
        def inputs(self, prompt: object, config: object) -> dict[str, object]:  # pyright: ignore
            raise RuntimeError("in the middle of a pass")

    shared, backbone.family = backbone.family, Broken()
    try:
        with pytest.raises(RuntimeError, match="in the middle"):
            backbone(backbone.embed(pictures(1, 1, 2), TEXTS[:1]), slots(backbone, 1, 1, 1))
    finally:
        backbone.family = shared
    assert not backbone.embedding._forward_hooks
