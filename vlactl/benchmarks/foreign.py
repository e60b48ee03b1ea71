"""CALVIN and SimplerEnv, benchmarks of other houses, as specs: what they show, what they command, what a score means.

A recipe over them validates, plans and prices its GPU-hours on any machine; ``missing()`` says what a machine lacks to
run them.  Protocols are complete, so that a number made elsewhere can be compared or refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from vlactl.benchmarks.spec import Benchmark, BenchmarkSpec
from vlactl.errors import UnknownName, UsageError
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces

# ---- what CALVIN shows and commands ----

CALVIN_EMBODIMENT = "calvin-panda"
CALVIN_RATE_HZ = 30.0
POSE_EULER = ("x", "y", "z", "euler_x", "euler_y", "euler_z", "gripper")
"""Names of a pose increment with Euler angles: CALVIN's ``rel_actions``, and what RLDS standardises actions to."""


def calvin_pictures(image_px: int | None, renderer: str = "egl") -> str:
    """How CALVIN's images are made.  Its dataset was drawn with EGL; TinyRenderer's images differ by 20 of 255 on
    average, and policies trained on the one fail on the other (mees/calvin_env issue 3)."""
    return (f"CALVIN's own{' by TinyRenderer' if renderer == 'tiny' else ''}"
            f"{'' if image_px is None else f', resized to {image_px} px'}")


def calvin_spaces(static_px: tuple[int, int], wrist_px: tuple[int, int], pictures: str) -> Spaces:
    """CALVIN's own cameras with images of these (height, width), its ``robot_obs`` and its relative actions.

    Scales and rate: mees/calvin_env, ``conf/robot/panda_longer_finger.yaml`` (``max_rel_pos`` 0.02 m, ``max_rel_orn``
    0.05 rad) and ``conf/env`` (30 Hz).
    """
    from vlactl.tabletop.interface import ROBOT_STATE_NAMES

    return Spaces(
        observation=ObservationSpace(cameras=(("static", *static_px), ("wrist", *wrist_px)), state=ROBOT_STATE_NAMES,
                                     pictures=pictures),
        action=ActionSpace(names=POSE_EULER, control="relative-eef-pose-euler", frame="world", position_scale_m=0.02,
                           rotation_scale_rad=0.05, rate_hz=CALVIN_RATE_HZ),
        embodiment=CALVIN_EMBODIMENT)


CALVIN_CHAINS = "840cb992c69ce9b6d59f6020966b6300c15233f8e0b9667b6486c1962424d308"
"""SHA-256 of ``json.dumps`` of CALVIN's 1000 chains, ``[[start state, [five tasks]], ...]``: the list of
``multistep_sequences.get_sequences(1000)`` and of the ``eval_sequences.json`` that RoboVLMs and others ship."""
CALVIN_STARTS = "1a25eaf9bb3f57459937b95423f2a673e277945064e5c09c9c7cb97b3ff87150"
"""SHA-256 of their ``scene_obs``, 1000 × 24 float64: which blocks lie where depends on a hash (pyhash's ``fnv1_32``
over UTF-16-LE), and a harness with another hash starts 557 of the chains elsewhere."""


class Calvin(BenchmarkSpec):
    """CALVIN's long-horizon benchmark (plans here, runs with CALVIN's simulator): 1000 chains of five tasks at desk D.

    Plans here; runs with CALVIN's simulator (a clone of mees/calvin_env and pybullet), whose adapter this version of
    vlactl does not have.  Its embedded likeness that runs anywhere is ``tabletop``, whose numbers are not CALVIN's.
    """

    kind: ClassVar[str] = "calvin"

    scene: Literal["A", "B", "C", "D"] = "D"
    """At which desk; all published numbers are of D."""
    chains: int = Field(default=1000, ge=1, le=1000)
    """How many of the 1000 official chains to attempt, the first ones of the list; published numbers are of all."""
    steps_per_task: int = Field(default=360, ge=1)
    """Control steps allowed for each task, at 30 Hz (CALVIN: 360; some codes allow 720, which is another protocol)."""
    image_px: int = Field(default=200, ge=16, le=512)
    """Side to which both cameras' images (200 and 84 px) are resized, as in the source that a policy learned from."""
    renderer: Literal["egl", "tiny"] = "egl"
    """Who draws the images: EGL, as in CALVIN's dataset, or PyBullet's TinyRenderer, which needs no OpenGL and looks
    different."""
    reset: Literal["deterministic", "upstream"] = "deterministic"
    """``deterministic``: a chain is a function of its start and the actions.  ``upstream``: CALVIN's own reset, after
    which a chain also depends on those before it, by up to 2 cm in 120 steps."""

    def spaces(self) -> Spaces:
        side = (self.image_px, self.image_px)
        return calvin_spaces(side, side, calvin_pictures(self.image_px, self.renderer))

    def protocol(self) -> dict[str, Any]:
        """The fields, the official chains and start states, and upstream's rule."""
        return {**self.identity(), "chain_list": CALVIN_CHAINS, "start_states": CALVIN_STARTS, "tasks_per_chain": 5,
                "instructions": "validation: the first phrase of each task in new_playtable_validation.yaml",
                "control_hz": CALVIN_RATE_HZ, "between_tasks": "no reset of the world",
                "success": "the task's oracle holds after a control step; the first failure ends the chain",
                "upstream": "mees/calvin fa03f01, mees/calvin_env 797142c"}

    def missing(self) -> tuple[str, ...]:
        return ("CALVIN's simulator: this version of vlactl has no adapter to it. Train here, and attempt the chains "
                "with mees/calvin's own evaluation; or evaluate in 'tabletop', whose numbers are not CALVIN's.",)

    def build(self) -> Benchmark:
        raise not_here(self)


# ---- what SimplerEnv shows and commands: what its robots' datasets hold ----

PHOTOGRAPHS = "photographs of a real robot, or SimplerEnv's visual matching of them"
"""Pictures of RLDS data and of SimplerEnv: that a policy trained on the one is tested on the other is the point of
SimplerEnv, whose visual matching puts the real scene's photograph behind the simulated objects."""


def rlds_spaces(robot: str, rate_hz: float, image_px: int) -> Spaces:
    """What RoboVLMs and OpenVLA read of a dataset in RLDS: the primary camera, no proprioception, the pose increment of
    the end effector in metres and Euler angles (1 is 1 m, or half a turn) and the gripper.

    Source: ``prismatic/vla/datasets/rlds/oxe`` in openvla/openvla at bc8412a, ``configs.py`` and ``transforms.py``.
    """
    return Spaces(
        observation=ObservationSpace(cameras=(("static", image_px, image_px),), state=(), pictures=PHOTOGRAPHS),
        action=ActionSpace(names=POSE_EULER, control="relative-eef-pose-euler", frame="world", position_scale_m=1.0,
                           rotation_scale_rad=3.141592654, rate_hz=rate_hz),
        embodiment=robot)


@dataclass(frozen=True, slots=True)
class SimplerTask:
    """One task of a suite: how often it is attempted and for how long."""

    episodes: int
    steps: int
    """Control steps; an episode is never cut short by success."""


@dataclass(frozen=True, slots=True)
class SimplerSuite:
    """One robot of SimplerEnv."""

    robot: str
    """Embodiment, as the OXE dataset of that robot calls it."""
    control_hz: float
    simulation_hz: float
    gripper: str
    """What the client does with the policy's gripper command."""
    tasks: dict[str, SimplerTask]


SUITES = {
    "google-robot": SimplerSuite(
        "google-robot", 3.0, 513.0, "a change of the command is repeated for 2 steps (sticky gripper)",
        {"pick-coke-can": SimplerTask(300, 80), "move-near": SimplerTask(240, 80), "drawer": SimplerTask(216, 113),
         "apple-in-drawer": SimplerTask(108, 200)}),
    "widowx": SimplerSuite(
        "widowx", 5.0, 500.0, "closes after 2 closing commands in a row",
        {"spoon-on-towel": SimplerTask(24, 60), "carrot-on-plate": SimplerTask(24, 60),
         "stack-cube": SimplerTask(24, 60), "eggplant-in-basket": SimplerTask(24, 120)}),
}
"""Suite -> robot and tasks, as RoboVLMs at 8adc1d2 runs them (``scripts/*.sh``, ``eval/simpler``)."""


class SimplerEnv(BenchmarkSpec):
    """SimplerEnv (plans here, runs with its simulator on a GPU): tasks of real robots, rebuilt from photographs.

    Plans here; runs with SimplerEnv (SAPIEN, a GPU), whose adapter this version of vlactl does not have.  A chain is
    one task long, so avg_len is the share of episodes that succeed; suites weigh tasks by episodes.
    """

    kind: ClassVar[str] = "simplerenv"

    suite: Literal["google-robot", "widowx"] = "google-robot"
    """Which robot and its tasks: google-robot (864 episodes, 3 Hz) or widowx (96 episodes, 5 Hz)."""
    setting: Literal["visual-matching"] = "visual-matching"
    """Visual matching: photographs as background, textures tuned to them.  RoboVLMs ran no other setting."""
    tasks: tuple[str, ...] = ()
    """Which tasks of the suite; empty is all of them, in the suite's order."""
    image_px: int = Field(default=224, ge=16, le=512)
    """Side to which the camera's image is resized, as in the source that a policy learned from."""

    @model_validator(mode="after")
    def _tasks_are_of_the_suite(self) -> Self:
        known = SUITES[self.suite].tasks
        for task in self.tasks:
            if task not in known:
                raise UnknownName(f"task of {self.suite}", task, known)
        if len(set(self.tasks)) != len(self.tasks):
            raise UsageError("a task is named twice", where="tasks", expected="every task once")
        return self

    def spaces(self) -> Spaces:
        suite = SUITES[self.suite]
        return rlds_spaces(suite.robot, suite.control_hz, self.image_px)

    def protocol(self) -> dict[str, Any]:
        """The fields, and every task with its episodes and steps."""
        suite = SUITES[self.suite]
        chosen = {task: asdict(suite.tasks[task]) for task in self.tasks or suite.tasks}
        return {**self.identity(), "tasks": chosen, "control_hz": suite.control_hz,
                "simulation_hz": suite.simulation_hz, "gripper": suite.gripper,
                "success": "the task's predicate holds at the last step; success before it ends nothing",
                "upstream": "simpler-env/SimplerEnv 4ab7178, episodes as in RoboVLMs 8adc1d2"}

    def missing(self) -> tuple[str, ...]:
        return ("SimplerEnv: this version of vlactl has no adapter to it, and it needs a GPU. Train here, and run "
                "SimplerEnv's own evaluation on the saved policy.",)

    def build(self) -> Benchmark:
        raise not_here(self)


def not_here(spec: BenchmarkSpec) -> UsageError:
    """The refusal to build a benchmark that only plans, in the words of its ``missing()``."""
    return UsageError(f"the benchmark '{spec.kind}' plans here but cannot run", where="evaluation",
                      expected="a benchmark with a simulator in this installation", remedy=" ".join(spec.missing()))
