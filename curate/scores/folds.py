"""Folds: every image is scored by a model that was fitted without it and its leakage group."""

from __future__ import annotations

import heapq

import numpy as np

from curate.records import IntArray


def group_folds(groups: IntArray, folds: int, rng: np.random.Generator) -> IntArray:
    """Deal images into folds of similar size, each leakage group into one.

    Args:
        groups: (N,) leakage groups.
        folds: how many at most; there are fewer where there are fewer groups.
        rng: shuffles groups of equal size.

    Returns:
        (N,) the fold of each image, from 0.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]  # the largest first: the rest evens out
    heap = [(0, fold) for fold in range(min(folds, len(sizes)))]
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    for one in order.tolist():
        images, fold = heapq.heappop(heap)
        fold_of[one] = fold
        heapq.heappush(heap, (images + int(sizes[one]), fold))
    return fold_of[group.ravel()]
