"""GPU leases: one holder per GPU and machine, fractions within a process, gone with a process however it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from vlactl.launchers import Command
from vlactl.launchers.leases import GpuLeases, visible_gpus
from vlactl.launchers.local import Room


def test_a_whole_gpu_has_one_holder_on_the_machine(tmp_path):
    mine, theirs = GpuLeases("012", tmp_path), GpuLeases("012", tmp_path)
    assert mine.acquire(2, 1.0) == ("0", "1")
    assert theirs.acquire(2, 1.0) is None
    assert theirs.acquire(1, 1.0) == ("2",)
    assert not mine.could(1, 1.0)
    mine.release(("0", "1"), 1.0)
    assert theirs.acquire(2, 1.0) == ("0", "1")


def test_a_failed_request_holds_nothing(tmp_path):
    mine, theirs = GpuLeases("01", tmp_path), GpuLeases("01", tmp_path)
    mine.acquire(1, 1.0)
    assert theirs.acquire(2, 1.0) is None
    mine.release(("0",), 1.0)
    assert mine.acquire(2, 1.0) == ("0", "1")


def test_fractions_share_a_gpu_within_a_process_and_keep_others_out(tmp_path):
    mine, theirs = GpuLeases("01", tmp_path), GpuLeases("01", tmp_path)
    assert [mine.acquire(1, 0.5) for _ in range(3)] == [("0",), ("0",), ("1",)]
    assert theirs.acquire(1, 0.25) is None
    for _ in range(2):
        mine.release(("0",), 0.5)
    assert theirs.acquire(1, 1.0) == ("0",)


def test_processes_that_share_by_other_means_keep_out_only_whole_users(tmp_path):
    one, two = GpuLeases("0", tmp_path, exclusive=False), GpuLeases("0", tmp_path, exclusive=False)
    assert one.acquire(1, 1.0)
    assert two.acquire(1, 1.0)
    assert GpuLeases("0", tmp_path).acquire(1, 1.0) is None


def test_a_killed_holder_leaves_its_gpu_free(tmp_path):
    program = ("import sys, time; from pathlib import Path; from vlactl.launchers.leases import GpuLeases;"
               "l = GpuLeases('0', Path(sys.argv[1])); l.acquire(1, 1.0); print('held', flush=True); time.sleep(60)")
    holder = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.readline()
    mine = GpuLeases("0", tmp_path)
    assert mine.acquire(1, 1.0) is None
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    time.sleep(0.05)
    assert mine.acquire(1, 1.0) == ("0",)


def test_visible_gpus_are_those_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert visible_gpus() == ("3", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == ()


@pytest.mark.parametrize(("ranks", "each", "gpus", "share"), [(1, 0.0, 0, 1.0), (1, 0.25, 1, 0.25), (2, 1.0, 2, 1.0),
                                                              (2, 4.0, 8, 1.0), (2, 0.5, 1, 1.0)])
def test_a_command_occupies_what_its_ranks_need_together(tmp_path, ranks, each, gpus, share):
    room = Room.of(Command(label="x", digest="0", work_dir=tmp_path, ranks=ranks, gpus_per_rank=each))
    assert (room.gpus, room.share, room.cpus) == (gpus, share, ranks)
