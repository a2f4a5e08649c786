"""From the values of a run to the tables of its audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.findings import OTHERWISE, catalogue
from curate.images.duplicates import duplicate_pairs
from curate.records import Finding, FloatArray, IntArray, Listing, Verdict
from curate.reports.maps import hot_box
from curate.reports.outcome import Outcome
from curate.reports.schema import DUPLICATES, FINDINGS, IMAGES, MAPS, META_SET, ROUNDS
from curate.verdicts.shots import MEASURES

DUPLICATE, CONFLICTING_DUPLICATE = "DUP001", "DUP002"

VIEWS = ("flow", "student", "neighbours")
NEAREST_NAMED = 3

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
        "rounds": pa.table(_rounds(outcome), schema=ROUNDS),
        "meta_set": pa.table(_meta_set(outcome), schema=META_SET),
        "maps": pa.table(_maps(outcome, maps), schema=MAPS),
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
    sure = verdicts.significance
    judged = _spread(outcome, verdicts.verdict, Verdict.UNREADABLE)
    components = principal_components(outcome.embeddings.pooled)
    return {
        "path": list(listing.paths),
        "sha256": [known.sha256 for known in facts],
        "split": list(listing.splits),
        "label": list(listing.labels),
        "nominal_set": _spread(outcome, outcome.refined.sets.names, ""),
        "group": list(listing.groups),
        "width_px": [known.width_px or None for known in facts],
        "height_px": [known.height_px or None for known in facts],
        "mode": [known.mode for known in facts],
        "bit_depth": [known.bit_depth or None for known in facts],
        **{m.name: [known.optics and getattr(known.optics, m.name) for known in facts] for m in MEASURES},
        "skip_reason": [known.skip_reason for known in facts],
        **{f"score_{name}": _view(outcome, name) for name in VIEWS},
        "anomaly_score": _spread(outcome, verdicts.anomaly_score.tolist(), None),
        "confidence": _spread(outcome, sure.confidence.tolist(), None),
        "p_value": _spread(outcome, sure.p_value.tolist(), None),
        "q_value": _spread(outcome, sure.q_value.tolist(), None),
        "verdict": [verdict.value for verdict in mark_duplicates(judged, outcome.duplicates)],
        "suggested_label": _spread(outcome, verdicts.suggested_label, ""),
        "round_rejected": _spread(outcome, [r or None for r in outcome.refined.round_rejected.tolist()], None),
        "reasons": [sorted({finding.code for finding in found}) for found in findings],
        "nearest": _spread(outcome, _nearest(outcome), []),
        "pca_1": _spread(outcome, components[:, 0].tolist(), None),
        "pca_2": _spread(outcome, components[:, 1].tolist(), None),
    }


def _view(outcome: Outcome, name: str) -> list[Any]:
    """Return the scores of one view, by file; null throughout if it did not run."""
    found = [view for view in outcome.refined.views if view.scorer == name]
    return _spread(outcome, found[0].values.tolist(), None) if found else [None] * len(outcome.listing)


def _nearest(outcome: Outcome) -> list[list[str]]:
    count = len(outcome.embeddings)
    return [[outcome.path(n) for n in outcome.nearest_kept(i)[:NEAREST_NAMED]] for i in range(count)]


def principal_components(vectors: FloatArray) -> FloatArray:
    """Return the first two principal components of N vectors, (N, 2); 0 where there is no second.

    The sign is such that the largest loading of each is positive.
    """
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centered.T @ centered)  # ascending
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found = np.zeros((len(vectors), 2), dtype=np.float32)
    found[:, : axes.shape[1]] = centered @ axes
    return found


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
        why = verdicts.findings[flagged[image]][:1] if image in flagged else ()  # the others are notes
        evidence = _evidence(outcome, flagged[image]) | {"map": maps.get(image)} if image in flagged else {}
        if any(finding.code == OTHERWISE for finding in why):
            evidence["box"] = None
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


def _rounds(outcome: Outcome) -> Columns:
    told, label_of = outcome.refined.rounds, outcome.refined.sets.label_of
    return {
        "label": [label_of[r.nominal_set] for r in told],
        "nominal_set": [r.nominal_set for r in told],
        "round": [r.number for r in told],
        "images": [r.images for r in told],
        "fence": [r.fence.value for r in told],
        "q1": [r.fence.q1 for r in told],
        "q3": [r.fence.q3 for r in told],
        "kept": [r.kept for r in told],
        "rejected": [r.rejected for r in told],
        "reinstated": [r.reinstated for r in told],
        "contamination": [r.fence.contamination for r in told],
        "contamination_low": [r.fence.contamination_low for r in told],
        "contamination_high": [r.fence.contamination_high for r in told],
    }


def _meta_set(outcome: Outcome) -> Columns:
    evolved = outcome.scores.meta_set
    pairs = [] if evolved is None else list(zip(evolved.epochs, evolved.members, strict=True))
    return {
        "path": [outcome.path(int(i)) for _, members in pairs for i in members],
        "epoch": [epoch for epoch, members in pairs for _ in members],
    }


def _maps(outcome: Outcome, drawn: Mapping[int, str]) -> Columns:
    rows = {image: i for i, image in enumerate(outcome.embeddings.images.tolist())}
    shown = [*(rows[image] for image in drawn), *outcome.kept_to_look_at]
    maps = [outcome.scores.maps[index] for index in shown]
    return {
        "path": [outcome.path(index) for index in shown],
        "rows": [anomaly_map.shape[0] for anomaly_map in maps],
        "columns": [anomaly_map.shape[1] for anomaly_map in maps],
        "values": [anomaly_map.ravel().tolist() for anomaly_map in maps],
    }
