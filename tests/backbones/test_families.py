"""What single families do by hand, and what they undo in a fresh model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.toy_policies import TEXTS, backbone_of, pictures
from vlactl.backbones import BACKBONES
from vlactl.backbones.composites import Composite, CompositeConfig, CompositeFamily
from vlactl.backbones.families import HALF, Family, tiny_text, tiny_vision
from vlactl.backbones.pixels import IMAGENET_MEAN, IMAGENET_STD


def moved_by_the_picture(kind: str) -> float:
    """How far other pictures move a fresh model's slot, in deviations of its states."""
    backbone = BACKBONES.get(kind)().build(0).eval()
    backbone.tokenizer.extend(TEXTS)
    vectors = torch.randn(1, 1, 1, backbone.width, generator=torch.Generator().manual_seed(1)).expand(4, -1, -1, -1)
    with torch.no_grad():
        states = backbone(backbone.embed(pictures(4, 1, 2), [TEXTS[0]] * 4), vectors).slots_BHSD
    return (states.std(0).mean() / states.std()).item()


@pytest.mark.parametrize("kind", ["flamingo", "mllama", "gemma3", "kosmos-2"])
def test_a_fresh_model_shows_its_picture_only_because_the_family_sees_to_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = moved_by_the_picture(kind)
    family = type(BACKBONES.get(kind)().family())
    monkeypatch.setattr(family, "settle", Family.settle)
    assert moved_by_the_picture(kind) < 0.5 * seen


def test_fresh_queries_ask_different_things() -> None:
    latents = backbone_of("idefics2").model.get_parameter("connector.perceiver_resampler.latents")
    queries = backbone_of("blip2").model.get_parameter("query_tokens")[0]
    for asked in (latents, queries):
        assert (asked[0] - asked[1]).abs().max() > 0.1


def test_nothing_of_flamingo_is_frozen() -> None:
    assert all(parameter.requires_grad for parameter in backbone_of("flamingo").parameters())


def test_kept_features_of_a_windowed_tower_come_back_in_their_places() -> None:
    """At 128 px there are four windows, which the tower visits one after the other."""
    backbone = BACKBONES.get("qwen2.5-vl")(image_px=128).build(0).eval()
    images = torch.randint(0, 256, (2, 1, 2, 128, 128, 3), generator=torch.Generator().manual_seed(0)).byte()
    vectors = torch.randn(2, 1, 1, backbone.width)
    with torch.no_grad():
        kept = backbone.picture_features(images[:, 0])
        ours = backbone(backbone.embed(None, ["push", "push"], kept[:, None]), vectors).slots_BHSD
        theirs = backbone(backbone.embed(images, ["push", "push"]), vectors).slots_BHSD
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_each_encoder_of_a_composite_sees_pictures_as_it_was_trained() -> None:
    encoders: list[Any] = [
        tiny_vision(image_px=64, patch_px=32, model_type="dinov2", mlp_ratio=2),
        tiny_vision(image_px=64, patch_px=32, model_type="siglip_vision_model", vision_use_head=False),
    ]
    looks = [(IMAGENET_MEAN, IMAGENET_STD), (HALF, HALF)]
    model = Composite(CompositeConfig(encoders=encoders, text_config=tiny_text("qwen2"), looks=looks)).eval()
    unit_VCYX = pictures(3).movedim(-1, 1).float() / 255
    seen: list[torch.Tensor] = []
    for encoder in model.encoders:
        encoder.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True)
    with torch.no_grad():
        features = model.get_image_features((unit_VCYX - 0.5) / 0.5).pooler_output
    for (mean, std), pixels in zip(looks, seen, strict=True):
        wanted = (unit_VCYX - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        torch.testing.assert_close(pixels, wanted, rtol=1e-5, atol=1e-5)
    assert features is not None
    assert features.shape == (3, 4, 128)


def test_a_composite_is_described_in_plain_json_whatever_its_parts() -> None:
    for kind in BACKBONES:
        family = BACKBONES.get(kind)().family()
        if isinstance(family, CompositeFamily):
            config = family.tiny_config(64)
            assert family.config_from(config.to_dict()).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("kind", "vision", "more"),
    [
        ("paligemma", {"patch_size": 14}, {}),
        ("paligemma2", {"patch_size": 14}, {}),
        ("llava", {"patch_size": 14}, {}),
        ("llava-onevision", {"patch_size": 14}, {}),
        ("qwen2-vl", {"patch_size": 14, "spatial_merge_size": 2}, {}),
        ("qwen2.5-vl", {"patch_size": 14, "spatial_merge_size": 2}, {}),
        ("qwen3-vl", {"patch_size": 16, "spatial_merge_size": 2}, {}),
        ("qwen3.5", {"patch_size": 16, "spatial_merge_size": 2}, {}),
        ("glm4v", {"patch_size": 14, "spatial_merge_size": 2}, {}),
        ("internvl", {"patch_size": [14, 14]}, {"downsample_ratio": 0.5}),
        ("aya-vision", {"patch_size": 14}, {"downsample_factor": 2}),
        ("smolvlm", {"patch_size": 16}, {"scale_factor": 4}),
        ("idefics3", {"patch_size": 14}, {"scale_factor": 2}),
        ("florence2", {}, {}),
    ],
)
def test_the_menu_counts_the_tokens_of_a_real_picture(kind: str, vision: dict[str, Any], more: dict[str, Any]) -> None:
    """Patch sizes as in the repositories' own configurations."""
    spec = BACKBONES.get(kind)
    config = SimpleNamespace(vision_config=SimpleNamespace(**vision), **more)
    assert spec.hub_px is not None
    assert spec().family().image_tokens(config, spec.hub_px) == spec.hub_tokens
