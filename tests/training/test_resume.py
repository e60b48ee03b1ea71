"""A run that was killed anywhere and started again has, bit for bit, the curve and the weights of one that was not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nursery import Nursery

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


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_ranks_learn_what_one_learns(nursery: Nursery, straight: Path, stage: int) -> None:
    if not (straight / "one" / "weights.npz").exists():
        assert nursery.run(folder=str(straight), name="one", dropout=0.0) == [0]
    name = f"two-{stage}"
    assert nursery.run(ranks=2, folder=str(straight), name=name, dropout=0.0, zero_stage=stage) == [0, 0]
    assert result(straight / name)["ranks"] == 2
    same_weights(straight / "one", straight / name)
    for one, two in zip(curve(straight / "one"), curve(straight / name), strict=True):
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


def same_weights(ours: Path, theirs: Path) -> None:
    with np.load(ours / "weights.npz") as left, np.load(theirs / "weights.npz") as right:
        assert sorted(left) == sorted(right)
        for name in left:
            np.testing.assert_allclose(right[name], left[name], atol=2e-5, err_msg=name)
