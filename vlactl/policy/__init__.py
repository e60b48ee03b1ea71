"""Policy = Backbone + Formulation + PolicyCard; Actor = Policy + what each running episode has seen.

The card holds everything that a score depends on beside the weights: spaces, action codec, state statistics,
vocabularies, architecture.  A saved policy is a folder of ``weights.safetensors``, ``card.json`` and ``tokenizer.json``
and needs neither the hub nor the recipe.
"""

from vlactl.policy.acting import Actor, Request
from vlactl.policy.card import PolicyCard
from vlactl.policy.model import Policy

__all__ = ["Actor", "Policy", "PolicyCard", "Request"]
