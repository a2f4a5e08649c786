"""`curate bench` on the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.bench.variants import scan_variants, slug
from curate.cli import app
from curate.errors import UsageError
from tests.bench.labelled import draw_labelled

QUICK = ("--shares", "0.2", "--seeds", "1", "--images", "30", "--test-share", "0.3", "--detectors", "none", "-q")


def test_a_bench_prints_its_tables_and_says_where_they_are(tmp_path: Path):
    plates = draw_labelled(tmp_path / "plates", 36, 12)
    out = tmp_path / "out"
    words = ["bench", str(plates), "-o", str(out), "--scorers", "neighbours", "--baselines", "pooled-knn", *QUICK]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert re.search(r"\| neighbours \| (9\d|100)\.\d \|", result.stdout)
    assert f"In {out}: tables.md, figures.parquet, curves-finds.svg, curves-finds.png" in result.stdout


def test_the_names_there_are_can_be_listed():
    text = CliRunner().invoke(app, ["bench", "--list"]).stdout
    assert all(f"  {name} " in text for name in scan_variants())


def test_names_of_variants_can_stand_in_a_list_and_in_a_file():
    assert all(slug(name) == name for name in scan_variants())


def test_a_wrong_call_ends_before_any_work(tmp_path: Path):
    with pytest.raises(UsageError, match="no dataset"):
        CliRunner().invoke(app, ["bench", "-q"], catch_exceptions=False)
    with pytest.raises(UsageError, match="no such folder"):
        CliRunner().invoke(app, ["bench", str(tmp_path / "nowhere"), "-q"], catch_exceptions=False)
