from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vlactl.actions import ActionNormalizer, StateStatistics
from vlactl.errors import UsageError

unit = st.floats(-1, 1, width=32)
ranges = st.tuples(st.floats(-0.9, 0.4), st.floats(0.01, 0.5)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(ranges, min_size=1, max_size=6), st.data())
def test_decoding_undoes_encoding_between_the_quantiles(pairs: list[tuple[float, float]], data: st.DataObject) -> None:
    codec = ActionNormalizer(low=tuple(low for low, _ in pairs), high=tuple(high for _, high in pairs))
    share = data.draw(hnp.arrays(np.float32, (4, len(pairs)), elements=st.floats(0, 1, width=32)))
    arm = np.asarray(codec.low) + share * (np.asarray(codec.high) - np.asarray(codec.low))
    actions = np.concatenate([arm, data.draw(st.sampled_from([-1.0, 1.0])) * np.ones((4, 1))], -1)
    encoded = codec.encode(actions)
    assert encoded.dtype == np.float32
    assert np.abs(encoded).max() <= 1
    np.testing.assert_allclose(codec.decode(encoded), actions, atol=1e-5)


@given(hnp.arrays(np.float32, (5, 7), elements=unit), hnp.arrays(np.float32, (20, 7), elements=unit))
def test_encoding_undoes_decoding_and_clips_the_rest(encoded: np.ndarray, recorded: np.ndarray) -> None:
    codec = ActionNormalizer.fit(recorded)
    encoded[:, -1] = np.where(encoded[:, -1] > 0, 1, -1)
    np.testing.assert_allclose(codec.encode(codec.decode(encoded)), encoded, atol=2e-3)
    far = codec.encode(np.full((1, 7), 50.0))
    np.testing.assert_array_equal(far, np.ones((1, 7), np.float32))


def test_statistics_are_the_first_and_99th_percentile_of_the_arm() -> None:
    actions = np.stack([np.linspace(0, 1, 101)] * 3, 1)
    codec = ActionNormalizer.fit(actions)
    assert codec.low == pytest.approx((0.01, 0.01))
    assert codec.high == pytest.approx((0.99, 0.99))
    assert codec.size == 3


@given(hnp.arrays(np.float64, (60, 4), elements=st.floats(-1, 1)))
def test_quantiles_are_numpys_own_and_the_scale_is_the_papers_equation(actions: np.ndarray) -> None:
    """RoboVLMs eq. 5-6, written out: clamp to the 1st and 99th percentile, then to [-1, 1]."""
    codec = ActionNormalizer.fit(actions)
    for dimension in range(3):
        low, high = np.percentile(actions[:, dimension], [1, 99])
        if high - low < 1e-3:
            continue
        clamped = np.minimum(np.maximum(actions[:, dimension], low), high)
        np.testing.assert_allclose(codec.encode(actions)[:, dimension], 2 * (clamped - low) / (high - low) - 1,
                                   atol=1e-6)


def test_a_fixed_range_asks_no_source() -> None:
    codec = ActionNormalizer.fixed(0.65, 7)
    assert codec.size == 7
    np.testing.assert_allclose(codec.encode(np.array([0.65, -0.65, 0.325, 0, 0.9, -2, 1.0])),
                               [1, -1, 0.5, 0, 1, -1, 1], atol=1e-6)
    assert ActionNormalizer.from_json(json.loads(json.dumps(codec.to_json()))) == codec
    assert "lower" not in codec.to_json()


def test_the_gripper_passes_by_its_sign_and_nan_stays_nan() -> None:
    codec = ActionNormalizer(low=(-1.0,), high=(1.0,))
    gripper = np.array([[0.0, 0.3], [0.0, -0.2], [0.0, 0.0], [np.nan, np.nan]])
    for converted in (codec.encode(gripper), codec.decode(gripper)):
        assert converted[:3, 1].tolist() == [1, -1, -1]
        assert np.isnan(converted[3]).all()


def test_a_dimension_that_never_moves_decodes_to_its_constant() -> None:
    codec = ActionNormalizer.fit(np.tile([0.25, 1.0], (50, 1)))
    assert codec.encode(np.array([0.25, 1.0])).tolist() == [0, 1]
    assert codec.decode(np.array([0.7, 1.0]))[0] == pytest.approx(0.25, abs=1e-3)


def test_json_round_trips_and_missing_statistics_raise() -> None:
    codec = ActionNormalizer.fit(np.random.default_rng(0).normal(size=(40, 7)))
    assert ActionNormalizer.from_json(json.loads(json.dumps(codec.to_json()))) == codec
    states = StateStatistics.fit(np.random.default_rng(1).normal(size=(40, 9)))
    assert StateStatistics.from_json(json.loads(json.dumps(states.to_json()))) == states
    for missing in ("low", "high", "kind"):
        with pytest.raises(UsageError, match="statistics are missing"):
            ActionNormalizer.from_json({key: value for key, value in codec.to_json().items() if key != missing})
    with pytest.raises(UsageError, match="statistics are missing"):
        StateStatistics.from_json({"mean": [0.0]})


@pytest.mark.parametrize("rows", [np.zeros((0, 7)), np.full((3, 7), np.nan)])
def test_statistics_of_nothing_or_of_nan_raise(rows: np.ndarray) -> None:
    with pytest.raises(UsageError, match="finite"):
        ActionNormalizer.fit(rows)
    with pytest.raises(UsageError, match="finite"):
        StateStatistics.fit(rows)


def test_impossible_ranges_raise() -> None:
    with pytest.raises(UsageError, match="no ranges"):
        ActionNormalizer(low=(1.0,), high=(0.0,))
    with pytest.raises(UsageError, match="dimensions"):
        ActionNormalizer(low=(), high=())


def test_states_are_centred_scaled_and_clipped() -> None:
    states = StateStatistics(mean=(1.0, 1.0), std=(2.0, 0.0))
    assert states.normalize(torch.tensor([[3.0, 1.0], [1.0, 9.0]])).tolist() == [[1, 0], [0, 5]]
