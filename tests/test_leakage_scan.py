"""Leaks between splits from the scan to a split that does not leak, as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import curate
from curate.same_part.planted import ALL_TOGETHER, plant
from tests.cli.test_main import curate as run
from tests.plates import draw_plates

FIRST, AGAIN = "train/good/03.png", "test/good/again.png"
LABELLED, RELABELLED = "train/good/05.png", "test/hole/again.png"
ORIGINAL, COPY = "train/good/07.png", "test/good/copy.png"


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plates in two splits: a second shot across them, one under another label, and a copy."""
    root = tmp_path_factory.mktemp("plates")
    draw_plates(root / "train/good", 40)
    draw_plates(root / "test/good", 8, seed=1)
    draw_plates(root / "test/hole", 8, holes=tuple(range(8)), seed=2)
    for shot, again in ((FIRST, AGAIN), (LABELLED, RELABELLED)):
        pixels = np.asarray(Image.open(root / shot).convert("RGB"))
        Image.fromarray(plant(pixels, np.random.default_rng(0))[ALL_TOGETHER]).save(root / again)
    shutil.copy(root / ORIGINAL, root / COPY)
    return root


def scan(dataset: Path, output: Path, *, same_part: bool = True) -> curate.Audit:
    settings = {"scorers": ("neighbours",), "rounds": 1, "optics": False, "min_keep": 1}
    split = {} if dataset.suffix else {"split": "all"}
    return curate.scan(dataset, output, same_part=same_part, **settings, **split)


@pytest.fixture(scope="module")
def audit(plates: Path, tmp_path_factory: pytest.TempPathFactory) -> curate.Audit:
    return scan(plates, tmp_path_factory.mktemp("audits") / "audit")


@pytest.fixture(scope="module")
def without(plates: Path, tmp_path_factory: pytest.TempPathFactory) -> curate.Audit:
    """An audit that did not look for shots of the same part."""
    return scan(plates, tmp_path_factory.mktemp("audits") / "without", same_part=False)


def having(audit: curate.Audit, code: str) -> dict[str, str]:
    rows = audit.findings.query("code == @code")
    return dict(zip(rows["path"], rows["message"], strict=True))


def test_the_same_part_in_two_splits_and_under_two_labels_are_told_on_both_images(audit: curate.Audit):
    parts, conflicts = having(audit, "LEAK002"), having(audit, "LBL004")
    assert set(parts) == {FIRST, AGAIN, LABELLED, RELABELLED}
    assert f"the same part as {FIRST} (split 'train', label 'good'); " in parts[AGAIN]
    assert set(conflicts) == {LABELLED, RELABELLED}
    assert f"labelled 'hole', the same part as {LABELLED} (" in conflicts[RELABELLED]
    assert having(audit, "LEAK001") == {
        ORIGINAL: f"the same file as {COPY} (split 'test', label 'good')",
        COPY: f"the same file as {ORIGINAL} (split 'train', label 'good')",
    }
    assert "LEAK002" in audit.images.set_index("path")["reasons"][AGAIN]


def outcomes(folder: Path | None, tmp_path: Path) -> dict[str, tuple[str, str]]:
    done = run("check", str(folder), "--select", "LEAK,LBL104,DUP102", "--format", "json", cwd=tmp_path)
    return {rule["code"]: (rule["outcome"], rule["message"]) for rule in json.loads(done.stdout)["rules"]}


def test_a_check_breaks_on_leaks(audit: curate.Audit, tmp_path: Path):
    assert outcomes(audit.path, tmp_path) == {
        "DUP102": ("broken", "1; must be 0"),
        "LBL104": ("broken", "2; must be 0"),
        "LEAK101": ("broken", "10.17 % (6 of 59); the limit is 1 %"),
    }


def test_a_check_says_what_nobody_looked_for_and_breaks_on_what_is_there(without: curate.Audit, tmp_path: Path):
    off = "shots of the same part were not looked for (--no-same-part)"
    assert outcomes(without.path, tmp_path) == {
        "DUP102": ("broken", "1; must be 0"),
        "LBL104": ("skipped", off),
        "LEAK101": ("broken", "3.39 % (2 of 59); the limit is 1 %"),
    }


def test_a_scan_of_the_proposed_split_finds_no_leak(audit: curate.Audit, plates: Path, tmp_path: Path):
    done = run("prune", str(audit.path), "-o", "split", "--resplit", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    resplit = json.loads(done.stdout)["resplit"]
    assert resplit["leaked_before"] > 0
    assert resplit["leaked_after"] == 0
    copied = shutil.copytree(plates, tmp_path / "set")
    shutil.copy(tmp_path / "split/clean.csv", copied)
    again = scan(copied / "clean.csv", tmp_path / "again")
    assert set(again.images["split"]) == {"train", "test"}
    assert again.run["same_part"]["pairs"] > 0
    assert not any(code.startswith("LEAK") for code in again.findings["code"])
