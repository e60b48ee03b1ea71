"""What is done by hand for the Qwen-VL line, held against the library that does it slowly."""

from __future__ import annotations

import torch
from transformers import Qwen2VLImageProcessorPil

from tests.toy_policies import TEXTS, backbone_of, pictures
from vlactl.backbones.qwen_vl import patches, positions


def test_patches_are_those_of_the_image_processor() -> None:
    images = pictures(3, seed=2)
    processor = Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, temporal_patch_size=2, do_resize=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    theirs = processor(images=[image.numpy() for image in images], return_tensors="pt")
    ours, grid = patches((images.movedim(-1, 1).float() / 255 - 0.5) / 0.5, patch_px=16, merge=2, frames=2)
    torch.testing.assert_close(ours, theirs["pixel_values"], rtol=1e-5, atol=1e-5)
    assert grid.tolist() == theirs["image_grid_thw"].tolist()


def test_positions_are_those_of_get_rope_index() -> None:
    backbone = backbone_of("qwen3-vl")
    tokens = backbone.embed(pictures(3, 2, 2), TEXTS[:3])
    prompt = backbone.prompt(tokens, slots=2)
    theirs, _ = backbone.model.get_rope_index(
        prompt.ids_BN,
        mm_token_type_ids=(prompt.ids_BN == prompt.layout.image).int(),
        image_grid_thw=torch.tensor([[1, 4, 4]]).expand(12, 3),
        attention_mask=prompt.real_BN.long(),
    )
    assert not prompt.real_BN.all(), "padding is part of the question"
    real = prompt.real_BN.expand(3, -1, -1)
    assert torch.equal(positions(prompt)[real], theirs[real])
