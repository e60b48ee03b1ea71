"""Writing to MLflow: through its client only, in batches, and never the same thing twice.

Each run carries a tag ``vlactl.logged`` that says up to which update each curve was written and which evaluation and
video are there.  A crash between points and tag is found at the next start from the metric's own history.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlactl.errors import UsageError
from vlactl.outcomes import read_scores
from vlactl.tracking import quiet_environment
from vlactl.tracking.address import Address, has_writer
from vlactl.tracking.picture import Curve, Picture, TrialPicture, numbers_of, score_metrics

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

BATCH, PARAMS = 850, 75
"""Metrics and parameters in one request, beside at most 75 tags: MLflow takes 100 of each and 1000 together."""
LONGEST_PARAM, LONGEST_TAG = 6000, 5000
ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass(slots=True)
class Child:
    """What MLflow has of one run."""

    run_id: str
    status: str
    params: frozenset[str] = frozenset()
    tags: dict[str, str] = field(default_factory=dict)
    logged: dict[str, Any] = field(default_factory=dict)
    """Curve prefix -> [digest, last update]; ``eval`` and ``video`` -> digest."""


class Mirror:
    """One sweep's runs.  Opening it imports MLflow, makes the database and the experiment, and reads what is there."""

    def __init__(self, address: Address, sweep: str, recipe: str) -> None:
        quiet_environment()
        if address.database is not None:
            create_database(address.database, address.home / "locks" / "mlflow.lock")
        from mlflow import MlflowClient

        self.address, self.sweep = address, sweep
        self.client = MlflowClient(tracking_uri=address.uri)
        self.experiment = self._experiment(f"vlactl/{recipe}")
        self.written = {"runs": 0, "params": 0, "metrics": 0, "artifacts": 0}
        self._lines: dict[Path, list[dict[str, Any]]] = {}
        self._settled: dict[str, TrialPicture] = {}
        runs = list(self._search(f"tags.`vlactl.sweep` = '{sweep}'"))
        self.parent = next((child_of(run) for run in runs if run.data.tags.get("vlactl.kind") == "sweep"), None)
        self.children = {
            run.data.tags["vlactl.trial"]: child_of(run) for run in runs if "vlactl.trial" in run.data.tags
        }
        self._doubt = {child.run_id for child in self.children.values() if child.status not in ENDED}
        self._end_orphans()

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            folder = self.address.home / "mlartifacts" / re.sub(r"[^A-Za-z0-9._-]", "-", name)
            where = None if self.address.remote else folder.as_uri()
            try:
                return self.client.create_experiment(name, artifact_location=where)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)
                assert found is not None
        if found.lifecycle_stage != "active":
            raise UsageError(
                f"the experiment '{name}' was deleted",
                where=str(self.address),
                remedy=f"MLFLOW_TRACKING_URI={self.address} mlflow experiments restore -x {found.experiment_id}",
            )
        return found.experiment_id

    def _search(self, condition: str) -> Iterable[Run]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment], condition, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _end_orphans(self) -> None:
        """Runs of other sweeps that say RUNNING although no process writes them any more."""
        for run in list(self._search("attributes.status = 'RUNNING'")):
            sweep = run.data.tags.get("vlactl.sweep")
            if sweep and sweep != self.sweep and not self.address.remote and not has_writer(self.address.home, sweep):
                self.client.set_terminated(run.info.run_id, "KILLED")

    # ---- one look ----------------------------------------------------------------------------------------------------
    def show(self, picture: Picture) -> None:
        """Make the runs agree with ``picture``."""
        if self.parent is None:
            self.parent = self._create(picture.name, {"vlactl.kind": "sweep"}, None)
        self._lines.clear()
        for trial in picture.trials:
            if self._settled.get(trial.trial) == trial or (trial.status is None and trial.trial not in self.children):
                continue
            self._show_trial(trial)
            if trial.status in ENDED:
                self._settled[trial.trial] = trial
        self._batch(self.parent, {}, [], picture.tags)
        self._status(self.parent, picture.status, None)

    def show_tables(self, files: Mapping[str, str]) -> None:
        """Put the comparative table on the parent run, in place of the one before."""
        assert self.parent is not None
        for name, content in files.items():
            self.client.log_text(self.parent.run_id, content, name)
            self.written["artifacts"] += 1
        tables = [{"path": name, "type": "table"} for name in files if name.endswith(".json")]
        note = next((content for name, content in files.items() if name.endswith(".md")), "")
        if len(note) > LONGEST_TAG:
            note = note[:LONGEST_TAG].rpartition("\n")[0] + "\n\n(the whole table is among the artifacts)"
        self._batch(self.parent, {}, [], {"mlflow.loggedArtifacts": json.dumps(tables), "mlflow.note.content": note})

    def _create(self, name: str, tags: Mapping[str, str], started_s: float | None) -> Child:
        tags = {"vlactl.sweep": self.sweep, **tags}
        run = self.client.create_run(
            self.experiment, start_time=milliseconds(started_s), tags=dict(tags), run_name=name
        )
        self.written["runs"] += 1
        return Child(run.info.run_id, run.info.status, tags=dict(tags))

    def _show_trial(self, trial: TrialPicture) -> None:
        assert self.parent is not None
        child = self.children.get(trial.trial)
        if child is None:
            tags = {**trial.tags, "vlactl.kind": "trial", "mlflow.parentRunId": self.parent.run_id}
            child = self.children[trial.trial] = self._create(trial.name, cut(tags), trial.started_s)
        if child.run_id in self._doubt:
            self._check(child, trial)
        logged = dict(child.logged)
        points = [point for curve in trial.curves for point in self._points(curve, logged)]
        if trial.evaluated is not None and logged.get("eval") != trial.evaluation:
            points += metrics(score_metrics(read_scores(trial.evaluated)), milliseconds(trial.ended_s), trial.updates)
            logged["eval"] = trial.evaluation
        if trial.video is not None and logged.get("video") != trial.evaluation:
            self.client.log_artifact(child.run_id, str(trial.video), "rollouts")
            self.written["artifacts"] += 1
            logged["video"] = trial.evaluation
        tags = {**trial.tags, **({"vlactl.logged": json.dumps(logged)} if logged else {})}
        self._batch(child, trial.params, points, tags)
        child.logged = logged
        self._status(child, trial.status or "KILLED", trial.ended_s)

    def _check(self, child: Child, trial: TrialPicture) -> None:
        """The run was left open: what its history has beyond the tag was written just before the crash."""
        self._doubt.discard(child.run_id)
        for curve in trial.curves:
            keys = {clean(f"{curve.prefix}/{key}") for line in self._read(curve.path)[:1] for key in numbers_of(line)}
            steps = [point.step for key in keys for point in self.client.get_metric_history(child.run_id, key)]
            digest, last = child.logged.get(curve.prefix, (curve.digest, 0))
            if steps and digest == curve.digest:
                child.logged[curve.prefix] = [digest, max(last, *steps)]

    def _points(self, curve: Curve, logged: dict[str, Any]) -> list[Metric]:
        """What ``curve`` has beyond ``logged``, which is brought up to date."""
        lines = self._read(curve.path)
        digest, last = logged.get(curve.prefix, (curve.digest, 0))
        if digest != curve.digest:
            last = 0
        points: list[Metric] = []
        span = (curve.seconds or 0.0) / max(len(lines), 1)
        for index, line in enumerate(lines):
            update = int(line.get("update") or 0)
            if update <= last:
                continue
            when = line.get("time") or (curve.started_s + span * (index + 1) if curve.started_s else None)
            values = {f"{curve.prefix}/{key}": value for key, value in numbers_of(line).items()}
            points += metrics(values, milliseconds(when), update)
            last = update
        if points:
            logged[curve.prefix] = [curve.digest, last]
        return points

    def _read(self, path: Path) -> list[dict[str, Any]]:
        """Whole lines of a curve that may be growing; read once per look, as many trials may share it."""
        if path not in self._lines:
            self._lines[path] = whole_lines(path)
        return self._lines[path]

    # ---- the wire ----------------------------------------------------------------------------------------------------
    def _batch(self, child: Child, params: Mapping[str, str], points: list[Metric], tags: Mapping[str, str]) -> None:
        """Parameters and tags that the run lacks, and all points; the tags go last, when the points are there."""
        from mlflow.entities import Param, RunTag

        new = [
            Param(clean(key), value[:LONGEST_PARAM]) for key, value in params.items() if clean(key) not in child.params
        ]
        changed = {key: value for key, value in cut(tags).items() if child.tags.get(key) != value}
        requests = max(-(-len(new) // PARAMS), -(-len(points) // BATCH), int(bool(changed)))
        for k in range(requests):
            last = [RunTag(key, value) for key, value in changed.items()] if k == requests - 1 else []
            self.client.log_batch(
                child.run_id,
                metrics=points[k * BATCH : (k + 1) * BATCH],
                tags=last,
                params=new[k * PARAMS : (k + 1) * PARAMS],
            )
        child.params |= {param.key for param in new}
        child.tags |= changed
        self.written["params"] += len(new)
        self.written["metrics"] += len(points)

    def _status(self, child: Child, status: str, ended_s: float | None) -> None:
        if child.status == status:
            return
        if status in ENDED:
            self.client.set_terminated(child.run_id, status, end_time=milliseconds(ended_s))
        else:
            self.client.update_run(child.run_id, status=status)
        child.status = status


def child_of(run: Run) -> Child:
    tags = dict(run.data.tags)
    return Child(
        run.info.run_id, run.info.status, frozenset(run.data.params), tags, json.loads(tags.get("vlactl.logged", "{}"))
    )


def metrics(values: Mapping[str, float], timestamp_ms: int, step: int) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(clean(key), value, timestamp_ms, step) for key, value in values.items()]


def clean(name: str) -> str:
    """MLflow's names have letters, digits, ``_ - . space : /`` and 250 characters."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def cut(tags: Mapping[str, str]) -> dict[str, str]:
    return {clean(key): value[:LONGEST_TAG] for key, value in tags.items() if value}


def milliseconds(seconds: float | None) -> int:
    return int(1000 * (time.time() if seconds is None else seconds))


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file that somebody may be appending to; an absent file has none."""
    try:
        data = path.read_bytes()
    except OSError:
        return []
    lines = []
    for line in data.split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in lines if isinstance(line, dict)]


def create_database(database: Path, lock: Path) -> None:
    """Make the sqlite file with MLflow's schema, once, whoever else is trying.

    MLflow's own creation fails when two processes do it at once, and half a schema is left behind by a kill; so it is
    made under a lock, beside its place, and renamed.  WAL lets the page be read while a sweep writes.
    """
    if database.exists():
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    database.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if database.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        logging.getLogger("alembic").setLevel(logging.WARNING)
        draft = database.with_name(f".{database.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        SqlAlchemyStore(f"sqlite:///{draft}", str(database.parent / "mlartifacts")).engine.dispose()
        with sqlite3.connect(draft) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        os.replace(draft, database)
