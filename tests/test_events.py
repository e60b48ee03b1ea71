"""The journal: one writer, torn lines, and the state that it folds to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vlactl.errors import StoreConflict, StoreError, UsageError
from vlactl.events import Journal, fold, is_live, read, run_started, sweep_dir


def test_what_was_appended_is_read_with_its_time(tmp_path):
    with Journal(tmp_path / "deep" / "events.jsonl") as journal:
        journal.append({"event": "a"}, {"event": "b", "t": 5.0, "path": Path("/x")})
        journal.append()
        first, second = journal.read()
    assert first["event"] == "a"
    assert first["t"] > 1e9
    assert second == {"event": "b", "t": 5.0, "path": "/x"}


@pytest.mark.parametrize("torn", [b'{"event": "b", "x', b'{"event"' * 20_000, b"{"])
def test_a_torn_last_line_is_skipped_by_readers_and_cut_off_by_the_next_writer(tmp_path, torn):
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        journal.append({"event": "a"})
    with open(path, "ab") as file:
        file.write(torn)
    assert [event["event"] for event in read(path)] == ["a"]
    with Journal(path) as journal:
        journal.append({"event": "c"})
    assert [event["event"] for event in read(path)] == ["a", "c"]
    assert path.read_bytes().count(b"\n") == 2


def test_a_journal_that_is_one_torn_line_becomes_empty(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"ev')
    with Journal(path):
        assert path.read_bytes() == b""


def test_there_is_one_writer_and_status_can_tell(tmp_path):
    path = tmp_path / "events.jsonl"
    assert not is_live(path)
    with Journal(path) as journal:
        journal.append(run_started("s"))
        assert is_live(path)
        with pytest.raises(StoreConflict, match="already running") as caught:
            Journal(path)
        assert "pid" in str(caught.value)
    assert not is_live(path)
    assert len(read(path)) == 1


def test_a_killed_writer_leaves_the_journal_free(tmp_path):
    path = tmp_path / "events.jsonl"
    program = ("import sys, os, signal; from pathlib import Path; from vlactl.events import Journal;"
               "j = Journal(Path(sys.argv[1])); j.append({'event': 'a'}); os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", program, path], check=False)
    assert not is_live(path)
    assert [event["event"] for event in read(path)] == ["a"]
    Journal(path).close()


def test_a_journal_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="journal"):
        Journal(tmp_path / "file" / "events.jsonl")


def test_sweep_folders_differ_by_recipe_and_refuse_bad_names(tmp_path):
    one = sweep_dir(tmp_path, "design", tmp_path / "a.yaml")
    assert one.parent == tmp_path / "sweeps"
    assert one.name.startswith("design-")
    assert len(one.name) == len("design-") + 8
    assert one != sweep_dir(tmp_path, "design", tmp_path / "b.yaml")
    for name in ("../x", "", ".hidden", "a/b", "a" * 65):
        with pytest.raises(UsageError):
            sweep_dir(tmp_path, name, tmp_path / "a.yaml")


PLANNED = {"event": "planned", "plan": "p", "stages": [["d1", "data", "one"], ["d2", "finetune", "two"],
                                                       ["d3", "evaluate", "three"], ["d4", "evaluate", "four"]]}
RUN = [
    {"event": "run-started", "t": 1.0, "sweep": "s", "pid": 7, "host": "h"},
    {**PLANNED, "t": 1.0},
    {"event": "cached", "t": 1.0, "digests": ["d1"]},
    {"event": "started", "t": 2.0, "digest": "d2", "log": "l"},
    {"event": "retry", "t": 3.0, "digest": "d2", "failure": "oom", "message": "no room", "seconds": 1.0},
    {"event": "started", "t": 4.0, "digest": "d2", "log": "l"},
]


def test_the_fold_knows_each_stage(tmp_path):
    state = fold([*RUN, {"event": "done", "t": 9.0, "digest": "d2", "seconds": 5.0},
                  {"event": "started", "t": 9.0, "digest": "d3"},
                  {"event": "failed", "t": 10.0, "digest": "d3", "failure": "nan", "message": "loss is NaN"},
                  {"event": "something-newer", "t": 11.0},
                  {"event": "run-ended", "t": 12.0, "reason": "finished"}])
    assert {stage.label: stage.status for stage in state.stages.values()} == {
        "one": "cached", "two": "done", "three": "failed", "four": "waiting"}
    two, three = state.stages["d2"], state.stages["d3"]
    assert (two.attempts, two.started, two.ended, two.seconds, two.failure) == (2, 4.0, 9.0, 5.0, None)
    assert (three.failure, three.message) == ("nan", "loss is NaN")
    assert state.totals == {"cached": 1, "done": 1, "failed": 1, "waiting": 1}
    assert (state.pid, state.started, state.updated, state.ended, state.runs) == (7, 1.0, 12.0, "finished", 1)


def test_a_killed_run_is_open_ended_and_the_next_begins_anew():
    state = fold(RUN)
    assert state.ended is None
    assert state.stages["d2"].status == "running"
    state = fold([*RUN, {"event": "run-started", "t": 20.0, "sweep": "s", "pid": 8}])
    assert state.stages["d2"].status == "waiting"
    assert state.stages["d2"].attempts == 2
    assert (state.runs, state.started, state.pid) == (2, 1.0, 8)


def test_a_changed_plan_forgets_its_former_stages_and_keeps_the_others():
    stages = [["d2", "finetune", "two"], ["d9", "data", "nine"]]
    state = fold([*RUN, {"event": "planned", "plan": "q", "stages": stages}])
    assert list(state.stages) == ["d2", "d9"]
    assert state.stages["d2"].attempts == 2
