from __future__ import annotations

import pytest

from tests.windows.small import record
from vlactl.formats.recorded import RecordedEpisodes


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> RecordedEpisodes:
    return record(tmp_path_factory.mktemp("source") / "a")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> RecordedEpisodes:
    return record(tmp_path_factory.mktemp("other") / "b", (3, 20), words=12, seed=1)
