"""The command line: each verb parses, calls and renders; the logic is elsewhere.

Nothing heavy is imported here or at the top of a verb's module, so that ``--help`` answers at once.  A
:class:`~vlactl.errors.VlactlError` becomes a message and its exit code (``--traceback`` shows where it came from); with
``--json`` the last line on standard output is always ``{"type": "exit", "code": ...}``.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from vlactl import __version__
from vlactl.cli import answers, control, data, evaluate, menus, mirror, plan, sim, sweep, upkeep, watch
from vlactl.cli.screen import emit, report_error
from vlactl.errors import ExitCode, UsageError, VlactlError


class Verbs(TyperGroup):
    """The group of verbs; an interrupt leaves with 130, not with Click's 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(ExitCode.INTERRUPTED) from None


app = typer.Typer(
    name="vlactl",
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Start with: vlactl doctor, then vlactl sweep recipes/quickstart.yaml. State lives in $VLACTL_HOME "
    "(default: .vlactl beside the project). --traceback shows where an error came from.",
)

VERBS: dict[str, dict[str, Callable[..., Any] | typer.Typer]] = {
    "Run": {"sweep": sweep.sweep, "plan": plan.plan, "explain": plan.explain},
    "Watch and steer": {
        "status": watch.status,
        "logs": watch.logs,
        "stop": control.stop,
        "cancel": control.cancel,
        "retry": control.retry,
    },
    "Answers": {"report": answers.report, "compare": answers.compare, "eval": evaluate.eval_, "mlflow": mirror.app},
    "What there is": {
        "list": menus.list_,
        "show": menus.show,
        "schema": menus.schema,
        "data": data.app,
        "sim": sim.app,
    },
    "Upkeep": {"doctor": upkeep.doctor, "gc": upkeep.gc},
}

for panel, verbs in VERBS.items():
    for name, verb in verbs.items():
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(verb)


def flowing(text: str) -> str:
    """A docstring with one line per paragraph, for the terminal to wrap; a paragraph after ``\\b`` keeps its lines."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(each if each.startswith("\b") else " ".join(each.split()) for each in paragraphs)


for each in (app, *(group.typer_instance for group in app.registered_groups)):
    for command in each.registered_commands if each else ():
        command.help = flowing((command.callback and command.callback.__doc__) or "")


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vlactl {__version__}")
        raise typer.Exit()


@app.callback()
def vlactl(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """One YAML recipe in, an honest comparative table of vision-language-action models out."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = arguments[:end]
    as_json = "--json" in options
    try:
        code = dispatch(
            [word for word in options if word != "--traceback"] + arguments[end:],
            traceback="--traceback" in options,
            as_json=as_json,
        )
        if as_json:
            emit({"type": "exit", "code": code})
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    raise SystemExit(code)


def dispatch(arguments: Sequence[str], *, traceback: bool, as_json: bool) -> int:
    """Run one command; returns its exit code, after errors were told in words."""
    try:
        app(args=list(arguments), prog_name="vlactl")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else ExitCode.USAGE if leaving.code else ExitCode.OK
    except BrokenPipeError:
        raise
    except VlactlError as error:
        if traceback:
            raise
        return int(report_error(error, as_json=as_json))
    except OSError as error:
        if traceback:
            raise
        return int(report_error(from_system(error), as_json=as_json))
    return ExitCode.OK


def from_system(error: OSError) -> VlactlError:
    """A full disk, a file that may not be read and the like, in our words."""
    named = UsageError(
        error.strerror or str(error),
        where=str(error.filename or ""),
        remedy="check the path, its permissions and the free space (vlactl doctor)",
    )
    named.exit_code = ExitCode.NOTHING_SUCCEEDED
    return named
