"""A run that was killed anywhere and started again has, bit for bit, the curve and the weights of one that was not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small
import torch
from nursery import Nursery
from safetensors import safe_open

from vlactl.policy import Policy

EVERY_UPDATE = {"checkpoint_every_s": 1e-9}
EXACT = ("update", "loss", "lr", "grad_norm", "parts")


def curve(work: Path) -> list[dict]:
    """What the curve says at last about each update, without timings."""
    rows = [json.loads(line) for line in (work / "curve.jsonl").read_text().splitlines()]
    return list({row["update"]: {key: row[key] for key in EXACT} for row in rows}.values())


def result(work: Path) -> dict:
    return json.loads((work / "result.json").read_text())


@pytest.fixture(scope="module")
def straight(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    assert nursery.run(folder=str(folder), name="straight") == [0]
    return folder


def test_an_uninterrupted_run_learns(straight: Path) -> None:
    rows = curve(straight / "straight")
    assert [row["update"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


def test_killed_between_updates(nursery: Nursery, straight: Path) -> None:
    again = {"folder": str(straight), "name": "killed", **EVERY_UPDATE}
    assert nursery.run(kill_after=7, **again) == [-9]
    assert nursery.run(**again) == [0]
    assert result(straight / "killed")["resumed_at"] == 6
    assert curve(straight / "killed") == curve(straight / "straight")
    assert result(straight / "killed")["fingerprint"] == result(straight / "straight")["fingerprint"]


# A save forces to the disk: sums, weights, state, COMPLETE, its directory and, after the rename, the parent.
@pytest.mark.parametrize("sync", range(13, 19))
def test_killed_in_the_middle_of_the_third_save(nursery: Nursery, straight: Path, sync: int) -> None:
    name = f"sync-{sync}"
    again = {"folder": str(straight), "name": name, **EVERY_UPDATE}
    assert nursery.run(kill_at_sync=sync, **again) == [-9]
    assert nursery.run(**again) == [0]
    assert result(straight / name)["resumed_at"] == (3 if sync == 18 else 2)
    assert curve(straight / name) == curve(straight / "straight")
    assert result(straight / name)["fingerprint"] == result(straight / "straight")["fingerprint"]
    assert not list((straight / name / "checkpoints").glob("*.tmp"))


def test_a_damaged_checkpoint_is_passed_over(nursery: Nursery, straight: Path, capfd: pytest.CaptureFixture) -> None:
    again = {"folder": str(straight), "name": "damaged", **EVERY_UPDATE}
    assert nursery.run(kill_after=7, **again) == [-9]
    newest = straight / "damaged" / "checkpoints" / "step-6" / "rank-0.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    assert nursery.run(**again) == [0]
    assert result(straight / "damaged")["resumed_at"] == 5
    assert curve(straight / "damaged") == curve(straight / "straight")


def test_sigterm_saves_and_says_preempted(nursery: Nursery, straight: Path) -> None:
    again = {"folder": str(straight), "name": "preempted"}
    assert nursery.run(terminate_after=4, **again) == [75]
    assert [path.name for path in (straight / "preempted" / "checkpoints").iterdir()] == ["step-5"]
    assert nursery.run(**again) == [0]
    assert result(straight / "preempted")["resumed_at"] == 5
    assert curve(straight / "preempted") == curve(straight / "straight")


def test_only_the_two_newest_checkpoints_are_kept(nursery: Nursery, straight: Path) -> None:
    assert nursery.run(folder=str(straight), name="kept", updates=6, **EVERY_UPDATE) == [0]
    assert sorted(path.name for path in (straight / "kept" / "checkpoints").iterdir()) == ["step-4", "step-5"]


def test_two_ranks_learn_what_one_learns_with_accumulation(nursery: Nursery, straight: Path) -> None:
    """At every ZeRO stage, where each rank accumulates over two micro-batches as well."""
    alone = {"folder": str(straight), "dropout": 0.0}
    assert nursery.run(name="accumulated", micro_batch=4, **alone) == [0]
    for stage in range(4):
        name = f"two-{stage}"
        assert nursery.run(ranks=2, name=name, zero_stage=stage, micro_batch=2, **alone) == [0, 0]
        assert (result(straight / name)["ranks"], result(straight / name)["micro_batch"]) == (2, 2)
        same_run(straight / "accumulated", straight / name)


@pytest.mark.parametrize("formulation", ["policy-head-continuous", "flow-matching"])
def test_two_ranks_learn_what_one_learns_with_real_policies(nursery: Nursery, straight: Path,
                                                            formulation: str) -> None:
    """Flow matching draws noise: for every window its own, on whatever rank and in whatever micro-batch it is."""
    again = {"folder": str(straight), "formulation": formulation, "updates": 3, "learning_rate": 1e-3}
    assert nursery.run(name=f"{formulation}-one", micro_batch=4, **again) == [0]
    assert nursery.run(ranks=2, name=f"{formulation}-two", zero_stage=3, **again) == [0, 0]
    same_run(straight / f"{formulation}-one", straight / f"{formulation}-two", atol=2e-4)


def test_adapters_of_a_killed_run_and_of_two_ranks(nursery: Nursery, straight: Path) -> None:
    """A checkpoint holds the adapters and the head; the policy that is saved holds neither more nor less than any."""
    again = {"folder": str(straight), "formulation": "one-step-continuous", "tuning": "lora", "lora_rank": 4,
             "updates": 4, "checkpoint_every_s": 1e-9}
    assert nursery.run(name="lora", **again) == [0]
    assert nursery.run(name="lora-killed", kill_after=3, **again) == [-9]
    with safe_open(straight / "lora-killed/checkpoints/step-2/rank-0.safetensors", framework="pt") as stored:
        kinds = {name.split(".")[-3] for name in stored.keys() if name.startswith("parameter/backbone")}  # noqa: SIM118
    assert kinds == {"lora_A", "lora_B"}
    assert nursery.run(name="lora-killed", **again) == [0]
    assert result(straight / "lora-killed")["resumed_at"] == 2
    assert result(straight / "lora-killed")["fingerprint"] == result(straight / "lora")["fingerprint"]
    assert nursery.run(ranks=2, name="lora-two", zero_stage=3, **again) == [0, 0]
    same_run(straight / "lora", straight / "lora-two", atol=2e-4)
    plain, merged = small.real(straight, "one-step-continuous"), Policy.load(straight / "lora" / "policy")
    assert list(merged.state_dict()) == list(plain.state_dict())
    changed = {name for name, value in plain.state_dict().items()
               if name.startswith("backbone") and not torch.equal(merged.state_dict()[name], value)}
    assert changed
    assert all(name.endswith("weight") for name in changed)


def same_run(ours: Path, theirs: Path, atol: float = 2e-5) -> None:
    same_weights(ours, theirs, atol)
    for one, two in zip(curve(ours), curve(theirs), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("stage", [1, 3])
def test_another_number_of_ranks_and_stage_can_go_on(nursery: Nursery, straight: Path, stage: int) -> None:
    if not (straight / "one" / "weights.npz").exists():
        assert nursery.run(folder=str(straight), name="one", dropout=0.0) == [0]
    name = f"handed-over-{stage}"
    again = {"folder": str(straight), "name": name, "dropout": 0.0}
    assert nursery.run(ranks=2, zero_stage=stage, terminate_after=5, **again) == [75, 75]
    assert nursery.run(**again) == [0]
    assert result(straight / name)["resumed_at"] == 6
    same_weights(straight / "one", straight / name)
    back = f"taken-over-{stage}"
    assert nursery.run(terminate_after=5, **{**again, "name": back}) == [75]
    assert nursery.run(ranks=2, zero_stage=stage, **{**again, "name": back}) == [0, 0]
    same_weights(straight / "one", straight / back)


def same_weights(ours: Path, theirs: Path, atol: float = 2e-5) -> None:
    with np.load(ours / "weights.npz") as left, np.load(theirs / "weights.npz") as right:
        assert sorted(left) == sorted(right)
        for name in left:
            np.testing.assert_allclose(right[name], left[name], atol=atol, err_msg=name)
