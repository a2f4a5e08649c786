"""The leakage groups of an audit: images that may not stand in two splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from curate.audit.parquet import Audit
from curate.audit.schema import COPY, EXACT, SAME_PART
from curate.errors import InputError
from curate.records import IntArray

MOST_UNDECIDABLE = 0.5
"""Where the second shots of more images than this would not be found, none found says nothing."""
JOINING = frozenset((EXACT, COPY, SAME_PART))
"""Kinds of duplicates that join their images. What differs in one place may be a part and its damaged twin."""


def audit_leakage_groups(audit: Audit) -> IntArray:
    """Return (N,) leakage groups of an audit's images: the smallest row that a chain of what they share leads to.

    Equal pixels, copies of one file, equal groups of the user and shots of the same part join. Every pair found counts,
    so that no pair lies in two groups: a chain of lookalikes joins here, which does not within a scan (complete
    linkage).

    Raises:
        InputError: a duplicate that is not an image of the audit.
    """
    from curate.images.duplicates import leakage_groups
    from curate.same_part.clusters import components  # here, where it is needed: it loads half of scipy

    images, duplicates = audit.tables["images"], audit.tables["duplicates"].select(["path", "duplicate_of", "kind"])
    row_of = {path: row for row, path in enumerate(images["path"].to_pylist())}
    named = [row for row in duplicates.to_pylist() if row["kind"] in JOINING]
    unknown = next((path for row in named for path in (row["path"], row["duplicate_of"]) if path not in row_of), None)
    if unknown is not None:
        raise InputError(f"{audit.path}: duplicates.parquet names {unknown!r}, which is not an image; scan again")
    pairs = np.array([(row_of[row["duplicate_of"]], row_of[row["path"]]) for row in named], np.int64).reshape(-1, 2)
    joined = np.arange(images.num_rows, dtype=np.int64)
    for rows in components(pairs):
        joined[rows] = rows[0]
    return leakage_groups(joined, [group or "" for group in images["group"].to_pylist()])


def unfound_parts(run: Mapping[str, Any]) -> str:
    """Return why an audit, by its `run.json`, does not tell shots of the same part; "" if it does."""
    search = run.get("same_part")
    if not isinstance(search, dict):
        return "shots of the same part were not looked for (--no-same-part)"
    undecidable = search.get("undecidable", 1.0)
    if search.get("threshold") is None or undecidable > MOST_UNDECIDABLE:
        return f"of {100 * undecidable:.0f} % of the images a second shot would not be found"
    return ""
