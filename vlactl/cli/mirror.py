"""``mlflow sync`` and ``mlflow ui``: the mirror of a sweep in MLflow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vlactl.cli import options
from vlactl.cli.screen import emit, remark, say

app = typer.Typer(no_args_is_help=True, help="The mirror of sweeps in MLflow.", rich_markup_mode="rich")


@app.command("sync")
def sync(sweep: options.Sweep = "", json: options.Json = False) -> None:
    """Make MLflow agree with the store, for example after its server was unreachable.

    Nothing is written twice. The address is $MLFLOW_TRACKING_URI, else the database in $VLACTL_HOME.

    \b
    vlactl mlflow sync
    """
    from vlactl.cli.drive import mlflow_place, remember_mirror, tables_of
    from vlactl.cli.loading import load_named
    from vlactl.tracking import sync as bring_up

    loaded = load_named(sweep)
    written = bring_up(loaded.recipe, loaded.plan, loaded.store, tables=tables_of(loaded))
    remember_mirror(loaded)
    if json:
        emit({"type": "mlflow", "sweep": loaded.folder.name, "uri": mlflow_place(loaded), "written": written})
    else:
        counts = ", ".join(f"{count} {name}" for name, count in written.items() if count) or "nothing was missing"
        say(f"{mlflow_place(loaded)}: {counts}")


@app.command("ui")
def ui(port: Annotated[int, typer.Option(help="Port on the loopback address.")] = 5000) -> None:
    """Show the runs in a browser (starts MLflow's own server; Ctrl-C ends it)."""
    from vlactl.store import home
    from vlactl.tracking import ui_command

    command = ui_command(home(Path.cwd()), port)
    remark(f"http://127.0.0.1:{port}   (MLflow takes up to a minute to start)")
    os.execv(command[0], command)
