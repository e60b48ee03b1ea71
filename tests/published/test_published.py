"""The published tables: whole, consistent with themselves, and found by the names that a recipe gives its cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlactl import published
from vlactl.errors import UnknownName
from vlactl.published import CHAIN, matches, read_table, sum_gap, table

ROW = {"method": "X", "cell": {"backbone": "a"}, "scores": {"sr1": 0.5, "avg_len": 0.5}}
DOCUMENT = {
    "title": "T", "paper": "P", "place": "Table I", "versions": ["v3"], "setting": "S", "source": "W",
    "trust": "read", "metric": "avg_len", "unit": "share", "columns": ["sr1", "avg_len"],
    "coordinates": ["backbone"], "rows": [ROW],
}


def changed(row: dict | None = None, **fields: object) -> dict:
    return {**DOCUMENT, "rows": [{**ROW, **(row or {})}], **fields}


@pytest.mark.parametrize("name", published.names())
def test_every_table_is_whole_and_every_row_says_where_it_comes_from(name: str) -> None:
    found = table(name)
    assert found.mark().endswith("another protocol, never part of any test here")
    for row in found.rows:
        assert row.scores, row.method
        assert row.versions
        assert set(row.versions) <= {"v3", "v4"}
        assert row.place
        assert row.source
        assert row.trust in published.TRUST
    several = [row for row in found.rows if set(found.coordinates) <= row.cell.keys()]
    assert several
    places = [
        (*(row.cell[key] for key in found.coordinates), version) for row in several for version in row.versions
    ]
    assert len(places) == len(set(places)), "one number for a cell and version"


def test_rates_sum_to_the_printed_mean_but_in_the_rows_that_say_so() -> None:
    """A length of a chain of five is the sum of its five rates: a typing error of ours would show here."""
    odd, checked = [], 0
    for name in published.names():
        for row in table(name).rows:
            if all(rate in row.scores for rate in CHAIN):
                checked += 1
                total = sum(row.scores[rate] for rate in CHAIN)
                if abs(total - row.scores["avg_len"]) > 0.01:
                    odd.append((name, row.method, round(total, 2), row.scores["avg_len"]))
    assert checked > 45
    assert odd == [("data-scale", "Flamingo P.H. 3B", 4.25, 4.21)]


def test_numbers_that_are_quoted_most() -> None:
    best = {row.cell["split"]: row.scores["avg_len"] for row in table("sota").rows if "backbone" in row.cell}
    assert best == {("ABCD",): 4.49, ("ABC",): 4.25}
    cells = {(row.cell["backbone"][0], row.cell["formulation"][0], row.versions[-1]): row.scores["avg_len"]
             for row in table("formulations").rows}
    assert cells["kosmos-2", "one-step-continuous", "v3"] == 2.19
    assert cells["kosmos-2", "one-step-continuous", "v4"] == 4.09
    moved = {row.cell["execution"][0]: row.scores["avg_len"] for row in table("objective-execution").rows
             if row.cell["split"] == ("ABC",) and row.cell["formulation"] == ("flow-matching",)}
    assert moved == {"chunk": 3.68, "ensemble": 3.14, "first": 2.45}


def test_means_over_tasks_are_computed_and_agree_with_the_text_of_the_paper() -> None:
    """The text says: post-training 52 % and 38 %, finetuning 48 % and 31 %."""
    google = {row.method: row.scores["mean4"] for row in table("simpler-google").rows}
    bridge = {row.method: row.scores["mean4"] for row in table("simpler-widowx").rows}
    for method, shares in {"RoboVLMs post-train": (52, 38), "RoboVLMs in-domain finetune": (48, 31)}.items():
        assert (round(google[method]), round(bridge[method])) == shares
    assert "mean4" not in table("simpler-widowx").columns


def test_a_cell_that_no_source_gives_is_absent() -> None:
    row = next(row for row in table("formulations").rows if row.method == "PaliGemma")
    assert set(row.scores) == {"sr1", "sr5", "avg_len"}
    assert sum_gap(row) == 0.0


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (changed({"scores": {"sr1": 0.6, "avg_len": 0.5}}), "rates miss the mean by 0.100"),
        (changed({"odd_sum": True}), "odd_sum says True"),
        (changed({"scores": {"sr1": 50}}), "sr1 50 is impossible"),
        (changed({"scores": {"sr6": 0.5}}), "sr6 is no column"),
        (changed({"trust": "hearsay"}), "trust 'hearsay'"),
        (changed({"cell": {"brain": "a"}}), "brain is no coordinate"),
        (changed({"versions": ["v9"]}), "version v9 is not the table's"),
        (changed({"sores": {}}), "unknown keys: sores"),
        (changed(metrik="x"), "missing or unknown keys: metrik"),
        (changed(metric="sr2"), "metric 'sr2' is no column"),
        (changed(rows=[]), "has rows"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(document: dict, says: str) -> None:
    assert read_table("t", DOCUMENT).rows[0].scores == {"sr1": 0.5, "avg_len": 0.5}
    with pytest.raises(ValueError, match=re.escape(says)):
        read_table("t", document)


def test_unknown_tables_suggest_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'backbones'"):
        table("backbone")


def rows_of(name: str, axes: tuple[str, ...], **ours: str) -> list[str]:
    coordinates = {key.replace("__", "."): (value,) for key, value in ours.items()}
    found = table(name)
    return [f"{row.method} {'/'.join(row.versions)}" for row in found.rows if matches(found, row, coordinates, axes)]


def test_cells_are_found_by_the_names_of_axes_and_fields() -> None:
    axes = ("backbone", "formulation")
    assert rows_of("formulations", axes, backbone="kosmos-2", formulation="one-step-continuous") == [
        "KosMos v3", "KosMos v4"]
    assert rows_of("formulations", axes, backbone="kosmos-2", formulation="one-step-continuous",
                   evaluation__execution="chunk") == ["KosMos v4"]
    scale = ("backbone", "formulation", "strategy.portion")
    ours = {"backbone": "flamingo", "formulation": "policy-head-continuous"}
    assert rows_of("data-scale", scale, **ours, strategy__portion="0.10") == ["Flamingo P.H. 9B v3"]
    assert rows_of("data-scale", scale, **ours, strategy__portion="2") == []


def test_an_axis_that_the_paper_has_not_joins_nothing() -> None:
    ours = {"backbone": "kosmos-2", "formulation": "policy-head-continuous", "training__learning_rate": "1e-3"}
    assert rows_of("formulations", ("backbone", "formulation"), **ours)
    assert rows_of("formulations", ("backbone", "formulation", "training.learning_rate"), **ours) == []


def test_rows_of_other_methods_match_nothing() -> None:
    assert rows_of("sota", ("sources.in-domain.calvin.split",), sources__split="ABC") == ["RoboVLMs KosMos P.H. v3"]


def test_the_tables_are_installed_with_the_package() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"vlactl.published" = ["*.yaml"]' in text
    assert {path.suffix for path in published.FOLDER.iterdir() if path.is_file()} == {".py", ".yaml"}
