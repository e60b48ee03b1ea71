"""What a wrong recipe is told: golden texts, one per mistake family, over the small menus.

To rewrite them after a deliberate change: GOLDEN=write pytest tests/test_recipe_errors.py, then read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fake_menus import menus
from vlactl.errors import ExitCode, RecipeError
from vlactl.recipe import load

GOLDEN = Path(__file__).parent / "golden" / "recipe"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_golden_text(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(RecipeError) as caught:
        load(f"{case}.yaml", menus=menus())
    assert caught.value.exit_code == ExitCode.USAGE
    text = f"{caught.value}\n"
    golden = Path(f"{case}.txt")
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()
