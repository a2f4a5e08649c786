"""Scoring label by label: each class is its own nominal set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curate.records import Embeddings, FloatArray, IntArray, MetaSet, Progress, Scores, no_progress
from curate.scores.base import NO_GUIDE, Guide, Scorer


def label_rows(labels: Sequence[str]) -> dict[str, IntArray]:
    """Return the rows of each label, labels in order."""
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return {label: np.array(rows[label], dtype=np.int64) for label in sorted(rows)}


def score_by_label(
    scorer: Scorer,
    embeddings: Embeddings,
    kin: IntArray,
    labels: Sequence[str],
    *,
    guide: Guide = NO_GUIDE,
    progress: Progress = no_progress,
) -> Scores:
    """Score every image among the images of its own label.

    Args:
        scorer: any.
        embeddings: of N images.
        kin: (N,) see `Scorer.score`.
        labels: (N,) "" counts as one label of its own.
        guide: of all N images; its `model` is what this function returned in the round before, its `alignment` is by
            label.
        progress: called with the number of images just finished.

    Returns:
        Scores of N images; `facts` and `model` hold the scorer's own by label.
    """
    parts = {
        label: (
            rows,
            scorer.score(embeddings.subset(rows), kin[rows], guide=_of_label(guide, label, rows), progress=progress),
        )
        for label, rows in label_rows(labels).items()
    }
    return _joined(scorer.name, len(embeddings), parts)


def _of_label(guide: Guide, label: str, rows: IntArray) -> Guide:
    """Return what a guide to all images says about the images `rows` of one label."""
    return Guide(
        nominal=None if guide.nominal is None else guide.nominal[rows],
        meta_set=None if guide.meta_set is None else np.flatnonzero(np.isin(rows, guide.meta_set)),
        model=None if guide.model is None else guide.model.get(label),
        alignment=None if guide.alignment is None else guide.alignment.get(label),
    )


def _joined(name: str, count: int, parts: Mapping[str, tuple[IntArray, Scores]]) -> Scores:
    values = np.zeros(count, dtype=np.float32)
    width = max((scores.neighbours.shape[1] for _, scores in parts.values()), default=0)
    neighbours = np.full((count, width), -1, dtype=np.int64)
    maps: list[FloatArray] = [np.zeros((0, 0), dtype=np.float32)] * count
    mute = np.zeros(count, dtype=np.bool_)
    for rows, scores in parts.values():
        values[rows] = scores.values
        mute[rows] = False if scores.mute is None else scores.mute
        local = scores.neighbours
        neighbours[rows[:, None], np.arange(local.shape[1])] = np.where(local >= 0, rows[local], -1)
        for row, anomaly_map in zip(rows, scores.maps, strict=True):
            maps[row] = anomaly_map
    models: dict[str, Any] = {label: scores.model for label, (_, scores) in parts.items()}
    return Scores(
        scorer=name,
        values=values,
        maps=maps,
        neighbours=neighbours,
        facts={label: scores.facts for label, (_, scores) in parts.items()},
        meta_set=_joined_meta_set([(rows, s.meta_set) for rows, s in parts.values() if s.meta_set is not None]),
        mute=mute if mute.any() else None,
        model=models,
    )


def _joined_meta_set(parts: Sequence[tuple[IntArray, MetaSet]]) -> MetaSet | None:
    """Join the meta-sets of labels: at each epoch of any, what each label held at that time."""
    if not parts:
        return None
    epochs = sorted({epoch for _, part in parts for epoch in part.epochs})
    members = tuple(np.sort(np.concatenate([rows[_held_at(part, epoch)] for rows, part in parts])) for epoch in epochs)
    return MetaSet(epochs=tuple(epochs), members=members)


def _held_at(meta_set: MetaSet, epoch: int) -> IntArray:
    """Return the members after the last ranking up to `epoch`; none before the first."""
    held = np.zeros(0, dtype=np.int64)
    for at, members in zip(meta_set.epochs, meta_set.members, strict=True):
        held = members if at <= epoch else held
    return held
