"""Clusters of images that all show the same part: complete linkage, never chains."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from curate.records import IntArray


def components(pairs: IntArray) -> Iterator[IntArray]:
    """Yield the rows that any chain of pairs (P, 2) joins, ascending."""
    joined: DisjointSet[int] = DisjointSet(np.unique(pairs).tolist())
    for first, other in pairs.tolist():
        joined.merge(first, other)
    for rows in joined.subsets():
        yield np.array(sorted(rows), np.int64)


def complete_clusters(pairs: IntArray, groups: IntArray) -> IntArray:
    """Return (M,) clusters: the smallest row of the images that are all paired; a lone image has its own row.

    Args:
        pairs: (P, 2) rows, the strongest pair first: pairs are joined in this order.
        groups: (M,) leakage groups: images of one group count as paired.
    """
    paired = {(min(pair), max(pair)) for pair in pairs.tolist()}
    members = {row: [row] for row in np.unique(pairs).tolist()}

    def linked(one: int, other: int) -> bool:
        return groups[one] == groups[other] or (min(one, other), max(one, other)) in paired

    for first, other in pairs.tolist():
        left, right = members[first], members[other]
        if left is not right and all(linked(one, two) for one in left for two in right):
            left.extend(right)
            members.update(dict.fromkeys(right, left))
    clusters = np.arange(len(groups), dtype=np.int64)
    for row, rows in members.items():
        clusters[row] = min(rows)
    return clusters
