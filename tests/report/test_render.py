"""The six formats: golden texts, and nothing of a name ever becomes markup."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.finished_sweep import Sweep
from vlactl.errors import UnknownName
from vlactl.report import FORMATS, Report, artifacts, build, render

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
SUFFIX = {"table": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "json": "json", "html": "html"}
NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
NASTY = "<b>&\"'x_{}$%#~^\\ | ` *bold* [a](javascript:b)\n=1+1"


@pytest.fixture
def report(sweep: Sweep) -> Report:
    sweep.recipe.excluded = (SimpleNamespace(cell=(("backbone", "kosmos"), ("formulation", "one-step")),
                                             because="needs a resampler", where="design.yaml:12:5"),)
    return build(sweep.recipe, sweep.plan, sweep.store, now=NOW)


@pytest.fixture
def nasty(report: Report) -> Report:
    rows = tuple(replace(row, cell=(("backbone", NASTY), ("formulation", "x")), detail=NASTY) for row in report.rows)
    return replace(report, name=NASTY, description=NASTY, rows=rows, answer=NASTY, notes=(NASTY,), protocol=NASTY)


@pytest.mark.parametrize("format", FORMATS)
def test_golden(report: Report, format: str) -> None:
    """``VLACTL_GOLDEN=write`` rewrites the files; the difference is for a person to read."""
    path = GOLDEN / f"report.{SUFFIX[format]}"
    text = render(report, format)
    if os.environ.get("VLACTL_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_golden_by_axis(sweep: Sweep) -> None:
    report = build(sweep.recipe, sweep.plan, sweep.store, by="formulation", now=NOW)
    path = GOLDEN / "by-formulation.txt"
    text = render(report, "table")
    if os.environ.get("VLACTL_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_the_table_off_a_terminal_has_no_escape_codes_and_on_one_it_has(report: Report) -> None:
    assert "\x1b" not in render(report, "table")
    assert "\x1b[" in render(report, "table", colour=True, width=200)


def test_a_narrow_terminal_wraps_instead_of_losing_text(report: Report) -> None:
    text = render(report, "table", width=70)
    assert max(len(line) for line in text.splitlines()) <= 70
    assert "needsaresampler" in re.sub(r"\s+", "", text)


def test_every_row_is_in_every_format(report: Report) -> None:
    for format in FORMATS:
        text = render(report, format)
        for word in ("llava", "smolvlm", "policy-head", "kosmos", "needs a resampler", "expert", "random"):
            assert word in text, (format, word)


def test_csv_is_read_back_unrounded_and_runs_no_formula(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert [line["row"] for line in lines] == ["cell"] * 5 + ["expert", "random"]
    assert float(lines[0]["mean"]) == report.rows[0].estimate.mean
    assert lines[4]["state"] == "excluded"
    assert lines[4]["mean"] == ""
    row = replace(report.rows[0], cell=(("backbone", "=cmd|'/c calc'!A1"), ("formulation", "+1")))
    (line, *_) = csv.DictReader(io.StringIO(render(replace(report, rows=(row,)), "csv")))
    assert (line["backbone"], line["formulation"]) == ("'=cmd|'/c calc'!A1", "'+1")


def test_json_is_strict_and_holds_everything(report: Report) -> None:
    document = json.loads(render(report, "json"), parse_constant=lambda name: pytest.fail(name))
    assert document["format"] == 1
    assert document["protocol"]["fields"]["steps_per_task"] == 120
    assert document["rows"][0]["cell"] == dict(report.rows[0].cell)
    assert document["rows"][0]["rates"]["sr5"]["mean"] == report.rows[0].rates[4].mean
    assert document["rows"][1]["behind"]["p"] == report.rows[1].behind.p
    assert [row["state"] for row in document["rows"]] == [row.state for row in report.rows]


class Elements(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_html_is_self_contained_and_escaped(report: Report, nasty: Report) -> None:
    plain, hostile = Elements(render(report, "html")), Elements(render(nasty, "html"))
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    assert not plain.tags & {"script", "link", "img", "iframe", "object"}
    assert not plain.attributes & {"src", "href", "onclick", "onload"}
    assert "default-src 'none'" in render(report, "html")


def test_latex_escapes_every_special_character(nasty: Report) -> None:
    body = render(nasty, "latex").split(r"\begin{table}")[1]
    bare = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]|\$\\[a-z]+\$", "", body)
    for line in bare.splitlines():
        inside = re.sub(r"\\(caption|label|end|begin|centering|toprule|midrule|bottomrule|tabular)|\\\\| & ", "", line)
        assert not set(inside) & set("&%$#~^\\"), line


def test_markdown_names_cannot_open_cells_links_or_tags(nasty: Report) -> None:
    rows = [line for line in render(nasty, "markdown").splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:7]}) == 1
    assert "<b>" not in "".join(rows).replace("\\<b\\>", "")
    assert "](javascript" not in "".join(rows)


def test_a_row_that_begins_with_a_bracket_is_no_latex_option(report: Report) -> None:
    row = replace(report.rows[0], cell=(("backbone", "[x]"), ("formulation", "y")))
    assert "\n    {[x]} & y" in render(replace(report, rows=(row,)), "latex")


def test_artifacts_for_mlflow_are_its_table_format(report: Report) -> None:
    files = artifacts(report)
    table = json.loads(files["comparison.json"])
    assert set(files) == {"comparison.csv", "comparison.json", "report.html", "report.md"}
    assert {len(line) for line in table["data"]} == {len(table["columns"])}
    assert len(table["data"]) == len(report.rows) + len(report.references)


def test_unknown_format(report: Report) -> None:
    with pytest.raises(UnknownName, match="unknown format 'excel'"):
        render(report, "excel")
