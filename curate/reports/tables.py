"""From the values of a run to the tables of its audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.findings import catalogue
from curate.images.duplicates import duplicate_pairs
from curate.records import Embeddings, Finding, ImageFacts, IntArray, Listing, Scores, Verdict
from curate.reports.maps import hot_box
from curate.reports.schema import DUPLICATES, FINDINGS, IMAGES
from curate.verdicts.judge import Verdicts

DUPLICATE, CONFLICTING_DUPLICATE = "DUP001", "DUP002"

Columns = dict[str, list[Any]]


def audit_tables(
    listing: Listing,
    facts: Sequence[ImageFacts],
    embeddings: Embeddings,
    scores: Scores,
    verdicts: Verdicts,
    duplicates: IntArray,
) -> dict[str, pa.Table]:
    """Join what each stage found into the tables of `curate.reports.schema`.

    Args:
        listing: of N files; the tables' rows are in its order.
        facts: (N,) what decoding learned.
        embeddings, scores, verdicts: of the M images that could be read, aligned with each other.
        duplicates: (N,) number of the first image with the same pixels.
    """
    pairs = tuple(duplicate_pairs(duplicates))
    findings = _all_findings(listing, facts, embeddings, verdicts, pairs)
    return {
        "images": pa.table(_images(listing, facts, embeddings, scores, verdicts, pairs, findings), schema=IMAGES),
        "findings": pa.table(_findings(listing, facts, embeddings, scores, verdicts, findings), schema=FINDINGS),
        "duplicates": pa.table(_duplicates(listing, pairs), schema=DUPLICATES),
    }


def _all_findings(
    listing: Listing,
    facts: Sequence[ImageFacts],
    embeddings: Embeddings,
    verdicts: Verdicts,
    pairs: Sequence[tuple[int, int]],
) -> list[list[Finding]]:
    """Gather the findings of every file: of its name, its content, its copies, and its score."""
    found = [[*listing.findings[i], *facts[i].findings] for i in range(len(listing))]
    for first, other in pairs:
        found[other].append(_duplicate_finding(listing, first, other))
    for index, image in enumerate(embeddings.images):
        found[image].extend(verdicts.findings[index])
    return found


def _duplicate_finding(listing: Listing, first: int, other: int) -> Finding:
    here, there = listing.labels[other], listing.labels[first]
    if here == there:
        return Finding(code=DUPLICATE, message=f"the same pixels as {listing.paths[first]}")
    message = f"the same pixels as {listing.paths[first]}, which is labelled {there!r}, not {here!r}"
    return Finding(code=CONFLICTING_DUPLICATE, message=message)


def _images(
    listing: Listing,
    facts: Sequence[ImageFacts],
    embeddings: Embeddings,
    scores: Scores,
    verdicts: Verdicts,
    pairs: Sequence[tuple[int, int]],
    findings: Sequence[Sequence[Finding]],
) -> Columns:
    count = len(listing)
    verdict = _verdict_column(count, embeddings, verdicts, pairs)
    flagged = [v in (Verdict.MISLABELLED, Verdict.NEAR_OOD) for v in verdict]
    return {
        "path": list(listing.paths),
        "sha256": [known.sha256 for known in facts],
        "split": list(listing.splits),
        "label": list(listing.labels),
        "group": list(listing.groups),
        "width_px": [known.width_px or None for known in facts],
        "height_px": [known.height_px or None for known in facts],
        "mode": [known.mode for known in facts],
        "bit_depth": [known.bit_depth or None for known in facts],
        "skip_reason": [known.skip_reason for known in facts],
        f"score_{scores.scorer}": _spread(count, embeddings.images, scores.values),
        "anomaly_score": _spread(count, embeddings.images, verdicts.anomaly_score),
        "confidence": [None] * count,
        "p_value": [None] * count,
        "q_value": [None] * count,
        "verdict": [v.value for v in verdict],
        "suggested_label": _suggested(count, embeddings.images, verdicts),
        "round_rejected": [1 if rejected else None for rejected in flagged],
        "reasons": [sorted({finding.code for finding in found}) for found in findings],
    }


def _verdict_column(
    count: int, embeddings: Embeddings, verdicts: Verdicts, pairs: Sequence[tuple[int, int]]
) -> list[Verdict]:
    """Judge every file: unreadable ones as such; a copy of a kept image is a duplicate, of a flagged one flagged."""
    column = [Verdict.UNREADABLE] * count
    for index, image in enumerate(embeddings.images):
        column[image] = Verdict(verdicts.verdict[index])
    for _, other in pairs:
        if column[other] is Verdict.KEEP:
            column[other] = Verdict.DUPLICATE
    return column


def _suggested(count: int, images: IntArray, verdicts: Verdicts) -> list[str]:
    column = [""] * count
    for index, image in enumerate(images):
        column[image] = verdicts.suggested_label[index]
    return column


def _spread(count: int, images: IntArray, values: Sequence[float] | np.ndarray[Any, Any]) -> list[float | None]:
    """Place the values of some images among all files, None elsewhere."""
    column: list[float | None] = [None] * count
    for image, value in zip(images, values, strict=True):
        column[image] = float(value)
    return column


def _findings(
    listing: Listing,
    facts: Sequence[ImageFacts],
    embeddings: Embeddings,
    scores: Scores,
    verdicts: Verdicts,
    findings: Sequence[Sequence[Finding]],
) -> Columns:
    index_of = {int(image): index for index, image in enumerate(embeddings.images)}
    low = nominal_level(scores, verdicts)
    columns: Columns = {name: [] for name in FINDINGS.names}
    for image, found in enumerate(findings):
        scored = set(map(id, verdicts.findings[index_of[image]])) if image in index_of else set()
        for finding in found:
            columns["path"].append(listing.paths[image])
            columns["code"].append(finding.code)
            columns["severity"].append(catalogue()[finding.code].severity)
            columns["message"].append(finding.message)
            about_score = id(finding) in scored
            evidence = (
                _evidence(index_of[image], listing, facts, embeddings, scores, verdicts, low) if about_score else {}
            )
            for name in ("score", "fence", "margin", "neighbours", "box"):
                columns[name].append(evidence.get(name))
    return columns


def _evidence(
    index: int,
    listing: Listing,
    facts: Sequence[ImageFacts],
    embeddings: Embeddings,
    scores: Scores,
    verdicts: Verdicts,
    low: float,
) -> dict[str, Any]:
    """Return what stands behind a finding about an image's score."""
    known = facts[embeddings.images[index]]
    score = float(verdicts.anomaly_score[index])
    return {
        "score": score,
        "fence": 1.0,
        "margin": score - 1.0,
        "neighbours": [listing.paths[embeddings.images[n]] for n in scores.neighbours[index] if n >= 0],
        "box": hot_box(scores.maps[index], low, known.width_px, known.height_px),
    }


def nominal_level(scores: Scores, verdicts: Verdicts) -> float:
    """Return the median patch score of the kept images, up to 500 of them; 0 if none is kept."""
    kept = np.flatnonzero(~verdicts.flagged)[:500]
    return float(np.median(np.concatenate([scores.maps[i].ravel() for i in kept]))) if len(kept) else 0.0


def _duplicates(listing: Listing, pairs: Sequence[tuple[int, int]]) -> Columns:
    return {
        "path": [listing.paths[other] for _, other in pairs],
        "duplicate_of": [listing.paths[first] for first, _ in pairs],
        "kind": ["exact"] * len(pairs),
        "same_label": [listing.labels[first] == listing.labels[other] for first, other in pairs],
    }
