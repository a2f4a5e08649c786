"""What factories hand over, scanned: masks beside images, splits below the top, values of two scales."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import curate
from tests.plates import draw_plate

FAST = {"scorers": ["neighbours"], "rounds": 1, "backbone": "curate_s", "same_part": False, "image_size": 128}


def verdicts(audit: curate.Audit) -> dict[str, str]:
    return dict(zip(audit.images["path"], audit.images["verdict"], strict=True))


def test_masks_beside_images_are_no_images_and_are_outlined_in_the_report(tmp_path: Path):
    rng, root = np.random.default_rng(0), tmp_path / "set"
    root.mkdir()
    for index in range(20):
        hole = index in (4, 11)
        draw_plate(rng, hole=hole).save(root / f"{index:02}.jpg", quality=95)
        mask = Image.new("L", (96, 96))
        if hole:
            mask.paste(255, (40, 40, 60, 60))
        mask.save(root / f"{index:02}_label.png")
    audit = curate.scan(root, tmp_path / "audit", cache=tmp_path / "cache", **FAST)
    assert len(audit.images) == 20
    assert audit.run["ignored"] == {"mask": 20}
    masks = {row["path"]: row["mask"] for row in audit.tables["maps"].to_pylist()}
    assert {path for path, mask in masks.items() if any(mask)} == {"04.jpg", "11.jpg"}
    page = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert '"masked": true' in page or '"masked":true' in page


def test_two_splits_of_one_class_are_one_nominal_set(tmp_path: Path):
    rng, root = np.random.default_rng(0), tmp_path / "set"
    for index in range(24):
        folder = root / "images" / ("val" if index % 3 == 0 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        # the validation images are darker: as classes of their own, each would resemble the other
        plate = draw_plate(rng, hole=False).point(lambda grey, dark=index % 3 == 0: grey - 6 * dark)
        plate.save(folder / f"{index:02}.png")
    shared = root / "images" / "train" / "shared.png"
    draw_plate(rng, hole=False).save(shared)
    (root / "images" / "val" / "shared.png").write_bytes(shared.read_bytes())
    audit = curate.scan(root, tmp_path / "audit", cache=tmp_path / "cache", **FAST)
    assert set(audit.images["label"]) == {"images"}
    assert set(audit.images["split"]) == {"train", "val"}
    codes = set(audit.tables["findings"]["code"].to_pylist())
    assert "LEAK001" in codes
    assert not codes & {"DUP002", "LBL002", "LBL003"}


@pytest.mark.parametrize("spoil", [lambda plate: (0, 0, 1.02), lambda plate: (slice(0, 9), slice(0, 9), -9999.0)])
def test_one_value_hides_no_hole(tmp_path: Path, spoil):
    rng, root = np.random.default_rng(0), tmp_path / "set"
    root.mkdir()
    for index in range(20):
        plate = np.asarray(draw_plate(rng, hole=index in (4, 11)).convert("L"), np.float32) / 255
        if index == 7:
            rows, columns, value = spoil(plate)
            plate[rows, columns] = value
        tifffile.imwrite(root / f"{index:02}.tif", plate)
    audit = curate.scan(root, tmp_path / "audit", cache=tmp_path / "cache", **FAST)
    assert {path for path, verdict in verdicts(audit).items() if verdict != "keep"} - {"07.tif"} == {"04.tif", "11.tif"}
    assert json.loads((tmp_path / "audit" / "run.json").read_text())["levels"]["float_white"] == 1


def test_images_that_differ_only_in_alpha_are_not_rejected_as_duplicates(tmp_path: Path):
    rng, root = np.random.default_rng(0), tmp_path / "set"
    root.mkdir()
    for index in range(12):
        plate = draw_plate(rng, hole=False).convert("RGBA")
        plate.putalpha(0)
        plate.save(root / f"{index:02}.png")
    audit = curate.scan(root, tmp_path / "audit", cache=tmp_path / "cache", **FAST)
    assert "duplicate" not in verdicts(audit).values()
    assert set(audit.tables["findings"]["code"].to_pylist()) >= {"IMG024"}


def test_a_first_page_that_repeats_rejects_nothing_and_claims_no_more_than_was_seen(tmp_path: Path):
    rng, root = np.random.default_rng(0), tmp_path / "set"
    root.mkdir()
    pages = [np.asarray(draw_plate(rng, hole=False).convert("L")) for _ in range(24)]
    pages[4] = pages[3]
    for index, (first, second) in enumerate(zip(pages[:12], pages[12:], strict=True)):
        tifffile.imwrite(root / f"{index:02}.tif", np.stack([first, second]), photometric="minisblack")
    audit = curate.scan(root, tmp_path / "audit", cache=tmp_path / "cache", **FAST | {"same_part": True})
    assert set(verdicts(audit).values()) == {"keep"}
    copies = [row for row in audit.tables["findings"].to_pylist() if row["code"] == "DUP006"]
    assert [row["message"] for row in copies] == ["a copy of 03.tif in what is shown of the two files"]
