"""Shared by the tests of splits: a set, and an audit of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.kill_splits import draw_set, write_fake_audit

from tests.splits.pruning import REJECTED


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Twelve parts in the layout of MVTec AD, and an audit of them that rejects two."""
    root = draw_set(tmp_path / "set", 12, 300)
    write_fake_audit(tmp_path / "audit", root, REJECTED)
    return root
