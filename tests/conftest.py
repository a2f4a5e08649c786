"""Shared by all tests: own cache and models folders, no hub, and a drawn set."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from tests.plates import draw_plates

# several processes test at once: threads of torch that wait for one another on shared cores would take most of the time
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a first call may import a library or wait for a busy machine: time is not what these tests are about
hypothesis.settings.register_profile("curate", deadline=None)
hypothesis.settings.load_profile("curate")


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache, models and hub out of the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CURATE_CACHE", str(home / "cache"))
    monkeypatch.setenv("CURATE_MODELS", str(home / "models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    """Twenty-four plates in one folder; 03 and 11 have a hole."""
    return draw_plates(tmp_path / "plates", 24, holes=(3, 11))
