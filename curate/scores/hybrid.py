"""The hybrid score: several views of one set, joined on a common scale.

Meta-IR (arXiv 2503.01569) names a hybrid anomaly score without giving its formula; this one is our own decision. Each
view is measured in its own nominal bulk: 0 is the middle of the shortest half of its scores, 1 is a standard deviation
of a normal curve with that half. The shortest half stays nominal as long as half of the images are. The hybrid is the
mean of the two highest votes: a view that is blind to a kind of defect counts only for what the two others lack of
two votes, and what one sees alone counts half. A view has one vote if the others bear it out best, and less if they
bear it out less: views that rank the images alike bear each other out, and of three views one that none bears out
does not suit the set, or so we take it. Of two, each has a vote. A view that cannot judge a class (`Scores.mute`) has
no say in it.

Measured (examples/bench/ablate_join.py --shares 0.05,0.1,0.2,0.4 --seeds 1; four sets, a single pass; mean AUROC / AP
in %, F1 above the fence, and AUROC / AP where one view is noise with a long tail):

    votes           93.6 / 85.2   74.8   93.3 / 84.5
    two highest     93.6 / 85.3   74.5   91.3 / 79.9
    mean            93.6 / 84.9   66.6   91.5 / 79.7
    median          93.3 / 84.2   72.3   92.5 / 81.7
    maximum         93.6 / 85.4   73.8   89.3 / 73.9
    log-mean-exp    93.6 / 85.3   73.1   90.1 / 75.0

Expected of the votes: what the two highest give, and little lost where a view does not suit a set; so it is. Tried by
hand: a second vote for the view that is borne out best gained up to 0.7 points of AP, but decided alone where it has
the longest tail: in the set of `make demo` 37 of 110 nominal images were flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from curate.records import FloatArray, IntArray, Scores
from curate.scores.by_label import label_rows

SHORTEST_HALF_OF_NORMAL = 1.349
"""Width of the shortest half of a normal curve, in its standard deviations."""

LEAST_SPREAD = 1e-5
"""A spread below this share of the largest score is rounding, not spread."""

PATCHES_SAMPLED = 200_000

HIGHEST = 2.0
"""How many votes, the highest of each image or place, are joined."""


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


def agreement(scores: FloatArray) -> NDArray[np.float64]:
    """Return (V,) how far the other views bear each of V views out, 0-1; 1 if there is no other.

    That is the mean rank correlation (Spearman) with the others, 0 where it is negative. A view that says the same of
    all images correlates 0 with all.

    Args:
        scores: (V, N) of N images, on any scale.
    """
    if len(scores) == 1:
        return np.ones(1)
    ranks = rankdata(scores, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1, keepdims=True)
    ranks = np.divide(ranks, lengths, out=np.zeros_like(ranks), where=lengths > 0)
    alike = ranks @ ranks.T
    return np.asarray(((alike.sum(axis=1) - alike.diagonal()) / (len(scores) - 1)).clip(0, 1))


def votes(scores: FloatArray) -> NDArray[np.float64]:
    """Return (V,) how many votes each of V views has, above 0, at most 1.

    One for the view that the others bear out best; for another, the square of how far it is borne out beside that.
    2 / sqrt(N), what chance alone may give, is added to both, so that few images, or images that differ by noise alone,
    hardly tell the views apart. Our own decision.

    Args:
        scores: (V, N) of N images, on any scale.
    """
    borne_out = agreement(scores) + 2 / np.sqrt(scores.shape[1])
    return np.asarray((borne_out / borne_out.max()) ** 2)


def highest(standard: FloatArray, given: NDArray[np.float64]) -> FloatArray:
    """Join views on a common scale by the mean of the two highest votes; of all, where there are fewer.

    Args:
        standard: (V, ...) scores.
        given: (V,) votes of each view, above 0.
    """
    order = np.argsort(-standard, axis=0, kind="stable")
    in_order, votes_in_order = np.take_along_axis(standard, order, axis=0), given[order]
    above = votes_in_order.cumsum(axis=0) - votes_in_order
    counted = np.clip(HIGHEST - above, 0, votes_in_order)
    return np.asarray((counted * in_order).sum(axis=0) / counted.sum(axis=0), dtype=np.float32)


def join(views: Sequence[Scores], labels: Sequence[str], duplicates: IntArray) -> Scores:
    """Join the views of N images into the hybrid score.

    Args:
        views: at least one, each of the same N images.
        labels: N class names: each class has its own scale.
        duplicates: (N,) only the first of equal numbers counts in the bulk.

    Returns:
        Scores named "hybrid"; `neighbours` and `meta_set` are those of the views that have them, `facts` tell by label
        the votes of each view that has a say. They come from the image scores, and hold for the maps too.
    """
    values = np.zeros(len(labels), dtype=np.float32)
    maps: list[FloatArray] = [np.zeros((0, 0), dtype=np.float32)] * len(labels)
    facts: dict[str, Any] = {}
    for label, rows in label_rows(labels).items():
        _, first = np.unique(duplicates[rows], return_index=True)
        heard = with_say(views, rows)
        standard = np.stack([bulk(v.values[rows[first]]).standard(v.values[rows]) for v in heard])
        given = votes(standard[:, first])
        values[rows] = highest(standard, given)
        facts[label] = {"votes": {v.scorer: round(g, 4) for v, g in zip(heard, given.tolist(), strict=True)}}
        scales = [_map_bulk(view, rows[first]) for view in heard]
        for row in rows.tolist():
            maps[row] = highest(np.stack([s.standard(v.maps[row]) for v, s in zip(heard, scales, strict=True)]), given)
    return Scores(
        scorer="hybrid",
        values=values,
        maps=maps,
        neighbours=next((v.neighbours for v in views if v.neighbours.shape[1]), views[0].neighbours),
        meta_set=next((v.meta_set for v in views if v.meta_set is not None), None),
        facts=facts,
    )


def with_say(views: Sequence[Scores], rows: IntArray) -> list[Scores]:
    """Return the views that can judge the images `rows` of one class; all, where none can."""
    return [view for view in views if view.mute is None or not view.mute[rows].all()] or list(views)


def _map_bulk(view: Scores, rows: IntArray) -> Bulk:
    """Measure the bulk of a view's patch scores over some images, on an even sample of them."""
    patches = np.concatenate([view.maps[row].ravel() for row in rows.tolist()])
    return bulk(patches[:: -(-len(patches) // PATCHES_SAMPLED)])
