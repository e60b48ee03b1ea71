"""The recipe language: one YAML file that says which policies to train, on what, and how to test them.

    version: 1
    name: design_space
    axes:                                   # the grid is their product; a table has one column per axis
      backbone: [smolvlm, llava]            # kinds of the menu, or names that you give:
      formulation:
        one-step: one-step-continuous
        history-8: {kind: policy-head-continuous, history: 8}
      strategy: [in-domain, post-train]
      training.learning_rate: [1e-3, 2e-3]  # any other axis is a dotted path into the trial; values are their own names
    seeds: [0, 1]                           # replicates: never a column, always averaged over
    zip: [[training.learning_rate, ...]]    # axes that advance together instead of being multiplied
    where: formulation.history == 1 or strategy == 'in-domain'    # cells that do not satisfy it are left out
    exclude:                                # partial matches; every report shows these cells with their reason
      - {backbone: llava, formulation: history-8, because: "does not fit in 8 GB"}
    include:                                # further cells in full; may bring new values
      - {backbone: llava, formulation: history-8, strategy: in-domain, training.learning_rate: 5e-4}

    backbone: {weights: tiny}               # backbone, formulation, strategy, training, evaluation: base values of
    training: {updates: 1600}               # every trial, over which the axes lay theirs
    evaluation: {kind: tabletop, chains: 50}
    sources:                                # role -> name -> source
      in-domain: {panda: {kind: tabletop, embodiment: panda}}
      cross-embodiment: {stubby: {kind: tabletop, embodiment: stubby}}
      vision-language: {desk: {kind: tabletop, pairs_per_episode: 4}}     # captions and questions about pictures
    references: [expert, random]            # ceiling and floor, evaluated under the same protocol
    execution: {jobs: 2, hint_s: {finetune: 60}}    # how it runs; no digest depends on it
    report: {metric: avg_len}

Scalars are those of YAML 1.2 (``1e-3`` is a number, ``no`` a text); duplicate keys are mistakes.  :func:`load` reports
every mistake of a file at once, each with its line, what was expected and what to do.
"""

from vlactl.recipe.load import load
from vlactl.recipe.menus import ROLES, SECTIONS, Menus
from vlactl.recipe.model import Axis, Cell, Excluded, Execution, Recipe, ReportSettings, RetryBudgets, Trial, cell_slug
from vlactl.recipe.schema import json_schema

__all__ = [
    "ROLES",
    "SECTIONS",
    "Axis",
    "Cell",
    "Excluded",
    "Execution",
    "Menus",
    "Recipe",
    "ReportSettings",
    "RetryBudgets",
    "Trial",
    "cell_slug",
    "json_schema",
    "load",
]
