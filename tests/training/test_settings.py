from __future__ import annotations

import pytest

from vlactl.errors import UsageError
from vlactl.identity import digest
from vlactl.training import TrainingSettings, deepspeed_config

EXECUTION = {"micro_batch": 4, "zero_stage": 2, "checkpoint_every_s": 5.0, "log_every": 1, "prefetch": 0}
OTHERS = {"updates": 7, "global_batch": 32, "learning_rate": 1e-4, "schedule": "constant", "warmup_updates": 3,
          "final_rate": 0.5, "weight_decay": 0.5, "betas": (0.8, 0.9), "epsilon": 1e-6, "clip_norm": 0.0,
          "precision": "bf16", "brightness": 0.0, "shift_px": 2, "freeze": ("vision",)}


def test_every_field_is_either_execution_or_identity() -> None:
    assert set(EXECUTION) | set(OTHERS) == set(TrainingSettings.model_fields)
    before = digest(TrainingSettings().identity())
    for name, value in EXECUTION.items():
        assert digest(TrainingSettings(**{name: value}).identity()) == before, name
    for name, value in OTHERS.items():
        assert digest(TrainingSettings(**{name: value}).identity()) != before, name


def test_every_field_says_what_it_is() -> None:
    assert all(field.description for field in TrainingSettings.model_fields.values())


def test_a_history_draws_fewer_windows_of_as_many_frames() -> None:
    assert [TrainingSettings(global_batch=16).windows(history) for history in (1, 4, 16)] == [16, 4, 1]
    with pytest.raises(UsageError, match="history of 3 frames does not divide global_batch 16"):
        TrainingSettings(global_batch=16).windows(3)


@pytest.mark.parametrize(("micro_batch", "history", "world", "expected"), [
    (None, 1, 1, 16), (None, 1, 2, 8), (None, 4, 2, 2), (16, 1, 1, 16), (5, 1, 1, 4), (5, 1, 2, 4), (3, 4, 1, 1),
    (8, 4, 1, 2), (100, 1, 1, 16)])
def test_micro_batches_divide_a_ranks_windows(micro_batch: int | None, history: int, world: int, expected: int) -> None:
    assert TrainingSettings(micro_batch=micro_batch).micro_windows(history, world) == expected


def test_memory_failures_divide_the_micro_batch_and_nothing_else() -> None:
    settings = TrainingSettings(global_batch=16)
    assert settings.divided(1, 1) is settings
    assert [settings.divided(divisor, 2).micro_batch for divisor in (2, 4, 8, 16)] == [4, 2, 1, 1]
    assert TrainingSettings(micro_batch=100).divided(2, 1).micro_windows(1, 1) == 8
    assert settings.divided(8, 1).identity() == settings.identity()


def test_ranks_must_divide_the_windows() -> None:
    with pytest.raises(UsageError, match="3 ranks do not divide 16 windows"):
        TrainingSettings().micro_windows(1, 3)


def test_the_rate_warms_up_and_falls_to_its_end() -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup_updates=10, final_rate=0.1)
    rates = [settings.rate(update, 200) for update in range(200)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[105] == pytest.approx(0.55, abs=0.01)
    assert rates[-1] == pytest.approx(0.1, abs=0.001)


def test_a_short_phase_has_a_short_warmup_and_constant_stays() -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup_updates=50, schedule="constant")
    assert [settings.rate(update, 20) for update in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert TrainingSettings(learning_rate=1.0).rate(0, 5) == 1.0


def test_the_deepspeed_configuration_follows() -> None:
    config = deepspeed_config(TrainingSettings(micro_batch=2), world_size=2, windows=16, micro_windows=2)
    assert config["train_batch_size"] == (2 * config["train_micro_batch_size_per_gpu"]
                                          * config["gradient_accumulation_steps"])
    assert config["gradient_accumulation_steps"] == 4
    assert "torch_autocast" not in config
    sharded = deepspeed_config(TrainingSettings(zero_stage=3, precision="bf16", clip_norm=0.5), world_size=1,
                               windows=16, micro_windows=16)
    assert sharded["zero_optimization"]["stage"] == 3
    assert sharded["gradient_clipping"] == 0.5
    assert sharded["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"betas": (0.9, 1.0)}, {"learning_rate": 0}, {"zero_stage": 4},
                                   {"freeze": ("head",)}, {"precision": "fp16"}, {"unheard_of": 1}])
def test_nonsense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingSettings.model_validate(wrong)
