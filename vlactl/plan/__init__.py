"""Recipe -> graph of stages, merged by digest; what of it is in the store, why the rest will run, and what that costs.

    data -> [words ->] [features ->] [pretrain ->] finetune -> evaluate   and one evaluate per reference, without inputs

A stage's digest covers its kind, its hand-bumped version, the fields that it consumes and its inputs' digests: never
names, places or execution.  Identity documents, by kind:

    data      source                                                          inputs: none
              backbone features [seed]                                        inputs: episodes [words]
    pretrain  backbone words updates seed                                     inputs: a role each
              backbone formulation training updates mixture seed, and where
              they are not the default: parts temperature align words         inputs: a role each [words] [pretrain]
    finetune  the same                                                        inputs: the same [features-of-<role>]
    evaluate  evaluation protocol                                             inputs: policy
    reference evaluation protocol policy ("expert" | "random" | "zero")       inputs: none

``mixture`` maps input roles to shares of the windows; a share of 0 gives statistics only.  A role with several sources
is numbered by digest (``in-domain-0``).  ``parts`` says which of a role's demonstrations are used, ``words`` which
pictures with words are mixed in (in a bare backbone's pretraining: all there is).  ``training`` is without its
``updates``: those of the phase stand beside it.  The ``seed`` of a pretrain stage is the strategy's, so that trials
share it.  ``execution`` is beside the identity: section (``source``, ``backbone``, ``training``, ``evaluation``) -> its
execution fields, and ``rollouts_in_parallel``.
"""

from vlactl.plan.describe import Description, Explained, changes, describe
from vlactl.plan.forecast import Estimate, Forecast
from vlactl.plan.graph import VERSIONS, Plan, Resources, Stage, TrialStages
from vlactl.plan.planner import make_plan

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
