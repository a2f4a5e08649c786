"""Patch nearest neighbours, leave one out: the mean of the five nearest other images, and the map's maximum."""

from __future__ import annotations

import numpy as np

from curate.bench.baselines.base import BaselineInput, BaselineOutput, flagged_by_iqr

NEIGHBOURS = 5


def run(images: BaselineInput) -> BaselineOutput:
    """Score the patches."""
    rows, scores = images.embedding_rows, np.zeros(len(images.rows))
    for index, row in enumerate(rows.tolist()):
        distances = images.distances.between(row, np.delete(rows, index))  # (M - 1, P)
        count = min(NEIGHBOURS, len(distances))
        if count:
            scores[index] = np.partition(distances, count - 1, axis=0)[:count].mean(axis=0).max()
    return flagged_by_iqr(scores)
