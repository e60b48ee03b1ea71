from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from small import SmallPolicy, learn, mixture

from vlactl.errors import FailureClass, StageFailed, UsageError
from vlactl.training.feed import Feed
from vlactl.training.loop import preemption


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def test_what_a_run_reports(tmp_path: Path, sources: Path) -> None:
    policy, result, rows, beats = learn(tmp_path, mixture(sources, windows=4, history=2), log_every=4)
    assert [row["update"] for row in rows] == [4, 6]
    assert set(rows[0]) == {"update", "loss", "parts", "lr", "grad_norm", "updates_per_s", "sources"}
    assert rows[0]["parts"]["squared"] == pytest.approx(rows[0]["loss"])
    assert result["loss"] == rows[-1]["loss"]
    assert (result["updates"], result["samples"], result["resumed_at"]) == (6, 6 * 4 * 2, 0)
    assert result["parameters"] == result["trained_parameters"] == sum(p.numel() for p in policy.parameters())
    done, total, numbers = beats[-1]
    assert (done, total, numbers["unit"]) == (6, 6, "updates")
    assert {"loss", "updates_per_s", "eta_s"} <= set(numbers)
    assert not policy.training
    assert all(p.grad is None and p.device.type == "cpu" for p in policy.parameters())


def test_it_is_what_plain_torch_would_do(tmp_path: Path, sources: Path) -> None:
    policy, *_ = learn(tmp_path, mixture(sources), brightness=0, warmup_updates=0, schedule="constant", clip_norm=0.5)
    plain, stream = SmallPolicy().train(), mixture(sources)
    optimizer = torch.optim.AdamW([{"params": [p for p in plain.parameters() if p.ndim > 1], "weight_decay": 0.01},
                                   {"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0}],
                                  lr=1e-2, betas=(0.9, 0.95))
    for update in range(6):
        plain.loss(stream.at(update), 1.0)[0].backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(policy.state_dict()[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("stage", [0, 1, 3])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_change_rounding_only(tmp_path: Path, sources: Path, stage: int, micro_batch: int) -> None:
    """Although the windows of a batch have masks of many sizes."""
    whole, _, rows, _ = learn(tmp_path / "whole", mixture(sources), log_every=1)
    parts, _, again, _ = learn(tmp_path / "parts", mixture(sources), log_every=1, micro_batch=micro_batch,
                               zero_stage=stage)
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in rows], rel=1e-4)
    assert [row["grad_norm"] for row in again] == pytest.approx([row["grad_norm"] for row in rows], rel=1e-3)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("stage", [0, 2])
def test_bf16_learns_and_leaves_float32_weights(tmp_path: Path, sources: Path, stage: int) -> None:
    exact, *_ = learn(tmp_path / "fp32", mixture(sources))
    policy, _, rows, _ = learn(tmp_path / "bf16", mixture(sources), precision="bf16", zero_stage=stage, log_every=1)
    assert rows[-1]["loss"] < rows[0]["loss"]
    difference = (policy.head.weight - exact.head.weight).abs().max()
    assert 0 < difference < 0.02
    assert all(parameter.dtype == torch.float32 for parameter in policy.parameters())


def test_a_missing_part_and_nothing_to_train_are_refused(tmp_path: Path, sources: Path) -> None:
    policy = SmallPolicy()
    policy.backbone.connector = torch.nn.Identity()
    with pytest.raises(UsageError, match="no connector with weights"):
        learn(tmp_path, mixture(sources), policy, tuning="connector")
    policy = SmallPolicy()
    policy.head.requires_grad_(False)
    policy.gain.requires_grad_(False)
    with pytest.raises(UsageError, match="nothing is left to train"):
        learn(tmp_path, mixture(sources), policy, tuning="frozen")
    assert all(parameter.requires_grad for parameter in policy.backbone.parameters()), "as it was before"


@pytest.mark.parametrize("stage", [0, 2])
def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_update(tmp_path: Path, sources: Path, stage: int) -> None:
    class Diverging(SmallPolicy):
        calls = 0

        def loss(self, batch, scale=1.0):
            self.calls += 1
            loss, parts = super().loss(batch, scale)
            return (loss * float("nan") if self.calls == 4 else loss), parts

    policy = Diverging()
    with pytest.raises(StageFailed, match="the loss of update 3 is nan") as caught:
        learn(tmp_path, mixture(sources), policy, zero_stage=stage)
    assert caught.value.failure is FailureClass.NAN


def test_an_infinite_gradient_is_not_applied(tmp_path: Path, sources: Path) -> None:
    class Steep(SmallPolicy):
        def loss(self, batch, scale=1.0):
            loss, parts = super().loss(batch, scale)
            return loss.detach() + (self.head.bias - self.head.bias.detach()).abs().sqrt().sum(), parts

    policy = Steep()
    before = policy.head.bias.detach().clone()
    with pytest.raises(StageFailed, match=r"gradient norm of update 0 is (nan|inf)") as caught:
        learn(tmp_path, mixture(sources), policy)
    assert caught.value.failure is FailureClass.NAN
    assert torch.equal(policy.head.bias.detach(), before)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")])
def test_lack_of_memory_is_a_class_of_its_own(tmp_path: Path, sources: Path, error: Exception) -> None:
    class Large(SmallPolicy):
        def loss(self, batch, scale=1.0):
            raise error

    with pytest.raises(StageFailed, match="out of memory with a micro_batch of 2") as caught:
        learn(tmp_path, mixture(sources), Large(), micro_batch=2)
    assert caught.value.failure is FailureClass.OUT_OF_MEMORY


def test_other_errors_pass_through(tmp_path: Path, sources: Path) -> None:
    class Broken(SmallPolicy):
        def loss(self, batch, scale=1.0):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        learn(tmp_path, mixture(sources), Broken())


def test_a_checkpoint_of_another_policy_is_refused(tmp_path: Path, sources: Path) -> None:
    learn(tmp_path, mixture(sources), checkpoint_every_s=1e-9)

    class Larger(SmallPolicy):
        def __init__(self) -> None:
            super().__init__()
            self.extra = torch.nn.Linear(2, 2)

    with pytest.raises(UsageError, match=r"2 tensors do not fit the policy: parameter/extra\.bias"):
        learn(tmp_path, mixture(sources), Larger())


def test_sigterm_only_raises_a_flag_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with preemption() as told:
        assert not told.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("ahead", [0, 2])
def test_batches_prepared_ahead_are_the_same_batches(sources: Path, ahead: int) -> None:
    stream, feed = mixture(sources), Feed(mixture(sources), ahead)
    for update in range(3, 9):
        assert torch.equal(feed.at(update).states_BHS, stream.at(update).states_BHS)
    feed.close()
