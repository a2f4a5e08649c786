"""Of how many kinds are the images of a class? A folder of several products, views or lamps is several nominal sets.

What is ordinary is learnt from a class as a whole. Where it holds several products, each is odd to what was learnt from
the others, half of the images are rejected, and defects are lost among them. So a class falls into kinds first, and
each kind is scored, fenced and refined by itself, as a class is; a finding (SET003) says so of each of its images.

Two groups of images are kinds where a gap lies between their pooled vectors: the groups are `GAP` times as far apart as
nine in ten of their images are from the fifth nearest of their own. (Distances are mutual reachabilities, joined by
single linkage: Campello et al. 2013.) A group that is less than half as large as the largest is no kind but unlike the
set: up to a third of a class may be of another product and is still flagged as `near_ood`; from there on `curate` takes
no side.

Ours. Measured (`examples/bench/mixed.py --gaps`; packaged backbone; four sets of real parts, three draws of each at 0
to 50 % of defective images): no set falls apart at any gap from 1.0 on, as no two of its groups are large enough.
Mixtures of two to four of the sets, 100 images of each, fall apart up to a gap of 2.0 at least. Where a set varies
little, another lamp, sharpness or zoom makes a kind; where it varies much, none is needed. What it gains is measured by
examples/bench/mixed.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import ClusterNode, linkage, to_tree
from scipy.spatial.distance import cdist, squareform

from curate.records import Embeddings, FloatArray, IntArray
from curate.scores.by_label import label_rows

GAP = 1.5
"""How much farther apart kinds are than images of one kind."""

CORE, USUAL = 5, 0.9
"""The neighbour whose distance says how densely images lie, and the share of a group's images that lie so densely."""

LEAST_IMAGES, LEAST_SHARE, OF_LARGEST = 30, 0.1, 0.5
"""A kind holds so many images at least, such a share of its class, and such a share of the images of the largest."""

RESOLUTION = 1e-3
"""A gap below this share of a vector's usual length is rounding, not a gap."""

SEEN = 2000
"""Images of a class that are compared one by one, evenly spread; the others go with the nearest of them."""

BLOCK = 4096


@dataclass(frozen=True)
class NominalSets:
    """Which images are judged together: those of one class, or of one kind within it.

    Attributes:
        names: (N,) the nominal set of each image: its label, or the label and which kind.
        label_of: by name, the label.
    """

    names: tuple[str, ...]
    label_of: Mapping[str, str]

    def kinds(self, name: str) -> int:
        """Return of how many kinds the class is that a nominal set is of."""
        return sum(label == self.label_of[name] for label in self.label_of.values())


def nominal_sets(embeddings: Embeddings, kin: IntArray, labels: Sequence[str], *, apart: bool = True) -> NominalSets:
    """Tell the nominal sets of N images apart.

    Args:
        embeddings: of the images.
        kin: (N,) see `Scorer.score`: of each family one image is asked.
        labels: N class names.
        apart: whether kinds are told apart; if not, each class is one nominal set.
    """
    names, label_of = list(labels), {label: label for label in labels}
    for label, rows in label_rows(labels).items() if apart else ():
        kind = kinds(embeddings.pooled[rows], kin[rows])
        count = int(kind.max(initial=0)) + 1
        if count == 1:
            continue
        titles = [_title(label, number, count, label_of) for number in range(1, count + 1)]
        del label_of[label]
        label_of |= dict.fromkeys(titles, label)
        for row, number in zip(rows.tolist(), kind.tolist(), strict=True):
            names[row] = titles[number]
    return NominalSets(tuple(names), label_of)


def kinds(pooled: FloatArray, kin: IntArray, *, gap: float = GAP) -> IntArray:
    """Return the kind of each image of a class, (N,) from 0, the largest first; 0 throughout where there is one.

    Of kinds of equal size the one with the first image comes first.

    Args:
        pooled: (N, D) pooled vectors.
        kin: (N,) of equal numbers the first is asked.
        gap: how much farther apart kinds are than images of one kind.
    """
    kind = np.zeros(len(pooled), dtype=np.int64)
    _, asked = np.unique(kin, return_index=True)
    if len(asked) < 2 * LEAST_IMAGES:
        return kind
    seen = pooled[asked[np.unique(np.linspace(0, len(asked) - 1, min(len(asked), SEEN)).astype(np.int64))]]
    groups = [seen[group] for group in _groups(seen.astype(np.float64), gap)]
    sizes = np.bincount(_nearest(seen, groups), minlength=len(groups))
    groups = [group for group, size in zip(groups, sizes, strict=True) if size >= OF_LARGEST * sizes.max()]
    if len(groups) < 2:
        return kind
    nearest = _nearest(pooled, groups)
    _, first, sizes = np.unique(nearest, return_index=True, return_counts=True)
    return np.argsort(np.lexsort((first, -sizes)))[nearest]


def _nearest(pooled: FloatArray, groups: Sequence[FloatArray]) -> IntArray:
    """Return for each vector the group that the nearest of all groups' vectors is of."""
    of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    blocks = (pooled[start : start + BLOCK] for start in range(0, len(pooled), BLOCK))
    return np.concatenate([of[cdist(block, np.concatenate(groups)).argmin(axis=1)] for block in blocks])


def _groups(vectors: NDArray[np.float64], gap: float) -> list[IntArray]:
    """Return the groups of images that gaps separate; images between or beyond them are in none."""
    apart = cdist(vectors, vectors)
    core = np.partition(apart, CORE, axis=1)[:, CORE]
    reach = np.maximum(apart, np.maximum.outer(core, core))
    np.fill_diagonal(reach, 0)
    rounding = RESOLUTION * float(np.median(np.linalg.norm(vectors, axis=1)))
    least = max(LEAST_IMAGES, int(LEAST_SHARE * len(vectors)))
    found, todo = list[IntArray](), [to_tree(linkage(squareform(reach, checks=False), "single"))]
    while todo:
        node = _without_strays(todo.pop(), least)
        halves = [half for half in (node.left, node.right) if half is not None and half.count >= least]
        images = [np.array(half.pre_order(), dtype=np.int64) for half in halves]
        dense = max((float(np.quantile(core[group], USUAL)) for group in images), default=0.0)
        if len(halves) == 2 and node.dist > max(gap * dense, rounding):
            todo += halves
        else:
            found.append(np.sort(np.array(node.pre_order(), dtype=np.int64)))
    return found


def _without_strays(node: ClusterNode, least: int) -> ClusterNode:
    """Return the part of a group that is left when images far from it, fewer than `least` together, are taken off."""
    while True:
        small, large = sorted((node.left, node.right), key=lambda half: int(half.count))
        if small.count >= least or large.count < least:
            return node
        node = large


def _title(label: str, number: int, count: int, taken: Mapping[str, str]) -> str:
    title = f"{label}, kind {number} of {count}" if label else f"kind {number} of {count}"
    while title in taken:
        title += "'"
    return title
