from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.fakes import RECIPE, Answer, InstantLauncher, QuietTracker
from vlactl.cli import drive, main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own; nothing talks to MLflow unless a test wants it."""
    root = tmp_path / "home"
    monkeypatch.setenv("VLACTL_HOME", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def vlactl(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Answer(int(leaving.value.code or 0), out, err)

    return run


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> InstantLauncher:
    """Every sweep of the test runs on this launcher, without processes, and mirrors nowhere."""
    instant = InstantLauncher()
    monkeypatch.setattr(drive, "launcher_of", instant.opened)
    monkeypatch.setattr("vlactl.tracking.Tracker", QuietTracker)
    monkeypatch.setattr("vlactl.tracking.sync", QuietTracker.sync)
    QuietTracker.synced = 0
    return instant
