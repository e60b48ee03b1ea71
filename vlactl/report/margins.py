"""Marginal effects: one axis, averaged over what is balanced of all the others.

A value's mean over cells is fair only if every value was tried in the same combinations of the other axes.  So the
average runs over complete *blocks*: combinations in which every value has a score.  Differences between values are
paired in block and episode and take both as samples: the blocks are what replicates a choice.  Where there is one block
only, its training seeds are.  Axis letters: K blocks, V values, R training seeds, N episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vlactl import statistics
from vlactl.report import Level, Margin
from vlactl.report.letters import letters

Cell = tuple[tuple[str, str], ...]


def margins(
    axes: Sequence[str],
    scores: Mapping[Cell, np.ndarray],
    bounds: tuple[float, float],
    zipped: Sequence[Sequence[str]] = (),
) -> tuple[Margin, ...]:
    """One :class:`Margin` per axis that has two values or more; ``scores``: cell -> (R, N).

    ``zipped``: groups of axes that change together; a group has one margin, its first axis'.
    """
    found, told = [], set()
    for axis in axes:
        group = next((frozenset(group) for group in zipped if axis in group), frozenset([axis]))
        margin = None if group in told else margin_of(axis, scores, bounds, group)
        told.add(group)
        found += [margin] if margin is not None else []
    return tuple(found)


def margin_of(
    axis: str, scores: Mapping[Cell, np.ndarray], bounds: tuple[float, float], group: frozenset[str]
) -> Margin | None:
    """``group``: the axis and those zipped with it, which no combination of the others can hold fixed."""
    blocks: dict[Cell, dict[str, np.ndarray]] = {}
    for cell, values_RN in scores.items():
        rest = tuple(pair for pair in cell if pair[0] not in group)
        blocks.setdefault(rest, {})[dict(cell)[axis]] = values_RN
    cells = {
        value: sum(value in block for block in blocks.values())
        for value in dict.fromkeys(dict(cell)[axis] for cell in scores)
    }
    if len(cells) < 2:
        return None
    kept, complete = balanced(list(cells), blocks, cells)
    left_out = [
        Level(value=value, estimate=None, effect=None, letters="", cells=cells[value])
        for value in cells
        if value not in kept
    ]
    note = (
        f"left out, because no combination has all values: {', '.join(level.value for level in left_out)}"
        if left_out
        else ""
    )
    if len(complete) < len(blocks):
        note = "; ".join(part for part in (f"{len(complete)} of {len(blocks)} combinations are complete", note) if part)
    if len(complete) == 1:
        seeds = min(len(complete[0][value]) for value in kept)
        scores_VKN = np.stack([complete[0][value][:seeds] for value in kept])
    else:
        scores_VKN = np.stack([[block[value].mean(0) for block in complete] for value in kept])
    return Margin(
        axis=axis,
        blocks=len(complete),
        note=note,
        levels=(*levels(kept, scores_VKN, cells, bounds, seeds=len(complete) == 1), *left_out),
    )


def balanced(
    values: list[str], blocks: Mapping[Cell, Mapping[str, np.ndarray]], cells: Mapping[str, int]
) -> tuple[list[str], list[Mapping[str, np.ndarray]]]:
    """Values and the blocks that have all of them; the value with the fewest cells goes until there is such a block."""
    kept = list(values)
    while True:
        complete = [block for block in blocks.values() if all(value in block for value in kept)]
        if complete:
            return kept, complete
        kept.remove(min(reversed(kept), key=lambda value: cells[value]))


def levels(
    values: list[str],
    scores_VKN: np.ndarray,
    cells: Mapping[str, int],
    bounds: tuple[float, float],
    *,
    seeds: bool = False,
) -> list[Level]:
    """The values, best first; with ``seeds`` K counts the training seeds of one block."""
    order = [int(index) for index in np.argsort(-scores_VKN.mean((1, 2)), kind="stable")]
    scores_VKN = scores_VKN[order]
    centre_KN = scores_VKN.mean(0)
    several = len(scores_VKN) > 1 and scores_VKN.shape[2] > 1
    p_VV = np.ones((len(order), len(order)))
    for i in range(len(order) if several else 0):
        for j in range(i + 1, len(order)):
            p_VV[i, j] = p_VV[j, i] = statistics.mean_difference(scores_VKN[i] - scores_VKN[j]).p
    words = letters(statistics.holm_pairs(p_VV)) if several else [""] * len(order)
    return [
        Level(
            value=values[index],
            letters=word,
            cells=cells[values[index]],
            estimate=statistics.score(score_KN if seeds else score_KN.mean(0)[None], bounds=bounds),
            effect=statistics.mean_difference(score_KN - centre_KN) if several else None,
        )
        for index, score_KN, word in zip(order, scores_VKN, words, strict=True)
    ]
