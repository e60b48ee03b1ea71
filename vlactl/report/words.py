"""The sentences of a report: what is best, whether it is real, and what a reader must know to believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlactl.statistics import CONFIDENCE

if TYPE_CHECKING:
    from vlactl.report import Report, Row
    from vlactl.statistics import Estimate

ALPHA = 1 - CONFIDENCE
MAX_INFRA = 0.02
"""A greater share of lost episodes makes an evaluation invalid (reference/evaluation.md, 7.2)."""


def number(value: float, metric: str) -> str:
    """``2.14`` for a chain length, ``81.3`` (percent) for a rate."""
    text = f"{value:.2f}" if metric == "avg_len" else f"{100 * value:.1f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def interval(estimate: Estimate, metric: str) -> str:
    return f"[{number(estimate.low, metric)}, {number(estimate.high, metric)}]"


def unit(metric: str) -> str:
    return "" if metric == "avg_len" else " %"


def heading(metric: str) -> str:
    return metric if metric == "avg_len" else f"SR@{metric[2:]} %"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def answer(report: Report) -> str:
    """Which cell is best and whether it is really better than the next one."""
    scored = [row for row in report.rows if row.estimate]
    if not scored:
        return "No cell has a score yet."
    if report.by is not None:
        return best_level(report)
    best, metric = scored[0], report.metric
    assert best.estimate
    seeds = f", {best.seeds} training seeds" if best.seeds > 1 else ""
    parts = [
        f"Best: {best.name}, {heading(metric)} {number(best.estimate.mean, metric)} {interval(best.estimate, metric)} "
        f"on {best.n} {'episode' if best.n == 1 else 'episodes'}{seeds}."
    ]
    parts += [f"Against the runner-up: {against(scored, report)}"] if len(scored) > 1 else []
    parts += [against_floor(best, report)]
    if len(scored) > 1:
        parts.append(
            f"Several training seeds: this compares designs over {least_most(scored)} seeds."
            if report.designs
            else "One training seed each: this compares checkpoints, not designs."
        )
    return " ".join(part for part in parts if part)


def best_level(report: Report) -> str:
    """The answer of ``--by AXIS``: its best value on average, and which others cannot be told apart from it."""
    margin = next(iter(report.margins), None)
    if margin is None:
        return f"Only one value of {report.by} has a score."
    best, *others = margin.levels
    if best.estimate is None or best.effect is None:
        return f"The values of {margin.axis} share no combination of the other axes."
    metric, effect = report.metric, best.effect
    alike = [level.value for level in others if set(level.letters) & set(best.letters)]
    verdict = f"not told apart from {', '.join(alike)}" if alike else "better than every other value at 5 %"
    over = f"{margin.blocks} {'combination' if margin.blocks == 1 else 'combinations'}"
    gap = f"{number(effect.difference, metric)} [{number(effect.low, metric)}, {number(effect.high, metric)}]"
    return (f"Best {margin.axis} on average: {best.value}, {heading(metric)} {number(best.estimate.mean, metric)}, "
            f"{gap} above the mean of all values over {over}: {verdict}.")


def least_most(rows: list[Row]) -> str:
    seeds = sorted({row.seeds for row in rows})
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def against(scored: list[Row], report: Report) -> str:
    best, second = scored[0], scored[1]
    if second.behind is None or second.p_adjusted is None:
        return f"{second.name} shares too few episodes with it for a comparison."
    gap, metric = second.behind, report.metric
    pairs = len(scored) * (len(scored) - 1) // 2
    over = f" adjusted for {pairs} comparisons" if pairs > 1 else ""
    text = (
        f"{second.name}, paired difference {number(gap.difference, metric)}{unit(metric)} "
        f"[{number(gap.low, metric)}, {number(gap.high, metric)}], {p_value(second.p_adjusted)}{over}: "
    )
    if second.p_adjusted < ALPHA:
        return text + f"the difference {'' if report.designs else 'between these checkpoints '}is real at 5 %."
    told = [row for row in scored[1:] if set(row.letters) & set(best.letters)]
    text += "not shown to be real."
    if len(scored) == 2:
        return text
    return f"{text} {len(told)} of the {len(scored) - 1} other cells cannot be told apart from the best."


def against_floor(best: Row, report: Report) -> str:
    floors = [row for row in report.references if row.policy == "random" and row.estimate]
    tested_alike = [row for row in floors if set(row.reference.split("/")[1:]) <= {value for _, value in best.cell}]
    floor = next(iter(tested_alike or floors), None)
    if floor is None or floor.estimate is None or best.estimate is None:
        return ""
    clear = "lies clear of" if best.estimate.low > floor.estimate.high else "does not lie clear of"
    return (
        f"Its interval {clear} the random policy's, {number(floor.estimate.mean, report.metric)} "
        f"{interval(floor.estimate, report.metric)}."
    )


def notes(report: Report, *, left_out: int, tiny: int = 0) -> list[str]:
    """What the table does not say by itself; only what applies.  ``tiny``: cells with a tiny random backbone."""
    scored = [row for row in report.rows if row.estimate]
    out = [counted(report)]
    if len(scored) > 1 and report.shared == 0:
        out.append("Rows were tested on different episodes: nothing here is paired, and no difference is tested.")
    elif len(scored) > 1 and report.by is None:
        how = "t test with the spread between training seeds" if report.designs else "sign-flip permutation test"
        out.append(f"Cells without a common letter differ at 5 %: {how}, paired on {report.shared} episodes, "
                   "Holm over all pairs. Sharing a letter is not evidence of being equal.")
        out.append(f"The best of {len(scored)} cells was picked on the episodes that score it, "
                   "so its own score reads a little high.")
    if report.margins:
        out.append("Effects are differences from the mean of an axis' values, paired in combination and episode, both "
                   "taken as samples (t test, Holm within the axis): they speak of more than these very cells.")
    short = [row for row in scored if row.n < max(r.n for r in scored)]
    if short:
        out.append(
            f"Cells with fewer scored episodes than others: {len(short)}; "
            f"comparisons use the {report.shared} that all have."
        )
    invalid = [
        f"{row.name} ({row.infra})"
        for row in (*report.rows, *report.references)
        if row.n and row.infra > MAX_INFRA * (row.infra + row.n * max(row.seeds, 1))
    ]
    if invalid:
        out.append(f"More than 2 % of the rollouts were lost to infrastructure, do not trust: {', '.join(invalid)}.")
    broken = sum(row.invalid for row in scored)
    if broken:
        out.append(
            f"Rollouts that ended with an invalid action (not a number, or out of range) and count as failures: "
            f"{broken}."
        )
    if left_out:
        out.append(f"{left_out} trials were left out by --only, --skip or --limit.")
    if tiny:
        which = "The backbones" if tiny == len({row.cell for row in report.rows if row.trials}) else f"{tiny} cells"
        out.append(f"{which} are tiny and started from random weights: they compare code paths and inductive biases, "
                   "and say nothing about the pretrained models of those names.")
    return out


def counted(report: Report) -> str:
    """``45 cells: 41 done, 2 failed, 2 excluded.``"""
    states: dict[str, int] = {}
    for row in report.rows:
        states[row.state] = states.get(row.state, 0) + 1
    parts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in states.items())
    return f"{len(report.rows)} {'cell' if len(report.rows) == 1 else 'cells'}: {parts}."
