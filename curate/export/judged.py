"""All judged images with what was found, for tools that show images: COCO, and FiftyOne's JSON.

COCO has the place of each finding as a box; FiftyOne has the effective verdict as a classification.
"""

from __future__ import annotations

import json
from typing import Any

from curate.audit.effective_verdicts import DECISION, EFFECTIVE_VERDICT
from curate.audit.reviewed import SETTLED
from curate.export.source import ExportSource
from curate.findings import catalogue
from curate.records import Verdict
from curate.reports.numbers import finite


def coco(source: ExportSource) -> str:
    """Return the images as COCO: a category for each finding that has a place, an annotation for each place.

    Besides COCO's own keys, images have `verdict`, `effective_verdict`, `decision` and `anomaly_score`, annotations
    `score` and `message`.
    """
    sized = [row for row in source.judged if row["width_px"] and row["height_px"]]
    ids = {row["path"]: number for number, row in enumerate(sized, 1)}
    findings = source.audit.tables["findings"].to_pylist()
    placed = [one for one in findings if one["path"] in ids and len(one["box"] or ()) == 4]  # an audit is not trusted
    codes = {code: number for number, code in enumerate(sorted({finding["code"] for finding in placed}), 1)}
    texts = catalogue()
    return _json(
        {
            "info": {"description": f"{source.name}, audited by curate"},
            "images": [_coco_image(row, ids[row["path"]]) for row in sized],
            "categories": [
                {"id": number, "name": code, "supercategory": texts[code].title if code in texts else "finding"}
                for code, number in codes.items()
            ],
            "annotations": [
                _coco_annotation(finding, number, image=ids[finding["path"]], category=codes[finding["code"]])
                for number, finding in enumerate(placed, 1)
            ],
        }
    )


def _coco_image(row: dict[str, Any], number: int) -> dict[str, Any]:
    facts = {name: row[name] for name in ("verdict", EFFECTIVE_VERDICT, DECISION)}
    facts |= {"anomaly_score": finite(row["anomaly_score"])}
    return {"id": number, "file_name": row["path"], "width": row["width_px"], "height": row["height_px"]} | facts


def _coco_annotation(finding: dict[str, Any], number: int, *, image: int, category: int) -> dict[str, Any]:
    left, top, width, height = finding["box"]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
        "score": finite(finding["score"]),
        "message": finding["message"],
    }


def fiftyone_labels(source: ExportSource) -> str:
    """Return the labels of a FiftyOneImageClassificationDataset by number: effective verdict, score, findings.

    A verdict of the scan has its confidence; a decision has none.
    """
    labels = {}
    for number, row in enumerate(source.judged):
        facts = {name: row[name] for name in ("label", "split", "suggested_label", DECISION) if row[name]}
        facts |= {"anomaly_score": finite(row["anomaly_score"]), "findings": row["reasons"] or []}
        facts |= {"verdict": row["verdict"]}
        label: dict[str, Any] = {"label": row[EFFECTIVE_VERDICT], "attributes": facts}
        nominal = finite(row["confidence"])
        if nominal is not None and row[DECISION] not in SETTLED:
            label["confidence"] = nominal if row["verdict"] == Verdict.KEEP else 1 - nominal
        labels[_number(number)] = label
    return _json({"classes": [verdict.value for verdict in Verdict], "labels": labels})


def fiftyone_data(source: ExportSource) -> str:
    """Return the manifest of a FiftyOneImageClassificationDataset: the file of each image, by number."""
    return _json({_number(n): str(source.files[row["path"]]) for n, row in enumerate(source.judged)})


def _number(row: int) -> str:
    return f"{row:06d}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
