"""The episode loop: CALVIN's chain rule, batching that changes nothing, faults that are never scored as failures."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path

import numpy as np
import pytest

from vlactl.benchmarks import BENCHMARKS
from vlactl.episodes import EpisodeSpec, Observation, Rollout, Verdict
from vlactl.errors import UsageError
from vlactl.rollout import evaluate, from_json, summarise, to_json
from vlactl.spaces import ActionSpace, ObservationSpace, Spaces
from vlactl.video import Watcher

SPACES = Spaces(observation=ObservationSpace(cameras=(("static", 8, 8),), state=("x_m",)),
                action=ActionSpace(names=("x", "gripper"), control="relative-eef-pose", frame="world",
                                   position_scale_m=0.1, rotation_scale_rad=0.1, rate_hz=10.0), embodiment="dot")


class Line:
    """A dot on a line: task ``"3"`` is done when it has gone three to the right since the task began."""

    def __init__(self, broken: str) -> None:
        self.broken, self.x, self.resets, self.dead = broken, 0.0, 0, False

    def fail(self, why: str) -> None:
        self.dead = True
        raise OSError(why)

    def reset(self, spec: EpisodeSpec) -> None:
        assert not self.dead, "a simulator that raised is used again"
        if self.broken == "reset" and spec.start["breaks"]:
            self.fail("no display")
        self.spec, self.x, self.resets = spec, spec.start["x"], self.resets + 1

    def begin(self, task_index: int) -> str:
        self.task, self.origin, self.index = self.spec.tasks[task_index], self.x, task_index
        return self.spec.instructions[task_index]

    def step(self, action_A: np.ndarray) -> bool:
        assert np.abs(action_A).max() <= 1
        if self.broken == "step" and self.spec.start["breaks"] and self.index == 1:
            self.fail("lost the connection")
        self.x += float(action_A[0])
        return self.x >= self.origin + float(self.task)


class Lines:
    """A benchmark of dots; counts what is drawn."""

    spaces = SPACES

    def __init__(self, broken: str = "") -> None:
        self.broken, self.drawn, self.made = broken, [], []

    def episodes(self, count: int = 12) -> tuple[EpisodeSpec, ...]:
        tasks = ("1", "2", "1", "3", "1")
        return tuple(EpisodeSpec(key=f"e{n}", scene="line", start={"x": n / 10, "breaks": n % 6 == 5}, tasks=tasks,
                                 instructions=tuple(f"go {task}" for task in tasks), max_steps=4 + n % 5, seed=n)
                     for n in range(count))

    def warm_up(self, *, pictures: bool) -> None:
        self.warmed = pictures

    def simulation(self) -> Line:
        self.made.append(Line(self.broken))
        return self.made[-1]

    def look(self, simulations: list[Line]) -> list[Observation]:
        self.drawn.append(len(simulations))
        if self.broken == "look" and any(one.spec.start["breaks"] for one in simulations):
            raise OSError("no light")
        return [Observation(images_KYXC=np.full((1, 8, 8, 3), one.index * 40, np.uint8), state_S=np.array([one.x]))
                for one in simulations]

    def expert(self, simulation: Line):
        return lambda: np.array([1.0, 1.0])


class Walker:
    """Plans three steps that depend on all it may depend on: observation, instruction, noise, and its own memory."""

    def __init__(self, chunk: int = 3) -> None:
        self.chunk, self.batches, self.noise, self.memory = chunk, [], {}, {}

    def reset(self, key: Hashable, noise_seed: int) -> None:
        self.noise[key], self.memory[key] = np.random.default_rng(noise_seed), 0.0

    def act(self, requests) -> list[np.ndarray]:
        self.batches.append(len(requests))
        chunks = []
        for request in requests:
            self.memory[request.key] += float(request.observation.state_S[0]) + len(request.instruction)
            steps = 0.6 + 0.4 * np.sin(self.memory[request.key] + self.noise[request.key].normal(size=self.chunk))
            chunks.append(np.stack([steps, np.ones(self.chunk)], 1).astype(np.float32))
        return chunks


def silent(*_, **__) -> None:
    pass


def run(actor, benchmark=None, episodes=None, batch: int = 4, **more) -> tuple[Rollout, ...]:
    benchmark = benchmark or Lines()
    return evaluate(benchmark, actor, episodes or benchmark.episodes(), batch=batch, progress=silent, **more)


@pytest.mark.parametrize("actor", [Walker, lambda: "expert", lambda: "random", lambda: "zero"],
                         ids=["policy", "expert", "random", "zero"])
def test_a_rollout_depends_on_its_episode_only(actor):
    episodes = Lines().episodes()
    found = run(actor(), batch=1)
    assert run(actor(), batch=8) == found
    assert run(actor(), batch=50) == found
    assert run(actor(), episodes=episodes[::-1], batch=3) == found[::-1]
    assert run(actor(), episodes=episodes[4:6], batch=2) == found[4:6]
    assert [rollout.key for rollout in found] == [spec.key for spec in episodes]


def test_the_tabletop_gives_the_same_rollouts_in_any_batch():
    benchmark = BENCHMARKS.parse({"kind": "tabletop", "chains": 3, "image_px": 16, "steps_per_task": 25}).build()
    for policy in ("expert", "random"):
        found = run(policy, benchmark, batch=1)
        assert run(policy, benchmark, benchmark.episodes()[::-1], batch=3)[::-1] == found
    assert summarise(run("expert", benchmark))["avg_len"] > summarise(found)["avg_len"]


def test_random_actions_are_legal_and_differ_between_tasks_and_episodes():
    hashes = {rollout.extras["actions_sha256"] for rollout in run("random")}
    assert len(hashes) == 12


def test_a_chain_goes_on_without_a_reset_until_its_first_failure():
    benchmark = Lines()
    done, slow = run("expert", benchmark, benchmark.episodes(1)), run(Walker(), benchmark)
    assert [(v.task, v.success, v.steps) for v in done[0].verdicts] == [
        ("1", True, 1), ("2", True, 2), ("1", True, 1), ("3", True, 3), ("1", True, 1)]
    assert {rollout.solved for rollout in slow} != {5}
    for rollout, spec in zip(slow, benchmark.episodes(), strict=True):
        assert all(verdict.success for verdict in rollout.verdicts[:-1])
        assert rollout.solved == 5 or rollout.verdicts[-1].steps == spec.max_steps
    assert sum(simulation.resets for simulation in benchmark.made) == 1 + 12
    assert len(benchmark.made) <= 1 + 4


def test_a_new_task_throws_away_what_was_planned():
    """With chunks of 8 full steps, tasks of 1, 2, 1, 3 and 1 steps need a plan each, and no step is wasted."""
    class Runner(Walker):
        def act(self, requests):
            return [np.ones((8, 2), np.float32) for _ in super().act(requests)]

    benchmark = Lines()
    (rollout,) = run(Runner(), benchmark, benchmark.episodes(1))
    assert [verdict.steps for verdict in rollout.verdicts] == [1, 2, 1, 3, 1]
    assert rollout.replans == 5 == len(benchmark.drawn)


def test_pictures_are_drawn_only_for_a_plan_and_the_actor_sees_full_batches():
    benchmark, actor = Lines(), Walker()
    rollouts = run(actor, benchmark, batch=6)
    assert benchmark.drawn == actor.batches
    assert sum(actor.batches) == sum(rollout.replans for rollout in rollouts)
    steps = sum(verdict.steps for rollout in rollouts for verdict in rollout.verdicts)
    assert sum(actor.batches) < 0.7 * steps
    first_idle = next(n for n, size in enumerate(actor.batches) if size < 6)
    assert max(actor.batches[first_idle:]) < 6  # shrinks only when no episode waits any more


def test_noise_is_common_to_all_policies_and_differs_between_tasks():
    seeds = []

    class Listening(Walker):
        def reset(self, key, noise_seed):
            seeds.append(noise_seed)
            super().reset(key, noise_seed)

    run(Listening(), batch=1)
    first, seeds = seeds, []
    run(Listening(), batch=1)
    assert first == seeds
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("broken", ["reset", "step", "look"])
def test_a_lost_simulator_is_counted_and_never_scored(broken, caplog):
    benchmark = Lines(broken)
    rollouts, healthy = run(Walker(), benchmark), run(Walker())
    lost = {rollout.key for rollout in rollouts if rollout.status == "infra_error"}
    assert lost == {"e5", "e11"}
    assert all("OSError" in rollout.detail for rollout in rollouts if rollout.key in lost)
    assert [r for r in rollouts if r.key not in lost] == [r for r in healthy if r.key not in lost]
    scores = summarise(rollouts)
    assert (scores["infra_errors"], scores["episodes"], scores["valid"]) == (len(lost), 12 - len(lost), False)
    assert scores["avg_len"] == np.mean([rollout.solved for rollout in healthy if rollout.key not in lost])
    assert "the simulator raised" in caplog.text


def test_two_percent_of_lost_episodes_are_borne():
    fine = [Rollout(key=str(n), verdicts=(Verdict(task="a", success=True, steps=1),)) for n in range(98)]
    lost = [Rollout(key=f"x{n}", verdicts=(), status="infra_error") for n in range(3)]
    assert summarise(fine + lost[:2])["valid"] is True
    assert summarise(fine + lost)["valid"] is False
    assert summarise(lost)["avg_len"] is None
    assert summarise(lost)["valid"] is False


def test_what_the_policy_or_the_user_does_wrong_is_not_an_infrastructure_error():
    class Broken(Walker):
        def act(self, requests):
            raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(Broken())
    with pytest.raises(UsageError, match="unknown reference policy"):
        run("perfect")
    with pytest.raises(UsageError, match="same key"):
        run("zero", episodes=Lines().episodes(1) * 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.01, -2.0])
def test_an_illegal_action_is_a_labelled_failure(value):
    class Wild(Walker):
        def act(self, requests):
            chunks = super().act(requests)
            for chunk in chunks:
                chunk[2, 0] = value
            return chunks

    rollouts = run(Wild())
    wild = [rollout for rollout in rollouts if rollout.status == "invalid_action"]
    assert wild
    assert all(not rollout.verdicts[-1].success and rollout.detail for rollout in wild)
    scores = summarise(rollouts)
    assert (scores["invalid_actions"], scores["episodes"], scores["infra_errors"]) == (len(wild), 12, 0)


def test_rounding_beyond_one_is_tolerated_and_clipped():
    class Rounded(Walker):
        def act(self, requests):
            return [np.full((3, 2), 1.000001, np.float32) for _ in super().act(requests)]

    assert {rollout.status for rollout in run(Rounded())} == {"ok"}


def test_only_missing_episodes_are_attempted_and_each_is_reported_once():
    whole, benchmark, appended, seen = run(Walker()), Lines(), [], []
    done = {rollout.key: rollout for rollout in whole[3:9]}
    found = evaluate(benchmark, Walker(), benchmark.episodes(), batch=2, done=done, on_rollout=appended.append,
                     progress=lambda done, total, unit, **numbers: seen.append((done, total, unit, numbers)))
    assert found == whole
    assert sorted(rollout.key for rollout in appended) == sorted({r.key for r in whole} - set(done))
    assert sum(simulation.resets for simulation in benchmark.made) == 6
    assert seen[1][:3] == (1, 1, "kernels")
    assert seen[2][0] >= 6
    assert seen[-1][:3] == (12, 12, "rollouts")
    assert seen[-1][3]["avg_len"] == pytest.approx(summarise(whole)["avg_len"], abs=1e-3)
    assert evaluate(benchmark, Walker(), benchmark.episodes(), batch=2, done={r.key: r for r in whole},
                    progress=silent) == whole


def test_scores_follow_calvins_rule():
    def rollout(key: str, *successes: bool) -> Rollout:
        return Rollout(key=key, verdicts=tuple(Verdict(task="abcde"[n], success=success, steps=10)
                                               for n, success in enumerate(successes)), replans=2)

    scores = summarise([rollout("1", *[True] * 5), rollout("2", True, True, False), rollout("3", False),
                        rollout("4", True, False)])
    assert [scores[f"sr{n}"] for n in range(1, 6)] == [0.75, 0.5, 0.25, 0.25, 0.25]
    assert scores["avg_len"] == 2.0
    assert scores["per_task"] == {"a": [3, 4], "b": [2, 3], "c": [1, 2], "d": [1, 1], "e": [1, 1]}
    assert (scores["steps"], scores["replans"]) == (110, 8)


def test_rollouts_survive_json():
    for rollout in (*run(Walker()), *run(Walker(), Lines("step"))):
        assert from_json(json.loads(json.dumps(to_json(rollout)))) == rollout


def test_a_film_shows_every_step_and_changes_nothing(tmp_path: Path):
    import av

    found = run(Walker(), batch=3, video=tmp_path / "films" / "first.mp4")
    assert found == run(Walker(), batch=3)
    with av.open(str(tmp_path / "films" / "first.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) >= sum(verdict.steps for verdict in found[0].verdicts)
    assert len(list((tmp_path / "films").iterdir())) == 1
    band_first, band_last = (frame[frame.shape[1]:].astype(int) for frame in (frames[0], frames[-1]))
    green = [((band[..., 1] - band[..., 0]) > 60).sum() for band in (band_first, band_last)]
    assert green[1] > green[0] or found[0].solved == 0


def test_a_watcher_sees_every_start_and_step_and_each_outcome():
    seen = []

    class Notes(Watcher):
        def see(self, attempt, success=None):
            seen.append((attempt.task, attempt.steps, success))

    (rollout,) = run("expert", episodes=Lines().episodes()[:1], video=Notes(lambda _: [], []))
    assert seen == [(task, steps, True if steps and steps == verdict.steps else None)
                    for task, verdict in enumerate(rollout.verdicts) for steps in range(verdict.steps + 1)]
    seen.clear()
    (rollout,) = run("zero", episodes=Lines().episodes()[:1], video=Notes(lambda _: [], []))
    assert seen[-1] == (0, rollout.verdicts[0].steps, False)


def test_the_expert_leads_to_the_task_that_another_then_does():
    episodes = Lines().episodes()[:3]
    expert, zero = run("expert", episodes=episodes), run("zero", episodes=episodes)
    for one, other, relayed in zip(expert, zero, run("zero", episodes=episodes, rehearsed=2), strict=True):
        assert relayed.verdicts[:2] == one.verdicts[:2]
        assert [verdict.success for verdict in relayed.verdicts] == [True, True, False]
        assert relayed.verdicts[2].steps == other.verdicts[0].steps


def test_a_function_can_act():
    assert [rollout.verdicts for rollout in run(lambda: np.array([1.0, 1.0]))] == [
        rollout.verdicts for rollout in run("expert")]
