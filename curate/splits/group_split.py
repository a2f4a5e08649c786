"""A split of whole groups, stratified by label: the largest groups first, each to the split that lacks most."""

from __future__ import annotations

import numpy as np

from curate.records import BoolArray, IntArray
from curate.splits.shares import Counts


def split_groups(groups: IntArray, labels: IntArray, wanted: Counts, *, generator: np.random.Generator) -> IntArray:
    """Return (N,) the split of each image, 0 to S - 1; all images of a group have one split.

    Where every group is of one label, each split has as many of its images as wanted, to within its largest group.

    Args:
        groups: (N,) equal for images that stay together.
        labels: (N,) 0 to L - 1.
        wanted: (L, S) images of each label in each split; each row adds up to the images of its label.
        generator: decides the order of groups of equal size.

    Source: ours, after `StratifiedGroupKFold` of scikit-learn. Differs: shares may differ by split and label; a group
    goes where the sum of squared deviations, each over the size of its label, grows least.
    """
    _, first, members = np.unique(groups, return_index=True, return_inverse=True)
    rows_of = np.split(np.argsort(members, kind="stable"), np.cumsum(np.bincount(members))[:-1])
    order = generator.permutation(np.argsort(first))  # not by the groups' numbers, which mean nothing
    order = order[np.argsort([-len(rows_of[group]) for group in order], kind="stable")]
    sizes = np.maximum(np.bincount(labels, minlength=len(wanted)), 1)  # (L,)
    missing = wanted.astype(np.float64)
    splits = np.zeros(len(groups), np.int64)
    for group in order.tolist():
        rows = rows_of[group]
        present, counts = np.unique(labels[rows], return_counts=True)
        pull = ((counts / sizes[present])[:, None] * missing[present]).sum(axis=0)  # (S,)
        split = int(np.argmax(np.where(_allowed(wanted, present, sizes), pull, -np.inf)))
        missing[present, split] -= counts
        splits[rows] = split
    return splits


def _allowed(wanted: Counts, present: IntArray, sizes: IntArray) -> BoolArray:
    """Return (S,) whether a split is to hold all labels of a group; if none is, whether it is to hold the rarest."""
    held = wanted[present] > 0
    rarest = held[np.argmin(sizes[present])]
    return np.where(held.all(axis=0).any(), held.all(axis=0), rarest)
