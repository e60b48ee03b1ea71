"""The live display and the plain lines: what a person sees of a sweep."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from vlactl.view import HEARTBEAT_S, Board, Lines, Live, duration, open_view, progress_words

A, B, C = "a" * 16, "b" * 16, "c" * 16
PLANNED = {
    "event": "planned",
    "plan": "p",
    "stages": [[A, "finetune", "one"], [B, "finetune", "two"], [C, "evaluate", "two"]],
}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def beat(work: Path, digest: str, **document: object) -> None:
    path = work / f"finetune-{digest}"
    path.mkdir(parents=True, exist_ok=True)
    (path / "progress.json").write_text(json.dumps(document))


def board(work: Path, *events: dict) -> Board:
    made = Board(work)
    for event in ({"event": "run-started", "sweep": "s-1", "t": 1000.0}, PLANNED, *events):
        made.apply(event)
    return made


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.4, "0s"), (95, "1m35s"), (3700, "1h01m"), (200_000, "2d07h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_progress_in_words_keeps_what_matters():
    document = {"done": 400, "total": 1600, "unit": "updates", "elapsed_s": 40, "loss": 0.123456, "lr": 1, "eta_s": 98}
    assert progress_words(document) == "400/1600 updates  10/s  loss 0.123  1m38s left"
    assert progress_words({"done": 0, "total": 1, "unit": "kernels", "eta_s": 0}) == "compiling the kernels"
    assert progress_words({"done": 0, "total": None, "unit": "rollouts"}) == "starting"
    assert progress_words(None) == "starting"


def test_heartbeats_of_an_earlier_attempt_do_not_count(work):
    beat(work, A, done=5, total=10, time=900.0)
    made = board(work, {"event": "started", "digest": A, "t": 1010.0})
    assert made.heartbeat(made.running[0]) is None
    beat(work, A, done=1, total=10, time=1011.0)
    assert made.heartbeat(made.running[0]) == {"done": 1, "total": 10, "time": 1011.0}


def test_what_is_left_is_learned_from_finished_stages_of_the_kind(work):
    made = Board(work, {A: 100.0, B: 100.0, C: 7.0})
    for event in ({"event": "run-started", "sweep": "s", "t": 0.0}, PLANNED):
        made.apply(event)
    assert made.left_s(0.0) == pytest.approx(207.0)
    made.apply({"event": "started", "digest": A, "t": 0.0})
    assert made.left_s(40.0) == pytest.approx(60 + 100 + 7)
    made.apply({"event": "done", "digest": A, "seconds": 50.0, "t": 50.0})
    assert made.left_s(50.0) == pytest.approx(50 + 7), "the first finished one corrects the estimate of the second"
    made.apply({"event": "started", "digest": B, "t": 50.0})
    beat(work, B, done=1, total=2, eta_s=3.0, time=60.0)
    assert made.left_s(60.0) == pytest.approx(3 + 7), "a stage's own forecast is better still"


def test_compiling_kernels_forecasts_nothing(work):
    made = Board(work, {A: 100.0, B: 0.0, C: 0.0})
    for event in (PLANNED, {"event": "started", "digest": A, "t": 0.0}):
        made.apply(event)
    beat(work, A, done=1, total=1, unit="kernels", eta_s=0.0, time=5.0)
    assert made.left_s(10.0) == pytest.approx(90.0)


def test_what_is_left_is_unknown_while_a_kind_is_a_blank(work):
    assert board(work).left_s(0.0) is None


def test_two_at_once_halve_what_is_left(work):
    made = Board(work, {A: 100.0, B: 100.0, C: 0.0})
    for event in (PLANNED, *({"event": "started", "digest": digest, "t": 0.0} for digest in (A, B))):
        made.apply(event)
    assert made.left_s(0.0) == pytest.approx(100.0)


def shown(work: Path, *events: dict) -> list[str]:
    out = io.StringIO()
    view = Lines(Board(work), out)
    for event in ({"event": "run-started", "sweep": "s-1", "t": 1000.0}, PLANNED, *events):
        view(event)
    return [line[10:] for line in out.getvalue().splitlines()]


def test_every_event_is_a_line_of_its_own(work):
    assert shown(
        work,
        {"event": "cached", "digests": [A]},
        {"event": "cached", "digests": []},
        {"event": "held", "digest": B, "message": "two is being computed by pid 5"},
        {"event": "started", "digest": B, "log": "/w/rank-0.log"},
        {"event": "progress", "digest": B, "done": 1, "total": 2},
        {"event": "retry", "digest": B, "failure": "oom", "message": "no memory\nmore"},
        {"event": "started", "digest": B, "log": "/w/rank-0.log"},
        {"event": "failed", "digest": B, "failure": "nan", "message": "loss is nan"},
        {"event": "upstream-failed", "digests": [C]},
        {"event": "notice", "message": "starting Ray"},
        {"event": "run-ended", "reason": "finished"},
        {"event": "of a later vlactl", "digest": A},
    ) == [
        "cached    1 stage",
        "waiting   finetune two: two is being computed by pid 5",
        "started   finetune two",
        "retry     finetune two  after oom: no memory",
        "started   finetune two  (attempt 2)",
        "FAILED    finetune two  nan: loss is nan",
        "          log: /w/rank-0.log",
        "not run   1 stage  (an input failed)",
        "note      starting Ray",
        "ended     finished: 0 done, 1 cached, 1 failed, 1 not run",
    ]


def test_a_done_stage_says_how_long_it_took_and_how_many_are_over(work):
    lines = shown(work, {"event": "cached", "digests": [A]}, {"event": "done", "digest": B, "seconds": 95.0})
    assert lines[-1] == "done      finetune two  1m35s  [2/3]"


def test_long_stages_speak_at_most_every_half_minute(work):
    now = [1000.0]
    out = io.StringIO()
    view = Lines(Board(work), out, clock=lambda: now[0])
    view(PLANNED)
    view({"event": "started", "digest": A, "t": 1000.0})
    beat(work, A, done=3, total=4, unit="updates", time=1001.0)
    said = []
    for _ in range(100):
        now[0] += 1.0
        before = out.tell()
        view.heartbeats()
        if out.tell() > before:
            said.append(now[0])
    assert [after - before for before, after in pairwise(said)] == [HEARTBEAT_S, HEARTBEAT_S]
    assert "running   one  3/4 updates" in out.getvalue()


def test_json_lines_pass_events_on_and_add_progress(work):
    now = [1000.0]
    out = io.StringIO()
    view = Lines(Board(work), out, as_json=True, clock=lambda: now[0])
    for event in (PLANNED, {"event": "started", "digest": A, "t": 1000.0}, {"event": "progress", "digest": A}):
        view(event)
    beat(work, A, done=3, total=4, loss=0.5, time=1001.0)
    now[0] += 6
    view.heartbeats()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["type"] for line in lines] == ["event", "event", "progress"]
    assert (lines[-1]["kind"], lines[-1]["loss"]) == ("finetune", 0.5)


def rendered(view: Live, now: float) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(view.render(now))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_live_display_has_totals_running_stages_and_what_ended_last(work):
    view = Live(board(work), Console(file=io.StringIO()))
    view.note("starting Ray")
    assert "starting Ray" in rendered(view, 1002.0)
    view({"event": "started", "digest": A, "t": 1003.0})
    view({"event": "done", "digest": A, "seconds": 20.0, "t": 1023.0})
    view({"event": "started", "digest": B, "t": 1023.0})
    beat(work, B, done=400, total=1600, unit="updates", elapsed_s=4.0, loss=0.5, eta_s=12.0, time=1030.0)
    text = rendered(view, 1031.0)
    assert "starting Ray" not in text, "it has started"
    assert "s-1" in text
    assert "1/3 stages" in text
    assert "1 done · 1 running · 1 left · 31s so far" in text
    assert "400/1600 updates  100/s  loss 0.5  12s left" in text
    assert "done   finetune one  20s  [1/3]" in text


def test_the_live_display_keeps_only_the_last_few_endings(work):
    view = Live(Board(work), Console(file=io.StringIO()))
    stages = [[f"{number:016x}", "data", f"set {number}"] for number in range(20)]
    view({"event": "planned", "plan": "p", "stages": stages})
    for digest, *_ in stages:
        view({"event": "done", "digest": digest, "seconds": 1.0})
    text = rendered(view, 0.0)
    assert "set 19" in text
    assert "set 3" not in text


def test_a_terminal_gets_the_live_display_and_a_pipe_gets_lines(work):
    assert isinstance(open_view(Board(work), as_json=False, is_terminal=True), Live)
    assert isinstance(open_view(Board(work), as_json=False, is_terminal=False), Lines)
    assert isinstance(open_view(Board(work), as_json=True, is_terminal=True), Lines)


def test_views_start_and_end_cleanly(work):
    for view in (Lines(board(work), io.StringIO()), Live(board(work), Console(file=io.StringIO()))):
        with view as open_one:
            open_one({"event": "started", "digest": A, "t": 1000.0})
