"""What every data strategy must keep; a new one is tested by being on the menu."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vlactl.identity import digest
from vlactl.strategies import CROSS, IN_DOMAIN, STRATEGIES, split_updates

SOURCES = {IN_DOMAIN: ("a", "b"), CROSS: ("c", "d", "e")}
KINDS = list(STRATEGIES)


@pytest.mark.parametrize("kind", KINDS)
def test_phases_end_in_one_finetune_and_spend_everything(kind: str) -> None:
    phases = STRATEGIES.get(kind)().phases(SOURCES)
    assert [phase.kind for phase in phases] == ["pretrain"] * (len(phases) - 1) + ["finetune"]
    assert sum(phase.share for phase in phases) == pytest.approx(1.0)
    assert sum(split_updates(phases, 1600)) == 1600


@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_are_shares_of_known_sources(kind: str) -> None:
    names = {name for role in SOURCES.values() for name in role}
    for phase in STRATEGIES.get(kind)().phases(SOURCES):
        assert sum(weight for _, weight in phase.mixture) == pytest.approx(1.0)
        assert all(weight > 0 for _, weight in phase.mixture)
        assert len({name for name, _ in phase.mixture}) == len(phase.mixture)
        assert {name for name, _ in phase.mixture} <= names


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_ends_up_in_domain(kind: str) -> None:
    *_, last = STRATEGIES.get(kind)().phases(SOURCES)
    assert set(SOURCES[IN_DOMAIN]) <= {name for name, _ in last.mixture}


@pytest.mark.parametrize("kind", KINDS)
def test_phases_are_a_pure_function(kind: str) -> None:
    strategy = STRATEGIES.get(kind)()
    assert strategy.phases(SOURCES) == strategy.phases(dict(reversed(list(SOURCES.items()))))


@pytest.mark.parametrize("kind", KINDS)
def test_identity_round_trips_and_every_field_says_what_it_is(kind: str) -> None:
    spec = STRATEGIES.get(kind)
    assert STRATEGIES.parse(spec().identity()) == spec()
    assert len(digest(spec().identity())) == 16
    assert all(field.description for field in spec.model_fields.values())
    assert spec.__doc__


def test_the_menus_import_nothing_heavy() -> None:
    code = ("import sys, vlactl.strategies, vlactl.training\n"
            "heavy = {'torch', 'numpy', 'deepspeed', 'transformers', 'ray', 'mlflow'} & set(sys.modules)\n"
            "sys.exit(repr(heavy) if heavy else 0)")
    subprocess.run([sys.executable, "-c", code], check=True)
