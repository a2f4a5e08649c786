"""The hybrid score: several views of one set, joined on a common scale.

Meta-IR (arXiv 2503.01569) names a hybrid anomaly score without giving its formula; this one is our own decision. Each
view is measured in its own nominal bulk: 0 is the middle of the shortest half of its scores, 1 is a standard deviation
of a normal curve with that half. The shortest half stays nominal as long as half of the images are. The hybrid is the
mean of the two highest views: a view that is blind to a kind of defect does not average away what the others see, and
what one sees alone counts half. A view that cannot judge a class (`Scores.mute`) has no say in it.

Measured (examples/bench/ablate_join.py --shares 0.05,0.1,0.2,0.4 --seeds 1; four sets, a single pass; mean AUROC / AP
in %, F1 above the fence, and AUROC / AP where one view is noise with a long tail):

    two highest     93.6 / 85.3   74.6   91.3 / 79.9
    mean            93.6 / 84.9   70.4   91.5 / 79.7
    median          93.3 / 84.2   74.2   92.5 / 81.7
    maximum         93.6 / 85.4   74.9   89.3 / 73.9
    log-mean-exp    93.6 / 85.3   73.6   90.0 / 75.0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.records import FloatArray, IntArray, Scores
from curate.scores.by_label import label_rows

SHORTEST_HALF_OF_NORMAL = 1.349
"""Width of the shortest half of a normal curve, in its standard deviations."""

LEAST_SPREAD = 1e-5
"""A spread below this share of the largest score is rounding, not spread."""

PATCHES_SAMPLED = 200_000

HIGHEST = 2
"""How many views, the highest of each image or place, are joined."""


@dataclass(frozen=True)
class Bulk:
    """Where the nominal scores of one view lie: their middle, and their standard deviation, above 0."""

    middle: float
    spread: float

    def standard(self, values: FloatArray) -> FloatArray:
        """Return values in standard deviations from the middle."""
        return np.asarray((values - self.middle) / self.spread, dtype=np.float32)


def bulk(values: FloatArray) -> Bulk:
    """Measure the shortest half of some values, (N,), N at least 1."""
    ordered = np.sort(values.astype(np.float64).ravel())
    half = -(-len(ordered) // 2)
    widths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
    start = int(widths.argmin())
    spread = max(float(widths[start]) / SHORTEST_HALF_OF_NORMAL, LEAST_SPREAD * float(np.abs(ordered).max()), 1e-12)
    return Bulk(float(ordered[start] + ordered[start + half - 1]) / 2, spread)


def highest(standard: FloatArray) -> FloatArray:
    """Join views on a common scale, (V, ...), by the mean of the two highest (of the one, where there is one)."""
    return np.asarray(np.sort(standard, axis=0)[-HIGHEST:].mean(axis=0), dtype=np.float32)


def join(views: Sequence[Scores], labels: Sequence[str], duplicates: IntArray) -> Scores:
    """Join the views of N images into the hybrid score.

    Args:
        views: at least one, each of the same N images.
        labels: N class names: each class has its own scale.
        duplicates: (N,) only the first of equal numbers counts in the bulk.

    Returns:
        Scores named "hybrid"; `neighbours` and `meta_set` are those of the views that have them.
    """
    values = np.zeros(len(labels), dtype=np.float32)
    maps: list[FloatArray] = [np.zeros((0, 0), dtype=np.float32)] * len(labels)
    for rows in label_rows(labels).values():
        _, first = np.unique(duplicates[rows], return_index=True)
        heard = with_say(views, rows)
        values[rows] = highest(np.stack([bulk(v.values[rows[first]]).standard(v.values[rows]) for v in heard]))
        scales = [_map_bulk(view, rows[first]) for view in heard]
        for row in rows.tolist():
            maps[row] = highest(np.stack([s.standard(v.maps[row]) for v, s in zip(heard, scales, strict=True)]))
    return Scores(
        scorer="hybrid",
        values=values,
        maps=maps,
        neighbours=next((v.neighbours for v in views if v.neighbours.shape[1]), views[0].neighbours),
        meta_set=next((v.meta_set for v in views if v.meta_set is not None), None),
        facts={},
    )


def with_say(views: Sequence[Scores], rows: IntArray) -> list[Scores]:
    """Return the views that can judge the images `rows` of one class; all, where none can."""
    return [view for view in views if view.mute is None or not view.mute[rows].all()] or list(views)


def _map_bulk(view: Scores, rows: IntArray) -> Bulk:
    """Measure the bulk of a view's patch scores over some images, on an even sample of them."""
    patches = np.concatenate([view.maps[row].ravel() for row in rows.tolist()])
    return bulk(patches[:: -(-len(patches) // PATCHES_SAMPLED)])
