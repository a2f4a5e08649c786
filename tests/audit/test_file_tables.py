"""What an audit holds of files alone, the same for a scan and an integrity check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.audit.file_tables import duplicates_table, file_findings, finding_row, findings_table, image_columns
from curate.audit.schema import FINDINGS, IMAGES
from curate.findings import Code
from curate.records import Finding, ImageFacts, Layout, Listing, Optics

NAME = Finding(code=Code.INVALID_NAME, message="not UTF-8")
CUT = Finding(code=Code.TRUNCATED, message="the file is cut short")

LISTING = Listing(
    root=Path("/data"),
    layout=Layout.CLASSES,
    paths=("bad/a.png", "good/b.png", "good/c.png", "good/d.png"),
    files=tuple(Path("/data") / name for name in ("bad/a.png", "good/b.png", "good/c.png", "good/d.png")),
    labels=("bad", "good", "good", "good"),
    splits=("",) * 4,
    groups=("",) * 4,
    findings=((), (), (NAME,), ()),
)
OPTICS = Optics(brightness=100.0, contrast=20.0, sharpness=0.5, red=1.0, blue=1.0)
READ = ImageFacts(sha256="1", width_px=4, height_px=3, mode="L", bit_depth=8, optics=OPTICS)
FACTS = (READ, READ, READ, ImageFacts(skip_reason="the file is cut short", findings=(CUT,)))
DUPLICATES = np.array([0, 0, 0, 3])


def test_a_file_has_the_findings_of_its_name_its_content_and_its_duplicates():
    findings = file_findings(LISTING, FACTS, DUPLICATES)
    assert [[finding.code for finding in of_file] for of_file in findings] == [
        [],
        [Code.CONFLICTING_DUPLICATE],
        [Code.INVALID_NAME, Code.CONFLICTING_DUPLICATE],
        [Code.TRUNCATED],
    ]
    assert findings[1][0].message == "the same pixels as bad/a.png, which is labelled 'bad', not 'good'"


def test_duplicates_name_the_first_image_and_whether_the_labels_agree():
    nothing = dict.fromkeys(("similarity", "shift_x", "shift_y"))
    assert duplicates_table(LISTING, DUPLICATES).to_pylist() == [
        {"path": path, "duplicate_of": "bad/a.png", "kind": "exact", "same_label": False} | nothing
        for path in LISTING.paths[1:3]
    ]
    same = duplicates_table(LISTING, np.array([0, 1, 1, 3])).to_pylist()
    assert [(row["path"], row["same_label"]) for row in same] == [("good/c.png", True)]


def test_columns_of_files_are_columns_of_images_and_unknown_values_are_null():
    columns = image_columns(LISTING, FACTS, file_findings(LISTING, FACTS, DUPLICATES))
    assert set(columns) <= set(IMAGES.names)
    schema = pa.schema([IMAGES.field(name) for name in columns])
    rows = pa.table(columns, schema=schema).to_pylist()
    assert (rows[0]["width_px"], rows[0]["brightness"], rows[0]["reasons"]) == (4, 100.0, [])
    assert (rows[3]["width_px"], rows[3]["bit_depth"], rows[3]["brightness"]) == (None, None, None)
    assert (rows[3]["skip_reason"], rows[3]["reasons"]) == ("the file is cut short", ["IMG003"])


def test_a_finding_has_the_severity_of_its_code_and_evidence_only_where_it_is_added():
    rows = [finding_row("a.png", CUT), finding_row("b.png", NAME) | {"score": 2.0}]
    table = findings_table(rows)
    assert table.schema.equals(FINDINGS)
    assert table["severity"].to_pylist() == ["error", "warning"]
    assert table["score"].to_pylist() == [None, 2.0]
