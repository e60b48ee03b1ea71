"""The command line as a whole: speed and lightness of imports, exit codes, help texts, errors."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command

from tests.cli.fakes import ANSI, same_as_golden
from vlactl.cli import VERBS, app
from vlactl.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "deepspeed", "ray", "mlflow", "mujoco", "numba", "scipy")
SPY = """
import atexit, sys
where = sys.argv.pop(1)
atexit.register(lambda: print(*sys.modules, file=open(where, "w")))
from vlactl.cli import main
main(sys.argv[1:])
"""


def shell(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vlactl", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def modules_of(tmp_path: Path, *arguments: object) -> set[str]:
    """Top-level packages that a command has imported."""
    spied = tmp_path / "modules"
    subprocess.run(
        [sys.executable, "-c", SPY, str(spied), *map(str, arguments)],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return {name.partition(".")[0] for name in spied.read_text().split()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["sweep", "--help"],
        ["plan", "RECIPE"],
        ["sweep", "RECIPE", "--dry-run"],
        ["status"],
        ["explain", "one-step-discrete/in", "--sweep", "RECIPE"],
        ["list", "backbones"],
        ["show", "training"],
        ["schema"],
        ["doctor"],
        ["gc", "--dry-run"],
        ["data", "list"],
        ["logs", "x"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(tmp_path, recipe, arguments):
    found = modules_of(tmp_path, *(str(recipe) if word == "RECIPE" else word for word in arguments))
    assert "vlactl" in found
    assert not found.intersection(HEAVY)


def test_help_and_plan_answer_at_once(recipe):
    """The house plan: help under 0.5 s, plan under 1.5 s, on two free cores; three times that on a busy machine."""
    for arguments, limit_s in ((["--help"], 0.5), (["plan", recipe], 1.5)):
        fastest = min(elapsed(*arguments) for _ in range(3))
        assert fastest < 3 * limit_s


def elapsed(*arguments: object) -> float:
    began = time.perf_counter()
    assert shell(*arguments).returncode == 0
    return time.perf_counter() - began


def test_the_verbs_their_options_and_help_texts():
    """Golden: changing a verb, an option or a help text is a visible difference.  Independent of how typer draws it."""
    lines = []

    def walk(command, words):
        lines.append(" ".join(words))
        lines.extend(f"    {line}".rstrip() for line in (command.help or "").replace("\b\n", "").strip().splitlines())
        for parameter in command.params:
            names = ", ".join([*parameter.opts, *parameter.secondary_opts])
            if "completion" not in names:  # typer's own
                lines.append(f"  {names}: {getattr(parameter, 'help', '')}")
        for name, child in getattr(command, "commands", {}).items():
            walk(child, [*words, name])

    walk(get_command(app), ["vlactl"])
    same_as_golden("verbs.txt", "\n".join(lines) + "\n")


def test_every_verb_of_the_contract_is_there():
    names = {name for verbs in VERBS.values() for name in verbs}
    assert names == {
        "sweep",
        "plan",
        "status",
        "logs",
        "stop",
        "cancel",
        "retry",
        "explain",
        "report",
        "compare",
        "eval",
        "list",
        "show",
        "schema",
        "doctor",
        "mlflow",
        "gc",
        "data",
        "sim",
    }


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--help"], 0),
        (["--version"], 0),
        (["nonsense"], 2),
        (["plan"], 2),
        (["plan", "absent.yaml"], 2),
        (["sweep", "x", "--jobs", "0"], 2),
        (["status"], 2),
        (["show", "backbones", "x"], 2),
        (["data", "show", "x"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_exit_codes(vlactl, arguments, code):
    assert vlactl(*arguments).code == code


def test_with_json_the_last_line_is_always_the_exit(vlactl):
    for arguments in (["plan", "absent.yaml"], ["plan"], ["status"], ["list"]):
        answer = vlactl(*arguments, "--json")
        assert answer.lines[-1] == {"type": "exit", "code": answer.code}


def test_errors_have_no_traceback_unless_asked():
    short = shell("plan", "absent.yaml")
    assert (short.returncode, short.stdout) == (2, "")
    assert short.stderr.startswith("vlactl: absent.yaml: there is no such recipe")
    assert "Traceback" not in short.stderr
    long = shell("--traceback", "plan", "absent.yaml")
    assert "Traceback" in long.stderr
    assert "UsageError" in long.stderr


def test_a_word_after_two_dashes_is_never_an_option(vlactl):
    answer = vlactl("plan", "--", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert "--json: there is no such recipe" in answer.err


def test_an_unwritable_home_is_an_error_in_words(vlactl, recipe, launcher, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VLACTL_HOME", str(tmp_path / "file" / "home"))
    answer = vlactl("sweep", recipe)
    assert answer.code == ExitCode.NOTHING_SUCCEEDED
    assert "Traceback" not in answer.err
    assert "VLACTL_HOME" in answer.err


def test_an_unreadable_path_is_an_error_in_words(vlactl, recipe, launcher, tmp_path):
    vlactl("sweep", recipe)
    answer = vlactl("report", "-o", tmp_path / "no" / "such" / "folder.md")
    assert answer.code == ExitCode.NOTHING_SUCCEEDED
    assert "No such file or directory" in answer.err


def test_a_closed_pipe_is_not_an_error(recipe):
    command = f"{sys.executable} -m vlactl plan {recipe} --json | head -n 1"
    found = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert json.loads(found.stdout)["type"] == "plan"
    assert found.stderr == ""


def in_terminal(*arguments: str, **environment: str) -> str:
    """What a command prints on a terminal."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "vlactl", *arguments],
        stdout=child,
        stderr=child,
        stdin=child,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
    )
    os.close(child)
    said = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # EIO: the other end was closed
            break
        if not chunk:
            break
        said += chunk
    process.wait()
    os.close(parent)
    return said.decode()


def test_colour_only_on_a_terminal_that_wants_it():
    plain = {key: value for key, value in os.environ.items() if key in ("NO_COLOR", "FORCE_COLOR")}
    assert not plain, "this test needs an environment without NO_COLOR and FORCE_COLOR"
    assert ANSI.search(in_terminal("doctor"))
    assert not ANSI.search(in_terminal("doctor", NO_COLOR="1"))
    assert not ANSI.search(shell("doctor").stdout)
