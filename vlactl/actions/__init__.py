"""Codecs between what a robot is commanded and what a network predicts.  Every codec says what it loses.

An :class:`ActionCodec` is a parameterisation (step deltas, deltas from the chunk's start, absolute targets) times a
normaliser (quantiles of the source, a fixed range).  :class:`Bins` and :class:`FrequencyTokens` turn normalised
actions into discrete tokens.
"""

from vlactl.actions.bins import Bins
from vlactl.actions.codec import ActionCodec, Pose, Recorded
from vlactl.actions.frequency import FrequencyTokens
from vlactl.actions.normalise import ActionNormalizer, StateStatistics, sign

__all__ = ["ActionCodec", "ActionNormalizer", "Bins", "FrequencyTokens", "Pose", "Recorded", "StateStatistics", "sign"]
