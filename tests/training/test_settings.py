from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest

from vlactl.errors import UsageError
from vlactl.identity import digest, identity_of
from vlactl.training import FROZEN, TrainingSettings, deepspeed_config

EXECUTION = {"micro_batch": 4, "zero_stage": 2, "checkpoint_every_s": 5.0, "log_every": 1, "prefetch": 0,
             "offload": "optimizer"}
OTHERS = {"updates": 7, "global_batch": 32, "learning_rate": 1e-4, "schedule": "constant", "warmup_updates": 3,
          "final_rate": 0.5, "weight_decay": 0.5, "betas": (0.8, 0.9), "epsilon": 1e-6, "clip_norm": 0.0,
          "precision": "bf16", "brightness": 0.0, "shift_px": 2, "ema": 0.99, "nan": "skip", "nan_limit": 3,
          "tuning": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.1, "lora_parts": ("language",),
          "rates": {"vision": 0.1}, "cache_vision": True, "batch_counts": "windows"}


def test_every_field_is_either_execution_or_identity() -> None:
    assert set(EXECUTION) | set(OTHERS) == set(TrainingSettings.model_fields)
    before = digest(TrainingSettings().identity())
    for name, value in EXECUTION.items():
        assert digest(TrainingSettings(**{"zero_stage": 2, name: value}).identity()) == before, name
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


LEGAL = [(stage, offload) for stage, offload in product(range(4), ("none", "optimizer", "parameters"))
         if stage >= {"none": 0, "optimizer": 1, "parameters": 3}[offload]]
"""ZeRO stages with what can be offloaded under them."""
LAYOUTS = [  # nodes, GPUs of a node, history, micro_batch, windows in one pass, accumulated passes
    (1, 1, 1, None, 2048, 1), (1, 1, 16, 64, 4, 32), (1, 8, 16, 32, 2, 8), (4, 8, 16, 64, 4, 1), (4, 8, 8, 8, 1, 8)]
"""The last two are the paper's 32 A100s: 128 windows of 16 frames, of 3 billion parameters, 4 windows a GPU."""


@pytest.mark.parametrize(("stage", "offload"), LEGAL)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("nodes", "gpus", "history", "micro_batch", "at_once", "passes"), LAYOUTS)
def test_a_deepspeed_configuration_for_every_legal_combination(
        stage: int, offload: str, precision: str, nodes: int, gpus: int, history: int, micro_batch: int | None,
        at_once: int, passes: int) -> None:
    settings = TrainingSettings(global_batch=2048, micro_batch=micro_batch, zero_stage=stage, offload=offload,
                                precision=precision, clip_norm=0.5)
    world, windows = nodes * gpus, settings.windows(history)
    config = deepspeed_config(settings, world_size=world, windows=windows,
                              micro_windows=settings.micro_windows(history, world))
    assert config["train_micro_batch_size_per_gpu"] == at_once
    assert config["gradient_accumulation_steps"] == passes
    assert config["train_batch_size"] == world * at_once * passes == windows
    zero = config["zero_optimization"]
    assert zero["stage"] == stage
    assert ("offload_optimizer" in zero, "offload_param" in zero) == (offload != "none", offload == "parameters")
    assert config["gradient_clipping"] == (0.5 if stage else 0.0), "at ZeRO 0 the loop clips"
    assert ("torch_autocast" in config) == (precision == "bf16")
    assert "fp16" not in config, "weights stay float32"


@pytest.mark.parametrize(("stage", "offload"), LEGAL)
def test_deepspeed_understands_it(stage: int, offload: str) -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    settings = TrainingSettings(zero_stage=stage, offload=offload)
    config = deepspeed_config(settings, world_size=2, windows=16, micro_windows=2)
    read = DeepSpeedZeroConfig(**config["zero_optimization"])
    assert read.stage == stage
    assert (read.offload_optimizer is not None) == (offload != "none")
    assert (read.offload_param is not None) == (offload == "parameters")


@pytest.mark.parametrize(("stage", "offload"), [(0, "optimizer"), (0, "parameters"), (1, "parameters"),
                                                (2, "parameters")])
def test_offload_without_shards_is_refused(stage: int, offload: str) -> None:
    with pytest.raises(ValueError, match=f"offload {offload} needs zero_stage .* not {stage}"):
        TrainingSettings(zero_stage=stage, offload=offload)


def test_a_stream_may_draw_fewer_windows_than_the_global_batch() -> None:
    settings = TrainingSettings(global_batch=16, micro_batch=4)
    assert settings.micro_windows(1, 1, windows=12) == 4
    assert settings.micro_windows(1, 2, windows=14) == 1
    with pytest.raises(UsageError, match="4 ranks do not divide 14 windows"):
        settings.micro_windows(1, 4, windows=14)


CACHING = SimpleNamespace(kind="smolvlm", caches_features=True)


@pytest.mark.parametrize(("settings", "backbone", "reason"), [
    ({"cache_vision": False, "tuning": "full"}, CACHING, None),
    *(({"tuning": tuning}, CACHING, None) for tuning in ("frozen-vision", "connector", "frozen")),
    ({"tuning": "lora", "lora_parts": ("connector", "language")}, CACHING, None),
    ({"tuning": "lora"}, CACHING, "tuning lora changes the vision tower"),
    ({"tuning": "full"}, CACHING, "tuning full changes the vision tower"),
    ({"tuning": "frozen", "brightness": 0.1}, CACHING, "set brightness and shift_px to 0"),
    ({"tuning": "frozen", "shift_px": 1}, CACHING, "set brightness and shift_px to 0"),
    ({"tuning": "frozen"}, SimpleNamespace(kind="florence2", caches_features=False), "florence2 cannot go on")])
def test_when_features_can_be_cached(settings: dict, backbone: SimpleNamespace, reason: str | None) -> None:
    conflict = TrainingSettings(**{"cache_vision": True, "brightness": 0, **settings}).cache_conflict(backbone)
    assert (conflict is None) if reason is None else (reason in conflict)


def test_a_batch_counts_frames_or_windows() -> None:
    frames, windows = (TrainingSettings(global_batch=128, batch_counts=counts) for counts in ("frames", "windows"))
    assert [(frames.windows(history), frames.frames(history)) for history in (1, 16)] == [(128, 128), (8, 128)]
    assert [(windows.windows(history), windows.frames(history)) for history in (1, 16)] == [(128, 128), (128, 2048)]
    assert windows.micro_windows(16, world_size=32) == 4
    assert windows.model_copy(update={"micro_batch": 32}).micro_windows(16, world_size=32) == 2
    assert identity_of(frames) == identity_of(TrainingSettings(global_batch=128)) != identity_of(windows)


def test_every_way_of_tuning_says_what_stays() -> None:
    for tuning, frozen in FROZEN.items():
        assert TrainingSettings(tuning=tuning).frozen == frozen


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"betas": (0.9, 1.0)}, {"learning_rate": 0}, {"zero_stage": 4},
                                   {"tuning": "head"}, {"precision": "fp8"}, {"unheard_of": 1}, {"ema": 1.0},
                                   {"rates": {"head": 0.1}}, {"rates": {"vision": 0}}, {"lora_parts": ()},
                                   {"offload": "disk"}, {"nan": "ignore"}])
def test_nonsense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainingSettings.model_validate(wrong)
