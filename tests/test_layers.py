"""The two structure tests of the house plan: which way imports go, and that planning imports nothing heavy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vlactl"
HEAVY = ("torch", "transformers", "ray", "mlflow", "deepspeed", "mujoco", "numba")

SCIENCE = {
    "episodes",
    "actions",
    "windows",
    "policy",
    "training",
    "rollout",
    "formats",
    "backbones",
    "formulations",
    "benchmarks",
    "tabletop",
    "strategies",
    "video",
    "panels",
}
"""Rooms that never import orchestration."""
GROUND = {"errors", "registry", "spaces", "identity"}
"""What both columns stand on."""
MENUS = {"backbones", "formulations", "strategies", "benchmarks", "formats", "training"}
FAMILIES = MENUS - {"strategies"}
"""Menus that are packages: their ``__init__`` is the menu, their other modules are the kitchen."""
LEVELS = (
    {"published"},
    {"recipe"},
    {"plan"},
    {"disk"},
    {"store"},
    {"events", "provenance"},
    {"stages", "statistics"},
    {"launchers"},
    {"runner"},
    {"outcomes"},
    {"tracking"},
    {"report"},
    {"nightly"},
    {"doctor", "view"},
    {"cli"},
    {"__main__"},
)
"""Orchestration, low to high: a room imports rooms of its own level and of those before it."""
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    """``vlactl/recipe/load.py`` -> ``recipe.load``; a package's ``__init__`` has the package's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, bodies: bool) -> Iterator[tuple[str, int]]:
    """``(module, line)`` of what a module imports: when it is imported itself, or also inside functions.

    Imports for type checkers only are left out.
    """
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending.extend(node.orelse)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not bodies:
            continue
        else:
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    is_module = (ROOT / whole.replace(".", "/")).is_dir() or (
                        ROOT / f"{whole.replace('.', '/')}.py"
                    ).is_file()
                    yield (whole if is_module else str(node.module)), node.lineno
            pending.extend(ast.iter_child_nodes(node))


def rooms(path: Path, *, bodies: bool) -> Iterator[tuple[str, int]]:
    """The modules of vlactl that ``path`` imports, without the leading ``vlactl.``."""
    for module, line in imports(path, bodies=bodies):
        if module.startswith("vlactl."):
            yield module.removeprefix("vlactl."), line


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    name = name_of(path)
    here = name.split(".")[0]
    for target, line in rooms(path, bodies=True):
        there = target.split(".")[0]
        place = f"{path.relative_to(ROOT)}:{line}: {name} imports {target}"
        if here in GROUND:
            assert there in GROUND, place
        elif here in SCIENCE:
            assert there in SCIENCE | GROUND, place
        elif there in SCIENCE and here not in ("stages", "cli", "doctor"):  # doctor looks into every room
            menu = there in MENUS and (target in MENUS or there == "strategies")
            assert menu or there == "episodes", (
                f"{place}: orchestration reaches science through the menus and stages/"
            )
        elif here in LEVEL and there in LEVEL:
            assert LEVEL[there] <= LEVEL[here], place


def test_every_room_has_its_place() -> None:
    """A new top-level module must be put on one of the lists above, or nothing holds its direction."""
    placed = SCIENCE | GROUND | LEVEL.keys()
    assert {name_of(path).split(".")[0] for path in modules()} - placed == {""}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_science_keeps_its_own_order(path: Path) -> None:
    """spaces < episodes < {actions, formats, tabletop}; backbones < formulations; {policy, windows} < training;
    {benchmarks, policy} < rollout.  Kitchens only: a menu's lazy ``build`` is a door, not a dependency."""
    below = {
        "episodes": set(),
        "tabletop": {"episodes", "panels"},
        "panels": set(),
        "video": {"panels"},
        "actions": {"episodes"},
        "backbones": set(),
        "formulations": {"backbones", "actions", "windows"},
        "windows": {"episodes", "actions", "formats"},
        "benchmarks": {"episodes", "tabletop"},
        "formats": {"episodes", "tabletop", "benchmarks"},
    }
    name = name_of(path)
    here = name.split(".")[0]
    for target, line in rooms(path, bodies=True) if here in below else ():
        there = target.split(".")[0]
        if there in SCIENCE:
            assert there in below[here] | {here}, f"{path.relative_to(ROOT)}:{line}: {name} imports {target}"


def is_light(name: str) -> bool:
    """Orchestration and menus: what ``--help``, ``plan`` and ``status`` may import."""
    here = name.split(".")[0]
    return name in FAMILIES or here in GROUND or (here not in SCIENCE) or here in ("strategies", "episodes")


@pytest.mark.parametrize("path", [path for path in modules() if is_light(name_of(path))], ids=name_of)
def test_light_modules_import_nothing_heavy_at_the_top(path: Path) -> None:
    for module, line in imports(path, bodies=False):
        assert module.split(".")[0] not in HEAVY, f"{path.relative_to(ROOT)}:{line} imports {module}"


def test_training_code_never_imports_ray() -> None:
    for path in modules():
        if name_of(path).split(".")[0] in SCIENCE | {"stages"}:
            assert not [m for m, _ in imports(path, bodies=True) if m.split(".")[0] in ("ray", "mlflow")], path


def test_the_walk_sees_what_it_should() -> None:
    """The two tests above can fail: the seam's imports of science are found, and only inside its bodies."""
    seam = PACKAGE / "stages" / "recording.py"
    assert "formats" in {room for room, _ in rooms(seam, bodies=True)}
    assert "formats" not in {room for room, _ in rooms(seam, bodies=False)}


def test_planning_a_sweep_imports_nothing_heavy() -> None:
    code = f"""
import json, sys
from vlactl.plan import describe, make_plan
from vlactl.recipe import load
from vlactl.store import Store
from pathlib import Path
plan = make_plan(load("recipes/design_space.yaml"))
text = describe(plan, Store(Path("/nonexistent"))).lines()
print(json.dumps([len(plan.stages), len(text), sorted(m for m in sys.modules if m.split(".")[0] in {HEAVY!r})]))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    stages, lines, heavy = json.loads(run.stdout)
    assert stages > 50
    assert lines > 5
    assert heavy == []
