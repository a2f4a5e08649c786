"""Folds: every image is scored by a model that was fitted without it and without its kin."""

from __future__ import annotations

import heapq

import numpy as np

from curate.records import IntArray


def kin_folds(kin: IntArray, folds: int, rng: np.random.Generator) -> IntArray:
    """Deal images into folds of like size, whole kin into one.

    Args:
        kin: (N,) see `Scorer.score`.
        folds: how many at most; there are fewer where there are fewer kin.
        rng: shuffles kin of equal size.

    Returns:
        (N,) the fold of each image, from 0.
    """
    _, family, sizes = np.unique(kin, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]  # the largest first: the rest evens out
    heap = [(0, fold) for fold in range(min(folds, len(sizes)))]
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    for one in order.tolist():
        images, fold = heapq.heappop(heap)
        fold_of[one] = fold
        heapq.heappush(heap, (images + int(sizes[one]), fold))
    return fold_of[family.ravel()]
