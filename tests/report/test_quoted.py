"""Published tables beside ours: marked in every format, joined by name, and part of no test."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.finished_sweep import Sweep
from vlactl.errors import UnknownName, UsageError
from vlactl.plan import make_plan
from vlactl.recipe import load
from vlactl.report import FORMATS, Report, build, render
from vlactl.report.quoted import deciding, remarks_here, title
from vlactl.store import Store

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
MARK = "another protocol, never part of any test here"


@pytest.fixture
def paper(tmp_path: Path) -> Sweep:
    """Cells with names that the paper's formulation table has, and one of a backbone that it has not."""
    formulations = ("one-step-continuous", "policy-head-continuous")
    made = Sweep(tmp_path, backbones=("kosmos-2", "smolvlm"), formulations=formulations)
    made.finish(lambda trial: 0.8 if "policy-head" in trial.slug else 0.5)
    return made


def built(sweep: Sweep, *tables: str, **options: Any) -> Report:
    return build(sweep.recipe, sweep.plan, sweep.store, published=tables, now=NOW, **options)


def test_golden_with_published(paper: Sweep) -> None:
    """``VLACTL_GOLDEN=write`` rewrites the file."""
    path = GOLDEN / "with-published.txt"
    text = render(built(paper, "formulations"))
    if os.environ.get("VLACTL_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_shows_the_numbers_with_their_mark(paper: Sweep, format: str) -> None:
    plain, quoted = render(built(paper), format), render(built(paper, "formulations"), format)
    assert MARK not in plain
    assert MARK in quoted
    assert "arXiv 2412.14058 v3/v4" in quoted
    assert "Table III" in quoted
    for number in ("4.49", "2.19", "4.09", "0.44"):
        assert number in quoted, number


def test_rows_are_joined_with_the_cells_that_have_their_names(paper: Sweep) -> None:
    report = built(paper, "formulations")
    (block,) = report.published
    ours = {(row.method, dict(row.cell)["formulation"], row.versions): row.ours for row in block.rows if row.ours}
    by_name = {row.name: row.estimate for row in report.rows}
    one, head = "kosmos-2 / one-step-continuous", "kosmos-2 / policy-head-continuous"
    assert ours == {
        ("KosMos", "one-step-continuous", ("v3",)): ((one, by_name[one]),),
        ("KosMos", "one-step-continuous", ("v4",)): ((one, by_name[one]),),
        ("KosMos", "policy-head-continuous", ("v3", "v4")): ((head, by_name[head]),),
    }


def test_how_a_chunk_is_executed_decides_which_version_a_cell_stands_beside(paper: Sweep) -> None:
    class Tested:
        model_fields = ("execution",)
        kind, execution = "tabletop", "chunk"

    for trial in paper.recipe.trials:
        trial.evaluation = Tested()
    (block,) = built(paper, "formulations").published
    told = [row.versions for row in block.rows if row.ours and dict(row.cell)["formulation"] == "one-step-continuous"]
    assert told == [("v4",)]


def test_published_numbers_change_nothing_that_is_tested(paper: Sweep) -> None:
    plain, quoted = built(paper), built(paper, "formulations", "sota")
    assert [block.id for block in quoted.published] == ["formulations", "sota"]
    assert replace(quoted, published=()) == plain


def test_a_cell_without_a_score_is_joined_too(paper: Sweep) -> None:
    trial = next(trial for trial in paper.recipe.trials if trial.cell[0][1] == "kosmos-2" and "policy" in trial.slug)
    paper.plan.trials[trial.id].evaluate = "4" * 16
    text = render(built(paper, "formulations"))
    (line,) = [line for line in text.splitlines() if line.startswith("KosMos") and "policy-head" in line]
    assert "no score" in line


def test_where_nothing_matches_the_block_says_so(sweep: Sweep) -> None:
    (block,) = built(sweep, "simpler-google").published
    assert "No cell here has the names of one of these rows." in remarks_here(block)
    assert "Computed here, not printed: mean3, mean4." in remarks_here(block)
    assert "ours" not in render(built(sweep, "simpler-google")).split(title(block))[1].splitlines()[1]


def test_an_absent_cell_is_empty_and_not_zero(paper: Sweep) -> None:
    document = json.loads(render(built(paper, "formulations"), "json"))
    row = next(row for row in document["published"][0]["rows"] if row["method"] == "PaliGemma")
    assert row["scores"] == {"sr1": 31.6, "sr5": 0.1, "avg_len": 0.44}
    assert row["trust"] == "inferred"
    assert row["cell"] == {"backbone": "paligemma", "formulation": "one-step-discrete"}


def test_csv_has_published_lines_that_say_whose_they_are(paper: Sweep) -> None:
    lines = list(csv.DictReader(io.StringIO(render(built(paper, "formulations", "simpler-widowx"), "csv"))))
    quoted = [line for line in lines if line["row"] == "published"]
    assert all(MARK in line["detail"] and not line["protocol_digest"] for line in quoted)
    kosmos = [line for line in quoted if line["backbone"] == "kosmos-2" and line["metric"] == "avg_len"]
    assert [float(line["mean"]) for line in kosmos][-1] == 4.49
    assert float(kosmos[-1]["sr5"]) == 0.826
    spoon = [line["mean"] for line in quoted if line["metric"] == "spoon %"]
    assert spoon[-1] == "45.8"
    with pytest.raises(UsageError, match="no place in a CSV"):
        render(built(paper, "formulations", by="backbone"), "csv")


def test_unknown_tables_are_named(sweep: Sweep) -> None:
    with pytest.raises(UnknownName, match="unknown published table 'formulation'"):
        built(sweep, "formulation")


# ---- the footer, and axes of the test itself ----


def tiny_note(report: Report) -> list[str]:
    return [note for note in report.notes if "say nothing about the pretrained models of those names" in note]


def test_the_footer_says_what_tiny_backbones_cannot_say(sweep: Sweep) -> None:
    (note,) = tiny_note(built(sweep))
    assert note.startswith("The backbones are tiny and started from random weights")
    for trial in sweep.recipe.trials:
        size = "pretrained" if trial.cell[0][1] == "llava" else "tiny"
        trial.identity = lambda weights=size: {"backbone": {"weights": weights}}
    (note,) = tiny_note(built(sweep))
    assert note.startswith("2 cells are tiny")
    for trial in sweep.recipe.trials:
        trial.identity = lambda: {"backbone": {"weights": "pretrained"}}
    assert tiny_note(built(sweep)) == []


@pytest.fixture
def executions(tmp_path: Path) -> Sweep:
    """The second axis is how a chunk is executed: part of the protocol, and the recipe's own question."""
    made = Sweep(tmp_path, backbones=("llava",), formulations=("chunk", "first"))
    made.recipe.axes = tuple(
        SimpleNamespace(name="evaluation.execution" if axis.name == "formulation" else axis.name, values=axis.values)
        for axis in made.recipe.axes
    )
    made.recipe.references = ("expert/chunk", "random/chunk", "random/first")
    made.plan.references = {name: f"{index}" * 16 for index, name in enumerate(made.recipe.references)}
    for trial in made.recipe.trials:
        how = trial.cell[1][1]
        trial.cell = (trial.cell[0], ("evaluation.execution", how))
        trial.evaluation = SimpleNamespace(protocol=lambda how=how: protocol(how))
        solved = made.chains(0.8 if how == "chunk" else 0.4, trial.id)
        made.evaluate(made.plan.trials[trial.id].evaluate, solved, protocol=protocol(how))
    for name, digest in made.plan.references.items():
        policy, how = name.split("/")
        solved = [5] * 40 if policy == "expert" else [0] * 39 + [int(how == "first")]
        made.evaluate(digest, solved, protocol=protocol(how))
    return made


def protocol(how: str, **more: Any) -> dict[str, Any]:
    return {"kind": "tabletop", "chains": 40, "execution": how, **more}


def test_an_axis_of_the_test_may_vary_the_protocol_and_the_notes_say_so(executions: Sweep) -> None:
    report = built(executions)
    assert report.notes[0].startswith("Rows differ in their protocol by the recipe's own axis: execution.")
    assert "ignored as asked" not in " ".join(report.notes)
    assert report.protocol == "tabletop (several), chains 40"
    assert report.rows[-1].behind is not None
    assert "the random policy's, 0.00" in report.answer, "the floor of the same protocol"
    first, *others = render(report).split("seeds\n")[1].splitlines()
    assert first.lstrip().startswith("(expert/chunk)") or "(expert/chunk)" in first
    assert [("random" in line) for line in others[:4]] == [False, False, True, True]


def test_a_field_that_the_axis_does_not_vary_is_still_refused(executions: Sweep) -> None:
    trial = executions.recipe.trials[0]
    executions.plan.trials[trial.id].evaluate = "8" * 16
    executions.evaluate("8" * 16, [1] * 40, protocol=protocol(trial.cell[1][1], steps_per_task=60))
    with pytest.raises(UsageError, match="steps_per_task") as error:
        built(executions)
    assert "execution:" not in str(error.value)
    notes = built(executions, ignore=("steps_per_task",)).notes
    assert notes[0].startswith("Rows differ in their protocol: steps_per_task (ignored as asked)")
    assert notes[1].startswith("Rows differ in their protocol by the recipe's own axis: execution.")


def test_rows_of_different_episodes_are_never_paired(executions: Sweep) -> None:
    for trial, chain_list in zip(executions.recipe.trials, ("a", "b"), strict=True):
        told = protocol(trial.cell[1][1], chain_list=chain_list)
        trial.evaluation = SimpleNamespace(protocol=lambda told=told: told)
        executions.plan.trials[trial.id].evaluate = chain_list * 16
        executions.evaluate(chain_list * 16, [3] * 20 + [4] * 20, protocol=told)
    report = built(executions, ignore=("chain_list",))
    assert report.shared == 0
    assert all(row.behind is None and not row.letters for row in report.rows)
    assert any("different episodes: nothing here is paired" in note for note in report.notes)


def test_an_axis_that_follows_from_another_does_not_hide_a_published_row() -> None:
    """Updates zipped with a strategy stand for no coordinate of a paper; a learning rate tried twice does."""
    cells = [{"strategy": name, "training.updates": name, "training.learning_rate": rate}
             for name in ("in-domain", "post-train") for rate in ("1e-4", "2e-5")]
    axes = ("strategy", "training.updates", "training.learning_rate")
    assert deciding(cells, axes, {"strategy"}) == ["strategy", "training.learning_rate"]
    assert deciding(cells[::2], axes, {"strategy"}) == ["strategy"]
    assert deciding(cells, axes, {"strategy", "updates"}) == list(axes)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes" / "paper").glob("*.yaml")),
                         ids=lambda path: path.stem)
def test_every_paper_recipe_stands_beside_its_table(path: Path, tmp_path: Path) -> None:
    """No cell joins two rows of one version, no row two cells, and every recipe joins what the paper has of it."""
    recipe = load(path)
    report = build(recipe, make_plan(recipe), Store(tmp_path), published=(recipe.report.published or "",))
    joined = [row for row in report.published[0].rows if row.ours]
    assert len(joined) >= len(recipe.cells) / 2
    assert all(len(row.ours) == 1 for row in joined)
    pairs = [(row.ours[0][0], version) for row in joined for version in row.versions]
    assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("width", [80, 110, 140])
def test_a_narrow_terminal_gets_fewer_columns_and_loses_no_note(paper: Sweep, width: int) -> None:
    report = built(paper, "formulations")
    text = render(report, "table", width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    flowing = " ".join(text.split())
    for row in report.published[0].rows:
        assert row.note in flowing
        assert f"{row.scores['avg_len']:.2f}" in text
    assert ("SR@3" in text.split("Formulation ablation")[1]) == (width > 130)
