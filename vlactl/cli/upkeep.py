"""``doctor`` and ``gc``: the machine and the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlactl.cli import options
from vlactl.cli.screen import emit, is_terminal, say
from vlactl.cli.sweeps import SweepFolder
from vlactl.errors import ExitCode

if TYPE_CHECKING:
    from vlactl.store import Store

MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Also import torch, start Ray and render a picture (up to a minute or two).")
    ] = False,
    json: options.Json = False,
) -> None:
    """Say what this machine has and lacks, each with the remedy.

    Exit code 1 if something is missing that a sweep needs; warnings leave 0.
    """
    from rich.console import Console
    from rich.text import Text

    from vlactl.doctor import Health, examine
    from vlactl.store import home

    console = Console(soft_wrap=True, highlight=False)
    failed = 0
    for check in examine(home(Path.cwd()), deep=deep):
        failed += check.health is Health.FAIL
        if json:
            emit(check.to_json())
            continue
        word, style = MARKS[check.health]
        line = Text.assemble((word, style if is_terminal() else ""), f"  {check.name:<11} {check.found}")
        if check.remedy:
            line.append(f"\n{'':18}-> {check.remedy}")
        console.print(line)
    if failed:
        if not json:
            say(f"{failed} of these must be mended before a sweep can run")
        raise typer.Exit(ExitCode.SOME_FAILED)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Also remove artifacts that no recipe swept here needs now.")
    ] = False,
    days: Annotated[float, typer.Option(min=0, help="Unfinished work that no recipe needs must be this old.")] = 7.0,
    json: options.Json = False,
) -> None:
    """Free disk: leftovers of finished stages and abandoned work; artifacts only when asked.

    What the recipes swept in this home need, as they are now, is kept; so is everything that a live process holds.

    \b
    vlactl gc --dry-run
    vlactl gc --artifacts
    """
    from vlactl.store import Store, home

    store = Store(home(Path.cwd()))
    freed = 0
    for found in garbage(store, artifacts=artifacts, older_than_s=days * 86400):
        size = found.bytes
        if not dry_run and not remove(store, found):
            continue
        freed += size
        if json:
            emit(
                {
                    "type": "garbage",
                    "path": str(found.path),
                    "bytes": size,
                    "why": found.why,
                    "removed": not dry_run,
                }
            )
        else:
            say(f"{'would remove' if dry_run else 'removed'}  {size_text(size):>9}  {found.path}  ({found.why})")
    if not json:
        say(f"{size_text(freed)} {'could be' if dry_run else 'were'} freed in {store.root}")


@dataclass(frozen=True, slots=True)
class Garbage:
    """A folder that may go."""

    path: Path
    why: str
    digest: str | None = None
    """Of its stage: claimed while the folder is removed."""

    @property
    def bytes(self) -> int:
        return (
            sum(file.lstat().st_size for file in self.path.rglob("*") if file.is_file())
            if self.path.is_dir()
            else self.path.lstat().st_size
        )


def garbage(store: Store, *, artifacts: bool, older_than_s: float) -> Iterator[Garbage]:
    """What may be removed, work folders first."""
    from vlactl.store import DIGEST

    wanted = referenced(store)
    for path in sorted((store.root / "work").glob("*")):
        digest = path.name.rpartition("-")[2]
        if path.name.startswith("."):
            if time.time() - path.lstat().st_mtime > 3600:
                yield Garbage(path, "left by a crash")
        elif not DIGEST.fullmatch(digest):
            continue
        elif store.has(digest):
            yield Garbage(path, "its stage is done", digest)
        elif digest not in wanted and time.time() - newest(path) > older_than_s:
            yield Garbage(path, "unfinished, and no recipe needs it", digest)
    if artifacts:
        for artifact in store.manifests():
            if artifact.digest not in wanted:
                yield Garbage(Path(artifact.path), "no recipe needs it", artifact.digest)


def referenced(store: Store) -> set[str]:
    """Digests of every stage that a sweep of this home is about, and of all that those were made from."""
    wanted: set[str] = set()
    for path in (store.root / "sweeps").glob("*"):
        wanted |= stages_of(SweepFolder(path))
    inputs = {artifact.digest: set(artifact.inputs.values()) for artifact in store.manifests()}
    open_ends = set(wanted)
    while open_ends:
        open_ends = {digest for each in open_ends for digest in inputs.get(each, ())} - wanted
        wanted |= open_ends
    return wanted


def stages_of(folder: SweepFolder) -> set[str]:
    """The stages of the sweep's recipe as it is now, whole; of all that was ever planned where it cannot be read."""
    from vlactl.cli.loading import load_recipe
    from vlactl.errors import VlactlError
    from vlactl.events import fold, is_live, read

    events = read(folder.journal)
    now = set(fold(events).stages) if is_live(folder.journal) else set()
    try:
        return now | load_recipe(replace(folder.launch(), only=(), skip=(), limit=None)).plan.stages.keys()
    except VlactlError:
        return {digest for event in events if event.get("event") == "planned" for digest, *_ in event["stages"]}


def newest(path: Path) -> float:
    """When anything in a folder changed last."""
    return max((each.lstat().st_mtime for each in (path, *path.rglob("*"))), default=0.0)


def remove(store: Store, found: Garbage) -> bool:
    """Remove a folder as a whole, unless somebody works on its stage; an artifact never half exists under its name."""
    from vlactl.errors import StoreConflict
    from vlactl.store import storage_errors

    try:
        claim = store.claim(found.digest, "gc") if found.digest else contextlib.nullcontext()
    except StoreConflict:
        return False
    with claim, storage_errors("remove", found.path):
        trash = store.root / "work" / f".gc-{os.getpid()}-{found.path.name}"
        found.path.rename(trash)
        shutil.rmtree(trash) if trash.is_dir() else trash.unlink()
    return True


def size_text(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.1f} GiB"
