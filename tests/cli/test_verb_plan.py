"""``plan``, ``explain``, ``list``, ``show``, ``schema``: words about recipes and menus."""

from __future__ import annotations

import json

import pytest

from tests.cli.fakes import plainly, same_as_golden
from vlactl.cli import fields, menus
from vlactl.errors import ExitCode


def test_plan_says_what_will_run_and_writes_nothing(vlactl, recipe, home):
    answer = vlactl("plan", recipe)
    assert (answer.code, answer.err) == (0, "")
    same_as_golden("plan.txt", plainly(answer.out))
    assert not home.exists()


def test_plan_as_json_has_every_trial_and_stage(vlactl, recipe):
    lines = vlactl("plan", recipe, "--json", "--only", "strategy=in-domain").lines
    kinds = [line["type"] for line in lines]
    assert (kinds.count("trial"), kinds.count("stage")) == (2, lines[0]["stages"]) == (2, 6)
    assert (kinds[0], lines[-1]) == ("plan", {"type": "exit", "code": 0})


def test_mistakes_of_a_recipe_come_all_at_once_with_their_places(vlactl, recipe):
    recipe.write_text(recipe.read_text().replace("smolvlm", "smolvml").replace("chains: 4", "chain: 4"))
    answer = vlactl("plan", recipe)
    assert answer.code == ExitCode.USAGE
    assert "did you mean 'smolvlm'?" in answer.err
    assert "did you mean 'chains'?" in answer.err
    assert answer.err.count(f"{recipe}:") == 2
    lines = vlactl("plan", recipe, "--json").lines
    assert [problem["line"] for problem in lines[0]["problems"]] == [10, 12]
    assert lines[-1] == {"type": "exit", "code": 2}


def test_explain_says_why_the_stages_of_a_trial_will_run(vlactl, recipe, launcher):
    before = vlactl("explain", "one-step-discrete/post-train", "--sweep", recipe)
    same_as_golden("explain_one.txt", plainly(before.out))
    vlactl("sweep", recipe)
    recipe.write_text(recipe.read_text().replace("updates: 20", "updates: 30"))
    after = vlactl("explain", "smolvlm/one-step-discrete/in-domain/seed-0")
    assert "updates 20 -> 30 against" in after.out
    assert [line["cached"] for line in vlactl("explain", "one-step-discrete/in", "--json").lines[:-1]] == [
        True,
        False,
        False,
    ]


def test_explain_two_trials_names_every_difference(vlactl, recipe):
    answer = vlactl("explain", "continuous/in-domain", "discrete/in-domain", "--sweep", recipe)
    rows = dict(line.split(maxsplit=1) for line in answer.out.splitlines() if line.startswith("formulation.kind"))
    assert rows["formulation.kind"].split() == ["one-step-continuous", "one-step-discrete"]
    assert "strategy" not in answer.out.split("FIELD")[1]
    assert "shared stages: data panda" in answer.out


def test_an_ambiguous_or_unknown_trial_lists_what_there_is(vlactl, recipe):
    several = vlactl("explain", "one-step", "--sweep", recipe)
    assert (several.code, "means several trials" in several.err) == (2, True)
    assert several.err.count("smolvlm/") == 4
    none = vlactl("explain", "nothing-like-it", "--sweep", recipe)
    assert (none.code, "is no trial of this recipe" in none.err) == (2, True)


@pytest.mark.parametrize("kind", menus.FAMILIES)
def test_every_menu_can_be_listed_and_shown(vlactl, kind):
    listed = [line["name"] for line in vlactl("list", kind, "--json").lines[:-1]]
    shown = vlactl("show", kind, "--json").lines[:-1]
    assert listed == [each["name"] for each in shown] != []
    for each in shown:
        assert each["about"], f"{each['name']} has no docstring"
        undocumented = [field["name"] for field in each["fields"] if not field["about"]]
        assert not undocumented, f"{each['name']}: fields without a docstring"
    text = vlactl("show", kind, listed[0]).out
    assert text.startswith(listed[0])


def test_show_gives_type_default_meaning_and_marks_execution(vlactl):
    text = vlactl("show", "benchmarks", "tabletop").out
    assert "  instructions: validation | training | paraphrased = validation\n" in text
    training = {field["name"]: field for field in vlactl("show", "training", "--json").lines[0]["fields"]}
    assert training["updates"]["execution"] is False
    assert training["micro_batch"]["execution"] is True
    assert "(execution)" in vlactl("show", "training").out


def test_unknown_kinds_and_members_suggest_the_nearest(vlactl):
    answer = vlactl("list", "backbone")
    assert (answer.code, "did you mean 'backbones'?" in answer.err) == (2, True)
    answer = vlactl("show", "backbones", "paligema")
    assert (answer.code, "did you mean 'paligemma'?" in answer.err) == (2, True)


def test_schema_is_one_json_document(vlactl):
    document = json.loads(vlactl("schema").out)
    assert "axes" in document["properties"]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int | None, "integer | null"),
        (tuple[float, float], "[number, number]"),
        (tuple[str, ...], "[text, ...]"),
        (dict[str, bool], "{text: true | false, ...}"),
    ],
)
def test_types_are_spelled_as_an_author_writes_them(annotation, text):
    assert fields.type_text(annotation) == text
