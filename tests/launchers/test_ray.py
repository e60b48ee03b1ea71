"""Ray: resources are placed honestly, nothing waits for ever or in silence, a foreign cluster is left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.plans import BODY, ROOT, eventually, show_repository
from vlactl.errors import FailureClass
from vlactl.launchers import SWEEP_MARK, Command, LauncherError, Ray
from vlactl.launchers import cluster as clusters
from vlactl.launchers.cluster import FOLDER_PREFIX, fits, short_folder, sweep_stale_folders
from vlactl.launchers.processes import marked
from vlactl.launchers.ray import RayLauncher

NODE = {"CPU": 8.0, "GPU": 4.0}


@pytest.mark.parametrize(("taken", "wanted", "room"), [
    ([], [{"CPU": 8.0, "GPU": 4.0}], True),
    ([], [{"CPU": 8.0, "GPU": 4.0}] * 2, True),
    ([], [{"CPU": 1.0, "GPU": 0.0}] * 3, False),
    ([{"CPU": 1.0, "GPU": 1.0}], [{"CPU": 1.0, "GPU": 4.0}] * 2, False),
    ([{"CPU": 1.0, "GPU": 1.0}] * 4, [{"CPU": 1.0, "GPU": 4.0}], True),
    ([{"CPU": 1.0, "GPU": 1.0}] * 5, [{"CPU": 1.0, "GPU": 4.0}], False),
    ([{"CPU": 8.0, "GPU": 0.0}] * 2, [{"CPU": 1.0, "GPU": 1.0}], False),
    ([{"CPU": 1.0, "GPU": 0.25}] * 3, [{"CPU": 1.0, "GPU": 0.25}], True),
])
def test_room_is_counted_per_node(taken, wanted, room):
    assert fits([NODE, NODE], taken, wanted) is room


def test_folders_of_killed_runs_are_removed_and_those_in_use_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder, lock = short_folder() if len(str(tmp_path)) < 30 else (tmp_path / f"{FOLDER_PREFIX}mine", None)
    if lock is None:  # pytest's folder is too long for a socket; its rules are the same
        folder.mkdir()
        lock = open(folder / "owner.lock", "ab")  # noqa: SIM115
        clusters.fcntl.flock(lock, clusters.fcntl.LOCK_EX)
    stale, foreign = tmp_path / f"{FOLDER_PREFIX}stale", tmp_path / f"{FOLDER_PREFIX}nolock"
    for path in (stale, foreign):
        path.mkdir()
    (stale / "owner.lock").touch()
    sweep_stale_folders()
    assert folder.exists()
    assert foreign.exists()
    assert not stale.exists()
    lock.close()


def test_the_folder_is_short_enough_for_a_socket_wherever_tmp_is(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    folder, lock = short_folder()
    lock.close()
    assert len(str(folder)) + clusters.ROOM_FOR_SOCKETS <= 107
    folder.joinpath("owner.lock").unlink()
    folder.rmdir()


def test_a_cluster_that_is_not_there_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")
    launcher = Ray(address="nowhere:bad").build(tmp_path, "s")
    with pytest.raises(LauncherError, match="--launcher local"):
        launcher.refuses(Command(label="x", digest="0" * 16, work_dir=tmp_path))


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayLauncher]:
    """A cluster of our own with four GPUs that are not there."""
    show_repository()
    sweep = f"ray-{uuid.uuid4().hex}"
    patch = pytest.MonkeyPatch()
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    patch.setattr("vlactl.launchers.leases.lease_folder", lambda: tmp_path_factory.mktemp("leases"))
    spec = Ray(cpus=8, gpus=4, warm_imports=(), wait_timeout_s=4.0)
    launcher = RayLauncher(spec, tmp_path_factory.mktemp("home"), sweep)
    yield launcher
    launcher.close()
    assert marked(SWEEP_MARK, sweep) == []
    patch.undo()


def command(folder: Path, label: str = "x", **fields) -> Command:
    deeds = fields.pop("deeds", {"environment": 1})
    work_dir = folder / uuid.uuid4().hex
    work_dir.mkdir()
    (work_dir / "stage.json").write_text(json.dumps({"label": label, "inputs": {}, "execution": deeds}))
    return Command(label=label, digest="0" * 16, work_dir=work_dir, target=BODY, **fields)


def finish(launcher: RayLauncher, handle, within_s: float = 60.0):
    def ended():
        launcher.wait(0.2)
        return handle.poll()

    return eventually(ended, within_s)


def devices(one: Command) -> list[str]:
    paths = sorted((one.work_dir / "out").glob("environment-*.json"))
    return [json.loads(path.read_text())["CUDA_VISIBLE_DEVICES"] for path in paths]


def test_ranks_see_all_gpus_of_their_command_and_no_other(launcher, tmp_path):
    two = command(tmp_path, ranks=2, gpus_per_rank=1.0)
    none = command(tmp_path)
    handles = [launcher.submit(two), launcher.submit(none)]
    assert [finish(launcher, handle).ok for handle in handles] == [True, True]
    first, second = devices(two)
    assert first == second
    assert len(first.split(",")) == 2
    assert devices(none) == [""]


def test_gpus_are_never_handed_out_twice_and_idle_gangs_give_way(launcher, tmp_path):
    deeds = {"environment": 1, "nap": 3}
    naps = [command(tmp_path, gpus_per_rank=2.0, deeds=deeds) for _ in range(2)]
    handles = []
    for one in naps:
        assert launcher.can_start(one)
        handles.append(launcher.submit(one))
    assert not launcher.can_start(command(tmp_path, gpus_per_rank=1.0))
    assert launcher.can_start(command(tmp_path)), "a CPU command still fits beside them"
    assert [finish(launcher, handle).ok for handle in handles] == [True, True]
    given = [name for one in naps for name in devices(one)[0].split(",")]
    assert sorted(given) == ["0", "1", "2", "3"]
    whole = command(tmp_path, gpus_per_rank=4.0)
    assert launcher.can_start(whole)
    assert finish(launcher, launcher.submit(whole)).ok


def test_a_gang_without_room_is_spoken_of_and_given_up(launcher, tmp_path, monkeypatch):
    """Somebody else on the cluster holds what we were told is free."""
    monkeypatch.setattr("vlactl.launchers.ray.TELL_AFTER_S", 1.0)
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    while launcher._idle:
        launcher._discard(launcher._idle.pop())
    foreign = placement_group([{"GPU": 4}])
    ray.get(foreign.ready(), timeout=30)
    notices = []
    launcher.notice = notices.append
    handle = launcher.submit(command(tmp_path, "hungry", gpus_per_rank=1.0))
    outcome = finish(launcher, handle)
    launcher.notice = lambda event: None
    remove_placement_group(foreign)
    assert outcome.failure == FailureClass.INFRASTRUCTURE
    assert "hungry waits for 1 rank with 1 CPU each, 1 GPU each" in outcome.message
    assert "the cluster has 8 CPU and 0 GPU free" in outcome.message
    warnings = [event["message"] for event in notices if event.get("level") == "warning"]
    assert [text.startswith("hungry waits") for text in warnings] == [True]


def test_a_command_that_waits_can_be_cancelled(launcher, tmp_path):
    handle = launcher.submit(command(tmp_path, gpus_per_rank=4.0, cpus_per_rank=8.0))
    handle.cancel(60.0)
    assert finish(launcher, handle).failure == FailureClass.CANCELLED


def test_what_no_node_has_is_refused(launcher, tmp_path):
    assert "4 GPU" in launcher.refuses(command(tmp_path, ranks=8, gpus_per_rank=1.0))
    assert "0 of 1 nodes" in launcher.refuses(command(tmp_path, ranks=2, cpus_per_rank=5.0))
    assert "1 of 1 nodes" in launcher.refuses(command(tmp_path, nodes=2, ranks=2))


LOOPBACKS = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
"""127.0.0.1, ::1, and the first again for sockets that speak both, as /proc/net writes them."""


def test_our_cluster_listens_on_loopback_wants_a_token_and_has_no_dashboard(launcher):
    import ray

    assert ray.get_runtime_context().gcs_address.startswith("127.0.0.1:")
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    ours = set(marked(SWEEP_MARK, launcher.sweep)) | {os.getpid()}
    listening = {line.split()[9]: line.split()[1] for name in ("tcp", "tcp6")
                 for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:] if line.split()[3] == "0A"}
    addresses = set()
    for pid in ours:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inode = os.readlink(link).removeprefix("socket:[").removesuffix("]")
            except OSError:
                continue
            if inode in listening:
                addresses.add((Path(f"/proc/{pid}/comm").read_text().strip(), listening[inode].split(":")[0]))
    assert addresses, "the cluster listens somewhere"
    assert {one for one in addresses if one[1] not in LOOPBACKS} == set()


JOINER = """
import json, sys, time, uuid
from pathlib import Path
from vlactl.launchers import Ray, Command
launcher = Ray(warm_imports=()).build(Path(sys.argv[1]), sys.argv[2])
one = Command(label="x", digest="0" * 16, work_dir=Path(sys.argv[3]), target="tests.faults.bodies:main")
assert launcher.refuses(one) is None
handle = launcher.submit(one)
while handle.poll() is None:
    launcher.wait(0.5)
launcher.close()
print(json.dumps({"ok": handle.poll().ok, "message": handle.poll().message}))
"""


def test_a_cluster_that_we_join_is_used_and_left_as_it_was(launcher, tmp_path):
    import ray

    address = ray.get_runtime_context().gcs_address
    before = set(marked(SWEEP_MARK, launcher.sweep))
    one = command(tmp_path)
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT),
                   "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # take the cluster's loopback address for this machine's
    done = subprocess.run([sys.executable, "-c", JOINER, tmp_path / "home", "joined", one.work_dir], cwd=ROOT,
                          env=environment, text=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout.splitlines()[-1])["ok"], done.stdout + done.stderr
    assert done.stderr == "", "Ray's noise goes to logs/ray.log"
    eventually(lambda: not marked(SWEEP_MARK, "joined"))
    assert before - set(marked(SWEEP_MARK, launcher.sweep)) <= set(), "nothing of the cluster ended"
    assert finish(launcher, launcher.submit(command(tmp_path))).ok
