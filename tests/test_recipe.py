"""Axes to trials: the grid, its values, exclude, where, include, zip, --set, --only, --skip, --limit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fake_menus import GRID, menus, recipe
from vlactl.errors import RecipeError, UsageError
from vlactl.recipe import Recipe, load
from vlactl.recipe.marks import read

FORM = "axes: {{formulation: {}}}\nbackbone: alpha\nstrategy: in-domain"


def coordinates(loaded: Recipe) -> list[str]:
    return ["/".join(value for _, value in cell) for cell in loaded.cells]


def problems(folder: Path, *args, **kwargs) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        recipe(folder, *args, **kwargs)
    return [f"{problem.path}: {problem.what}" for problem in caught.value.problems]


# ---- the grid ----


def test_the_grid_is_the_product_in_the_order_of_the_axes(tmp_path: Path) -> None:
    loaded = recipe(tmp_path)
    assert coordinates(loaded)[:3] == [
        "alpha/one-step/in-domain",
        "alpha/one-step/post-train",
        "alpha/policy-head/in-domain",
    ]
    assert len(loaded.trials) == 8
    assert [axis.name for axis in loaded.axes] == ["backbone", "formulation", "strategy"]


def test_seeds_are_replicates_and_come_breadth_first(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, "seeds: [0, 7]\n")
    assert [trial.seed for trial in loaded.trials] == [0] * 8 + [7] * 8
    assert len(loaded.cells) == 8
    assert loaded.trials[0].slug == "alpha/one-step/in-domain/seed-0"
    assert len({trial.id for trial in loaded.trials}) == 16


def test_a_recipe_without_axes_is_one_trial(tmp_path: Path) -> None:
    (trial,) = recipe(tmp_path, axes="backbone: beta\nformulation: policy-head\nstrategy: in-domain").trials
    assert trial.slug == "beta/policy-head/in-domain/seed-0"
    assert trial.cell == ()


def test_named_values_carry_fields_over_the_base(tmp_path: Path) -> None:
    axes = (
        "axes:\n  backbone: {plain: alpha, wide: {kind: alpha, width: 512}, beta: , big: {kind: beta, weights: big}}\n"
    )
    loaded = recipe(tmp_path, "backbone: {width: 64}\nformulation: one-step\nstrategy: in-domain\n", axes=axes)
    assert [(trial.backbone.kind, trial.backbone.width, trial.backbone.weights) for trial in loaded.trials] == [
        ("alpha", 64, "tiny"),
        ("alpha", 512, "tiny"),
        ("beta", 64, "tiny"),
        ("beta", 64, "big"),
    ]


def test_a_list_may_name_some_of_its_values(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, axes=FORM.format("[one-step, {long: {kind: policy-head, history: 8}}]"))
    assert coordinates(loaded) == ["one-step", "long"]
    assert loaded.trials[1].formulation.history == 8


def test_a_dotted_axis_sets_a_field_and_is_named_by_what_is_written(tmp_path: Path) -> None:
    axes = (
        "axes: {training.learning_rate: [1e-3, 2.0e-3, 1]}\nbackbone: alpha\nformulation: one-step\nstrategy: in-domain"
    )
    loaded = recipe(tmp_path, "training: {updates: 7}\n", axes=axes)
    assert coordinates(loaded) == ["1e-3", "2.0e-3", "1"]
    assert [trial.training.learning_rate for trial in loaded.trials] == [0.001, 0.002, 1.0]
    assert {trial.training.updates for trial in loaded.trials} == {7}
    assert loaded.trials[0].slug == "alpha/one-step/in-domain/learning_rate=1e-3/seed-0"


def test_a_dotted_axis_wins_over_a_named_value(tmp_path: Path) -> None:
    axes = "axes:\n  formulation.history: [2, 8]\n  formulation: {head: {kind: policy-head, history: 4}}\n"
    loaded = recipe(tmp_path, "backbone: alpha\nstrategy: in-domain\n", axes=axes)
    assert [trial.formulation.history for trial in loaded.trials] == [2, 8]


def test_lists_on_a_dotted_axis_need_names(tmp_path: Path) -> None:
    axes = "axes: {{training.betas: {}}}\nbackbone: alpha\nformulation: one-step\nstrategy: in-domain"
    loaded = recipe(tmp_path, axes=axes.format("{slow: [0.9, 0.99], fast: [0.8, 0.9]}"))
    assert loaded.trials[1].training.betas == (0.8, 0.9)
    assert problems(tmp_path, axes=axes.format("[[0.9, 0.99]]")) == ["axes.training.betas[0]: this value needs a name"]


def test_an_axis_may_vary_one_source_or_replace_it(tmp_path: Path) -> None:
    axes = (
        "axes:\n  sources.in-domain.own.episodes: [20, 40]\n  sources.cross-embodiment.other:\n"
        "    few: {kind: drawn, embodiment: stubby, episodes: 3}\n    many: {kind: drawn, embodiment: stubby}\n"
    )
    loaded = recipe(tmp_path, "backbone: alpha\nformulation: one-step\nstrategy: co-train\n", axes=axes)
    assert [
        (trial.sources["in-domain"]["own"].episodes, trial.sources["cross-embodiment"]["other"].episodes)
        for trial in loaded.trials
    ] == [(20, 3), (20, 200), (40, 3), (40, 200)]
    assert loaded.trials[0].slug == "alpha/one-step/co-train/episodes=20/other=few/seed-0"


def test_sources_that_a_strategy_ignores_are_no_part_of_the_trial(tmp_path: Path) -> None:
    first, second = (recipe(tmp_path, overrides=(f"sources.cross-embodiment.other.episodes={n}",)) for n in (5, 6))
    same = {trial.id for trial in first.trials} & {trial.id for trial in second.trials}
    assert {trial.strategy.kind for trial in first.trials if trial.id in same} == {"in-domain"}
    assert len(same) == 4
    assert set(first.trials[0].sources) == {"in-domain"}


def test_ids_ignore_names_and_execution_and_nothing_else(tmp_path: Path) -> None:
    def ids(*overrides: str, axes: str = FORM.format("[policy-head]")) -> list[str]:
        return [trial.id for trial in recipe(tmp_path, axes=axes, overrides=overrides).trials]

    plain = ids()
    assert ids("training.micro_batch=2", "execution.jobs=9", "name=other") == plain
    assert ids("backbone.checkpointing=true") == plain
    assert ids(axes=FORM.format("{renamed: policy-head}")) == plain
    for change in (
        "training.learning_rate=1e-4",
        "training.updates=50",
        "evaluation.chains=9",
        "backbone.width=128",
        "seeds=[1]",
        "sources.in-domain.own.episodes=9",
        "strategy={kind: co-train}",
    ):
        assert ids(change) != plain, change


# ---- exclude, where, include, zip ----


def test_exclude_drops_partial_matches_and_keeps_the_reason(tmp_path: Path) -> None:
    text = 'exclude:\n  - {backbone: beta, formulation: [policy-head], because: "too slow"}\n'
    loaded = recipe(tmp_path, text)
    assert not [name for name in coordinates(loaded) if name.startswith("beta/policy-head")]
    assert [item.cell[2][1] for item in loaded.excluded] == ["in-domain", "post-train"]
    assert {item.because for item in loaded.excluded} == {"too slow"}
    assert loaded.excluded[0].where.endswith("test.yaml:11:5")


def test_exclude_finds_a_dotted_value_by_what_it_is(tmp_path: Path) -> None:
    axes = "axes: {training.learning_rate: [1e-3, 2e-3]}\nbackbone: alpha\nformulation: one-step\nstrategy: in-domain"
    loaded = recipe(tmp_path, "exclude: [{training.learning_rate: 0.001, because: slow}]\n", axes=axes)
    assert coordinates(loaded) == ["2e-3"]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("formulation.history == 1 or strategy == 'in-domain'", 6),
        ("backbone != 'beta' and not strategy in ['post-train']", 2),
        ("training.global_batch % formulation.history == 0 and formulation.kind == 'policy-head'", 4),
        ("formulation.kind == 'policy-head' and formulation.layers == 1", 4),
        ("1 < formulation.history <= 4", 4),
        ("backbone.checkpointing == false", 8),
    ],
)
def test_where_keeps_the_cells_that_satisfy_it(tmp_path: Path, where: str, left: int) -> None:
    loaded = recipe(tmp_path, f'where: "{where}"\n')
    assert len(loaded.trials) == left
    assert len(loaded.excluded) == 8 - left
    assert all(item.because == f"not where {where}" for item in loaded.excluded)


@pytest.mark.parametrize(
    "where",
    [
        "().__class__",
        "backbone.__class__ == 1",
        "open('x')",
        "[x for x in backbone]",
        "lambda: 1",
        "backbone if 1 else 2",
        "f'{backbone}'",
        "backbone[0]",
        "2 ** 9 > 1",
        "(backbone := 1)",
        "'a' * 9 == 'a'",
        "1" + "+1" * 5000,
        "(" * 500 + ")" * 500,
    ],
)
def test_where_cannot_do_anything_but_compare(tmp_path: Path, where: str) -> None:
    assert problems(tmp_path, f'where: "{where}"\n')


def test_include_adds_cells_and_may_bring_values(tmp_path: Path) -> None:
    axes = "axes: {backbone: [alpha], formulation: [one-step], training.learning_rate: [1e-3]}\nstrategy: in-domain"
    text = (
        "include:\n  - {backbone: beta, formulation: {long: {kind: policy-head, history: 8}}, "
        "training.learning_rate: 5e-4}\n"
    )
    loaded = recipe(tmp_path, text, axes=axes)
    assert coordinates(loaded) == ["alpha/one-step/1e-3", "beta/long/5e-4"]
    assert loaded.trials[1].formulation.history == 8
    assert loaded.axes[0].values == ("alpha", "beta")


def test_include_brings_an_excluded_cell_back(tmp_path: Path) -> None:
    text = (
        "exclude: [{backbone: beta, because: slow}]\n"
        "include: [{backbone: beta, formulation: one-step, strategy: in-domain}]\n"
    )
    loaded = recipe(tmp_path, text)
    assert coordinates(loaded)[-1] == "beta/one-step/in-domain"
    assert len(loaded.excluded) == 3


def test_zipped_axes_advance_together_and_stay_two_columns(tmp_path: Path) -> None:
    axes = "axes: {training.updates: [10, 20], backbone: [alpha, beta], training.learning_rate: [1e-2, 1e-3]}"
    loaded = recipe(
        tmp_path,
        "zip: [[training.updates, training.learning_rate]]\nformulation: one-step\nstrategy: in-domain\n",
        axes=axes,
    )
    assert coordinates(loaded) == ["10/alpha/1e-2", "10/beta/1e-2", "20/alpha/1e-3", "20/beta/1e-3"]


def test_an_excluded_cell_may_be_illegal(tmp_path: Path) -> None:
    axes = "axes: {backbone: [alpha, beta], formulation: [one-step, interleaved]}\nstrategy: in-domain"
    found = problems(tmp_path, axes=axes)
    assert found == ["axes.formulation[1]: interleaved cannot be asked of beta: beta is not decoder-only"]
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, axes=axes)
    line = caught.value.problems[0].remedy.removeprefix("add under exclude:  ")
    assert len(recipe(tmp_path, f"exclude:\n  {line}\n", axes=axes).trials) == 3


# ---- YAML ----


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2", -2),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("~", None),
        ("", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("'1'", "1"),
        ("e5", "e5"),
        ("+.5e1", 5.0),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    document = read(f"x: {text}", "f")
    assert document.problems == []
    assert document.data["x"] == value
    assert type(document.data["x"]) is type(value)


def test_anchors_and_merges_work_and_point_to_where_the_value_is_written() -> None:
    document = read("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: {<<: [{x: 5}, *a], z: 6}\n", "f")
    assert document.problems == []
    assert document.data["b"] == {"x": 1, "y": 3}
    assert document.data["c"] == {"x": 5, "y": 2, "z": 6}
    assert str(document.mark(("b", "x"))) == "f:1:11"
    assert str(document.mark(("b", "y"))) == "f:4:6"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "[" * 3000,
        "a: !!python/object:os.system x",
        "? [1]\n: 2",
        "--- a\n--- b",
        "a: 1e999",
        "a: \x07",
        "a: {b: 1, b: 2}",
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{y}: &{y} [{','.join([f'*{x}'] * 9)}]\n" for x, y in zip("abcdefg", "bcdefgh", strict=True)),
    ],
)
def test_hostile_yaml_is_a_problem_and_never_a_crash(text: str) -> None:
    started = time.process_time()
    assert read(text, "f").problems
    assert time.process_time() - started < 5


def test_a_file_that_is_not_there_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("")
    with pytest.raises(UsageError, match=r"did you mean '.*quickstart\.yaml'"):
        load(tmp_path / "quikstart.yaml", menus=menus())


# ---- --set, --only, --skip, --limit ----


def test_set_reads_yaml_and_makes_the_mappings_it_needs(tmp_path: Path) -> None:
    loaded = recipe(
        tmp_path,
        overrides=(
            "training.updates=7",
            "axes.backbone=[alpha]",
            "axes.training.learning_rate=[1e-3]",
            "evaluation.chains=3",
            "seeds.0=4",
        ),
        axes=f"{GRID}\nseeds: [0]",
    )
    assert {(t.training.updates, t.training.learning_rate, t.evaluation.chains, t.seed) for t in loaded.trials} == {
        (7, 0.001, 3, 4)
    }
    assert len(loaded.trials) == 4
    assert loaded.document["training"] == {"updates": 7}


def test_a_mistake_in_set_is_located_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(
            tmp_path,
            "seeds: [0]\n",
            overrides=("training.updates=[1", "trainig.updates=3", "evaluation.chains=0", "seeds.4=1", "x"),
        )
    assert [f"{p.file}:{p.line}:{p.column} {p.what}" for p in caught.value.problems] == [
        "--set evaluation.chains:1:1 0 is not allowed here",
        "--set seeds.4:1:1 there is nothing to set at 'seeds.4'",
        "--set trainig.updates:1:1 unknown key 'trainig'",
        "--set training.updates:1:3 not valid YAML: while parsing a flow sequence "
        "expected ',' or ']', but got '<stream end>'",
        "--set x:1:1 cannot read 'x'",
    ]


def test_set_of_what_an_axis_decides_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, overrides=("backbone=alpha",))
    assert found == ["backbone: axis 'backbone' sets backbone itself, in: alpha, beta"]
    axes = (
        "axes: {training: {short: {updates: 5}, long: {learning_rate: 1e-4}}}\nbackbone: alpha\nformulation: one-step\n"
    )
    found = problems(tmp_path, "strategy: in-domain\n", axes=axes, overrides=("training.updates=9",))
    assert found == ["training.updates: axis 'training' sets training.updates itself, in: short"]


def test_only_and_skip_choose_trials_and_leave_the_recipe_whole(tmp_path: Path) -> None:
    loaded = recipe(
        tmp_path,
        "seeds: [0, 1]\n",
        only=["backbone=alpha", "strategy=in-domain,post-train"],
        skip=["formulation=policy-head", "seed=1"],
    )
    assert [trial.slug for trial in loaded.trials] == [
        "alpha/one-step/in-domain/seed-0",
        "alpha/one-step/post-train/seed-0",
    ]
    assert loaded.left_out == 14
    assert loaded.axes[0].values == ("alpha", "beta")


def test_the_limit_counts_trials_breadth_first(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, "seeds: [0, 1]\n", limit=9)
    assert [trial.seed for trial in loaded.trials] == [0] * 8 + [1]
    assert loaded.left_out == 7


@pytest.mark.parametrize(
    ("selection", "what"),
    [
        ({"only": ["backbone=alfa"]}, "axis 'backbone' has no value 'alfa'"),
        ({"only": ["bakbone=alpha"]}, "unknown axis 'bakbone'"),
        ({"skip": ["backbone"]}, "cannot read 'backbone'"),
        ({"skip": ["backbone=alpha,beta"]}, "no trial is left"),
        ({"limit": 0}, "--limit 0 leaves nothing"),
    ],
)
def test_a_wrong_selection_is_a_problem(tmp_path: Path, selection: dict, what: str) -> None:
    assert problems(tmp_path, **selection) == [f": {what}"]


# ---- speed ----


def test_ten_thousand_cells_load_in_seconds(tmp_path: Path) -> None:
    rates = ", ".join(f"{n}e-5" for n in range(1, 51))
    updates = ", ".join(str(n) for n in range(10, 60))
    axes = (
        f"axes:\n  backbone: [alpha, beta]\n  strategy: [in-domain, post-train]\n  training.learning_rate: [{rates}]\n"
        f"  training.updates: [{updates}]\nformulation: one-step"
    )
    started = time.process_time()
    assert len(recipe(tmp_path, axes=axes).trials) == 10_000
    assert time.process_time() - started < 8
