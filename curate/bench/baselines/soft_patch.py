"""SoftPatch, whole and its noise discriminator alone."""

from __future__ import annotations

import numpy as np

from curate.bench import softpatch
from curate.bench.baselines.base import BaselineInput, BaselineOutput, flagged_by_iqr


def run(images: BaselineInput) -> BaselineOutput:
    """Train SoftPatch on the images and score the same images, as its users would; the map's maximum."""
    embeddings = images.embeddings
    bank = softpatch.fit(embeddings, images.seed)
    maxima = [bank.anomaly_map(embeddings.patches(i)).max() for i in range(len(embeddings))]
    return flagged_by_iqr(np.array(maxima, dtype=np.float64))


def run_outlier_factors(images: BaselineInput) -> BaselineOutput:
    """Score an image by the highest local outlier factor of its patches.

    Source: Xi et al. 2022 (SoftPatch), LOF among the patches of one position. Differs: the paper removes patches, not
    images; the maximum as an image's score is ours.
    """
    factors = softpatch.local_outlier_factors(softpatch.common_grid(images.embeddings))  # (positions, M)
    return flagged_by_iqr(factors.max(axis=0).astype(np.float64))
