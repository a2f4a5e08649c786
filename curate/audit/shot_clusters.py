"""Which images of an audit show the same part: the clusters that its pairs make."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

import numpy as np

from curate.audit.parquet import Audit
from curate.audit.schema import EXACT, SAME_PART
from curate.errors import InputError
from curate.records import IntArray


def shot_clusters(audit: Audit) -> IntArray:
    """Return (N,) clusters: for each row of `images` the smallest row of those that all show its part, or its own.

    Complete linkage, as in the scan: each pair of a cluster was found, so a chain does not join its ends. Copies of
    equal pixels count as one image. Pairs that differ in one place are not joined, nor images of one user group.

    Args:
        audit: as read; not trusted. The time is about linear in its rows.

    Raises:
        InputError: the audit was made without the search for the same part, or a pair names an image that it lacks.
    """
    from curate.same_part.clusters import complete_clusters  # here, where it is needed: it loads half of scipy

    if audit.run.get("same_part") is None:
        raise InputError(
            f"{audit.path}: was made without the search for shots of the same part; scan again without --no-same-part"
        )
    paths = audit.tables["images"]["path"].to_pylist()
    row_of = {path: row for row, path in enumerate(paths)}
    pairs = audit.tables["duplicates"].select(["path", "duplicate_of", "kind", "similarity"]).to_pylist()
    contents = np.arange(len(paths), dtype=np.int64)
    for pair in pairs:
        if pair["kind"] == EXACT:
            contents[_row(audit, row_of, pair["path"])] = _row(audit, row_of, pair["duplicate_of"])
    shots = sorted((pair for pair in pairs if pair["kind"] == SAME_PART), key=_weakest_last)
    rows = [[_row(audit, row_of, pair[name]) for name in ("duplicate_of", "path")] for pair in shots]
    found = contents[np.array(rows, np.int64).reshape(-1, 2)]
    return complete_clusters(found, np.arange(len(paths)))[contents]


def _weakest_last(pair: Mapping[str, Any]) -> tuple[float, str, str]:
    similarity = pair["similarity"]
    known = similarity is not None and isfinite(similarity)
    return (-similarity if known else inf, str(pair["duplicate_of"]), str(pair["path"]))


def _row(audit: Audit, row_of: Mapping[str, int], path: str) -> int:
    if path not in row_of:
        raise InputError(f"{audit.path}: duplicates.parquet names {path!r}, which images.parquet lacks; scan again")
    return row_of[path]
