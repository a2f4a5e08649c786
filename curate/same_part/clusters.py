"""Clusters of images that all show the same part: complete linkage, never chains."""

from __future__ import annotations

from collections import Counter
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

    Links between clusters are counted, not looked up: the time is about linear in the number of pairs, always.

    Args:
        pairs: (P, 2) rows, the strongest pair first: pairs are joined in this order.
        groups: (M,) leakage groups: images of one group count as paired.
    """
    distinct = list(dict.fromkeys((min(pair), max(pair)) for pair in pairs.tolist() if pair[0] != pair[1]))
    rows = np.unique(pairs)
    names, counts = np.unique(groups[rows], return_counts=True)
    shared = frozenset(names[counts > 1].tolist())
    clusters = {row: _Cluster(row, shared & {int(groups[row])}) for row in rows.tolist()}
    for first, other in distinct:
        if groups[first] != groups[other]:
            clusters[first].links[other] += 1
            clusters[other].links[first] += 1
    of_row = {row: row for row in clusters}
    for first, other in distinct:
        left, right = clusters[of_row[first]], clusters[of_row[other]]
        if left is not right and left.linked(right) == len(left.rows) * len(right.rows):
            small, large = sorted((left, right), key=lambda cluster: len(cluster.rows) + len(cluster.links))
            large.take(small, clusters)
            of_row.update(dict.fromkeys(small.rows, large.name))
    joined = np.arange(len(groups), dtype=np.int64)
    for name in set(of_row.values()):
        joined[clusters[name].rows] = min(clusters[name].rows)
    return joined


class _Cluster:
    """Images that are all paired.

    Attributes:
        rows: of the images; `name` is one of them.
        groups: how many of them have each group that other paired images have too.
        links: how many found pairs lead to another cluster, by its name.
    """

    def __init__(self, row: int, groups: frozenset[int]) -> None:
        self.name = row
        self.rows = [row]
        self.groups = Counter(groups)
        self.links: Counter[int] = Counter()

    def linked(self, other: _Cluster) -> int:
        """Return how many pairs of an image of each are found, or of one group."""
        few, many = sorted((self.groups, other.groups), key=len)
        return self.links[other.name] + sum(count * many[group] for group, count in few.items())

    def take(self, other: _Cluster, clusters: dict[int, _Cluster]) -> None:
        """Take the images and the links of a cluster, which is then no more."""
        self.rows += other.rows
        self.groups.update(other.groups)
        del self.links[other.name], other.links[self.name]
        for name, count in other.links.items():
            self.links[name] += count
            theirs = clusters[name].links
            theirs[self.name] += theirs.pop(other.name)
