"""From the values of a run to the tables of its audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from curate.findings import catalogue
from curate.images.duplicates import duplicate_pairs
from curate.records import Finding, IntArray, Listing, Verdict
from curate.reports.maps import hot_box
from curate.reports.outcome import Outcome
from curate.reports.schema import DUPLICATES, FINDINGS, IMAGES

DUPLICATE, CONFLICTING_DUPLICATE = "DUP001", "DUP002"

Columns = dict[str, list[Any]]


def audit_tables(outcome: Outcome, maps: Mapping[int, str]) -> dict[str, pa.Table]:
    """Join what each stage found into the tables of `curate.reports.schema`.

    Args:
        outcome: of N files; the tables' rows are in the order of its listing.
        maps: the pictures that were drawn, by row of the listing.
    """
    findings = _all_findings(outcome)
    return {
        "images": pa.table(_images(outcome, findings), schema=IMAGES),
        "findings": pa.table(_findings(outcome, findings, maps), schema=FINDINGS),
        "duplicates": pa.table(_duplicates(outcome), schema=DUPLICATES),
    }


def _all_findings(outcome: Outcome) -> list[list[Finding]]:
    """Gather the findings of every file: of its name, its content, its copies, and its score."""
    listing = outcome.listing
    found = [[*listing.findings[i], *outcome.facts[i].findings] for i in range(len(listing))]
    for first, other in duplicate_pairs(outcome.duplicates):
        found[other].append(_duplicate_finding(listing, first, other))
    for index, image in enumerate(outcome.embeddings.images):
        found[image].extend(outcome.verdicts.findings[index])
    return found


def _duplicate_finding(listing: Listing, first: int, other: int) -> Finding:
    here, there = listing.labels[other], listing.labels[first]
    if here == there:
        return Finding(code=DUPLICATE, message=f"the same pixels as {listing.paths[first]}")
    message = f"the same pixels as {listing.paths[first]}, which is labelled {there!r}, not {here!r}"
    return Finding(code=CONFLICTING_DUPLICATE, message=message)


def _images(outcome: Outcome, findings: Sequence[Sequence[Finding]]) -> Columns:
    listing, facts, verdicts = outcome.listing, outcome.facts, outcome.verdicts
    nothing = [None] * len(listing)
    judged = _spread(outcome, verdicts.verdict, Verdict.UNREADABLE)
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
        f"score_{outcome.scores.scorer}": _spread(outcome, outcome.scores.values.tolist(), None),
        "anomaly_score": _spread(outcome, verdicts.anomaly_score.tolist(), None),
        "confidence": nothing,
        "p_value": nothing,
        "q_value": nothing,
        "verdict": [verdict.value for verdict in mark_duplicates(judged, outcome.duplicates)],
        "suggested_label": _spread(outcome, verdicts.suggested_label, ""),
        "round_rejected": _spread(outcome, [1 if flagged else None for flagged in verdicts.flagged], None),
        "reasons": [sorted({finding.code for finding in found}) for found in findings],
    }


def mark_duplicates(verdicts: Sequence[Verdict], duplicates: IntArray) -> list[Verdict]:
    """Turn `keep` into `duplicate` where an earlier image of the same pixels is kept: each content is kept once.

    Args:
        verdicts: of N images.
        duplicates: (N,) equal for images of the same pixels.
    """
    marked, kept = list(verdicts), set[int]()
    for image, group in enumerate(duplicates.tolist()):
        if marked[image] is Verdict.KEEP and group in kept:
            marked[image] = Verdict.DUPLICATE
        elif marked[image] is Verdict.KEEP:
            kept.add(group)
    return marked


def _spread(outcome: Outcome, values: Sequence[Any], elsewhere: Any) -> list[Any]:
    """Place the values of the readable images among all files."""
    column = [elsewhere] * len(outcome.listing)
    for image, value in zip(outcome.embeddings.images.tolist(), values, strict=True):
        column[image] = value
    return column


def _findings(outcome: Outcome, findings: Sequence[Sequence[Finding]], maps: Mapping[int, str]) -> Columns:
    verdicts = outcome.verdicts
    flagged = {image: i for i, image in enumerate(outcome.embeddings.images.tolist()) if verdicts.flagged[i]}
    columns: Columns = {name: [] for name in FINDINGS.names}
    for image, found in enumerate(findings):
        why = verdicts.findings[flagged[image]] if image in flagged else ()
        evidence = _evidence(outcome, flagged[image]) | {"map": maps.get(image)} if image in flagged else {}
        for finding in found:
            row = {
                "path": outcome.listing.paths[image],
                "code": finding.code,
                "severity": catalogue()[finding.code].severity,
                "message": finding.message,
            } | (evidence if finding in why else {})
            for name, column in columns.items():
                column.append(row.get(name))
    return columns


def _evidence(outcome: Outcome, index: int) -> dict[str, Any]:
    """Return what stands behind a finding that flags a readable image."""
    known = outcome.facts[outcome.embeddings.images[index]]
    score = float(outcome.verdicts.anomaly_score[index])
    return {
        "score": score,
        "fence": 1.0,
        "margin": score - 1.0,
        "neighbours": [outcome.path(n) for n in outcome.scores.neighbours[index] if n >= 0],
        "box": hot_box(outcome.scores.maps[index], outcome.nominal_level, known.width_px, known.height_px),
    }


def _duplicates(outcome: Outcome) -> Columns:
    paths, labels = outcome.listing.paths, outcome.listing.labels
    pairs = tuple(duplicate_pairs(outcome.duplicates))
    return {
        "path": [paths[other] for _, other in pairs],
        "duplicate_of": [paths[first] for first, _ in pairs],
        "kind": ["exact"] * len(pairs),
        "same_label": [labels[first] == labels[other] for first, other in pairs],
    }
