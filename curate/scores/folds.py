"""Folds: who learns from whom, so that nobody is judged by a model that has seen it or its kin."""

from __future__ import annotations

import numpy as np

from curate.records import IntArray


def kin_folds(kin: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Deal images into folds of near equal size, whole kin together.

    Args:
        kin: (N,) see `Scorer.score`.
        count: folds wanted; fewer where there are fewer kin.
        rng: decides which kin go together.

    Returns:
        (N,) fold numbers from 0.
    """
    _, family, sizes = np.unique(kin, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    held = np.zeros(max(1, min(count, len(sizes))), dtype=np.int64)
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    for which in order.tolist():
        fold_of[which] = held.argmin()
        held[fold_of[which]] += sizes[which]
    return fold_of[family]
