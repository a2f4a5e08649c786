"""Figures: how well scores rank the noise, how good verdicts are, how well a confidence is calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from curate.records import BoolArray, FloatArray

BUDGETS = (5, 10, 20)
"""Shares of the set, in %, that a user may be ready to review."""

FDR = 0.1
BINS = 10
PRO_LIMIT = 0.3
"""False-positive rate up to which the per-region overlap is averaged (Bergmann et al. 2021, MVTec AD, §4.1)."""

Figures = dict[str, float]
Scored = FloatArray | NDArray[np.float64]


def ranking(wrong: BoolArray, scores: Scored) -> Figures:
    """Return AUROC, average precision and the precision of the highest 5, 10 and 20 %.

    Nothing where all images are noise, or none is.
    """
    if not wrong.any() or wrong.all():
        return {}
    tops = {k: wrong[top] for k, top in _highest(scores).items()}
    return {
        "auroc": rank_auroc(wrong, scores),
        "ap": average_precision(wrong, scores),
        **{f"precision_at_{k}": float(top.mean()) for k, top in tops.items()},
    }


def expected_precision(scores: Scored, confidence: Scored) -> Figures:
    """Return the precision that a confidence leads to expect of the highest 5, 10 and 20 %: the mean of 1 - confidence.

    Args:
        scores: (N,) higher is more anomalous.
        confidence: (N,) that each image is nominal, 0-1.
    """
    return {f"expected_precision_at_{k}": float(1 - confidence[top].mean()) for k, top in _highest(scores).items()}


def _highest(scores: Scored) -> dict[int, NDArray[np.int64]]:
    """Return the images of the highest scores for each of the budgets, one at least."""
    order = np.argsort(-scores, kind="stable")
    return {k: order[: max(1, ceil(k / 100 * len(scores)))] for k in BUDGETS}


def verdicts(wrong: BoolArray, flagged: BoolArray) -> Figures:
    """Return the number of flagged images and the share of false alarms; precision, recall and F1 where noise is."""
    hits, nominal = int((flagged & wrong).sum()), int((~wrong).sum())
    figures: Figures = {
        "flagged": int(flagged.sum()),
        "false_alarm": (int(flagged.sum()) - hits) / max(1, nominal),
    }
    if wrong.any():
        precision, recall = hits / max(1, int(flagged.sum())), hits / int(wrong.sum())
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        figures |= {"precision": precision, "recall": recall, "f1": f1}
    return figures


def calibration_error(wrong: BoolArray, confidence: Scored) -> float:
    """Return the expected calibration error, 0-1, of a confidence that an image is nominal, over ten equal bins."""
    errors = (len(own) * abs(own.mean() - nominal.mean()) for own, nominal in _bins(wrong, confidence))
    return float(sum(errors) / len(wrong))


def reliability(wrong: BoolArray, confidence: Scored) -> Figures:
    """Return a reliability diagram in numbers, for each of ten equal bins of confidence that holds images.

    Returns:
        `images_<bin>`, how many it holds; `confidence_<bin>`, their mean; `nominal_<bin>`, the share that is nominal.
    """
    figures: Figures = {}
    for own, nominal in _bins(wrong, confidence):
        at = min(int(own[0] * BINS), BINS - 1)
        figures |= {f"images_{at}": float(len(own)), f"confidence_{at}": float(own.mean())}
        figures[f"nominal_{at}"] = float(nominal.mean())
    return figures


def _bins(wrong: BoolArray, confidence: Scored) -> list[tuple[Scored, BoolArray]]:
    """Return the confidence of the images of each non-empty bin, and whether they are nominal."""
    of_image = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [(confidence[of_image == b], ~wrong[of_image == b]) for b in np.unique(of_image)]


def discovery(wrong: BoolArray, q_values: Scored, level: float = FDR) -> Figures:
    """Return the realised false-discovery rate at a level of q-values, the number of flagged images, and the recall."""
    flagged = q_values <= level
    false = int((flagged & ~wrong).sum())
    figures = {"fdr": false / max(1, int(flagged.sum())), "fdr_flagged": float(flagged.sum())}
    return figures | ({"fdr_recall": float((flagged & wrong).sum() / wrong.sum())} if wrong.any() else {})


def pixels(maps: Sequence[FloatArray], masks: Sequence[BoolArray]) -> Figures:
    """Return AUROC over pixels and the per-region overlap (PRO) up to a false-positive rate of 0.3.

    Args:
        maps: anomaly maps, (H, W) each; higher is more anomalous.
        masks: of the same sizes; true where a defect is.

    Returns:
        Empty where no pixel is defective, or all are.

    Source: Bergmann et al. 2021 (MVTec AD), §4.1. Differs: the curve is sampled at 300 false-positive rates.
    """
    scores = np.concatenate([m.ravel() for m in maps])
    truth = np.concatenate([m.ravel() for m in masks])
    if not truth.any() or truth.all():
        return {}
    return {"pixel_auroc": rank_auroc(truth, scores), "pro": _region_overlap(maps, masks, np.sort(scores[~truth]))}


def average_precision(truth: BoolArray, scores: Scored) -> float:
    """Return the mean precision over the true ones, 0-1; equal scores are taken together, as scikit-learn takes them.

    Args:
        truth: (N,) at least one of them true.
        scores: (N,), higher ranks first.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(truth[order])[last_of_ties].astype(np.float64)
    return float(np.sum(np.diff(hits, prepend=0.0) * hits / (last_of_ties + 1)) / hits[-1])


def rank_auroc(truth: BoolArray, scores: Scored) -> float:
    """Return the AUROC of many scores by ranks; equal scores count half."""
    nominal, anomalous = np.sort(scores[~truth]), scores[truth]
    below = np.searchsorted(nominal, anomalous, side="left").astype(np.float64)
    upto = np.searchsorted(nominal, anomalous, side="right")
    return float((below + upto).mean() / 2 / len(nominal))


def _region_overlap(maps: Sequence[FloatArray], masks: Sequence[BoolArray], nominal: FloatArray) -> float:
    from scipy import ndimage

    rates = np.linspace(0, PRO_LIMIT, 301)[1:]
    thresholds = nominal[np.clip(len(nominal) - 1 - np.floor(rates * len(nominal)).astype(int), 0, None)]
    overlaps = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for region in range(1, count + 1):
            inside = np.sort(anomaly_map[regions == region])
            overlaps.append(1 - np.searchsorted(inside, thresholds, side="right") / len(inside))
    return float(np.mean(overlaps))
