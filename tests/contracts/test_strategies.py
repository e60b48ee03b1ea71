"""What every data strategy must keep; a new one is tested by being on the menu."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vlactl.identity import digest
from vlactl.strategies import CROSS, IN_DOMAIN, STRATEGIES, VISION_LANGUAGE, StrategySpec, split_updates

SOURCES = {IN_DOMAIN: ("a", "b"), CROSS: ("c", "d", "e"), VISION_LANGUAGE: ("w",)}
KINDS = list(STRATEGIES)
REQUIRED = {"phases": {"sequence": [{"kind": "pretrain", "mixture": {"c": 1.0, "a": 2.0}, "share": 0.25},
                                    {"kind": "finetune", "mixture": {"b": 0.0, "a": 1.0, "e": 1.0}, "share": 0.75}]}}
"""Fields without which a kind says nothing."""


def example(kind: str, **fields: object) -> StrategySpec:
    return STRATEGIES.parse({"kind": kind, **REQUIRED.get(kind, {}), **fields})


@pytest.mark.parametrize("kind", KINDS)
def test_phases_end_in_one_finetune_and_spend_everything(kind: str) -> None:
    phases = example(kind).phases(SOURCES)
    assert [phase.kind for phase in phases] == ["pretrain"] * (len(phases) - 1) + ["finetune"]
    assert sum(phase.share for phase in phases) == pytest.approx(1.0)
    assert sum(split_updates(phases, 1600)) == 1600


@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_are_shares_of_known_sources(kind: str) -> None:
    names = {name for role in SOURCES.values() for name in role}
    for phase in example(kind).phases(SOURCES):
        assert sum(item.weight for item in phase.mixture) == pytest.approx(1.0)
        assert all(item.weight >= 0 for item in phase.mixture)
        assert len({item.source for item in phase.mixture}) == len(phase.mixture)
        assert {item.source for item in phase.mixture} <= names


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_ends_up_in_domain(kind: str) -> None:
    *_, last = example(kind).phases(SOURCES)
    assert {item.source for item in last.mixture[:2]} == set(SOURCES[IN_DOMAIN]), "they say what is acted in"


@pytest.mark.parametrize("kind", KINDS)
def test_the_shared_fields_reach_every_phase_where_they_matter(kind: str) -> None:
    fields = {"vl_share": 0.25, "vl_weight": 0.5, "align": "physical", "portion": 0.5, "per_task": 3}
    for phase in example(kind, **fields).phases(SOURCES):
        assert (phase.vl, phase.vl_share, phase.vl_weight) == ((("w", 1.0),), 0.25, 0.5)
        home = [item for item in phase.mixture if item.source in SOURCES[IN_DOMAIN]]
        foreign = any(item.weight for item in phase.mixture if item not in home)
        assert (phase.align == "physical") == foreign
        assert home or not foreign, "what is converted is converted to something"
        assert all((item.portion, item.per_task) == (0.5, 3) for item in home)


@pytest.mark.parametrize("kind", KINDS)
def test_phases_are_a_pure_function(kind: str) -> None:
    strategy = example(kind)
    assert strategy.phases(SOURCES) == strategy.phases(dict(reversed(list(SOURCES.items()))))


@pytest.mark.parametrize("kind", KINDS)
def test_identity_round_trips_and_every_field_says_what_it_is(kind: str) -> None:
    spec = STRATEGIES.get(kind)
    assert STRATEGIES.parse(example(kind).identity()) == example(kind)
    assert len(digest(example(kind).identity())) == 16
    assert all(len(field.description or "") > 20 for field in spec.model_fields.values())
    assert spec.__doc__


def test_the_menus_import_nothing_heavy() -> None:
    code = ("import sys, vlactl.strategies, vlactl.training\n"
            "heavy = {'torch', 'numpy', 'deepspeed', 'transformers', 'ray', 'mlflow'} & set(sys.modules)\n"
            "sys.exit(repr(heavy) if heavy else 0)")
    subprocess.run([sys.executable, "-c", code], check=True)
