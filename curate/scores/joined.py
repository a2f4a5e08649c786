"""The joined score: several views of one nominal set on a common scale.

Each view is measured in its own nominal bulk: 0 is the middle of the shortest half of its scores, 1 is a standard
deviation of a normal curve with that half. The shortest half stays nominal as long as half of the images are. The
joined score is the weighted mean of an image's highest scores, of a total weight of one: a view that is blind to a kind
of defect counts only for what the others lack of that weight. Each view has a weight of its own
(`ScorerEntry.weight`), chosen on sets that it is not judged on; less, if it agrees less with the others than the view
that agrees best: of three views, one that agrees with none does not suit the set, or so we assume. A view that abstains
(`Scores.abstains`) has none.

Source: Meta-IR (arXiv 2503.01569) names a hybrid anomaly score without its formula; this one is ours, see
docs/experiments and examples/bench/ablate_join.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from curate.records import FloatArray, IntArray, Scores
from curate.scorers import HYBRID, SCORERS

SHORTEST_HALF_OF_NORMAL = 1.349
"""Width of the shortest half of a normal curve, in its standard deviations."""

LEAST_SPREAD = 1e-5
"""A spread below this share of the largest score is rounding, not spread."""

PATCHES_SAMPLED = 200_000

WEIGHT_JOINED = 1.0
"""How much weight is joined, of the highest scores of each image or position."""


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
    """Return (V,) how far each of V views agrees with the others, 0-1; 1 if there is no other.

    That is the mean rank correlation (Spearman) with the others, 0 where it is negative. A view that scores all images
    the same correlates 0 with all.

    Args:
        scores: (V, N) of N images, on any scale.
    """
    if len(scores) == 1:
        return np.ones(1)
    ranks = rankdata(scores, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1, keepdims=True)
    ranks = np.divide(ranks, lengths, out=np.zeros_like(ranks), where=lengths > 0)
    correlation = ranks @ ranks.T
    return np.asarray(((correlation.sum(axis=1) - correlation.diagonal()) / (len(scores) - 1)).clip(0, 1))


def view_weights(scores: FloatArray) -> NDArray[np.float64]:
    """Return (V,) the weight of each of V views by its agreement, above 0, at most 1.

    It is 1 for the view that agrees best with the others; for another, the square of its agreement as a share of the
    best. 2 / sqrt(N), what chance alone may give, is added to both, so that few images, or images that differ by noise
    alone, hardly tell the views apart. Ours.

    Args:
        scores: (V, N) of N images, on any scale.
    """
    agreed = agreement(scores) + 2 / np.sqrt(scores.shape[1])
    return np.asarray((agreed / agreed.max()) ** 2)


def weighted_highest(standard: FloatArray, weights: NDArray[np.float64]) -> FloatArray:
    """Join views by the weighted mean of the highest scores, up to a weight of one; of all, where there is less.

    Args:
        standard: (V, ...) scores on a common scale.
        weights: (V,) of each view, above 0.
    """
    order = np.argsort(-standard, axis=0, kind="stable")
    scores_in_order, weights_in_order = np.take_along_axis(standard, order, axis=0), weights[order]
    above = weights_in_order.cumsum(axis=0) - weights_in_order
    counted = np.clip(WEIGHT_JOINED - above, 0, weights_in_order)
    return np.asarray((counted * scores_in_order).sum(axis=0) / counted.sum(axis=0), dtype=np.float32)


def join(views: Sequence[Scores], duplicates: IntArray) -> tuple[Scores, Mapping[str, float]]:
    """Join the views of the N images of a nominal set.

    Args:
        views: at least one, each of the same N images.
        duplicates: (N,) only the first of equal numbers counts in the bulk.

    Returns:
        The joined scores; their `neighbours` and `meta_set` are those of the views that have them. And the weight of
        each active view by scorer: they come from the image scores, and hold for the maps too.
    """
    first = np.unique(duplicates, return_index=True)[1]
    active = active_views(views)
    standard = np.stack([bulk(v.values[first]).standard(v.values) for v in active])
    weights = view_weights(standard[:, first]) * own_weights(active)
    scales = [_map_bulk(view, first) for view in active]
    maps = [
        weighted_highest(np.stack([scale.standard(one) for scale, one in zip(scales, of_image, strict=True)]), weights)
        for of_image in zip(*(view.maps for view in active), strict=True)
    ]
    joined = Scores(
        scorer=HYBRID,
        values=weighted_highest(standard, weights),
        maps=maps,
        neighbours=next((v.neighbours for v in views if v.neighbours.shape[1]), views[0].neighbours),
        meta_set=next((v.meta_set for v in views if v.meta_set is not None), None),
    )
    return joined, {view.scorer: weight for view, weight in zip(active, weights.tolist(), strict=True)}


def own_weights(views: Sequence[Scores]) -> NDArray[np.float64]:
    """Return (V,) the weights that the scorers of some views have of their own, the largest of them 1."""
    weights = np.array([SCORERS[view.scorer].weight if view.scorer in SCORERS else 1.0 for view in views])
    return np.asarray(weights / weights.max())


def active_views(views: Sequence[Scores]) -> list[Scores]:
    """Return the views that do not abstain; all, where each does."""
    return [view for view in views if not view.abstains] or list(views)


def _map_bulk(view: Scores, images: IntArray) -> Bulk:
    """Measure the bulk of a view's map values over some images, on an even sample of them."""
    patches = np.concatenate([view.maps[image].ravel() for image in images.tolist()])
    return bulk(patches[:: -(-len(patches) // PATCHES_SAMPLED)])
