"""Moments: of an episode as numpy computes them, of many as if they had been one."""

from __future__ import annotations

import numpy as np
import pytest

from vlactl.formats import moments


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_images_are_counted_exactly(rng: np.random.Generator):
    images_TYXC = rng.integers(3, 250, (4, 5, 6, 3), np.uint8)
    found = moments.of_images(images_TYXC)
    pixels_NC = images_TYXC.reshape(-1, 3) / 255
    assert {value.shape for name, value in found.items() if name != "count"} == {(3, 1, 1)}
    assert found["count"].tolist() == [4]
    for name, wanted_C in (("min", pixels_NC.min(0)), ("max", pixels_NC.max(0)), ("mean", pixels_NC.mean(0)),
                           ("std", pixels_NC.std(0))):
        np.testing.assert_allclose(found[name].ravel(), wanted_C, rtol=1e-12, err_msg=name)
    for name, share in zip(("q01", "q10", "q50", "q90", "q99"), moments.QUANTILES, strict=True):
        wanted_C = np.quantile(pixels_NC, share, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(found[name].ravel(), wanted_C, err_msg=name)


def test_merged_moments_are_those_of_everything(rng: np.random.Generator):
    parts = [rng.normal(size=(count, 3)) for count in (1, 5, 2)]
    found, wanted = moments.merged([moments.of_vectors(part) for part in parts]), moments.of_vectors(np.vstack(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, err_msg=name)
    images = [rng.integers(0, 256, (count, 4, 4, 3), np.uint8) for count in (1, 3)]
    found = moments.merged([moments.of_images(part) for part in images])
    wanted = moments.of_images(np.concatenate(images))
    assert found["mean"].shape == (3, 1, 1)
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, err_msg=name)


def test_running_moments_are_merged_as_they_come(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(moments, "MERGED_AT_ONCE", 3)
    running, parts = moments.Running(), [rng.normal(size=(count, 2)) for count in (1, 4, 2, 3, 1, 5)]
    for part in parts:
        running.add(moments.of_vectors(part))
    found, wanted = running.merged(), moments.of_vectors(np.vstack(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, err_msg=name)


def test_the_quantiles_of_one_vector_are_itself():
    found = moments.of_vectors(np.array([[1.0, -2.0]]))
    assert all(found[name].tolist() == [1.0, -2.0] for name in ("min", "max", "mean", "q01", "q50", "q99"))
    assert found["std"].tolist() == [0.0, 0.0]
