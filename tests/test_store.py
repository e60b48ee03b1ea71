"""The store: what counts as done, what a crash leaves, what it says when the disk fails."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from tests.faults.plans import stage
from vlactl import store as store_module
from vlactl.errors import StoreConflict, StoreError, UsageError
from vlactl.store import Store, home


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "home", free_floor_bytes=0)
    store.prepare()
    return store


def work(store: Store, one, files: dict[str, bytes]) -> Path:
    folder = store.work_dir(one)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def committed(store: Store, one, files: dict[str, bytes] | None = None):
    return store.commit(one, work(store, one, files or {"out/a.bin": b"abc"}), {"n": 1}, {"host": "here"})


def test_home_is_beside_the_project_and_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.delenv("VLACTL_HOME", raising=False)
    (tmp_path / "project" / "recipes").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    recipe = tmp_path / "project" / "recipes" / "r.yaml"
    recipe.touch()
    assert home(recipe) == tmp_path / "project" / ".vlactl"
    monkeypatch.setenv("VLACTL_HOME", str(tmp_path / "elsewhere"))
    assert home(recipe) == tmp_path / "elsewhere"


def test_a_commit_is_found_by_another_store_with_all_it_was_given(store):
    one = stage("panda/D", kind="finetune")
    made = committed(store, one, {"out/a.bin": b"abc", "out/deep/b.txt": b"b", "metrics.jsonl": b"{}\n",
                                  "logs/rank-0.log": b"log", "checkpoints/big": b"x" * 100})
    found = Store(store.root).artifact(one.digest)
    assert found.path == made.path == store.root / "store" / "finetune" / f"panda-D-{one.digest}"
    assert found.result == {"n": 1}
    assert found.identity == one.identity
    assert set(found.manifest["files"]) == {"a.bin", "deep/b.txt", "metrics.jsonl", "logs/rank-0.log"}
    assert (found.path / "deep" / "b.txt").read_bytes() == b"b"
    assert not (store.root / "work" / f"finetune-{one.digest}").exists(), "the work folder goes, checkpoints with it"
    assert [artifact.digest for artifact in store.manifests("finetune")] == [one.digest]
    assert store.manifests("data") == []


def test_has_wants_every_file_with_its_size_and_verify_its_bytes(store):
    one = stage("s")
    path = committed(store, one).path
    assert store.has(one.digest)
    assert store.verify(one.digest) == []
    (path / "a.bin").write_bytes(b"abX")
    assert store.has(one.digest), "has() is cheap: it does not read"
    assert "a.bin" in store.verify(one.digest)[0]
    (path / "a.bin").write_bytes(b"ab")
    assert not store.has(one.digest)
    (path / "a.bin").unlink()
    assert not store.has(one.digest)


@pytest.mark.parametrize("damage", ["torn", "absent", "other", "escapes"])
def test_a_damaged_manifest_is_no_artifact_and_is_replaced(store, damage):
    one = stage("s")
    path = committed(store, one).path
    manifest = json.loads((path / "manifest.json").read_text())
    match damage:
        case "torn":
            (path / "manifest.json").write_text(json.dumps(manifest)[:50])
        case "absent":
            (path / "manifest.json").unlink()
        case "other":
            (path / "manifest.json").write_text(json.dumps({**manifest, "digest": "0" * 16}))
        case "escapes":
            (path / "manifest.json").write_text(json.dumps({**manifest, "files": {"../../../x": {"bytes": 0}}}))
    fresh = Store(store.root)
    assert not fresh.has(one.digest)
    with pytest.raises(StoreError, match="no whole artifact"):
        fresh.artifact(one.digest)
    assert committed(fresh, one).result == {"n": 1}
    assert Store(store.root).has(one.digest)


def test_a_second_commit_of_a_whole_artifact_changes_nothing(store):
    one = stage("s")
    committed(store, one, {"out/a.bin": b"first"})
    again = committed(store, one, {"out/a.bin": b"second"})
    assert (again.path / "a.bin").read_bytes() == b"first"


def test_what_another_process_commits_is_seen(store):
    one, two = stage("one"), stage("two")
    committed(store, one)
    assert not store.has(two.digest)
    committed(Store(store.root), two)
    assert store.has(two.digest)


@pytest.mark.parametrize("names", [["out/manifest.json"], ["out/logs/rank-0.log", "logs/rank-0.log"]])
def test_out_may_not_hold_what_the_store_writes(store, names):
    with pytest.raises(StoreError, match="may not leave"):
        committed(store, stage("s"), dict.fromkeys(names, b"x"))


def test_out_may_not_hold_links_that_lead_away(store, tmp_path):
    one = stage("s")
    folder = work(store, one, {"out/a": b"a"})
    (folder / "out" / "password").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="password"):
        store.commit(one, folder, {}, {})


@pytest.mark.parametrize("name", ["../../etc", "a/../../b", "...", "", "x" * 300, "ü /\x00"])
def test_labels_never_become_paths_unchecked(store, name):
    path = committed(store, stage(name)).path
    assert path.parent == store.root / "store" / "data"
    assert not path.name.startswith(".")
    assert len(path.name) < 120


@pytest.mark.parametrize("digest", ["../x", "A" * 16, "", "0" * 15])
def test_digests_are_checked(store, digest):
    with pytest.raises(UsageError):
        store.has(digest)
    with pytest.raises(UsageError):
        store.claim(digest)


def test_a_claim_keeps_others_out_until_it_is_released(store):
    one = stage("s")
    with store.claim(one.digest, "s") as claim:
        with pytest.raises(StoreConflict, match=f"s is being computed by pid {os.getpid()}"):
            store.claim(one.digest, "s")
        claim.release()
    assert not list((store.root / "locks").iterdir())
    store.claim(one.digest).release()


def test_an_unwritable_store_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="do this:") as caught:
        Store(tmp_path / "file" / "home").prepare()
    assert "VLACTL_HOME" in str(caught.value)


def test_too_little_space_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(StoreError, match=r"GiB free(.|\n)*vlactl gc"):
        Store(tmp_path, free_floor_bytes=1 << 60).prepare()


@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, "vlactl gc"), (errno.EACCES, "writable"),
                                                (errno.EIO, "working disk")])
def test_a_disk_that_fails_during_a_commit_loses_nothing(store, monkeypatch, number, remedy):
    one = stage("s")
    folder = work(store, one, {"out/a": b"a"})

    def broken(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "write_durably", broken)
        with pytest.raises(StoreError, match=remedy):
            store.commit(one, folder, {}, {})
    assert not store.has(one.digest)
    assert store.commit(one, folder, {}, {}).path.exists()


def test_a_newer_format_is_refused_not_guessed(store):
    path = committed(store, stage("s")).path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(StoreError, match="format 99"):
        Store(store.root).has(stage("s").digest)


def test_files_are_copied_where_they_cannot_be_linked(store, monkeypatch):
    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "other device")

    monkeypatch.setattr(os, "link", no_links)
    assert (committed(store, stage("s")).path / "a.bin").read_bytes() == b"abc"


def test_ten_thousand_artifacts_are_listed_and_checked_in_two_seconds(tmp_path):
    folder = tmp_path / "store" / "evaluate"
    identity = {"protocol": {f"field-{index}": index for index in range(40)}}
    for index in range(10_000):
        digest = f"{index:016x}"
        path = folder / f"cell-{digest}"
        path.mkdir(parents=True)
        (path / "a").write_bytes(b"a")
        (path / "manifest.json").write_text(json.dumps({
            "format": 1, "digest": digest, "kind": "evaluate", "identity": identity, "inputs": {},
            "files": {"a": {"bytes": 1, "sha256": ""}}, "result": {}, "provenance": {}}))
    began = time.process_time()
    store = Store(tmp_path)
    assert len(store.manifests("evaluate")) == 10_000
    assert all(store.has(f"{index:016x}") for index in range(10_000))
    assert time.process_time() - began < 2.0
