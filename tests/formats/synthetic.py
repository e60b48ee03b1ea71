"""Small datasets in memory for the exchange formats: random pictures, legal actions, any text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from vlactl.episodes import Episode
from vlactl.formats.exchange import Episodes
from vlactl.formats.recorded import PairRow
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces

ACTION = ActionSpace(names=("x", "y", "z", "rx", "ry", "rz", "gripper"), control="relative-eef-pose", frame="world",
                     position_scale_m=0.06, rotation_scale_rad=0.15, rate_hz=10.0)
SEEN = ObservationSpace(cameras=(("static", 6, 8), ("wrist", 6, 8)), state=("x_m", "y_m", "z_m"), pictures="painted-1")
SPACES = Spaces(observation=SEEN, action=ACTION, embodiment="panda")
ARRAYS = ("images_TKYXC", "states_TS", "actions_TA", "robot_TR", "scene_TD")


class InMemory:
    """A list of episodes with the face of a dataset."""

    def __init__(self, episodes: Sequence[Episode], spaces: Spaces = SPACES, pairs: Sequence[PairRow] = ()) -> None:
        self.episodes, self.spaces, self._pairs = list(episodes), spaces, list(pairs)
        self.tasks = [episode.task for episode in episodes]
        self.instructions = [episode.instruction for episode in episodes]
        self.scenes = [episode.scene for episode in episodes]

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, position: int) -> Episode:
        return self.episodes[position]

    def pairs(self) -> list[PairRow]:
        return list(self._pairs)


def episode(frames: int, seed: int = 0, *, spaces: Spaces = SPACES, task: str = "open_drawer",
            instruction: str = "open it", scene: str = "D", simulated: bool = True) -> Episode:
    """Random, but with actions at the edges and angles all the way round."""
    rng = np.random.default_rng(seed)
    (_, height, width), *_ = cameras = spaces.observation.cameras

    def floats(width: int, scale: float) -> np.ndarray:
        return rng.uniform(-scale, scale, (frames, width)).astype(np.float32)

    actions_TA = floats(spaces.action.size, 1.0)
    actions_TA[0] = 1.0
    return Episode(task=task, instruction=instruction, scene=scene, embodiment=spaces.embodiment,
                   images_TKYXC=rng.integers(0, 256, (frames, len(cameras), height, width, 3), np.uint8),
                   states_TS=floats(len(spaces.observation.state), 3.0), actions_TA=actions_TA,
                   robot_TR=floats(15, 1.5) if simulated else None, scene_TD=floats(24, 1.5) if simulated else None)


def pairs(episodes: Sequence[Episode], every: int = 3) -> list[PairRow]:
    """A caption of every third frame of the dataset, counted through."""
    return [{"frame": frame, "kind": "caption", "question": "", "answer": f"it is “{frame}”"}
            for frame in range(0, sum(map(len, episodes)), every)]


def datasets(*, simulated: st.SearchStrategy[bool]) -> st.SearchStrategy[InMemory]:
    """One to five episodes of one to five frames, with any words in them."""
    words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
    rows = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 99), words, words, st.sampled_from("ABCD")),
                    min_size=1, max_size=5)

    def built(rows: list[tuple[int, int, str, str, str]], has_states: bool) -> InMemory:
        made = [episode(frames, seed, task=task, instruction=instruction, scene=scene, simulated=has_states)
                for frames, seed, task, instruction, scene in rows]
        return InMemory(made, pairs=pairs(made))

    return st.builds(built, rows, simulated)


def assert_equal(found: Episodes, wanted: Episodes, *, arrays: Sequence[str] = ARRAYS) -> None:
    """Everything that a dataset holds, in order, to the last bit and with its dtype."""
    assert found.spaces == wanted.spaces
    assert len(found) == len(wanted)
    assert (found.tasks, found.instructions, found.scenes) == (wanted.tasks, wanted.instructions, wanted.scenes)
    assert found.pairs() == wanted.pairs()
    for position in range(len(wanted)):
        ours, theirs = found[position], wanted[position]
        assert (ours.task, ours.instruction, ours.scene, ours.embodiment) == (
            theirs.task, theirs.instruction, theirs.scene, theirs.embodiment)
        for name in arrays:
            left, right = getattr(ours, name), getattr(theirs, name)
            assert (left is None) == (right is None), name
            if right is not None:
                assert left.dtype == right.dtype, name
                np.testing.assert_array_equal(left, right, err_msg=f"episode {position}, {name}")


def like_calvins_own(folder: Path, segments: Sequence[tuple[str, str, int, int]], seed: int = 0) -> Path:
    """Write the training half of a folder like CALVIN's own and return the folder: two sizes of images, a sidecar
    nowhere.  ``segments``: scene, task, first and last frame of each annotation; windows may overlap."""
    half, rng = folder / "training", np.random.default_rng(seed)
    (half / "lang_annotations").mkdir(parents=True)
    for number in sorted({frame for *_, first, last in segments for frame in range(first, last + 1)}):
        np.savez_compressed(half / f"episode_{number:07d}.npz", actions=rng.normal(size=7),
                            rel_actions=rng.uniform(-1, 1, 7), robot_obs=rng.normal(size=15),
                            scene_obs=rng.normal(size=24), rgb_static=rng.integers(0, 256, (20, 20, 3), np.uint8),
                            rgb_gripper=rng.integers(0, 256, (8, 8, 3), np.uint8),
                            depth_static=rng.normal(size=(20, 20)).astype(np.float32))
    tasks = [task for _, task, *_ in segments]
    np.save(half / "lang_annotations/auto_lang_ann.npy", np.array({
        "language": {"ann": [f"please {task}" for task in tasks], "task": tasks,
                     "emb": rng.normal(size=(len(tasks), 1, 384))},
        "info": {"episodes": [], "indx": [(np.int64(first), last) for *_, first, last in segments]}}, object),
        allow_pickle=True)
    scenes: dict[str, list[int]] = {}
    for scene, _, first, last in segments:
        found = scenes.setdefault(f"calvin_scene_{scene}", [first, last])
        found[:] = [min(found[0], first), max(found[1], last)]
    np.save(half / "scene_info.npy", np.array(scenes, object), allow_pickle=True)
    return folder


def silent(*_: object, **__: object) -> None:
    """Progress that nobody watches."""
