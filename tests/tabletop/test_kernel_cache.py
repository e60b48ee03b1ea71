"""Machine code is kept where the user says or where one can write, and never outlives the files it was made of."""

from __future__ import annotations

from pathlib import Path

import vlactl.tabletop
from vlactl.tabletop import kernel_cache
from vlactl.tabletop.rendering import raycaster, warm_up


def test_compiled_kernels_are_kept():
    warm_up()
    assert list(Path(raycaster.render_worlds.stats.cache_path).glob("*.nbi"))


def test_kernels_are_kept_where_the_user_says_or_where_one_can_write(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert kernel_cache.writable_root() == tmp_path / "mine"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert kernel_cache.writable_root() == tmp_path / "cache" / "vlactl-numba"
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kernel_cache.writable_root().parent == tmp_path


def test_another_content_of_any_file_is_another_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_cache, "__file__", str(tmp_path / "kernel_cache.py"))
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text("before")
    before = kernel_cache.cache_directory(("one.py", "two.py"))
    assert before.name.startswith("one-")
    (tmp_path / "two.py").write_text("after")
    assert kernel_cache.cache_directory(("one.py", "two.py")) != before


def test_every_file_of_the_ray_casters_kernels_is_covered():
    """What the entry's file imports from the package decides the machine code."""
    folder, pending, found = Path(vlactl.tabletop.__file__).parent, ["rendering/raycaster.py"], set()
    while pending:
        name = pending.pop()
        found.add(name)
        words = (folder / name).read_text().split()
        imported = {word.removeprefix("vlactl.tabletop.").replace(".", "/") + ".py" for word in words
                    if word.startswith("vlactl.tabletop.rendering.")}
        pending += [other for other in imported if (folder / other).exists() and other not in found]
    assert found == set(kernel_cache.RENDERING)
