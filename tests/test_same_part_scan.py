"""What a scan makes of images that show the same part."""

from __future__ import annotations

import base64
import re
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import curate
from curate.embeddings.backbones import load_backbone
from curate.embeddings.engines.local import Cache, embed
from curate.images.sources import list_images
from curate.pipeline import configure, embed_settings
from curate.reports.audit_rows import AuditRows
from curate.reports.explain import explain
from curate.reports.originals import originals
from curate.reports.shots import shot_pairs
from curate.same_part.planted import ALL_TOGETHER, plant
from curate.shots import find_shots
from tests.plates import draw_plates

PLATES, FIRST, AGAIN = 40, "03.png", "40.png"


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return plates of which one, with a hole, was photographed twice."""
    folder = draw_plates(tmp_path_factory.mktemp("shots") / "good", PLATES, holes=(3, 11))
    pixels = np.asarray(Image.open(folder / FIRST).convert("RGB"))
    Image.fromarray(plant(pixels, np.random.default_rng(0))[ALL_TOGETHER]).save(folder / AGAIN)
    return folder


def scan(source: Path, output: Path, **settings: object) -> curate.Audit:
    return curate.scan(source, output, **{"scorers": ("neighbours",), "rounds": 1, "same_part": True} | settings)


@pytest.fixture(scope="module")
def audit(shots: Path, tmp_path_factory: pytest.TempPathFactory) -> curate.Audit:
    return scan(shots, tmp_path_factory.mktemp("audits") / "audit")


def test_a_second_shot_is_found_and_told(audit: curate.Audit):
    pairs = audit.duplicates
    assert pairs[["path", "duplicate_of", "kind"]].to_numpy().tolist() == [[AGAIN, FIRST, "same_part"]]
    assert pairs["similarity"][0] > audit.run["same_part"]["threshold"]
    assert abs(pairs["shift_x"][0]) < 0.05
    assert abs(pairs["shift_y"][0]) < 0.05
    assert bool(pairs["same_label"][0])
    told = audit.findings.query("code == 'DUP003'")
    assert told["path"].tolist() == [AGAIN]
    assert FIRST in told["message"].iloc[0]


def test_a_second_shot_does_not_excuse_the_first(audit: curate.Audit, shots: Path, tmp_path: Path):
    without = scan(shots, tmp_path / "without", same_part=False)
    scores, before = (one.images.set_index("path")["score_neighbours"] for one in (audit, without))
    assert scores[FIRST] > before[FIRST]
    assert scores[AGAIN] > before[AGAIN]


def test_the_report_shows_both_shots_and_says_what_they_are(audit: curate.Audit):
    assert audit.path
    page = (audit.path / "report.html").read_text()
    assert f"<bdi>{FIRST}</bdi>, <bdi>{AGAIN}</bdi>: the same part, " in page
    assert page.count('<figure class="shots">') == 1


def test_a_twin_with_a_defect_is_evidence_and_the_defect_lights_up(tmp_path: Path):
    folder = draw_plates(tmp_path / "good", PLATES)
    grey = np.asarray(Image.open(folder / "05.png")).copy()
    grey[52:68, 60:76] = 25
    Image.fromarray(grey).save(folder / AGAIN)
    audit = scan(folder, tmp_path / "audit")
    assert audit.duplicates["kind"].tolist() == ["same_part_differs"]
    assert audit.findings.query("code == 'DUP004'")["path"].tolist() == [AGAIN]
    assert audit.run["same_part"]["pairs_that_differ"] == 1
    (pair,) = shot_pairs(AuditRows(audit), originals(audit))
    picture = Image.open(BytesIO(base64.b64decode(pair.picture.partition(",")[2]))).convert("RGB")
    _, second, difference = np.split(np.asarray(picture, np.float32)[:, : 3 * 134 - 6], (134, 268), axis=1)
    assert picture.size == (3 * 134 - 6, 128)
    warm = difference[..., 0] - difference[..., 2]
    assert warm[55:65, 63:73].mean() > 40
    assert np.abs(warm[:40]).mean() < 10
    assert second[55:65, 63:73].mean() < 60


def test_the_report_says_what_the_search_was_worth_and_explain_names_both_shots(audit: curate.Audit):
    assert audit.path
    page = (audit.path / "report.html").read_text()
    assert re.search(r"Of second shots made of some images, \d+% were found", page)
    assert explain(audit, FIRST).shots == ((AGAIN, "same_part"),)
    assert f"the same part: {FIRST}" in explain(audit, AGAIN).lines()


def test_a_file_that_goes_or_changes_after_it_was_embedded_is_undecidable(shots: Path, tmp_path: Path):
    folder = Path(shutil.copytree(shots, tmp_path / "good"))
    config = configure({"cache": tmp_path / "cache", "offline": True})
    listing, backbone = list_images(folder), load_backbone(config.backbone, offline=True)
    settings = embed_settings(listing, config)
    facts, embeddings, _ = embed(listing, backbone, settings, cache=Cache(config.cache, backbone, settings))
    (folder / "05.png").unlink()
    shutil.copy(folder / "07.png", folder / "09.png")
    found = find_shots(listing, facts, embeddings, duplicates=np.arange(len(listing)), settings=settings)
    gone = [row for row, path in enumerate(listing.paths) if path in ("05.png", "09.png")]
    assert found.unread == len(gone) == 2
    assert not found.decidable[gone].any()
    assert found.copies is not None
    assert len(found.copies.pairs) == 0


def test_turned_off_it_is_not_looked_for_and_leaves_no_trace(shots: Path, tmp_path: Path):
    without = curate.scan(shots, tmp_path / "without", scorers=("neighbours",), rounds=1, same_part=False)
    assert not len(without.duplicates)
    assert without.run["same_part"] is None
    assert "DUP003" not in set(without.findings["code"])


def test_the_run_says_how_far_the_same_part_can_be_told(audit: curate.Audit):
    facts = audit.run["same_part"]
    assert facts["pairs"] == 1
    assert 0 <= facts["undecidable"] <= 1
    assert set(facts["planted_found"]) >= {"exposure", "noise", "jpeg", "shift", "turn", "crop"}
    assert all(0 <= share <= 1 for share in facts["planted_found"].values())


def test_same_input_and_seed_find_the_same_pairs(audit: curate.Audit, shots: Path, tmp_path: Path):
    again = scan(shots, tmp_path / "again")
    assert again.tables["duplicates"].equals(audit.tables["duplicates"])
    assert again.run["same_part"] == audit.run["same_part"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_images_is_undecidable_not_the_same(tmp_path: Path, count: int):
    audit = scan(draw_plates(tmp_path / "few", count), tmp_path / "audit")
    assert not len(audit.duplicates)
    assert audit.run["same_part"]["pairs"] == 0


def test_images_that_show_nothing_are_undecidable_not_the_same(tmp_path: Path):
    folder = draw_plates(tmp_path / "flat", 12)
    for index, grey in enumerate((90, 91, 92, 93)):
        Image.new("L", (128, 128), grey).save(folder / f"flat{index}.png")
    audit = scan(folder, tmp_path / "audit")
    assert not len(audit.duplicates)
    assert audit.run["same_part"]["undecidable"] >= 4 / 16
