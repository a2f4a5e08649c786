"""One card of the page per image that it shows, as JSON values: scores, reasons, neighbours, heat map.

A card's numbers are those of the audit; only each view's relative score is worked out here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from curate.audit.effective_verdicts import DECISION
from curate.audit.maps import OVERLAY_PX, heat_map_overlay
from curate.findings import catalogue
from curate.images.names import printable
from curate.records import BoolArray
from curate.reports.audit_rows import AuditRows, Row, nominal_set, p_values
from curate.reports.numbers import finite
from curate.reports.scored_views import ScoredView, scored_views
from curate.reports.thumbnails import ThumbnailSize, ThumbnailSizes, data_address, to_webp

OVERLAY_QUALITY = 60


def cards(audit_rows: AuditRows, rows: Sequence[int]) -> list[Row]:
    """Return what the page needs to show some images, in their order; JSON values only."""
    return [_card(audit_rows, row) for row in rows]


def thumbnail_sizes(audit_rows: AuditRows, dots: Sequence[int]) -> ThumbnailSizes:
    """Return the thumbnails that a page needs: the most anomalous images first, each followed by its neighbours.

    Args:
        audit_rows: of the page's audit.
        dots: rows on the map of the set.
    """
    sizes = defaultdict[int, set[ThumbnailSize]](set)
    for row in audit_rows.shown:
        sizes[row].add(ThumbnailSize.CARD)
        for neighbour in audit_rows.nearest(row):
            sizes[neighbour].add(ThumbnailSize.NEAR)
    for row in dots:
        sizes[row].add(ThumbnailSize.DOT)
    return {row: frozenset(of_row) for row, of_row in sizes.items()}


def _card(audit_rows: AuditRows, row: int) -> Row:
    image = audit_rows.images[row]
    findings = audit_rows.findings.get(image["path"], [])
    return {
        "row": row,
        "path": image["path"],
        "shown": printable(image["path"]),
        "label": image["label"],
        "nominal_set": printable(nominal_set(image)),
        "suggested": printable(image["suggested_label"] or ""),
        "verdict": image["verdict"],
        "decision": image[DECISION],
        "score": finite(image["anomaly_score"]),
        "confidence": finite(image["confidence"]),
        "p": finite(image["p_value"]),
        "q": finite(image["q_value"]),
        "p_values": p_values(audit_rows.audit, nominal_set(image)),
        "fdr_bound": finite(image["fdr_bound"]),
        "trusted": bool(image["trusted"]),
        "round": image["round_rejected"],
        "size": [image["width_px"], image["height_px"]],
        "views": [_view(audit_rows, image, view) for view in scored_views(audit_rows.audit, image)],
        "reasons": [_reason(finding) for finding in findings],
        "nearest": audit_rows.nearest(row),
        "overlay": _overlay(audit_rows, image["path"]),
        "masked": _mask(audit_rows.maps.get(image["path"])) is not None,
        "box": _box(image, findings),
    }


def _view(audit_rows: AuditRows, image: Row, view: ScoredView) -> Row:
    """Return one view's score and threshold; the relative score is 0 at the set's median and 1 at the threshold."""
    median, relative = audit_rows.medians[nominal_set(image), view.name], None
    if view.threshold is not None and view.threshold > median:
        relative = (view.score - median) / (view.threshold - median)
    return {
        "name": view.name,
        "score": view.score,
        "threshold": view.threshold,
        "relative_score": relative,
        "abstains": view.abstains,
        "reason": printable(view.reason) if view.abstains else "",
    }


def _reason(finding: Row) -> Row:
    text = catalogue().get(finding["code"])
    return {
        "code": finding["code"],
        "title": text.title if text else "",
        "message": printable(finding["message"]).rstrip("."),
        "cure": text.cure if text else "",
        "main": finding["score"] is not None,
    }


def _overlay(audit_rows: AuditRows, path: str) -> str | None:
    """Return the heat map overlay as an address of its own picture; None where the audit holds no map."""
    entry, scale = audit_rows.maps.get(path), audit_rows.audit.run.get("map_scale", {})
    if entry is None or len(entry["values"]) != entry["rows"] * entry["columns"] or not entry["values"]:
        return None
    values = np.asarray(entry["values"], dtype=np.float32).reshape(entry["rows"], entry["columns"])
    low, high = finite(scale.get("low")), finite(scale.get("high"))
    low, high = float(values.min()) if low is None else low, float(values.max()) if high is None else high
    overlay = heat_map_overlay(values, low=low, high=high, mask=_mask(entry))
    return data_address(to_webp(overlay, OVERLAY_QUALITY))


def _mask(entry: Row | None) -> BoolArray | None:
    """Return where the masks of an image show a defect, on the grid of the overlay; None where the audit holds none."""
    shape = (OVERLAY_PX * entry["rows"], OVERLAY_PX * entry["columns"]) if entry else (0, 0)
    values = entry.get("mask") if entry else None
    if not values or len(values) != shape[0] * shape[1]:
        return None
    return np.array(values, dtype=np.bool_).reshape(shape)


def _box(image: Row, findings: Sequence[Row]) -> list[float] | None:
    """Return left, top, width and height of the anomaly, as shares of the image's sides."""
    box = next((f["box"] for f in findings if f["box"]), None)
    width, height = image["width_px"], image["height_px"]
    if not box or not width or not height or len(box) != 4:
        return None
    return [round(side / of, 4) for side, of in zip(box, (width, height, width, height), strict=True)]
