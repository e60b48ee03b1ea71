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


# ---- several recipes, and what is lacking ----

LACKING = """
evaluation: {kind: calvin}
sources:
  in-domain:
    calvin: {kind: calvin}
execution: {gpus_per_stage: 8, ranks: 8, gpus_per_evaluation: 1, hint_s: {finetune: 3600, evaluate: 1800, data: 60}}
"""


@pytest.fixture
def far(recipe, monkeypatch):
    """A recipe that plans here and cannot run: no dataset, no simulator, no GPU."""
    monkeypatch.delenv("CALVIN_DATASETS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    head = recipe.read_text().partition("evaluation:")[0]
    head = head.replace("strategy: [in-domain, post-train]", "").replace("name: small", "name: far")
    path = recipe.parent / "far.yaml"
    path.write_text(head + "strategy: in-domain\n" + LACKING)
    return path


def test_a_plan_says_what_this_machine_lacks_each_once(vlactl, far):
    answer = vlactl("plan", far)
    assert answer.code == 0
    lacking = answer.out[answer.out.index("this machine lacks:") :].splitlines()[1:]
    assert ["CALVIN's dataset" in line for line in lacking] == [True, False, False]
    assert "CALVIN's simulator" in lacking[1]
    assert lacking[1].endswith("(2 stages)")
    assert lacking[2].lstrip().startswith("8 GPUs for one stage, 0 are here: name a cluster")
    assert "GPU-hours: 17.0 (by the recipe's hint)" in answer.out
    summary = vlactl("plan", far, "--json").lines[0]
    assert list(summary["missing"].values()) == [1, 2, 4]
    assert summary["expected"]["gpu_hours_from"] == {"hint": 4}


def test_gpus_of_a_named_cluster_are_not_looked_for_here(vlactl, far):
    named = vlactl("plan", far, "--set", "execution.launcher=ray", "--set", "execution.address=head:6379")
    assert "GPUs for one stage" not in named.out
    assert "CALVIN's simulator" in named.out


def test_several_recipes_are_all_shown_and_summed(vlactl, recipe, far):
    answer = vlactl("plan", recipe, far)
    assert answer.code == 0
    assert answer.out.index(f"# {recipe}") < answer.out.index("small: 4 trials") < answer.out.index(f"# {far}")
    assert "why:" not in answer.out, "reasons only where they are asked for"
    table = answer.out[answer.out.index("RECIPE") :].splitlines()
    heads = ["RECIPE", "CELLS", "EXCLUDED", "TRIALS", "STAGES", "TO RUN", "GPU-HOURS", "BY", "LACKS"]
    assert table[0].split() == " ".join(heads).split()
    assert table[1].split()[1:7] == ["4", "0", "4", "13", "13", "0.0"]
    assert table[1].endswith("nothing")
    assert table[2].split()[1:7] == ["2", "0", "2", "5", "5", "17.0"]
    assert table[2].endswith("3 of what it needs")
    assert table[3].split() == ["2", "recipes", "6", "0", "6", "18", "18", "17.0"]
    assert "why:" in vlactl("plan", recipe, far, "--reasons", "5").out


def test_a_recipe_with_mistakes_hides_no_other(vlactl, recipe, far):
    broken = recipe.parent / "broken.yaml"
    broken.write_text(recipe.read_text().replace("smolvlm", "smolvml").replace("chains: 4", "chain: 4"))
    answer = vlactl("plan", broken, recipe, far)
    assert answer.code == ExitCode.USAGE
    assert answer.err.count(f"{broken}:") == 2
    assert "small: 4 trials" in answer.out
    assert "far: 2 trials" in answer.out
    row = next(line for line in answer.out.splitlines() if line.startswith(str(broken)))
    assert row.endswith("has mistakes, see above")
    lines = vlactl("plan", broken, recipe, far, "--json").lines
    kinds = [line["type"] for line in lines]
    assert (kinds[0], lines[0]["recipe"], len(lines[0]["problems"])) == ("error", str(broken), 2)
    assert [line["recipe"] for line in lines if line["type"] == "plan"] == ["small", "far"]
    assert lines[-2] == {"type": "plans", "recipes": 3, "with_errors": 1, "gpu_hours": 17.0}
    assert lines[-1] == {"type": "exit", "code": 2}


def test_a_sweep_that_cannot_end_does_not_begin(vlactl, far, home, launcher):
    answer = vlactl("sweep", far)
    assert (answer.code, launcher.opens, home.exists()) == (ExitCode.USAGE, 0, False)
    for text in ("CALVIN's dataset", "CALVIN's simulator", "8 GPUs for one stage"):
        assert text in answer.err, "everything at once"
    assert vlactl("sweep", far, "--dry-run").code == 0
