"""What a scan makes of copies of one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import curate
from tests.plates import draw_plates

PLATES, FIRST = 40, "good/03.png"


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> curate.Audit:
    """Audit plates, of one of which there are four more files: mirrored, compressed, turned, smaller."""
    folder = tmp_path_factory.mktemp("copies")
    image = Image.open(draw_plates(folder / "good", PLATES, holes=(3, 11)) / "03.png")
    (folder / "other").mkdir()
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "good" / "40.png")
    image.save(folder / "good" / "41.jpg", quality=80)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    image.save(folder / "good" / "42.jpg", quality=95, exif=exif)
    image.resize((96, 96), Image.Resampling.BICUBIC).save(folder / "good" / "43.png")
    settings = {"scorers": ("neighbours",), "rounds": 1, "same_part": True}
    return curate.scan(folder, folder.parent / "copies-audit", **settings)


def test_each_copy_is_told_with_how_it_lies(audit: curate.Audit):
    told = audit.findings.query(f"code == 'DUP006' and message.str.contains('{FIRST}')")
    said = dict(zip(told["path"], told["message"], strict=True))
    assert said["good/40.png"] == f"a copy of {FIRST}, mirrored left to right"
    assert said["good/41.jpg"] == said["good/43.png"] == f"a copy of {FIRST}"
    of_turned = audit.findings.query("code == 'DUP006' and path == 'good/42.jpg'")["message"]
    assert len(of_turned) > 0
    assert of_turned.str.contains("turned by").all()


def test_copies_have_their_own_kind_and_are_not_told_as_shots_too(audit: curate.Audit):
    copies = audit.duplicates.query("kind == 'copy'")
    assert {FIRST, *copies["path"]} == {FIRST, "good/40.png", "good/41.jpg", "good/42.jpg", "good/43.png"}
    assert copies[["similarity", "shift_x", "shift_y"]].isna().to_numpy().all()
    assert copies["same_label"].all()
    assert not set(audit.duplicates["kind"]) - {"copy"}


def test_a_copy_does_not_excuse_its_original(audit: curate.Audit, tmp_path: Path):
    alone = draw_plates(tmp_path / "good", PLATES, holes=(3, 11))
    without = curate.scan(alone, tmp_path / "audit", scorers=("neighbours",), rounds=1)
    before = without.images.set_index("path")["score_neighbours"]["03.png"]
    assert audit.images.set_index("path")["score_neighbours"][FIRST] > 0.9 * before


def test_the_run_says_what_the_search_for_copies_was_worth(audit: curate.Audit):
    facts = audit.run["same_part"]["copies"]
    assert facts["pairs"] == len(audit.duplicates)
    assert set(facts["planted_found"]) == {"compressed", "resized", "turned", "all"}
    assert all(0 <= share <= 1 for share in facts["planted_found"].values())


def test_a_copy_under_another_label_is_told_so(tmp_path: Path):
    plates = draw_plates(tmp_path / "set" / "good", 12)
    draw_plates(tmp_path / "set" / "bad", 12, seed=1)
    pixels = np.asarray(Image.open(plates / "05.png"))
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(tmp_path / "set" / "bad" / "99.png")
    settings = {"scorers": ("neighbours",), "rounds": 1, "same_part": True}
    audit = curate.scan(tmp_path / "set", tmp_path / "audit", **settings)
    (told,) = audit.findings.query("code == 'DUP006'")["message"]
    assert told == "a copy of bad/99.png, turned by 270 degrees, which carries another label"
    assert not audit.duplicates["same_label"].any()
