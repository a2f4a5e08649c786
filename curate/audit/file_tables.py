"""The tables of an audit as far as they come from files alone: listing, decoded facts, duplicates and findings.

A scan adds its verdicts to these columns; an integrity check has no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa

from curate.audit.leakage_tables import file_leaks
from curate.audit.schema import DUPLICATES, EXACT, FINDINGS
from curate.findings import Code, catalogue
from curate.images.duplicates import duplicate_pairs
from curate.records import Finding, ImageFacts, IntArray, Listing, Optics

Columns = dict[str, list[Any]]

OPTICS_COLUMNS = tuple(measure.name for measure in fields(Optics))


def file_findings(listing: Listing, facts: Sequence[ImageFacts], duplicates: IntArray) -> list[list[Finding]]:
    """Return the findings of N files about their names, their content, their duplicates, and what leaks between splits.

    Args:
        listing: of N files.
        facts: of the N files.
        duplicates: (N,) as `duplicate_groups` gives them: the row of the first image with the same pixels.
    """
    findings = [[*listing.findings[row], *facts[row].findings] for row in range(len(listing))]
    for first, other in duplicate_pairs(duplicates):
        findings[other].append(_duplicate_finding(listing, first, other))
    for row, finding in file_leaks(listing, facts, duplicates):
        findings[row].append(finding)
    return findings


def _duplicate_finding(listing: Listing, first: int, other: int) -> Finding:
    own_label, first_label = listing.labels[other], listing.labels[first]
    if own_label == first_label:
        return Finding(code=Code.DUPLICATE, message=f"the same pixels as {listing.paths[first]}")
    message = f"the same pixels as {listing.paths[first]}, which is labelled {first_label!r}, not {own_label!r}"
    return Finding(code=Code.CONFLICTING_DUPLICATE, message=message)


def image_columns(listing: Listing, facts: Sequence[ImageFacts], findings: Sequence[Sequence[Finding]]) -> Columns:
    """Return the columns of `images` that need no verdict.

    Args:
        listing: of N files.
        facts: of the N files.
        findings: all findings of each file.
    """
    return {
        "path": list(listing.paths),
        "sha256": [one.sha256 for one in facts],
        "split": list(listing.splits),
        "label": list(listing.labels),
        "group": list(listing.groups),
        "width_px": [one.width_px or None for one in facts],
        "height_px": [one.height_px or None for one in facts],
        "mode": [one.mode for one in facts],
        "bit_depth": [one.bit_depth or None for one in facts],
        **{name: [one.optics and getattr(one.optics, name) for one in facts] for name in OPTICS_COLUMNS},
        "skip_reason": [one.skip_reason for one in facts],
        "reasons": [sorted({finding.code for finding in of_file}) for of_file in findings],
    }


def finding_row(path: str, finding: Finding) -> dict[str, Any]:
    """Return the row of a finding in `findings`, without evidence from scores."""
    severity = catalogue()[finding.code].severity
    return {"path": path, "code": finding.code, "severity": severity, "message": finding.message}


def findings_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return `findings`, one row each; columns that a row lacks are null."""
    return pa.Table.from_pylist(list(rows), schema=FINDINGS)


def duplicates_table(listing: Listing, duplicates: IntArray, more: Iterable[Mapping[str, Any]] = ()) -> pa.Table:
    """Return `duplicates`: one row for each image that repeats an earlier one, and those of `more`.

    Args:
        listing: of N files.
        duplicates: (N,) as `duplicate_groups` gives them.
        more: rows of other kinds: copies of one file, shots of one part; columns that a row lacks are null.
    """
    paths, labels = listing.paths, listing.labels
    exact = [
        {
            "path": paths[other],
            "duplicate_of": paths[first],
            "kind": EXACT,
            "same_label": labels[first] == labels[other],
        }
        for first, other in duplicate_pairs(duplicates)
    ]
    return pa.Table.from_pylist([*exact, *more], schema=DUPLICATES)
