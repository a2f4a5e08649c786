"""The tables of an audit: their columns, types and what each means.

Others may rely on these columns. `SCHEMA_VERSION` rises by one when a column changes its meaning, its type
or goes; new columns may come at any time. Each column carries its comment in the Parquet file itself, as
field metadata `comment`.
"""

from __future__ import annotations

from dataclasses import fields

import pyarrow as pa

from curate.records import Optics
from curate.scorers import SCORERS

SCHEMA_VERSION = 3
READABLE_VERSIONS = (2, SCHEMA_VERSION)
"""Audits of these versions are read; in those of 2, an image that could not be judged has the verdict `keep`."""


def _column(name: str, kind: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, kind, metadata={"comment": comment})


def _table(*columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={"curate_schema_version": str(SCHEMA_VERSION)})


TEXT, TEXTS, REAL, WHOLE = pa.string(), pa.list_(pa.string()), pa.float32(), pa.int32()

IMAGES = _table(
    _column("path", TEXT, "POSIX path below the dataset root; bytes of the name that are not UTF-8 stand as \\xNN"),
    _column("sha256", TEXT, "of the file's bytes, hex; empty if the file could not be read"),
    _column("split", TEXT, "as the layout or manifest says; empty if it says nothing"),
    _column("label", TEXT, "as the layout or manifest says; empty if it says nothing"),
    _column("nominal_set", TEXT, "the images that it was judged with: its label, or a subpopulation of it (SET003)"),
    _column("group", TEXT, "serial, lot, camera: as the manifest or --group-from says; empty if it says nothing"),
    _column("width_px", WHOLE, "of the upright image; null if unknown"),
    _column("height_px", WHOLE, "of the upright image; null if unknown"),
    _column("mode", TEXT, "the file's pixel format: L, RGB, I;16, float32, ..."),
    _column("bit_depth", WHOLE, "bits per channel; null if unknown"),
    _column("brightness", REAL, "mean grey, 0-255; null if unknown"),
    _column("contrast", REAL, "standard deviation of the grey, 0-128; null if unknown"),
    _column(
        "sharpness", REAL, "how much neighbouring pixels differ beside pixels four apart, about 0.2-1; null if unknown"
    ),
    _column("red", REAL, "mean red beside mean green, 1 for grey; null if unknown"),
    _column("blue", REAL, "mean blue beside mean green, 1 for grey; null if unknown"),
    _column("skip_reason", TEXT, "why the image could not be judged, one sentence; empty if it was judged"),
    *(_column(entry.column, REAL, entry.comment) for entry in SCORERS.values()),
    _column(
        "anomaly_score",
        REAL,
        "0 at the median of its nominal set, 1 at the threshold; for OOD003 how far outside its lighting or focus is",
    ),
    _column("confidence", REAL, "0-1, that what the image shows is nominal; null if skipped"),
    _column(
        "p_value",
        REAL,
        "0-1, how often a nominal image scores as high: conformal or model-based, as `p_values` in run.json says; "
        "null if skipped",
    ),
    _column(
        "q_value",
        REAL,
        "0-1, false share among all that score as high, Benjamini-Hochberg, from p_value: conformal or model-based; "
        "null if skipped",
    ),
    _column(
        "fdr_bound",
        REAL,
        "0-1, at most this share of all images that score as high is nominal, trusted ones aside, at every score at "
        "once, with a confidence of 90 %; null where p_value is model-based",
    ),
    _column(
        "expected_precision",
        REAL,
        "0-1, share of anomalous images expected among all that score at least as high: mean of 1 - confidence; null "
        "if skipped",
    ),
    _column(
        "trusted", pa.bool_(), "true if known to be nominal, by --trusted or the manifest: learnt from, never flagged"
    ),
    _column(
        "verdict",
        TEXT,
        "of the scan: keep, not_judged (SET001), mislabelled, near_ood, duplicate or unreadable; decisions do not "
        "change it",
    ),
    _column(
        "uncertain",
        pa.bool_(),
        "true where a person should look first: kept though confidence is below 0.75, or flagged by its score "
        "though it is above 0.5; null if skipped",
    ),
    _column("suggested_label", TEXT, "the label that the image seems to have, where it is mislabelled; empty if none"),
    _column("round_rejected", WHOLE, "refinement round that rejected the image, from 1; null if none did"),
    _column("reasons", TEXTS, "codes of its findings; see findings.parquet"),
    _column("nearest", TEXTS, "paths of the most similar kept images, nearest first, three at most"),
    _column("pca_1", REAL, "first principal component of the pooled vectors, for a map of the set; null if skipped"),
    _column("pca_2", REAL, "second principal component; null if skipped"),
)

LATER = frozenset(
    (
        *(measure.name for measure in fields(Optics)),
        "expected_precision",
        "uncertain",
        "similarity",
        "shift_x",
        "shift_y",
        "mask",
        "fdr_bound",
        "trusted",
    )
)
"""Columns that audits of this schema version may lack, since they came later; null then."""

EXACT, COPY, SAME_PART, SAME_PART_DIFFERS = "exact", "copy", "same_part", "same_part_differs"
"""The kinds of duplicates."""

FINDINGS = _table(
    _column("path", TEXT, "the image"),
    _column("code", TEXT, "stable code: IMG, DUP, LEAK, LBL, OOD or SET and three digits"),
    _column("severity", TEXT, "error, warning or note"),
    _column("message", TEXT, "what was found, one sentence"),
    _column("score", REAL, "the image's anomaly_score; null where the finding is not why the image is flagged"),
    _column("fence", REAL, "the threshold; null likewise"),
    _column("margin", REAL, "score - fence; null likewise"),
    _column("neighbours", TEXTS, "paths of the images it was compared with, nearest first"),
    _column(
        "box",
        pa.list_(WHOLE),
        "left, top, width, height in px of the upright image: where it is anomalous; null if nowhere",
    ),
    _column("map", TEXT, "its picture below the audit's folder, maps/NNNNNNN.png; null where none was drawn"),
)

DUPLICATES = _table(
    _column(
        "path",
        TEXT,
        "the image that repeats another; its verdict is duplicate if an earlier one of these pixels is kept, "
        "also under another label",
    ),
    _column("duplicate_of", TEXT, "the first image, by path, with these pixels, or the other shot"),
    _column(
        "kind",
        TEXT,
        "exact: equal stored samples and shape; copy: of one file, compressed again, resized, turned or mirrored; "
        "same_part: another shot of the same part; same_part_differs: a shot of the same part, but for one place",
    ),
    _column("similarity", REAL, "in standard deviations above pairs of different parts; null for exact and copy"),
    _column(
        "shift_x", REAL, "by how much it must move right to lie on the other, as a share of the width; null likewise"
    ),
    _column("shift_y", REAL, "by how much it must move down, as a share of the height; null likewise"),
    _column("same_label", pa.bool_(), "false where the two carry different labels: one of them is wrong"),
)

ROUNDS = _table(
    _column("label", TEXT, "the class"),
    _column("nominal_set", TEXT, "the class, or the subpopulation of it, that the round is of"),
    _column("round", WHOLE, "from 1"),
    _column("images", WHOLE, "of the nominal set, that could be read"),
    _column("fence", REAL, "the threshold, on the scale of the joined score of that round"),
    _column("q1", REAL, "first quartile of the joined scores"),
    _column("q3", REAL, "third quartile"),
    _column("kept", WHOLE, "images that stand kept after the round"),
    _column("rejected", WHOLE, "images rejected in this round that were kept before"),
    _column("reinstated", WHOLE, "images kept in this round that were rejected before"),
    _column("contamination", REAL, "estimated share of anomalous images, 0-1"),
    _column("contamination_low", REAL, "lower end of its interval of 90 %"),
    _column("contamination_high", REAL, "upper end"),
)

VIEWS = _table(
    _column("nominal_set", TEXT, "the class, or the subpopulation of it, that was judged by itself"),
    _column("view", TEXT, "a scorer, or hybrid for the joined score"),
    _column("threshold", REAL, "scores above it are anomalous, on the view's own scale; null if none"),
    _column("weight", REAL, "of the view in the joined score, 0-1; null for hybrid, and where it abstains"),
    _column("abstains", pa.bool_(), "true where the view cannot judge this nominal set, and has no weight in it"),
    _column("reason", TEXT, "why it abstains, or why nothing can be flagged; empty where neither holds"),
)

META_SET = _table(
    _column("path", TEXT, "a member of the Evolving Meta-Set"),
    _column("epoch", WHOLE, "the student's epoch after which it was one; the largest epoch is the final set"),
)

MAPS = _table(
    _column(
        "path", TEXT, "a flagged image whose map was drawn, or a kept one with a high score or of a small group apart"
    ),
    _column("rows", WHOLE, "of its patch grid"),
    _column("columns", WHOLE, "of its patch grid"),
    _column("values", pa.list_(REAL), "rows * columns anomaly scores of patches, row by row"),
    _column(
        "mask",
        pa.list_(pa.bool_()),
        "where the image's masks show a defect, 4 x 4 values a patch, row by row of them; null without a mask",
    ),
)

TABLES = {
    "images": IMAGES,
    "findings": FINDINGS,
    "duplicates": DUPLICATES,
    "rounds": ROUNDS,
    "views": VIEWS,
    "meta_set": META_SET,
    "maps": MAPS,
}
