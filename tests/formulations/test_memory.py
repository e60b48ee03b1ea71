"""Streaming a history frame by frame is the batched pass over its window."""

from __future__ import annotations

import pytest
import torch

from tests.toy_policies import TEXTS, batch, policy
from vlactl.formulations import PolicyHeadContinuous
from vlactl.formulations.formulation import Frames
from vlactl.formulations.memory import memory_of

MEMORIES = ("lstm", "gpt", "mlp")


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_memory_is_causal_and_does_not_know_how_many_frames_follow(memory: str) -> None:
    torch.manual_seed(0)
    module = memory_of(PolicyHeadContinuous(memory=memory, memory_width=16, memory_layers=2, history=5), 12).eval()
    window = torch.randn(3, 5, 12)
    with torch.no_grad():
        whole = module(window)
        assert whole.shape == (3, 5, 16)
        for frames in range(1, 6):
            torch.testing.assert_close(module(window[:, :frames]), whole[:, :frames], atol=1e-6, rtol=1e-5)
        changed = window.clone()
        changed[:, 0] += 1
        assert not torch.allclose(module(changed)[:, -1], whole[:, -1]), "the first frame is remembered"


def test_an_lstm_fed_step_by_step_is_the_lstm_over_the_window() -> None:
    """Against torch's own cell by cell recurrence, with the state carried along."""
    torch.manual_seed(0)
    module = memory_of(PolicyHeadContinuous(memory_width=16, memory_layers=2, history=5), 12).eval()
    window, state, steps = torch.randn(3, 5, 12), None, []
    with torch.no_grad():
        for frame in range(5):
            out, state = module.lstm(window[:, frame : frame + 1], state)  # pyright: ignore[reportCallIssue]
            steps.append(out)
        torch.testing.assert_close(torch.cat(steps, 1), module(window), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_rollout_predicts_at_every_frame_what_the_window_does(memory: str) -> None:
    """One frame at a time through ``remember`` and ``predict``, against one pass over the whole window."""
    model = policy("policy-head-continuous", memory=memory, memory_width=64).eval()
    window = batch(4, rows=2)
    states = model.card.states.normalize(window.states_BHS)
    memories: list[list] = [[], []]
    with torch.no_grad():
        reader, head = model.formulation.reader, model.formulation.head
        window.states_BHS = states
        whole = head(reader.window(model.backbone, window))
        for frame in range(4):
            seen = Frames(images_BKYXC=window.images_BHKYXC[:, frame], states_BS=states[:, frame], texts=TEXTS[:2])
            for kept, left in zip(memories, model.formulation.remember(model.backbone, seen), strict=True):
                kept.append(left)
            planned = model.formulation.predict(model.backbone, memories, TEXTS[:2], 6)
            torch.testing.assert_close(planned, whole[:, frame], atol=2e-5, rtol=1e-4)


def test_each_frame_of_a_window_goes_through_the_backbone_once() -> None:
    model = policy("policy-head-continuous").eval()
    rows: list[int] = []
    model.backbone.register_forward_pre_hook(lambda _module, args: rows.append(len(args[0].texts)))
    window = batch(4, rows=3)
    window.mask_BHL[0, 2:] = False  # two padded frames are not even encoded
    model.loss(window)
    assert rows == [3 * 4 - 2]


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="3 memory_heads do not divide memory_width 64"):
        PolicyHeadContinuous(memory="gpt", memory_width=64, memory_heads=3)
