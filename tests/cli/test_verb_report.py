"""``report --with published``: which table is meant, and that it reaches every format."""

from __future__ import annotations

import json

import pytest

from vlactl.errors import ExitCode

NAMED = "\nreport: {published: formulations}\n"
MARK = "published, arXiv 2412.14058 v3/v4, Table III (v4, Table I); another protocol, never part of any test here"


@pytest.fixture
def finished(vlactl, recipe, launcher):
    """A finished sweep whose recipe names the published table of its question."""
    recipe.write_text(recipe.read_text().replace("backbone: smolvlm", "backbone: kosmos-2") + NAMED)
    assert vlactl("sweep", recipe).code == ExitCode.OK
    return recipe


def test_the_table_that_the_recipe_names_stands_below_ours_when_asked(vlactl, finished):
    plain, beside = vlactl("report").out, vlactl("report", "--with", "published").out
    assert MARK not in plain
    assert beside.index(MARK) > beside.index("Best:")


@pytest.mark.parametrize("format", ["markdown", "latex", "csv", "json", "html"])
def test_every_format_has_it(vlactl, finished, format, tmp_path):
    target = tmp_path / "out"
    assert vlactl("report", "--with", "published", "--format", format, "-o", target).code == 0
    assert "another protocol, never part of any test here" in target.read_text()


def test_our_cells_are_found_by_what_their_specs_are(vlactl, finished):
    """The backbone is no axis of this recipe, the strategy is: the cell trained in-domain is the paper's."""
    document = json.loads(vlactl("report", "--with", "published", "--format", "json").out)
    joined = {
        (row["method"], row["cell"]["formulation"], "/".join(row["versions"])): [each["row"] for each in row["ours"]]
        for row in document["published"][0]["rows"] if row["ours"]
    }
    assert joined == {
        ("KosMos", "one-step-discrete", "v3/v4"): ["one-step-discrete / in-domain"],
        ("KosMos", "one-step-continuous", "v4"): ["one-step-continuous / in-domain"],
    }


def test_another_table_can_be_named_and_several_too(vlactl, finished):
    text = vlactl("report", "--with", "published", "--with", "published:sota", "--with", "published:formulations").out
    assert text.count("another protocol, never part of any test here") == 2
    assert "Table II;" in text


def test_mistakes_are_named_with_what_to_do(vlactl, recipe, finished):
    for words, says in (
        (["publish"], "did you mean 'published'?"),
        (["published:"], "published | published:TABLE"),
        (["published:formulation"], "did you mean 'formulations'?"),
    ):
        answer = vlactl("report", "--with", *words)
        assert (answer.code, says in answer.err) == (2, True), answer.err
    recipe.write_text(recipe.read_text().replace("published: formulations", "published: formulation"))
    answer = vlactl("plan", recipe)
    assert (answer.code, "did you mean 'formulations'?" in answer.err) == (2, True)
    assert f"{recipe}:{len(recipe.read_text().splitlines())}:" in answer.err, "with its place"
    recipe.write_text(recipe.read_text().replace("published: formulation}", "published: formulations}"))
    recipe.write_text(recipe.read_text().replace(NAMED, ""))
    answer = vlactl("report", "--with", "published")
    assert (answer.code, "the recipe names no published table" in answer.err) == (2, True)
    assert "--with published:TABLE" in answer.err
