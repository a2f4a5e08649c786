"""Scoring label by label: each class is its own nominal set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curate.records import Embeddings, FloatArray, IntArray, Progress, Scores, no_progress
from curate.scores.base import Scorer


def label_rows(labels: Sequence[str]) -> dict[str, IntArray]:
    """Return the rows of each label, labels in order."""
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return {label: np.array(rows[label], dtype=np.int64) for label in sorted(rows)}


def score_by_label(
    scorer: Scorer, embeddings: Embeddings, kin: IntArray, labels: Sequence[str], *, progress: Progress = no_progress
) -> Scores:
    """Score every image among the images of its own label.

    Args:
        scorer: any.
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.
        labels: (N,) "" counts as one label of its own.
        progress: called with the number of images just finished.

    Returns:
        Scores of N images; `facts` has the scorer's facts by label.
    """
    parts = {
        label: (rows, scorer.score(embeddings.subset(rows), kin[rows], progress=progress))
        for label, rows in label_rows(labels).items()
    }
    return _joined(scorer.name, len(embeddings), parts)


def _joined(name: str, count: int, parts: dict[str, tuple[IntArray, Scores]]) -> Scores:
    values = np.zeros(count, dtype=np.float32)
    width = max((scores.neighbours.shape[1] for _, scores in parts.values()), default=0)
    neighbours = np.full((count, width), -1, dtype=np.int64)
    maps: list[FloatArray] = [np.zeros((0, 0), dtype=np.float32)] * count
    for rows, scores in parts.values():
        values[rows] = scores.values
        local = scores.neighbours
        neighbours[rows[:, None], np.arange(local.shape[1])] = np.where(local >= 0, rows[local], -1)
        for row, anomaly_map in zip(rows, scores.maps, strict=True):
            maps[row] = anomaly_map
    facts = {label: scores.facts for label, (_, scores) in parts.items()}
    return Scores(scorer=name, values=values, maps=maps, neighbours=neighbours, facts=facts)
