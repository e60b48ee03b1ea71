"""``eval`` of references under shifts, and what can be listed of the world that they act in."""

from __future__ import annotations

import pytest

from vlactl.cli.names import NAMES


def test_the_scripted_expert_runs_out_of_the_box_and_prints_n_interval_and_protocol(vlactl):
    page = vlactl("eval", "scripted-expert", "--benchmark", "tabletop", "--n", 2).out
    assert page.startswith("scripted-expert: 2 episodes, a reference that sees no pictures\n")
    header, *_, avg_len = (line.split() for line in page.split("\n\n")[1].splitlines())
    assert header == ["METRIC", "MEAN", "95", "%", "N"]
    assert (avg_len[0], avg_len[-1]) == ("avg_len", "2")
    assert float(avg_len[1]) >= 4
    protocol = page[page.index("protocol: tabletop ("):]
    for said in ("scene D", "tasks full", "chains 2", "instructions validation", "shift none", "renderer raycast",
                 "image_px 64", "action_repeat 3"):
        assert said in protocol, said


def test_a_shift_is_part_of_what_is_printed(vlactl):
    short = ("--n", 1, "--set", "steps_per_task=2", "--json")
    plain = vlactl("eval", "expert", *short).lines[-2]
    shifted = vlactl("eval", "expert", *short, "--set", "shift=camera+description",
                     "--set", "shift_variant=3").lines[-2]
    assert plain["reference"] == shifted["reference"] == "expert"
    assert plain["protocol_digest"] != shifted["protocol_digest"]
    protocol = shifted["protocol"]
    assert (protocol["shift"], protocol["shift_variant"], protocol["instructions"]) == (
        "camera+description", 3, "paraphrased")
    wrong = vlactl("eval", "expert", "--set", "shift=camra")
    assert (wrong.code, "did you mean 'camera'" in wrong.err) == (2, True)


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_the_world_can_be_listed(vlactl, kind):
    listed = vlactl("list", kind, "--json").lines[:-1]
    assert len({each["name"] for each in listed}) == len(listed) >= 3
    assert all(each["about"] for each in listed)
    assert f"\n{kind} " in vlactl("list").out


def test_what_is_listed_can_be_named(vlactl):
    from vlactl.benchmarks import Tabletop

    for kind, field in (("embodiments", "embodiment"), ("scenes", "scene"), ("shifts", "shift")):
        for each in vlactl("list", kind, "--json").lines[:-1]:
            assert getattr(Tabletop(**{field: each["name"]}), field) == each["name"]
