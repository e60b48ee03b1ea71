"""Weights from a folder or the hub: the path that real models take, walked with tiny ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.toy_folders import SENTENCE, written, written_parts
from tests.toy_policies import TEXTS, backbone_of, pictures
from vlactl.backbones import BACKBONES, PaliGemma, Repository, fingerprint
from vlactl.backbones.adapter import Backbone
from vlactl.backbones.families import TINY_VOCABULARY
from vlactl.backbones.loading import describe, load_backbone, restore, save_backbone
from vlactl.errors import CheckpointMismatch, FailureClass, StageFailed, UsageError

KINDS = [kind for kind in BACKBONES if not BACKBONES.get(kind).hub_parts]
TIED = ("florence2",)
"""Encoder, decoder and head share one table of words."""
COMPOSITES = [kind for kind in BACKBONES if BACKBONES.get(kind).hub_parts]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(kind: str, tmp_path: Path) -> Path:
    return written(kind, tmp_path / "weights", tied=kind in TIED)


def head_of(stored: dict[str, torch.Tensor]) -> str:
    """The language head's key, or that of the words that are tied to it; the prefix is the family's."""
    heads = [name for name in stored if name.endswith("lm_head.weight")]
    (name,) = heads or [name for name in stored if name.endswith("shared.weight")]
    return name


def build(kind: str, folder: Path, **fields: object) -> Backbone:
    return BACKBONES.get(kind)(weights=str(folder), image_px=64, **fields).build(0).eval()


def test_a_folder_is_loaded_whole(kind: str, folder: Path) -> None:
    backbone = build(kind, folder)
    stored = load_file(folder / "model.safetensors")
    held = backbone.state_dict().values()
    assert sum(value.numel() for value in held) == sum(value.numel() for value in stored.values())
    assert (backbone.head is None) == (kind in TIED)
    scored = backbone.embedding if backbone.head is None else backbone.head
    assert torch.equal(scored.weight, stored[head_of(stored)])
    family, layout = backbone.family, backbone.layout
    if kind != "qwen3.5":  # whose tokenizer class makes byte pairs of any vocabulary
        assert backbone.tokenizer.encode(SENTENCE) == [100, 101, 102, 103]
    assert layout.image == getattr(backbone.config, "image_token_id", layout.image)
    assert bool(layout.before_view) == bool(family.hub_marks.before_view)
    rows = set(backbone.action_rows(256))
    assert layout.slot not in rows | {layout.image}
    assert not rows & {*layout.before_view, *layout.after_view, *layout.bos, layout.image}
    assert backbone.look.std == family.hub_std
    slots = torch.randn(2, 1, 2, backbone.width)
    hidden = backbone(backbone.embed(pictures(2, 1, 2), [SENTENCE, "push the"]), slots).slots_BHSD
    alone = backbone(backbone.embed(pictures(2, 1, 2)[1:], ["push the"]), slots[1:]).slots_BHSD
    torch.testing.assert_close(hidden[1:], alone, rtol=1e-4, atol=2e-5)
    scores = backbone.logits(hidden, backbone.action_rows(5))
    torch.testing.assert_close(scores, (hidden @ scored.weight.T)[..., list(backbone.action_rows(5))])


def test_a_restored_backbone_needs_no_folder(kind: str, folder: Path) -> None:
    backbone = build(kind, folder)
    document = json.loads(json.dumps([describe(backbone), backbone.tokenizer.to_json()]))
    spec = backbone.spec
    for path in folder.iterdir():
        path.unlink()
    copied = restore(spec, *document).eval()
    copied.load_state_dict(backbone.state_dict(), strict=True)
    images, slots = pictures(1, 1, 2), torch.randn(1, 1, 1, backbone.width)
    ours, theirs = (model(model.embed(images, [SENTENCE]), slots).slots_BHSD for model in (copied, backbone))
    assert torch.equal(ours, theirs)


def test_a_partial_load_is_an_error(kind: str, folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    lost = sorted(stored)[3]
    more = {name: value for name, value in stored.items() if name != lost} | {"surprise.weight": torch.zeros(2)}
    save_file(more, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointMismatch) as caught:
        build(kind, folder)
    assert "missing keys: " in str(caught.value)
    assert "unexpected keys: surprise.weight" in str(caught.value)


def test_weights_of_another_shape_are_an_error(folder: Path, kind: str) -> None:
    stored = load_file(folder / "model.safetensors")
    head = head_of(stored)
    stored[head] = stored[head][:-1].clone()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointMismatch, match=rf"mismatched keys: .*{head.split('.')[-2]}"):
        build(kind, folder)


def test_weights_of_another_family_are_an_error(folder: Path, kind: str) -> None:
    other = "llava" if kind != "llava" else "smolvlm"
    with pytest.raises(UsageError, match="architecture"):
        build(other, folder)


def test_a_tied_head_is_not_stored_twice(kind: str, tmp_path: Path) -> None:
    backbone = build(kind, written(kind, tmp_path, tied=True))
    if backbone.head is not None:  # the head leaves out rows that only the input has: they cannot be shared
        assert len(backbone.head.weight) != len(backbone.embedding.weight)
    assert backbone.logits(torch.randn(1, backbone.width)).shape == (1, TINY_VOCABULARY)


def test_a_folder_counts_by_what_it_holds(tmp_path: Path) -> None:
    kind, folder = "internvl", written("internvl", tmp_path / "weights")
    spec = BACKBONES.get(kind)(weights=str(folder), image_px=64)
    planned = BACKBONES.parse(spec.identity() | spec.execution_settings())
    assert planned.revision == fingerprint(folder)
    assert planned.build(0).width == 128
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "note": 1}))
    with pytest.raises(UsageError, match="changed since they were planned"):
        planned.build(0)
    with pytest.raises(UsageError, match=r"config\.json is missing"):
        BACKBONES.get(kind)(weights=str(tmp_path / "nowhere")).identity()


def test_hub_weights_need_a_commit() -> None:
    with pytest.raises(ValueError, match="needs `revision`"):
        Loose(weights="pretrained")
    with pytest.raises(ValueError, match="tiny weights have none"):
        PaliGemma(revision="0" * 40)
    assert PaliGemma(weights="pretrained", revision="0" * 40).source == PaliGemma.hub_id


class Loose(PaliGemma):
    """A family whose menu line names no commit."""

    kind = "loose"
    hub_revision = None


class Pinned(PaliGemma):
    """A family whose menu line names commits."""

    kind = "pinned"
    hub_revision = "1" * 40
    hub_sizes = {"10b": Repository("google/paligemma2-10b-pt-224", "2" * 40)}  # noqa: RUF012


class Assembled(PaliGemma):
    """A backbone put together from two repositories."""

    kind = "assembled"
    hub_parts = {  # noqa: RUF012
        "vision": Repository("one/eye", "3" * 40),
        "language": Repository("one/mouth", "4" * 40),
    }


class Foreign(PaliGemma):
    """An architecture that lies in its repository as code."""

    kind = "foreign"
    remote_code = True


def test_the_commit_of_the_menu_is_part_of_the_identity() -> None:
    identity = Pinned(weights="pretrained").identity()
    assert identity["revision"] == "1" * 40
    assert identity == Pinned(weights="pretrained", revision="1" * 40).identity()
    assert Pinned(weights="pretrained", revision="5" * 40).identity()["revision"] == "5" * 40
    assert Pinned(weights="10b").repositories() == {"": Repository("google/paligemma2-10b-pt-224", "2" * 40)}
    with pytest.raises(ValueError, match="needs `revision`"):
        Pinned(weights="somebody/else")


def test_every_part_has_a_commit() -> None:
    spec = Assembled(weights="pretrained")
    assert spec.source == "one/eye+one/mouth"
    assert spec.identity()["revision"] == "3" * 40 + "+" + "4" * 40
    assert Assembled(**{k: v for k, v in spec.identity().items() if k != "kind"}).identity() == spec.identity()
    with pytest.raises(ValueError, match="one commit for each of vision, language"):
        Assembled(weights="pretrained", revision="3" * 40)
    with pytest.raises(ValueError, match="name a folder"):
        Assembled(weights="one/mouth", revision="3" * 40)


def test_code_of_a_repository_runs_only_at_a_whole_commit() -> None:
    with pytest.raises(ValueError, match="40 digits"):
        Foreign(weights="pretrained", revision="main")
    assert Foreign(weights="pretrained", revision="a" * 40).repositories()[""].revision == "a" * 40
    assert not any(BACKBONES.get(kind).remote_code for kind in BACKBONES), "nothing on the menu runs foreign code"


def test_weights_that_are_programs_are_refused(tmp_path: Path) -> None:
    folder = written("internvl", tmp_path / "weights")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        build("internvl", folder)


def test_vl_pretrain_counts_only_where_it_says_something() -> None:
    plain = PaliGemma().identity()
    assert plain == PaliGemma(vl_pretrain=False, vl_updates=5).identity()
    assert not set(plain) & {"vl_pretrain", "vl_updates", "vl_batch", "vl_learning_rate"}
    taught = PaliGemma(vl_pretrain=True)
    assert taught.needs_vl_stage
    assert taught.identity() == plain | {
        "vl_pretrain": True,
        "vl_updates": 800,
        "vl_batch": 32,
        "vl_learning_rate": 1e-3,
    }
    real = PaliGemma(weights="pretrained", revision="0" * 40)
    assert real.learned_from_pictures
    assert not real.needs_vl_stage
    assert real.model_copy(update={"vl_pretrain": False}).identity() == real.identity() | {"vl_pretrain": False}


def test_without_vl_pretrain_the_architecture_is_kept_and_the_weights_are_drawn(kind: str, folder: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    read, one, again, other = (
        BACKBONES.get(kind)(weights=str(folder), image_px=64, vl_pretrain=learned).build(seed)
        for learned, seed in ((True, 1), (False, 1), (False, 1), (False, 2))
    )
    assert torch.equal(before, torch.get_rng_state())
    assert describe(one) == describe(read)
    assert one.tokenizer.to_json() == read.tokenizer.to_json()
    assert one.state_dict().keys() == read.state_dict().keys()
    name = next(name for name, value in one.named_parameters() if value.ndim == 2 and value.std() > 0)
    assert torch.equal(one.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])
    assert not torch.equal(one.state_dict()[name], read.state_dict()[name])


@pytest.mark.parametrize("kind", COMPOSITES)
def test_parts_are_loaded_whole_and_joined_from_the_seed(kind: str, tmp_path: Path) -> None:
    folder = written_parts(kind, tmp_path / "weights")
    one, again, other = (BACKBONES.get(kind)(weights=str(folder), image_px=64).build(seed) for seed in (1, 1, 2))
    stored = {part: load_file(folder / part / "model.safetensors") for part in one.spec.hub_parts}
    parts = one.subtrees()
    counted = {name: sum(p.numel() for p in part) for name, part in parts.items()}
    seen = sum(v.numel() for part, values in stored.items() if part != "language" for v in values.values())
    assert counted["vision"] == seen
    assert counted["language"] == sum(value.numel() for value in stored["language"].values())
    words = next(value for name, value in stored["language"].items() if name.endswith("embed_tokens.weight"))
    assert torch.equal(one.embedding.weight, words)
    ours, same, others = (
        torch.cat([p.flatten() for p in model.subtrees()["connector"]]) for model in (one, again, other)
    )
    assert torch.equal(ours, same)
    assert not torch.equal(ours, others)
    document = json.loads(json.dumps([describe(one), one.tokenizer.to_json()]))
    copied = restore(one.spec, *document)
    copied.load_state_dict(one.state_dict(), strict=True)
    images, slots = pictures(1, 1, 2), torch.randn(1, 1, 1, one.width)
    with torch.no_grad():
        left, right = (m.eval()(m.embed(images, [SENTENCE]), slots).slots_BHSD for m in (copied, one))
    assert torch.equal(left, right)


def test_parts_count_by_what_they_hold_and_must_all_be_there(tmp_path: Path) -> None:
    kind = COMPOSITES[-1]
    folder = written_parts(kind, tmp_path / "weights")
    spec = BACKBONES.get(kind)(weights=str(folder))
    before = spec.identity()["revision"]
    config = folder / "language" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "note": 1}))
    assert spec.identity()["revision"] != before
    config.unlink()
    with pytest.raises(UsageError, match=r"config\.json is missing"):
        spec.build(0)


@pytest.mark.parametrize("kind", list(BACKBONES))
def test_a_saved_backbone_is_loaded_whole(kind: str, tmp_path: Path) -> None:
    backbone = backbone_of(kind)
    save_backbone(backbone, tmp_path / "backbone")
    copied = load_backbone(BACKBONES.get(kind)(), tmp_path / "backbone").eval()
    assert all(torch.equal(value, copied.state_dict()[name]) for name, value in backbone.state_dict().items())
    images, slots = pictures(1, 1, 2), torch.randn(1, 1, 1, backbone.width)
    with torch.no_grad():
        ours, theirs = (model(model.embed(images, TEXTS[:1]), slots).slots_BHSD for model in (copied, backbone))
    assert torch.equal(ours, theirs)


def test_a_saved_backbone_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "backbone"
    save_backbone(backbone_of("llava"), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["backbone"], "no draft is left"
    with pytest.raises(UsageError, match="of the kind llava"):
        load_backbone(PaliGemma(), folder)
    stored = load_file(folder / "weights.safetensors")
    lost = sorted(stored)[0]
    save_file({name: value for name, value in stored.items() if name != lost}, folder / "weights.safetensors")
    with pytest.raises(CheckpointMismatch, match="missing: "):
        load_backbone(BACKBONES.get("llava")(), folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"tokenizer\.json is missing"):
        load_backbone(BACKBONES.get("llava")(), folder)


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StageFailed) as caught:
        PaliGemma(weights="pretrained", revision="0" * 40).build(0)
    assert caught.value.failure is FailureClass.INFRASTRUCTURE
    assert "hf download google/paligemma-3b-pt-224 --revision 000" in str(caught.value)


def test_a_picture_size_that_pretrained_weights_never_saw_is_an_error(folder: Path, kind: str) -> None:
    family = BACKBONES.get(kind)().family()
    spec = BACKBONES.get(kind)(weights=str(folder), image_px=128)
    if family.any_px:
        backbone = spec.build(0)
        assert backbone.look.image_px == 128
        small = backbone_of(kind).layout.image_tokens
        assert backbone.layout.image_tokens in (16, 17, small), "four times as many, or as many as there are queries"
        assert backbone(backbone.embed(pictures(1, 1, 2), [""]), torch.randn(1, 1, 1, 128)).slots_BHSD.isfinite().all()
    else:
        with pytest.raises(UsageError, match="64 px only"):
            spec.build(0)


def test_a_size_that_patches_do_not_divide_is_an_error_or_is_seen_in_part(kind: str) -> None:
    try:
        backbone = BACKBONES.get(kind)(image_px=72).build(0)
    except UsageError as error:
        said = str(error)
    else:
        said = "cut into patches, in part"
        shown = backbone.embed(pictures(1, 1, 2), [""])
        assert backbone(shown, torch.randn(1, 1, 1, 128)).slots_BHSD.isfinite().all()
    assert "cut into patches" in said
