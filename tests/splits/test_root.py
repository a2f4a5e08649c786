"""A split of a manifest whose images lie below another folder than its own."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from tests.cli.test_main import curate
from tests.plates import draw_plates


def test_a_dataset_with_a_root_is_pruned_from_that_root(tmp_path: Path):
    draw_plates(tmp_path / "images" / "good", 2)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "list.csv").write_text("path\n/old/place/good/00.png\n/old/place/good/01.png\n")
    words = ("prune", "tables/list.csv", "--root", "images", "-o", "split", "--apply", "copy")
    done = curate(*words, "--rounds", "1", "--offline", "--backbone", "curate_s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(pq.read_table(tmp_path / "split" / "plan.parquet")["action"].to_pylist()) == {"keep"}
    assert len([file for file in (tmp_path / "split" / "data").rglob("*.png") if file.is_file()]) == 2
