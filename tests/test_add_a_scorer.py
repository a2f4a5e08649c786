"""CONTRIBUTING's recipe "add a scorer", followed to the letter: one file, one line, and it is everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.bench.labelled import draw_labelled
from tests.plates import ROOT, draw_plates

SCORER = '''
"""A toy: how far an image's pooled vector is from the mean of all others."""

from __future__ import annotations

import numpy as np

from curate.progress import Progress, no_progress
from curate.records import Embeddings, IntArray, Scores
from curate.scores.base import NO_GUIDE, Guide, ScorerContext


class Toy:
    name = "toy"

    def score(
        self, embeddings: Embeddings, groups: IntArray, *, guide: Guide = NO_GUIDE, progress: Progress = no_progress
    ) -> Scores:
        values = np.zeros(len(embeddings), dtype=np.float32)
        for image in range(len(embeddings)):
            others = embeddings.pooled[groups != groups[image]]
            values[image] = np.linalg.norm(embeddings.pooled[image] - others.mean(axis=0)) if len(others) else 0
            progress(1)
        maps = [np.full(grid, value, np.float32) for grid, value in zip(embeddings.grids, values, strict=True)]
        return Scores(
            scorer=self.name, values=values, maps=maps, neighbours=np.zeros((len(values), 0), dtype=np.int64)
        )


def make_toy(context: ScorerContext) -> Toy:
    return Toy()
'''

LINE = '        ScorerEntry(name="toy", about="distance from the mean image", make="curate.scores.toy:make_toy"),\n'


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package and its rules, with the toy scorer added by the recipe."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("curate", "rules"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "curate" / "scores" / "toy.py").write_text(SCORER.lstrip())
    registry = root / "curate" / "scorers.py"
    text = registry.read_text()
    last = [found.end() for found in re.finditer(r'make="curate\.scores\.\w+:\w+",\n {8}\),\n', text)][-1]
    registry.write_text(text[:last] + LINE + text[last:])
    return root


def curate(checkout: Path, *words: str | Path) -> str:
    call = [sys.executable, "-m", "curate", *map(str, words)]
    done = subprocess.run(
        call, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_new_scorer_has_its_column_in_the_audit_in_explain_and_in_the_report(checkout: Path, tmp_path: Path):
    plates = draw_plates(tmp_path / "plates", 24, holes=(3, 11))
    audit = tmp_path / "audit"
    curate(checkout, "scan", plates, "-o", audit, "--scorers", "toy,neighbours", "--offline", "--quiet")
    images = pq.read_table(audit / "images.parquet")
    assert images["score_toy"].null_count == 0
    comment = images.schema.field("score_toy").metadata[b"comment"].decode()
    assert comment == "distance from the mean image; higher is more anomalous; null if not scored"
    assert images["score_flow"].null_count == len(images)
    views = pq.read_table(audit / "views.parquet").to_pylist()
    assert {"hybrid", "neighbours", "toy"} == {row["view"] for row in views}
    path = images["path"][0].as_py()
    explanation = json.loads(curate(checkout, "explain", audit, path, "--format", "json"))
    assert "toy" in {view["name"] for view in explanation["views"]}
    assert "toy" in (audit / "report.html").read_text()
    assert "toy" in curate(checkout, "scan", "--help")


def test_the_new_scorer_can_be_measured_by_the_bench(checkout: Path, tmp_path: Path):
    labelled = draw_labelled(tmp_path / "labelled", 30, 12)
    call = ("bench", labelled, "-o", tmp_path / "bench", "--scorers", "toy", "--shares", "0.2", "--seeds", "1")
    curate(checkout, *call, "--baselines", "none", "--detectors", "none", "--offline", "--quiet")
    figures = pq.read_table(tmp_path / "bench" / "figures.parquet").to_pylist()
    assert {(row["kind"], row["method"]) for row in figures} == {("scorer", "toy")}
    assert "auroc" in {row["figure"] for row in figures}
