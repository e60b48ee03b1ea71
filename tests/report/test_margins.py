"""Marginal effects: axes that change together, and one combination with several training seeds."""

from __future__ import annotations

import numpy as np

from vlactl.report.margins import margins

ZIPPED = [["strategy", "training.updates"]]


def scores(**solved: float) -> dict:
    return {(("backbone", backbone), ("strategy", strategy), ("training.updates", strategy)):
            np.full((1, 20), solved[strategy] + (backbone == "llava")) + np.arange(20) % 2
            for backbone in ("llava", "smolvlm") for strategy in ("alone", "before")}


def test_zipped_axes_have_one_margin_over_the_combinations_of_the_others():
    axes = ("backbone", "strategy", "training.updates")
    backbone, strategy = margins(axes, scores(alone=1.0, before=2.0), (0.0, 5.0), ZIPPED)
    assert (backbone.axis, strategy.axis, strategy.blocks) == ("backbone", "strategy", 2)
    best, other = strategy.levels
    assert (best.value, other.value, strategy.note) == ("before", "alone", "")
    assert best.effect is not None
    assert best.effect.difference == 0.5


def test_axes_that_merely_differ_together_in_what_is_done_are_not_taken_for_zipped():
    done = {cell: values for cell, values in scores(alone=1.0, before=2.0).items()
            if dict(cell)["backbone"] == {"alone": "llava", "before": "smolvlm"}[dict(cell)["strategy"]]}
    for margin in margins(("backbone", "strategy"), done, (0.0, 5.0), ZIPPED):
        assert margin.blocks == 1
        assert [level.effect for level in margin.levels] == [None, None]


def test_the_seeds_of_a_single_combination_replicate_it():
    """What a seed does to all episodes alike is no evidence for a value, however many episodes agree."""
    episodes_N = np.arange(40) % 2
    lucky = {"a": (0.0, 3.0), "b": (1.0, 0.5)}
    seen = {(("strategy", value),): np.stack([seed + episodes_N for seed in seeds]) for value, seeds in lucky.items()}
    (margin,) = margins(("strategy",), seen, (0.0, 5.0))
    best, other = margin.levels
    assert (best.value, best.letters, other.letters) == ("a", "a", "a")
    assert best.estimate is not None
    assert best.estimate.high - best.estimate.low > 2
    alone = {cell: values_RN[1:] for cell, values_RN in seen.items()}
    (margin,) = margins(("strategy",), alone, (0.0, 5.0))
    assert [level.letters for level in margin.levels] != ["a", "a"], "one seed compares checkpoints, on episodes"
