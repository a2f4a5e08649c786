"""What a scan makes of groups: those that names propose, those taken from names, those that the pairs contradict."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import curate
from curate.audit.parquet import Audit
from curate.images.name_groups import captured
from curate.reports.audit_rows import AuditRows
from curate.reports.story import next_steps
from curate.same_part.planted import plant
from tests.plates import ROOT, draw_plate
from tests.test_same_part_scan import scan

PARTS, TWICE = 40, 7


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return plates named by part and shot, of which some were photographed twice."""
    folder = tmp_path_factory.mktemp("series") / "plates"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part in range(PARTS):
        plate = draw_plate(rng)
        plate.save(folder / f"part{part:02d}_shot0.png")
        if part < TWICE:
            again = plant(np.asarray(plate.convert("RGB")), rng)["exposure"]
            Image.fromarray(again).save(folder / f"part{part:02d}_shot1.png")
    return folder


@pytest.fixture(scope="module")
def proposed(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return scan(series, tmp_path_factory.mktemp("audits") / "audit")


def test_a_series_of_names_that_agrees_with_the_pairs_is_proposed(proposed: Audit, series: Path):
    group = proposed.run["same_part"]["proposed_group"]
    assert group["agree"] == group["found"] == proposed.run["same_part"]["pairs"] >= 5
    assert group["named"] == TWICE
    assert len(set(captured([path.name for path in series.iterdir()], group["regex"]))) == PARTS


def test_the_report_gives_the_command_that_takes_groups_from_the_names(proposed: Audit, series: Path):
    assert proposed.path
    page = unescape((proposed.path / "report.html").read_text())
    (command,) = re.findall(r'<code class="command">(curate scan [^<]*--group-from [^<]*)</code>', page)
    regex = proposed.run["same_part"]["proposed_group"]["regex"]
    assert shlex.split(command) == ["curate", "scan", str(series), "--group-from", regex]
    assert "pairs found to be of the same part" in page


def test_the_proposed_groups_are_those_of_the_next_scan_and_nothing_is_proposed_again(
    proposed: Audit, series: Path, tmp_path: Path
):
    regex = proposed.run["same_part"]["proposed_group"]["regex"]
    call = [sys.executable, "-m", "curate", "scan", str(series), "-o", str(tmp_path / "audit"), "--rounds", "1"]
    call += ["--scorers", "neighbours", "--same-part", "--group-from", regex, "-q", "--format", "json"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert json.loads(done.stdout)["images"] == PARTS + TWICE
    audit = curate.read_audit(tmp_path / "audit")
    assert audit.images["group"].nunique() == PARTS
    assert audit.run["settings"]["group_from"] == regex
    assert audit.run["recognised"].endswith(f"{PARTS} groups")
    assert audit.run["same_part"]["pairs"] == 0  # known, and not compared
    assert audit.run["same_part"]["proposed_group"] is None
    assert audit.run["fingerprint"] != proposed.run["fingerprint"]


def test_names_without_a_series_propose_nothing(series: Path, tmp_path: Path):
    rng = np.random.default_rng(1)
    (tmp_path / "mixed").mkdir()
    for path in sorted(series.iterdir()):
        (tmp_path / "mixed" / f"{rng.integers(10**9)}.png").write_bytes(path.read_bytes())
    audit = scan(tmp_path / "mixed", tmp_path / "audit")
    assert audit.run["same_part"]["pairs"] >= 5
    assert audit.run["same_part"]["proposed_group"] is None


def test_groups_that_the_pairs_contradict_are_told_and_their_images_are_kept_apart_all_the_same(
    series: Path, tmp_path: Path
):
    lines = ["path,group"]
    for path in sorted(series.iterdir()):
        lot = "" if path.name.startswith("part02") else "<A>" if path.name.endswith("shot0.png") else "B"
        lines.append(f"{path.name},{lot if path.name < 'part04' else ''}")
    (series.parent / "list.csv").write_text("\n".join(lines).replace("\npart", "\nplates/part") + "\n")
    audit = scan(series.parent / "list.csv", tmp_path / "audit")
    told = audit.findings.query("code == 'DUP005'")
    assert told["path"].tolist() == [f"plates/part0{part}_shot1.png" for part in (0, 1, 3)]
    assert told["message"].iloc[0] == (
        "the same part as plates/part00_shot0.png, though their groups are '<A>' and 'B'"
    )
    assert audit.run["same_part"]["pairs_across_groups"] == 3
    assert audit.path
    page = (audit.path / "report.html").read_text()
    assert '<strong class="bad">3 pairs</strong> of the same part are of two different groups (DUP005)' in page
    assert "<A>" not in page


@pytest.mark.parametrize(
    "group", [None, 7, [], {"regex": None}, {"regex": "(<b>)\u202e'", "agree": "x", "found": None, "named": 10**400}]
)
def test_a_proposal_that_no_scan_made_does_no_harm_in_the_report(proposed: Audit, group: object):
    run = {**proposed.run, "same_part": {"proposed_group": group}}
    steps = next_steps(AuditRows(Audit(tables=proposed.tables, run=run, path=proposed.path)))
    commands = [command for _, command in steps if "--group-from" in command]
    assert len(commands) == (isinstance(group, dict) and isinstance(group["regex"], str))
    assert "\u202e" not in "".join(commands)
