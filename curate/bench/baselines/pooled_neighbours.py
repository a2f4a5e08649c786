"""The mean cosine distance to the ten nearest images, threshold Q3 + 1.7 IQR: Datalab's rule in plain code."""

from __future__ import annotations

import numpy as np

from curate.bench.baselines.base import BaselineInput, BaselineOutput

NEIGHBOURS = 10
"""k, as in Datalab."""

DATALAB_REACH = 1.7


def run(images: BaselineInput) -> BaselineOutput:
    """Score the pooled vectors."""
    unit = images.pooled / np.linalg.norm(images.pooled, axis=1, keepdims=True).clip(1e-12)
    cosine_distances = 1 - unit.astype(np.float64) @ unit.T.astype(np.float64)
    np.fill_diagonal(cosine_distances, np.inf)
    count = min(NEIGHBOURS, len(cosine_distances) - 1)
    scores = np.sort(cosine_distances, axis=1)[:, :count].mean(axis=1)
    q1, q3 = np.quantile(scores, (0.25, 0.75))
    return BaselineOutput(scores=scores, flagged=scores > q3 + DATALAB_REACH * (q3 - q1))
