"""A small drawn dataset and its audit, written without scoring anything, for the tests of reports and reading."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.audit.maps import KEPT_MAPS
from curate.audit.parquet import Audit, write_audit
from curate.audit.schema import SCHEMA_VERSION, TABLES
from tests.plates import draw_plate

LABELS = ("cast", "forged")
WEIGHTS = {"flow": 1.0, "student": 0.75, "neighbours": 0.9}


def draw_audit(
    folder: Path, *, images: int = 40, flagged: int = 8, names: tuple[str, ...] = (), drawn: int | None = None
) -> Audit:
    """Write `folder`/set and `folder`/audit.

    Args:
        names: of the first flagged images, below the set.
        drawn: how many image files to draw; the others are links to them by content.
    """
    rng = np.random.default_rng(0)
    root = folder / "set"
    blobs = [_blob(rng, hole=i % 4 == 0) for i in range(drawn or images)]
    paths = [*names, *(f"{LABELS[i % 2]}/{i:05d}.png" for i in range(len(names), images))]
    for index, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(blobs[index % len(blobs)])
    rows = [_row(rng, path, index, index < flagged, blobs[index % len(blobs)]) for index, path in enumerate(paths)]
    kept = {label: [r["path"] for r in rows if r["label"] == label and r["verdict"] == "keep"][:3] for label in LABELS}
    for row in rows:
        row["nearest"] = kept[row["label"]]
    rows.append(_row(rng, "cast/broken.png", 1, False, b"") | {"verdict": "unreadable", "skip_reason": "cut off"})
    rows[-1] |= dict.fromkeys(("anomaly_score", "pca_1", "pca_2", "confidence", "p_value", "q_value"))
    rows[-1] |= {"sha256": "", "reasons": ["IMG003"], "label": "cast", "nominal_set": ""}
    audit = Audit(tables=_tables(rows), run=_run(root), path=folder / "audit")
    (folder / "audit").mkdir()
    write_audit(audit, folder / "audit")
    return audit


def _blob(rng: np.random.Generator, *, hole: bool) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    picture: Image.Image = draw_plate(rng, hole=hole, side=96)
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _row(rng: np.random.Generator, path: str, index: int, bad: bool, blob: bytes) -> dict[str, object]:
    score = 3.0 - index / 1000 if bad else float(rng.uniform(-0.5, 0.9))
    views = {"score_flow": score * 2, "score_student": 0.4 if index % 3 else score, "score_neighbours": score}
    verdict = ("near_ood" if index % 4 == 3 else "mislabelled") if bad else "keep"
    return {
        "path": path,
        "sha256": hashlib.sha256(blob).hexdigest(),
        "split": "",
        "label": LABELS[index % 2],
        "nominal_set": LABELS[index % 2],
        "group": "",
        "width_px": 96,
        "height_px": 96,
        "mode": "L",
        "bit_depth": 8,
        "skip_reason": "",
        **views,
        "anomaly_score": score,
        "confidence": 0.03 if bad else 0.9,
        "p_value": 0.001 if bad else 0.5,
        "q_value": 0.01 if bad else 0.8,
        "verdict": verdict,
        "suggested_label": "forged" if bad and index % 2 == 0 else "",
        "round_rejected": 1 if bad else None,
        "reasons": ["LBL001"] if bad else [],
        "nearest": [],
        "pca_1": float(rng.normal(3 * bad)),
        "pca_2": float(rng.normal()),
    }


def _tables(rows: list[dict[str, object]]) -> dict[str, pa.Table]:
    bad = [row for row in rows if row["reasons"] == ["LBL001"]]
    findings = [
        {"path": r["path"], "code": "LBL001", "severity": "error", "message": f"a hole in {r['path']}"}
        | {"score": r["anomaly_score"], "fence": 1.0, "margin": 1.0, "neighbours": [], "box": [20, 20, 30, 30]}
        for r in bad
    ]
    findings.append({"path": rows[-1]["path"], "code": "IMG003", "severity": "error", "message": "cut off"})
    values = np.zeros((6, 6), dtype=np.float32)
    values[1:3, 1:3] = 1
    kept = sorted((r for r in rows if r["verdict"] == "keep"), key=lambda r: -float(r["anomaly_score"]))
    shown = [*bad[:200], *kept[:KEPT_MAPS]]
    maps = [{"path": r["path"], "rows": 6, "columns": 6, "values": values.ravel().tolist()} for r in shown]
    rounds = [
        {
            "label": label,
            "nominal_set": label,
            "round": n,
            "images": 20,
            "fence": 2.0 - n / 5,
            "q1": 0.1,
            "q3": 0.6,
            "kept": 16,
        }
        | {"rejected": 5 - n, "reinstated": n - 1, "contamination": 0.1}
        | {"contamination_low": 0.05, "contamination_high": 0.2}
        for label in LABELS
        for n in (1, 2, 3)
    ]
    copies = [{"path": rows[-2]["path"], "duplicate_of": rows[-3]["path"], "kind": "exact", "same_label": False}]
    views = [
        view_row(label, view, threshold=1.0, weight=weight) for label in LABELS for view, weight in WEIGHTS.items()
    ]
    views += [view_row(label, "hybrid", threshold=1.0) for label in LABELS]
    content = {"images": rows, "findings": findings, "duplicates": copies, "rounds": rounds, "maps": maps}
    content["views"] = views
    return {name: pa.Table.from_pylist(content.get(name, []), schema=schema) for name, schema in TABLES.items()}


def view_row(
    nominal_set: str, view: str, *, threshold: float | None = None, weight: float | None = None, abstains: str = ""
) -> dict[str, object]:
    """Return a row of `views.parquet`; `abstains` is the reason, "" where the view does not abstain."""
    row = {"nominal_set": nominal_set, "view": view, "threshold": threshold, "weight": weight}
    return row | {"abstains": bool(abstains), "reason": abstains}


def with_views(audit: Audit, *rows: dict[str, object]) -> Audit:
    """Return the audit with other views."""
    views = pa.Table.from_pylist(list(rows), schema=TABLES["views"])
    return replace(audit, tables=audit.tables | {"views": views})


def _run(root: Path) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "curate": "0.1.0",
        "dataset": str(root),
        "recognised": "drawn",
        "layout": "classes",
        "settings": {"rounds": 3, "seed": 0, "threshold": "mixture", "max_share": 0.5},
        "long_px": 256,
        "levels": {},
        "backbone": {"name": "curate_s"},
        "scorers": {"flow": {}, "student": {}, "neighbours": {}},
        "contamination": {"estimate": 0.2, "low": 0.1, "high": 0.3},
        "map_scale": {"low": 0.0, "high": 1.0},
    }
