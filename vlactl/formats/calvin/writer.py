"""Episodes -> CALVIN's directory format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vlactl.episodes import Episode
from vlactl.errors import IncompatibleSpaces, UsageError
from vlactl.formats import Progress, moments
from vlactl.formats.calvin import layout
from vlactl.formats.exchange import Episodes
from vlactl.formats.pace import Pace
from vlactl.formats.pickled import write_object
from vlactl.formats.sidecar import Sidecar
from vlactl.spaces import Spaces


def write(episodes: Episodes, out: Path, progress: Progress, *, split: str = "") -> dict[str, Any]:
    """Write all of ``episodes`` into ``out`` (existing, empty) and return a summary.

    ``split``: scenes for training and for validation, such as ``ABC_D``; empty puts everything into ``training``.
    Raises :class:`IncompatibleSpaces` for cameras, actions or missing states that the format cannot hold.
    """
    layout.check_exportable(episodes.spaces, "converting to calvin")
    pace, orders, number = Pace(progress, len(episodes)), {}, layout.FIRST_FRAME
    for name, positions in halves(episodes.scenes, split).items():
        half = _Half(out / name, episodes.spaces, number)
        for position in positions:
            episode = episodes[position]
            half.add(episode)
            pace(1, len(episode))
        half.close(embeddings=name == "validation")
        number, orders[name] = half.number, positions
    frames = number - layout.FIRST_FRAME
    Sidecar(kind="calvin", spaces=episodes.spaces, episodes=len(episodes), frames=frames,
            differs=layout.differs(episodes.spaces), facts={"order": orders}).write(out, episodes.pairs())
    return {"episodes": len(episodes), "frames": frames, "halves": {name: len(order) for name, order in orders.items()}}


def halves(scenes: list[str], split: str) -> dict[str, list[int]]:
    """Half -> positions of its episodes, scene after scene (a half's frames of one scene must be one range)."""
    if not split:
        return {"training": sorted(range(len(scenes)), key=scenes.__getitem__)}
    parts = split.split("_")
    if len(parts) != 2 or not all(parts) or len(set("".join(parts))) != len("".join(parts)):
        raise UsageError(f"'{split}' is no split", where="--split", remedy="for example --split ABC_D",
                         expected="letters of the training scenes, an underscore, letters of the validation scenes, "
                                  "none of them twice")
    found = {name: sorted((position for position, scene in enumerate(scenes) if scene in set(part)),
                          key=scenes.__getitem__) for name, part in zip(layout.HALVES, parts, strict=True)}
    left = sorted(set(scenes) - set("".join(parts)))
    if left or not all(found.values()):
        raise UsageError(f"the split '{split}' does not fit the dataset's scenes", where="--split",
                         expected=f"every one of {', '.join(sorted(repr(scene) for scene in set(scenes)))} on one "
                                  "side, and episodes on both sides",
                         remedy="choose another split, or record the scenes that are missing")
    return found


class _Half:
    """``training`` or ``validation``: frames as they come, the tables when it is closed."""

    def __init__(self, folder: Path, spaces: Spaces, number: int) -> None:
        """``number``: of its first frame; the second half goes on where the first one ends."""
        self.folder, self.spaces, self.number = folder, spaces, number
        self._keys = layout.camera_keys(spaces)
        self._ranges: list[tuple[int, int]] = []
        self._tasks: list[str] = []
        self._instructions: list[str] = []
        self._scenes: dict[str, list[int]] = {}
        self._moments = {key: moments.Running() for key in ("robot_obs", "scene_obs", "actions")}
        (folder / "lang_annotations").mkdir(parents=True)

    def add(self, episode: Episode) -> None:
        """Write one npz file per frame; raises :class:`IncompatibleSpaces` for an episode without states."""
        robot_TR, scene_TD = episode.robot_TR, episode.scene_TD
        if robot_TR is None or scene_TD is None:
            raise IncompatibleSpaces("it has no robot and scene states",
                                     where=f"episode {len(self._tasks)} of {self.folder.name} ({episode.task})",
                                     expected="robot_obs (15) and scene_obs (24) of every frame",
                                     remedy="record it again with this version of vlactl, or convert to lerobot, which "
                                            "needs none")
        vectors = {"actions": layout.absolute_actions(robot_TR, episode.actions_TA, self.spaces),
                   "rel_actions": episode.actions_TA.astype(np.float64), "robot_obs": robot_TR.astype(np.float64),
                   "scene_obs": scene_TD.astype(np.float64), layout.STATE: episode.states_TS}
        for t in range(len(episode)):
            views = {key: episode.images_TKYXC[t, k] for k, key in enumerate(self._keys)}
            np.savez_compressed(self.folder / layout.FRAME.format(self.number + t),
                                **views, **{key: values[t] for key, values in vectors.items()})
        for key, running in self._moments.items():
            running.add(moments.of_vectors(vectors[key]))
        last = self.number + len(episode) - 1
        self._scenes.setdefault(f"{layout.SCENE_PREFIX}{episode.scene}", [self.number, last])[1] = last
        self._ranges.append((self.number, last))
        self._tasks.append(episode.task)
        self._instructions.append(episode.instruction)
        self.number = last + 1

    def close(self, *, embeddings: bool) -> None:
        """Write ranges, scenes, statistics and annotations; ``embeddings``: also those of the evaluation."""
        ranges_NE = np.array(self._ranges, np.int64)
        np.save(self.folder / "ep_start_end_ids.npy", ranges_NE, allow_pickle=False)
        np.save(self.folder / "ep_lens.npy", ranges_NE[:, 1] - ranges_NE[:, 0] + 1, allow_pickle=False)
        write_object(self.folder / "scene_info.npy", self._scenes)
        (self.folder / "statistics.yaml").write_text(yaml.safe_dump(self._statistics(), default_flow_style=None))
        write_object(self.folder / layout.ANNOTATIONS, {
            "language": {"ann": self._instructions, "task": self._tasks, "emb": _unread(len(self._tasks))},
            "info": {"episodes": [], "indx": self._ranges}})
        if embeddings:
            said = {task: [text] for task, text in zip(self._tasks[::-1], self._instructions[::-1], strict=True)}
            write_object(self.folder / "lang_annotations/embeddings.npy",
                         {task: {"emb": _unread(1), "ann": said[task]} for task in sorted(said)})

    def _statistics(self) -> dict[str, Any]:
        """What CALVIN's loaders read to normalise: a transform per observation, the range of the absolute actions."""
        found = {key: running.merged() for key, running in self._moments.items()}
        document: dict[str, Any] = {
            key: [{"_target_": "calvin_agent.utils.transforms.NormalizeVector", "mean": found[key]["mean"].tolist(),
                   "std": found[key]["std"].tolist()}] for key in ("robot_obs", "scene_obs")}
        return {**document, "act_min_bound": found["actions"]["min"].tolist(),
                "act_max_bound": found["actions"]["max"].tolist()}


def _unread(count: int) -> np.ndarray:
    """Embeddings that nothing can be learned from unnoticed."""
    return np.full((count, 1, layout.EMBEDDING), np.nan, np.float32)
