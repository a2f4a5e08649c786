"""A memory bank of the training images: the score of `neighbours` on aligned parts, but without the position."""

from __future__ import annotations

import numpy as np

from curate.bench.detectors.base import DetectorOutput, DetectorTask
from curate.records import Embeddings, IntArray
from curate.scores.neighbours import UNALIGNED_IMAGES, NeighboursConfig, top_mean

COMPARED = 32
"""Training images, the most similar ones, that a test image is compared with."""


def detect(task: DetectorTask) -> DetectorOutput:
    """Score each test image by its patches' distances to the training images most similar to it."""
    settings = NeighboursConfig()
    embeddings, test = task.whole.embeddings, task.test_embedding_rows
    similar = _most_similar(embeddings, task.training_embedding_rows, test, count=COMPARED)
    maps = []
    for row, others in zip(test.tolist(), similar, strict=True):
        nearest = np.sort(task.distances.between(row, others), axis=0)[:UNALIGNED_IMAGES]
        maps.append(nearest.mean(axis=0).reshape(embeddings.grids[row]))
    scores = np.array([top_mean(m, settings.top_share) for m in maps], dtype=np.float64)
    return DetectorOutput(scores=scores, maps=maps)


def _most_similar(embeddings: Embeddings, train: IntArray, test: IntArray, *, count: int) -> list[IntArray]:
    """Return the training images most similar to each test image as a whole, scaled by the training set alone."""
    bank, query = embeddings.pooled[train].astype(np.float64), embeddings.pooled[test].astype(np.float64)
    mean = bank.mean(axis=0)
    bank, query = bank - mean, query - mean
    for stage in embeddings.stages:
        length = max(float(np.sqrt(np.square(bank[:, stage]).sum(axis=1).mean())), 1e-6)
        bank[:, stage] /= length
        query[:, stage] /= length
    squared = np.square(query).sum(axis=1)[:, None] - 2 * query @ bank.T + np.square(bank).sum(axis=1)
    return [train[row] for row in np.argsort(squared, axis=1, kind="stable")[:, :count]]
