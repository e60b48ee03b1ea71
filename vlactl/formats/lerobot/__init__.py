"""The LeRobot v3.0 format: many episodes per parquet file, metadata beside them, images as PNG or as films.

    meta/info.json                              version, rate, features with dtype, shape and names
    meta/stats.json                             moments of every feature
    meta/tasks.parquet                          instruction -> task_index
    meta/episodes/chunk-000/file-000.parquet    where each episode lies, its instruction and moments
    data/chunk-000/file-000.parquet             one row per frame
    videos/<camera>/chunk-000/file-000.mp4      only where the images are films

:func:`write` exports into it and :class:`LeRobotEpisodes` reads it back, or reads a dataset of somebody else's whose
spaces are declared.  LeRobot calls the instruction *task*; the task's name and the desk's letter are two columns of our
own in ``meta/episodes``.
"""

from vlactl.formats.lerobot.reader import LeRobotEpisodes
from vlactl.formats.lerobot.writer import write

__all__ = ["LeRobotEpisodes", "write"]
