"""``list`` and ``show``: what the members of a menu are, with whom they go, and what the paper printed."""

from __future__ import annotations

import json

import pytest

from tests.cli.fakes import ANSI
from tests.cli.test_command_line import HEAVY, in_terminal, modules_of
from vlactl import published
from vlactl.backbones import BACKBONES
from vlactl.cli.facts import facts_of, phase_text
from vlactl.cli.fields import fields
from vlactl.formulations import FORMULATIONS
from vlactl.strategies import STRATEGIES


def shown(vlactl, *words: str) -> dict[str, list[str]]:
    """label -> texts of a member's facts."""
    (line, _) = vlactl("show", *words, "--json").lines
    facts: dict[str, list[str]] = {}
    for fact in line["facts"]:
        facts.setdefault(fact["label"], []).append(fact["text"])
    return facts


def test_a_backbone_says_its_weights_pictures_subtrees_and_partners(vlactl):
    spec = BACKBONES.get("paligemma")
    facts = shown(vlactl, "backbones", "paligemma")
    assert facts["pretrained"] == [f"{spec.hub_id} at {spec.hub_revision}"]
    assert facts["picture"][0].startswith(f"pretrained: {spec.hub_px} px, {spec.hub_tokens} tokens")
    assert facts["vision"] == [", ".join(spec.vision)]
    assert facts["sequence"][0].startswith("decoder-only; prefix: pictures and text see each other")
    assert "interleaved-continuous" in facts["formulations"][0]
    assert "not" not in facts
    assert any("Table V" in text for text in facts["published"])


def test_illegal_pairs_have_the_reason_of_the_plan_on_both_sides(vlactl):
    reason = FORMULATIONS.get("interleaved-continuous")().conflicts(BACKBONES.get("flamingo")())
    assert reason
    assert f"interleaved-continuous: {reason}" in shown(vlactl, "backbones", "flamingo")["not"]
    assert f"flamingo: {reason}" in shown(vlactl, "formulations", "interleaved-continuous")["not"]
    assert shown(vlactl, "formulations", "policy-head-continuous")["backbones"] == ["all"]
    assert shown(vlactl, "formulations", "policy-head-continuous")["paper"] == ["eq. 13-14"]


@pytest.mark.parametrize("kind", ["backbones", "formulations", "strategies"])
def test_every_member_has_facts(kind):
    menu = {"backbones": BACKBONES, "formulations": FORMULATIONS, "strategies": STRATEGIES}[kind]
    for name in menu:
        assert facts_of(kind, menu.get(name)), name


def test_a_strategy_shows_the_phases_that_it_makes(vlactl):
    facts = shown(vlactl, "strategies", "post-train")
    assert facts["phase 1"] == [
        "pretrain, 50 % of the updates: stubby 50 %, gantry 50 %; shared by all trials that go on from it"]
    assert facts["phase 2"] == ["finetune, 50 % of the updates: panda 100 %; then it is tested"]
    assert "a source of role cross-embodiment" in facts["needs"][0]
    assert shown(vlactl, "strategies", "phases") == {"phases": ["as the recipe writes them out"]}
    assert "statistics only: panda" in shown(vlactl, "strategies", "pretrain-only")["phase 1"][0]
    few = STRATEGIES.get("few-shot")(vl_share=0.25, portion=0.5)
    (phase,) = few.phases({"in-domain": ["p"], "vision-language": ["c"]})
    assert phase_text(phase) == (
        "finetune, 100 % of the updates: p 100 % (50 % of them, 10 of each task); 25 % of the frames are pictures with "
        "words; then it is tested")


def test_what_cannot_run_here_says_what_it_lacks(vlactl, monkeypatch):
    monkeypatch.delenv("CALVIN_DATASETS", raising=False)
    assert shown(vlactl, "benchmarks", "tabletop") == {"here": ["lacks nothing"]}
    (lacks,) = shown(vlactl, "formats", "calvin")["here it lacks"]
    assert "CALVIN_DATASETS" in lacks


def test_fields_of_a_list_of_models_are_explained_too():
    names = [field["name"] for field in fields(STRATEGIES.get("phases"))]
    assert names[names.index("sequence") + 1 :][:2] == ["sequence[].kind", "sequence[].mixture"]


def test_lists_have_the_columns_that_choose_a_member(vlactl):
    lines = {line["name"]: line for line in vlactl("list", "backbones", "--json").lines[:-1]}
    assert lines["kosmos-2"]["pretrained"] == "microsoft/kosmos-2-patch14-224"
    assert lines["flamingo"]["who_sees_whom"] == "cross-attention"
    heads, *rows = vlactl("list", "backbones").out.splitlines()
    assert heads.split()[:2] == ["NAME", "PRETRAINED"]
    assert len(rows) == len(lines)
    assert [line.split()[0] for line in vlactl("list", "strategies").out.splitlines()] == list(STRATEGIES)


def test_published_tables_are_listed_and_shown_with_their_mark(vlactl):
    listed = vlactl("list", "published", "--json").lines[:-1]
    assert [line["name"] for line in listed] == list(published.names())
    text = vlactl("show", "published", "data-scale").out
    assert text.startswith("Data scale: published, arXiv 2412.14058 v3, Table IV; another protocol, never part")
    assert "the printed cells sum to 4.25" in text
    assert "ours" not in text.splitlines()[1]
    assert "No cell here" not in text
    (line, _) = vlactl("show", "published", "data-scale", "--json").lines
    assert line["rows"][0]["cell"]["portion"] == ["0.1"]
    assert len(vlactl("show", "published", "--json").lines) == len(published.names()) + 1
    answer = vlactl("show", "published", "datascale")
    assert (answer.code, "did you mean 'data-scale'?" in answer.err) == (2, True)


def test_on_a_terminal_they_are_tables_that_lose_nothing(vlactl):
    drawn = in_terminal("show", "backbones", "flamingo", COLUMNS="100")
    assert ANSI.search(drawn)
    plain = in_terminal("show", "backbones", "flamingo", COLUMNS="100", NO_COLOR="1")
    assert not ANSI.search(plain)
    for field in fields(BACKBONES.get("flamingo")):
        assert field["name"] in plain
    assert max(len(line) for line in plain.replace("\r", "").splitlines()) <= 100


@pytest.mark.parametrize("words", [["show", "backbones", "flamingo"], ["show", "published"], ["list", "published"],
                                   ["show", "strategies"], ["show", "formats"]], ids=" ".join)
def test_they_import_nothing_heavy(tmp_path, words):
    found = modules_of(tmp_path, *words)
    assert "vlactl" in found
    assert not found.intersection(set(HEAVY) - {"scipy"})


def test_json_lines_are_one_object_each(vlactl):
    for words in (["list"], ["show", "strategies"], ["show", "published", "sota"]):
        for line in vlactl(*words, "--json").out.splitlines():
            assert isinstance(json.loads(line), dict)
