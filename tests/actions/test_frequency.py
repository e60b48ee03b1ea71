"""Frequency tokens lose what rounding loses, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.toy_policies import chunks
from vlactl.actions import FrequencyTokens
from vlactl.actions.frequency import cosines
from vlactl.errors import UsageError

TOKENS = FrequencyTokens.fit(chunks(), vocabulary=255, scale=10.0)


@pytest.mark.parametrize("length", [1, 2, 6, 10, 31])
def test_the_transform_is_scipys(length: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, length, 7))
    np.testing.assert_allclose(cosines(length) @ values, scipy.fft.dct(values, axis=1, norm="ortho"), atol=1e-12)
    np.testing.assert_allclose(cosines(length).T @ (cosines(length) @ values), values, atol=1e-12)


@given(hnp.arrays(np.float32, (4, 6, 7), elements=st.floats(-1, 1, width=32)))
@settings(max_examples=50)
def test_a_chunk_is_off_by_half_an_integer_per_coefficient(wild: np.ndarray) -> None:
    decoded = TOKENS.decode(TOKENS.encode(wild))
    assert decoded.dtype == np.float32
    norm_NA = np.linalg.norm(decoded - wild, axis=1)
    assert norm_NA.max() <= np.sqrt(6) / (2 * 10) + 1e-5
    assert np.abs(decoded - wild).max() <= np.sqrt(6) / (2 * 10) + 1e-5


def test_tokens_round_trip_exactly_and_smooth_chunks_need_fewer() -> None:
    words = TOKENS.encode(chunks())
    assert words == TOKENS.encode(TOKENS.decode(words))
    assert max(max(each) for each in words) < TOKENS.size <= 255
    still = np.zeros((1, 6, 7))
    assert len(TOKENS.encode(still)[0]) < np.mean([len(each) for each in words]) < TOKENS.longest


def test_low_frequencies_come_first() -> None:
    """What a language model leaves out is the fine motion; what it adds beyond the end is cut off."""
    plain = FrequencyTokens(horizon=6, action_size=7, scale=10.0, merges=())
    ramp = np.repeat(np.linspace(-1, 1, 6)[None, :, None], 7, 2)
    (words,) = plain.encode(ramp)
    assert len(words) == 42
    half = plain.decode([words[:14]])
    coefficients = scipy.fft.dct(half[0], axis=0, norm="ortho")
    np.testing.assert_allclose(coefficients[2:], 0, atol=1e-6)
    np.testing.assert_allclose(coefficients[:2], scipy.fft.dct(ramp[0], axis=0, norm="ortho")[:2], atol=0.05 + 1e-6)
    np.testing.assert_array_equal(plain.decode([words + words]), plain.decode([words]))
    assert plain.decode([[]]).shape == (1, 6, 7)


def test_learning_is_a_function_of_the_chunks_and_survives_json() -> None:
    assert FrequencyTokens.fit(chunks(), vocabulary=255, scale=10.0) == TOKENS
    read = FrequencyTokens.from_json(json.loads(json.dumps(TOKENS.to_json())))
    assert read == TOKENS
    assert read.encode(chunks()) == TOKENS.encode(chunks())


def test_no_chunks_and_too_few_tokens_raise() -> None:
    with pytest.raises(UsageError, match="there are none"):
        FrequencyTokens.fit(np.empty((0, 6, 7)), vocabulary=255, scale=10.0)
    with pytest.raises(UsageError, match="fewer than the 51 integers"):
        FrequencyTokens.fit(chunks(), vocabulary=40, scale=10.0)
