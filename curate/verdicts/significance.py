"""How sure a verdict is: p-values, q-values and the confidence that an image is nominal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from curate.records import BoolArray, FloatArray
from curate.verdicts.threshold import EVEN, Threshold

SURE = 0.75
"""A kept image of less confidence is uncertain: at least one in four of its kind is expected to be anomalous. Ours."""


@dataclass(frozen=True, kw_only=True)
class Significance:
    """What stands behind the verdicts on the N images of a nominal set.

    Attributes:
        p_value: (N,) how often a nominal image scores as high, 0-1.
        q_value: (N,) the expected share of nominal images among all that score as high, 0-1 (Benjamini and Hochberg
            1995, as adjusted p-values).
        confidence: (N,) the probability that the image is nominal, 0-1.
    """

    p_value: FloatArray
    q_value: FloatArray
    confidence: FloatArray


def significance(values: FloatArray, threshold: Threshold) -> Significance:
    """Weigh every image of a nominal set against the mixture of its scores.

    Args:
        values: (N,) the scores that the threshold was found on.
        threshold: of these scores; where nothing could be judged, all three are 1.
    """
    if threshold.mixture is None:
        ones = np.ones(len(values), dtype=np.float32)
        return Significance(p_value=ones, q_value=ones, confidence=ones)
    p_value = threshold.mixture.p_value(values.astype(np.float64))
    return Significance(
        p_value=p_value.astype(np.float32),
        q_value=false_discovery_control(p_value).astype(np.float32),
        confidence=threshold.confidence(values).astype(np.float32),
    )


def uncertain(confidence: FloatArray, *, flagged: BoolArray, above: BoolArray) -> BoolArray:
    """Return (N,) which images are uncertain: kept, but not surely nominal; or flagged, but rather nominal.

    Args:
        confidence: (N,) that each is nominal, 0-1.
        flagged: (N,) whether each is flagged, for whatever reason.
        above: (N,) whether its score lies above the threshold; what else flags an image does not speak of its score.
    """
    return np.where(flagged, above & (confidence > EVEN), confidence < SURE)


def expected_precision(scores: FloatArray, confidence: FloatArray) -> FloatArray:
    """Return (N,) the share of anomalous images, 0-1, expected among all that score at least as high as each.

    Args:
        scores: (N,) higher is more anomalous.
        confidence: (N,) that each is nominal, 0-1.

    Source: ours: the mean of 1 - confidence.
    """
    order = np.argsort(-scores, kind="stable")
    means = np.cumsum(1 - confidence[order].astype(np.float64)) / np.arange(1, len(scores) + 1)
    last = np.searchsorted(-scores[order], -scores, side="right") - 1  # of those that score the same
    return means[last].astype(np.float32)
