"""Of how many kinds are the images of a class? A folder of several products, views or lamps is several nominal sets.

What is ordinary is learnt from a class as a whole. Where it holds several products, each is odd to what was learnt from
the others, half of the images are rejected, and defects are lost among them. So a class falls into kinds first, and
each kind is scored, fenced and refined by itself, as a class is; a finding (SET003) says so of each of its images.

Two groups of images are kinds where a gap lies between their pooled vectors: the groups are `GAP` times as far apart as
nine in ten of their images are from the fifth nearest of their own. (Distances are mutual reachabilities, joined by
single linkage: Campello et al. 2013.) A group that is less than half as large as the largest, or smaller than 30
images, is no kind: up to a third of a class may be of another product and can still be flagged as `near_ood`; from
there on `curate` takes no side. Such a group is told of (SET004): images that are like each other vouch for each other,
and may be missed. Of images that are kin one is asked, so that copies of a few parts are no kind.

Ours. Measured (`examples/bench/mixed.py --gaps`; packaged backbone; four sets of real parts, three draws of each at 0
to 50 % of defective images): no set falls apart at any gap from 1.0 on, as no two of its groups are large enough.
Mixtures of two to four of the sets, 100 images of each, fall apart at gaps up to 1.7 at least without defective images,
and up to 1.4 where half are defective. Tried by hand: where a set varies little (bottles), another lamp, sharpness or
zoom makes a kind; where it varies much (tiles), it makes none, and none is needed. What kinds gain is measured by
examples/bench/mixed.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import ClusterNode, linkage, to_tree
from scipy.spatial.distance import cdist, squareform

from curate.records import Embeddings, FloatArray, IntArray
from curate.scores.by_label import label_rows

GAP = 1.3
"""How much farther apart kinds are than images of one kind."""

CORE, USUAL = 5, 0.9
"""The neighbour whose distance says how densely images lie, and the share of a group's images that lie so densely."""

LEAST_IMAGES, LEAST_SHARE, OF_LARGEST = 30, 0.1, 0.5
"""A kind holds so many images at least, such a share of its class, and such a share of the images of the largest."""

LEAST_APART = 8
"""A group that lies apart without being a kind holds so many images at least."""

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
        apart: by image, how many images the group holds that it is of, where a gap lies between a group too small for a
            kind and the rest of the nominal set. Nothing is flagged for it.
    """

    names: tuple[str, ...]
    label_of: Mapping[str, str]
    apart: Mapping[int, int]

    @cached_property
    def kinds(self) -> Counter[str]:
        """Of how many kinds each class is, by label."""
        return Counter(self.label_of.values())


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
    sizes = {
        row: size
        for rows in label_rows(names).values()
        for row, size in zip(rows.tolist(), groups_apart(embeddings.pooled[rows], kin[rows]).tolist(), strict=True)
        if size
    }
    return NominalSets(tuple(names), label_of, sizes)


def kinds(pooled: FloatArray, kin: IntArray, *, gap: float = GAP) -> IntArray:
    """Return the kind of each image of a class, (N,) from 0, the largest first; 0 throughout where there is one.

    Of kinds of equal size the one with the first image comes first.

    Args:
        pooled: (N, D) pooled vectors.
        kin: (N,) of equal numbers the first is asked.
        gap: how much farther apart kinds are than images of one kind.
    """
    seen = _seen(pooled, kin)
    if len(seen) < 2 * LEAST_IMAGES:
        return np.zeros(len(pooled), dtype=np.int64)
    groups = [seen[group] for group in _Linked.of(seen, gap).halves(max(LEAST_IMAGES, int(LEAST_SHARE * len(seen))))]
    sizes = np.bincount(_nearest(seen, groups), minlength=len(groups))
    groups = [group for group, size in zip(groups, sizes, strict=True) if size >= OF_LARGEST * sizes.max()]
    nearest = _nearest(pooled, groups)
    _, first, sizes = np.unique(nearest, return_index=True, return_counts=True)
    return np.argsort(np.lexsort((first, -sizes)))[nearest]


def groups_apart(pooled: FloatArray, kin: IntArray) -> IntArray:
    """Return for each of N images how many the group apart holds that it is of, (N,); 0 for the rest of its set.

    Args:
        pooled, kin: see `kinds`.
    """
    seen = _seen(pooled, kin)
    groups = _Linked.of(seen, GAP).branches(LEAST_APART) if len(seen) >= LEAST_IMAGES else []
    if not groups:
        return np.zeros(len(pooled), dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(seen)), np.concatenate(groups))
    nearest = _nearest(pooled, [seen[part] for part in (rest, *groups)])
    sizes = np.bincount(nearest, minlength=len(groups) + 1)
    sizes[0] = 0
    return sizes[nearest]


def _seen(pooled: FloatArray, kin: IntArray) -> FloatArray:
    """Return the vectors that are compared one by one: `SEEN` at most, one of a family."""
    _, asked = np.unique(kin, return_index=True)
    even = np.linspace(0, max(0, len(asked) - 1), min(len(asked), SEEN)).astype(np.int64)
    return pooled[asked[even]]


def _nearest(pooled: FloatArray, groups: Sequence[FloatArray]) -> IntArray:
    """Return for each vector the group that the nearest of all groups' vectors is of."""
    of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    blocks = (pooled[start : start + BLOCK] for start in range(0, len(pooled), BLOCK))
    return np.concatenate([of[cdist(block, np.concatenate(groups)).argmin(axis=1)] for block in blocks])


@dataclass(frozen=True)
class _Linked:
    """Images joined by single linkage of their mutual reachabilities.

    Attributes:
        root: of the tree of joins, the widest.
        core: (N,) distance of each image to its `CORE`-th neighbour.
        gap: how much farther apart than their images lie two groups must be.
        rounding: a distance that is none.
    """

    root: ClusterNode
    core: NDArray[np.float64]
    gap: float
    rounding: float

    @classmethod
    def of(cls, vectors: FloatArray, gap: float) -> Self:
        """Join (N, D) vectors, N above `CORE`."""
        apart = cdist(vectors, vectors)
        core = np.partition(apart, CORE, axis=1)[:, CORE]
        reach = np.maximum(apart, np.maximum.outer(core, core))
        np.fill_diagonal(reach, 0)
        rounding = RESOLUTION * float(np.median(np.linalg.norm(vectors, axis=1)))
        return cls(to_tree(linkage(squareform(reach, checks=False), "single")), core, gap, rounding)

    def halves(self, least: int) -> list[IntArray]:
        """Return the groups of `least` images or more that gaps separate; images far from all are in none."""
        found, todo = list[IntArray](), [self.root]
        while todo:
            small, large = _sides(node := todo.pop())
            while small.count < least <= large.count:  # strays
                small, large = _sides(node := large)
            if small.count >= least and self._gapes(node):
                todo += [small, large]
            else:
                found.append(_images(node))
        return found

    def branches(self, least: int) -> list[IntArray]:
        """Return the groups of `least` images or more that a gap separates from the rest, which is more than half."""
        found, node = list[IntArray](), self.root
        while 2 * node.count > self.root.count:
            small, large = _sides(node)
            if small.count >= least and 2 * large.count > self.root.count and self._gapes(node):
                found.append(_images(small))
            node = large
        return found

    def _gapes(self, node: ClusterNode) -> bool:
        dense = max(float(np.quantile(self.core[_images(side)], USUAL)) for side in _sides(node))
        return bool(node.dist > max(self.gap * dense, self.rounding))


def _sides(node: ClusterNode) -> tuple[ClusterNode, ClusterNode]:
    """Return the two groups that a join joins, the smaller first."""
    small, large = sorted((node.left, node.right), key=lambda side: int(side.count))
    return small, large


def _images(node: ClusterNode) -> IntArray:
    return np.sort(np.array(node.pre_order(), dtype=np.int64))


def _title(label: str, number: int, count: int, taken: Mapping[str, str]) -> str:
    title = f"{label}, kind {number} of {count}" if label else f"kind {number} of {count}"
    while title in taken:
        title += "'"
    return title
