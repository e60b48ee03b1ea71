"""How plans are executed is part of a protocol."""

from __future__ import annotations

import pytest

from vlactl.benchmarks import BENCHMARKS, Tabletop
from vlactl.identity import digest


@pytest.mark.parametrize("kind", list(BENCHMARKS))
def test_every_benchmarks_protocol_says_how_plans_are_executed(kind: str) -> None:
    spec = BENCHMARKS.get(kind)
    plain, first, mean = (spec(execution=way) for way in ("chunk", "first", "ensemble"))
    assert plain == spec()
    assert [each.protocol()["execution"] for each in (plain, first, mean)] == ["chunk", "first", "ensemble"]
    assert len({digest(each.protocol()) for each in (plain, first, mean)}) == 3


def test_the_weights_of_an_ensemble_count_where_there_is_one() -> None:
    assert Tabletop(ensemble_decay=0.5).identity() == Tabletop().identity()
    mild, sharp = (Tabletop(execution="ensemble", ensemble_decay=decay).protocol() for decay in (0.01, 0.5))
    assert (mild["ensemble_decay"], sharp["ensemble_decay"]) == (0.01, 0.5)
    assert BENCHMARKS.parse(Tabletop(execution="ensemble", ensemble_decay=0.5).identity()).ensemble_decay == 0.5
