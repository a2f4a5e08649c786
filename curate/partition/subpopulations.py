"""Subpopulations of a class: a folder of several products, views or lamps is several nominal sets.

What is nominal is learnt from a class as a whole. Where it holds several products, each is anomalous to what was learnt
from the others, half of the images are rejected, and defects are lost among them. So a class is split into
subpopulations first, and each is judged by itself, as a class is (finding SET003).

Two clusters are subpopulations where a gap lies between their pooled vectors: the clusters are `GAP` times as far apart
as nine in ten of their images are from the fifth nearest of their own. Distances are mutual reachabilities, joined by
single linkage (Campello et al. 2013). A cluster less than half as large as the largest, or of fewer than 30 images, is
no subpopulation: up to a third of a class may be of another product and can still be flagged as `near_ood`. Such a
cluster is reported (SET004), since similar images support each other and defects among them may be missed. Of each
leakage group one image counts, so that copies of a few parts are no subpopulation.

Source: ours; see docs/experiments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import ClusterNode, linkage, to_tree
from scipy.spatial.distance import cdist, squareform

from curate.records import FloatArray, IntArray

GAP = 1.3
"""How much farther apart subpopulations are than images of one subpopulation."""

CORE_NEIGHBOUR, CORE_SHARE = 5, 0.9
"""The neighbour whose distance says how densely images lie, and the share of a cluster's images that lie so densely."""

LEAST_IMAGES, LEAST_SHARE, LEAST_OF_LARGEST = 30, 0.1, 0.5
"""A subpopulation holds so many images at least, such a share of its class, and such a share of the largest one."""

LEAST_APART = 8
"""A small group apart holds so many images at least."""

RESOLUTION = 1e-3
"""A gap below this share of a vector's usual length is rounding, not a gap."""

MOST_COMPARED = 2000
"""Images of a class that are compared one by one, evenly spread; the others join the nearest of them."""

BLOCK = 4096


def subpopulations_of(pooled: FloatArray, groups: IntArray, *, gap: float = GAP) -> IntArray:
    """Return the subpopulation of each image of a class, (N,) from 0, the largest first; 0 throughout if there is one.

    Of subpopulations of equal size the one with the first image comes first.

    Args:
        pooled: (N, D) pooled vectors.
        groups: (N,) leakage groups; one image of each counts.
        gap: how much farther apart subpopulations are than images of one subpopulation.
    """
    compared = _compared(pooled, groups)
    if len(compared) < 2 * LEAST_IMAGES:
        return np.zeros(len(pooled), dtype=np.int64)
    least = max(LEAST_IMAGES, int(LEAST_SHARE * len(compared)))
    clusters = [compared[cluster] for cluster in _Linkage.of(compared, gap).halves(least)]
    sizes = np.bincount(_nearest(compared, clusters), minlength=len(clusters))
    clusters = [c for c, size in zip(clusters, sizes, strict=True) if size >= LEAST_OF_LARGEST * sizes.max()]
    nearest = _nearest(pooled, clusters)
    _, first, sizes = np.unique(nearest, return_index=True, return_counts=True)
    return np.argsort(np.lexsort((first, -sizes)))[nearest]


def small_groups_apart(pooled: FloatArray, groups: IntArray) -> IntArray:
    """Return for each of N images how many the small group apart holds that it is of, (N,); 0 for all others.

    Args:
        pooled, groups: see `subpopulations_of`.
    """
    compared = _compared(pooled, groups)
    clusters = _Linkage.of(compared, GAP).branches(LEAST_APART) if len(compared) >= LEAST_IMAGES else []
    if not clusters:
        return np.zeros(len(pooled), dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(compared)), np.concatenate(clusters))
    nearest = _nearest(pooled, [compared[part] for part in (rest, *clusters)])
    sizes = np.bincount(nearest, minlength=len(clusters) + 1)
    sizes[0] = 0
    return sizes[nearest]


def _compared(pooled: FloatArray, groups: IntArray) -> FloatArray:
    """Return the vectors that are compared one by one: `MOST_COMPARED` at most, one of a leakage group."""
    _, first = np.unique(groups, return_index=True)
    even = np.linspace(0, max(0, len(first) - 1), min(len(first), MOST_COMPARED)).astype(np.int64)
    return pooled[first[even]]


def _nearest(pooled: FloatArray, clusters: Sequence[FloatArray]) -> IntArray:
    """Return for each vector the cluster that the nearest of all clusters' vectors is of."""
    owner = np.repeat(np.arange(len(clusters)), [len(cluster) for cluster in clusters])
    blocks = (pooled[start : start + BLOCK] for start in range(0, len(pooled), BLOCK))
    return np.concatenate([owner[cdist(block, np.concatenate(clusters)).argmin(axis=1)] for block in blocks])


@dataclass(frozen=True)
class _Linkage:
    """Images joined by single linkage of their mutual reachabilities.

    Attributes:
        root: of the tree of joins, the widest.
        core: (N,) distance of each image to its `CORE_NEIGHBOUR`-th neighbour.
        gap: how much farther apart than their images two clusters must lie.
        rounding: distances up to it are 0.
    """

    root: ClusterNode
    core: NDArray[np.float64]
    gap: float
    rounding: float

    @classmethod
    def of(cls, vectors: FloatArray, gap: float) -> Self:
        """Join (N, D) vectors, N above `CORE_NEIGHBOUR`."""
        apart = cdist(vectors, vectors)
        core = np.partition(apart, CORE_NEIGHBOUR, axis=1)[:, CORE_NEIGHBOUR]
        reach = np.maximum(apart, np.maximum.outer(core, core))
        np.fill_diagonal(reach, 0)
        rounding = RESOLUTION * float(np.median(np.linalg.norm(vectors, axis=1)))
        return cls(to_tree(linkage(squareform(reach, checks=False), "single")), core, gap, rounding)

    def halves(self, least: int) -> list[IntArray]:
        """Return the clusters of `least` images or more that gaps separate; images far from all are in none."""
        clusters, todo = list[IntArray](), [self.root]
        while todo:
            small, large = _sides(node := todo.pop())
            while small.count < least <= large.count:  # strays
                small, large = _sides(node := large)
            if small.count >= least and self._has_gap(node):
                todo += [small, large]
            else:
                clusters.append(_images(node))
        return clusters

    def branches(self, least: int) -> list[IntArray]:
        """Return the clusters of `least` images or more that a gap separates from the rest, which is more than half."""
        clusters, node = list[IntArray](), self.root
        while 2 * node.count > self.root.count:
            small, large = _sides(node)
            if small.count >= least and 2 * large.count > self.root.count and self._has_gap(node):
                clusters.append(_images(small))
            node = large
        return clusters

    def _has_gap(self, node: ClusterNode) -> bool:
        dense = max(float(np.quantile(self.core[_images(side)], CORE_SHARE)) for side in _sides(node))
        return bool(node.dist > max(self.gap * dense, self.rounding))


def _sides(node: ClusterNode) -> tuple[ClusterNode, ClusterNode]:
    """Return the two clusters that a node joins, the smaller first."""
    small, large = sorted((node.left, node.right), key=lambda side: int(side.count))
    return small, large


def _images(node: ClusterNode) -> IntArray:
    return np.sort(np.array(node.pre_order(), dtype=np.int64))
