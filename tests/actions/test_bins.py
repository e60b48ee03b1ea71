from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlactl.actions import Bins

unit = st.floats(-1, 1, width=32)


@given(st.integers(2, 1024), st.data())
def test_bins_are_inverted_exactly_and_lose_at_most_half_a_bin(count: int, data: st.DataObject) -> None:
    bins = Bins(count)
    every = torch.arange(count)
    assert torch.equal(bins.encode(bins.decode(every)), every)
    values = torch.tensor(data.draw(st.lists(unit, min_size=1, max_size=20)))
    assert (bins.decode(bins.encode(values)) - values).abs().max() <= 1 / count + 1e-6
    assert bins.encode(torch.tensor([-9.0, -1.0, 1.0, 9.0])).tolist() == [0, 0, count - 1, count - 1]


@given(st.integers(2, 512), st.lists(unit, min_size=1, max_size=30))
def test_bins_are_what_numpys_histogram_counts(count: int, values: list[float]) -> None:
    edges = np.linspace(-1, 1, count + 1)
    clear = [value for value in values if np.abs(edges - value).min() > 1e-5]  # on an edge rounding decides
    ours = Bins(count).encode(torch.tensor(clear)).tolist()
    assert ours == [int(np.histogram([value], edges)[0].argmax()) for value in clear]
    centres = (edges[:-1] + edges[1:]) / 2
    np.testing.assert_allclose(Bins(count).decode(torch.arange(count)).numpy(), centres, atol=1e-6)
