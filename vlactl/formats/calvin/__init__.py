"""CALVIN's directory format: one npz file per frame, language annotations that point into them.

    {training,validation}/
        episode_0000000.npz    one frame: actions[7] rel_actions[7] robot_obs[15] scene_obs[24] rgb_static rgb_gripper
        ep_start_end_ids.npy   (N, 2) first and last frame of each recording, inclusive
        ep_lens.npy            (N,)
        scene_info.npy         {scene: [first frame, last frame]}
        statistics.yaml        mean and deviation of the observations, range of the absolute actions
        lang_annotations/auto_lang_ann.npy    {"language": {"ann", "task", "emb"}, "info": {"episodes", "indx"}}

:func:`write` exports into it and :class:`CalvinEpisodes` reads it back, or reads CALVIN's own dataset.  An export is
CALVIN's format, not CALVIN: :mod:`vlactl.formats.sidecar` says in the folder what differs.
"""

from vlactl.formats.calvin.reader import CalvinEpisodes
from vlactl.formats.calvin.writer import write

__all__ = ["CalvinEpisodes", "write"]
