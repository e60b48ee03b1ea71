"""Recipe -> graph of stages, merged by digest; what of it is in the store, why the rest will run, and what that costs.

    data -> [pretrain ->] finetune -> evaluate        and one evaluate per reference, without inputs

A stage's digest covers its kind, its hand-bumped version, the fields that it consumes and its inputs' digests: never
names, places or execution.  Identity documents:

    data      source                                                          inputs: none
    pretrain  backbone formulation training updates mixture seed              inputs: a role each
    finetune  the same                                                        inputs: a role each, and pretrain
    evaluate  evaluation protocol                                             inputs: policy
    reference evaluation protocol policy ("expert" | "random" | "zero")       inputs: none

``mixture`` maps input roles to shares of the windows.  A role with several sources is numbered by digest
(``in-domain-0``).  ``training`` is without its ``updates``: those of the phase stand beside it.  The ``seed`` of a
pretrain stage is the strategy's, so that trials share it.  ``execution`` is beside the identity: section
(``source``, ``backbone``, ``training``, ``evaluation``) -> its execution fields, and ``rollouts_in_parallel``.
"""

from vlactl.plan.describe import Description, Explained, changes, describe
from vlactl.plan.forecast import Estimate, Forecast
from vlactl.plan.graph import VERSIONS, Plan, Resources, Stage, TrialStages, make_plan

__all__ = [
    "VERSIONS",
    "Description",
    "Estimate",
    "Explained",
    "Forecast",
    "Plan",
    "Resources",
    "Stage",
    "TrialStages",
    "changes",
    "describe",
    "make_plan",
]
