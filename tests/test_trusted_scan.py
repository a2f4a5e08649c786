"""A scan with images known to be nominal, from the command line to the audit and what is read from it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import curate
from curate.reports.explain import explain
from tests.cli.test_main import curate as command
from tests.plates import draw_plate, draw_plates

QUICK = {"backbone": "curate_s", "image_size": 64, "scorers": ("neighbours",), "rounds": 1}
QUICK |= {"same_part": False, "planted": False, "optics": False}
HOLES = ("00.png", "01.png", "02.png", "03.png", "04.png")


def draw(folder: Path, count: int, *, holes: int = 0, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for index in range(count):
        draw_plate(rng, hole=index < holes, side=64).save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return draw(tmp_path / "golden", 50, seed=7)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return draw(tmp_path / "parts", 24, holes=len(HOLES))


def flagged(audit: curate.Audit) -> set[str]:
    return set(audit.images["path"][audit.images["verdict"].isin(("mislabelled", "near_ood"))])


def test_the_dataset_is_judged_by_images_outside_of_it_which_are_in_no_table(parts: Path, golden: Path, tmp_path: Path):
    (golden / "cut.png").write_bytes((golden / "00.png").read_bytes()[:80])
    audit = curate.scan(parts, tmp_path / "audit", trusted=str(golden), **QUICK)
    assert flagged(audit) == set(HOLES)
    images = audit.images.set_index("path")
    assert len(images) == 24
    assert not images["trusted"].any()
    assert images.loc[list(HOLES), "p_value"].tolist() == pytest.approx([1 / 51] * 5)
    assert (images.loc[list(HOLES), "q_value"] <= 0.1).all()
    assert images["fdr_bound"].between(0, 1).all()
    assert audit.run["p_values"] == {"": "conformal"}
    assert audit.run["trusted"] == {
        **{"images": 0, "outside": 50, "unreadable": 1, "of_no_class": 0},
        "reference": {"": 50},
    }
    for name, table in audit.tables.items():
        paths = [
            value for column in table.column_names if column in ("path", "duplicate_of") for value in table[column]
        ]
        assert {path.as_py() for path in paths} <= set(images.index), name
    assert {path for near in images["nearest"] for path in near} <= set(images.index)
    assert "50 outside it" in (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    lines = "\n".join(explain(audit, "00.png").lines())
    assert "p 0.0196 (conformal), q " in lines
    without = curate.scan(parts, tmp_path / "without", **QUICK)
    assert without.run["trusted"] is None
    assert without.run["p_values"] == {"": "model-based"}
    assert without.run["fingerprint"] == audit.run["fingerprint"]
    assert without.images["fdr_bound"].isna().all()
    assert "(model-based), q " in "\n".join(explain(without, "00.png").lines())
    assert curate.read_audit(tmp_path / "audit").images.equals(audit.images)


def test_a_manifests_own_column_makes_images_trusted_and_their_copies_too(tmp_path: Path):
    draw(tmp_path / "parts", 70, holes=5)
    copy = (tmp_path / "parts" / "40.png").read_bytes()
    (tmp_path / "parts" / "copy.png").write_bytes(copy)
    with (tmp_path / "parts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "trusted"))
        names = sorted(path.name for path in (tmp_path / "parts").iterdir())
        writer.writerows((f"parts/{name}", "yes" if "04.png" <= name < "60.png" else "") for name in names)
    audit = curate.scan(tmp_path / "parts.csv", tmp_path / "audit", **QUICK)
    images = audit.images.set_index("path")
    assert flagged(audit) <= {f"parts/{name}" for name in HOLES[:4]}  # 04.png has a hole, and is trusted
    assert images.loc["parts/04.png", "verdict"] == "keep"
    assert images.loc["parts/copy.png", "trusted"]
    assert images.loc["parts/copy.png", "q_value"] == 1
    assert audit.run["trusted"]["images"] == 56
    assert audit.run["trusted"]["reference"] == {"": 56}
    assert "SET008" in images.loc["parts/04.png", "reasons"]
    assert "trusted: known to be nominal" in "\n".join(explain(audit, "parts/04.png").lines())


def test_the_command_line_says_where_trusted_images_are_too_few(tmp_path: Path):
    draw_plates(tmp_path / "parts", 24, holes=(3, 11))
    draw_plates(tmp_path / "parts" / "golden", 12, seed=5)
    env = {f"CURATE_{name.upper()}": str(value).lower() for name, value in QUICK.items() if name != "scorers"}
    env |= {"CURATE_SCORERS": "neighbours", "CURATE_EXPECTED": "1%-10%"}
    options = ("--trusted", "parts/golden", "--layout", "flat", "--threshold", "median", "--format", "json")
    done = command("scan", "parts", "-o", "audit", *options, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "curate: all images: 12 trusted images are of this nominal set" in done.stderr
    run = json.loads((tmp_path / "audit" / "run.json").read_text(encoding="utf-8"))
    assert run["p_values"] == {"": "model-based"}
    assert run["trusted"]["images"] == 12
    assert (run["settings"]["expected"], run["settings"]["threshold"]) == ("1%-10%", "median")
    report = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert "1%-10%" in report
    assert "model-based" in report
