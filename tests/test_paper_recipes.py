"""The recipes that ship: all load and plan; those of the paper hold its tables' cells, and each has a twin that asks
the same question on the tabletop."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlactl.errors import RecipeError
from vlactl.plan import Plan, describe, make_plan
from vlactl.published import leaf, matches, table
from vlactl.recipe import Recipe, load
from vlactl.report.quoted import coordinates, deciding
from vlactl.store import Store

ROOT = Path(__file__).parent.parent / "recipes"
ALL = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.yaml"))
PAPER = sorted(path.stem for path in (ROOT / "paper").glob("*.yaml") if not path.stem.endswith("-tiny"))

CELLS = {
    "sota": (2, 0),
    "formulations": (14, 2),            # Flamingo and PaliGemma have no interleaved row
    "data_scale": (6, 10),              # of 10 rows at 0.1x and 1x, 4 are of OpenFlamingo 3B and 4B; 6 are illegal
    "generalisation": (3, 3),           # of 4 bars, 1 is of OpenFlamingo 3B; 2 are illegal
    "backbones": (6, 2),                # of 8 rows, 2 are of OpenFlamingo 3B and 4B
    "vl_pretraining": (6, 2),           # interleaved on ABC is not reported
    "few_shot": (2, 0),
    "cross_embodiment_google": (4, 0),
    "cross_embodiment_bridge": (3, 0),
    "execution": (12, 0),
}
"""Recipe -> cells to run and excluded cells: the rows of its table."""
TABLES = {
    "sota": ("sota", 2),
    "formulations": ("formulations", 14),          # KosMos one-step of v4 executes chunks, which this recipe does not
    "data_scale": ("data-scale", 6),
    "generalisation": ("generalisation", 3),
    "backbones": ("backbones", 5),                 # qwen2-vl is no Qwen-VL
    "vl_pretraining": ("vl-pretraining", 7),       # ABCD without is printed as 2.70 and as 2.51
    "few_shot": ("few-shot", 2),
    "cross_embodiment_google": ("simpler-google", 4),
    "cross_embodiment_bridge": ("simpler-widowx", 3),
    "execution": ("objective-execution", 6),
}
"""Recipe -> published table, and how many of its rows have the name of one of our cells."""


@cache
def recipe(name: str) -> Recipe:
    return load(ROOT / name)


@cache
def plan(name: str) -> Plan:
    return make_plan(recipe(name))


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_plans(name: str, tmp_path: Path):
    described = describe(plan(name), Store(tmp_path))
    assert len(described.to_run) == len(plan(name).stages) > 0
    assert set(described.expected_s) == set(plan(name).stages)  # no stage of unknown length
    assert described.lines()


def test_every_paper_recipe_is_listed_here():
    assert list(CELLS) == list(TABLES)
    assert sorted(CELLS) == PAPER


@pytest.mark.parametrize("name", PAPER)
def test_its_cells_are_those_of_the_papers_table(name: str):
    found = recipe(f"paper/{name}.yaml")
    assert (len(found.cells), len(found.excluded)) == CELLS[name]
    assert all(item.because for item in found.excluded)


@pytest.mark.parametrize("name", PAPER)
def test_published_rows_stand_beside_cells_of_their_name(name: str):
    id, count = TABLES[name]
    found, ours = table(id), recipe(f"paper/{name}.yaml")
    axes = deciding([dict(trial.cell) for trial in ours.trials], [axis.name for axis in ours.axes],
                    {key for row in found.rows for key in row.cell})
    joined = [sum(matches(found, row, coordinates(SimpleNamespace(cell=trial.cell), trial), axes)  # type: ignore[arg-type]
                  for trial in ours.trials) for row in found.rows]
    assert sum(n > 0 for n in joined) == count
    assert max(joined) == 1


@pytest.mark.parametrize("name", PAPER)
def test_a_twin_asks_the_same_axes(name: str):
    real, twin = recipe(f"paper/{name}.yaml"), recipe(f"paper/{name}-tiny.yaml")
    assert [leaf(axis.name) for axis in twin.axes] == [leaf(axis.name) for axis in real.axes]
    assert {trial.backbone.source for trial in twin.trials} == {""}
    assert {trial.evaluation.kind for trial in twin.trials} == {"tabletop"}
    for ours, theirs in zip(real.axes, twin.axes, strict=True):
        if ours.name not in ("backbone", "strategy.portion", "training.updates"):
            assert ours.values == theirs.values, ours.name


@pytest.mark.parametrize("name", PAPER)
def test_a_twin_is_expected_within_ten_minutes_of_two_cores(name: str, tmp_path: Path):
    described = describe(plan(f"paper/{name}-tiny.yaml"), Store(tmp_path))
    assert recipe(f"paper/{name}-tiny.yaml").execution.jobs == 2
    assert described.wall_seconds <= 660
    assert described.gpu_hours == 0


def test_twins_share_their_recordings():
    recordings = [{digest for digest, stage in plan(f"paper/{name}-tiny.yaml").stages.items() if stage.kind == "data"}
                  for name in PAPER]
    assert sum(map(len, recordings)) > 2 * len(set.union(*recordings))


@pytest.mark.parametrize("name", PAPER)
def test_a_paper_recipe_trains_on_32_gpus_and_says_what_is_missing(name: str, monkeypatch):
    monkeypatch.delenv("CALVIN_DATASETS", raising=False)
    ours = recipe(f"paper/{name}.yaml")
    for stage in plan(f"paper/{name}.yaml").stages.values():
        if stage.kind in ("pretrain", "finetune"):
            assert (stage.resources.nodes, stage.resources.ranks, stage.resources.gpus) == (4, 32, 32)
    for trial in ours.trials:
        assert trial.training.micro_windows(trial.formulation.history, 32) == 4
        assert trial.backbone.weights == "pretrained"
        assert trial.evaluation.missing()
        assert all(source.missing() for named in trial.sources.values() for source in named.values())
    for trial in recipe(f"paper/{name}-tiny.yaml").trials:
        assert trial.evaluation.missing() == ()
        assert not any(source.missing() for named in trial.sources.values() for source in named.values())


def test_a_plan_counts_the_stages_that_wait_for_what_is_missing(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("CALVIN_DATASETS", raising=False)
    described = describe(make_plan(recipe("paper/few_shot.yaml")), Store(tmp_path))
    assert {text.partition(":")[0]: count for text, count in described.missing.items()} == {
        "CALVIN's dataset task_ABCD_D (656 GB)": 1, "A reader of RLDS": 23, "CALVIN's simulator": 2}
    text = "\n".join(described.lines())
    assert all(f"{said} (" in text for said in described.missing)
    assert describe(plan("paper/few_shot-tiny.yaml"), Store(tmp_path)).missing == {}


@pytest.mark.parametrize(("override", "said"), [
    ("formulation.cameras=static+wrist", "observation.cameras"),
    ("formulation.state=head", "observation.state"),
    ("sources.cross-embodiment.viola.image_px=64", "observation.cameras"),
    ("evaluation.image_px=64", "observation.cameras"),
])
def test_robots_must_agree_in_what_the_formulation_looks_at(override: str, said: str):
    """CALVIN has a wrist camera and proprioception, Open X-Embodiment as it is read has neither."""
    with pytest.raises(RecipeError, match="the spaces of source") as caught:
        load(ROOT / "paper/few_shot.yaml", [override])
    assert said in str(caught.value)


def test_zipped_axes_may_have_equal_values_and_others_may_not():
    google = recipe("paper/cross_embodiment_google.yaml")
    assert {dict(trial.cell)["strategy"]: trial.training.updates for trial in google.trials} == {
        "target-tasks": 20000, "in-domain": 50000, "co-train": 50000, "post-train": 100000}
    with pytest.raises(RecipeError, match="are the same"):
        load(ROOT / "paper/cross_embodiment_google.yaml", ["zip=[]"])
