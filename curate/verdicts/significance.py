"""How sure a verdict is: p-values, q-values and the confidence that an image is nominal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.records import BoolArray, FloatArray, IntArray
from curate.verdicts.reference import Doubles, Reference, q_values
from curate.verdicts.threshold import EVEN, Threshold, first_of_each

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
        fdr_bound: (N,) the share of nominal images among all images, trusted ones aside, that score as high is at most
            this, 0-1, at every score at once; NaN where p-values are model-based.
    """

    p_value: FloatArray
    q_value: FloatArray
    confidence: FloatArray
    fdr_bound: FloatArray


def significance(
    values: FloatArray, threshold: Threshold, *, duplicates: IntArray | None = None, trusted: BoolArray | None = None
) -> Significance:
    """Weigh every image of a nominal set against its trusted images, or else against the mixture of its scores.

    Args:
        values: (N,) the scores that the threshold was found on.
        threshold: of these scores; where nothing could be judged, p, q and confidence are 1.
        duplicates: (N,) equal numbers for exact duplicates, which count once beside trusted images; None for none.
        trusted: (N,) whether an image is known to be nominal; None if none is.
    """
    bound = np.full(len(values), np.nan)
    if threshold.mixture is None:
        p_value = q_value = np.ones(len(values))
    elif threshold.reference is None:
        p_value = threshold.mixture.p_value(values.astype(np.float64))
        q_value = q_values(p_value)
    else:
        duplicates = np.arange(len(values)) if duplicates is None else duplicates
        trusted = np.zeros(len(values), dtype=np.bool_) if trusted is None else trusted
        p_value, q_value, bound = _conformal(values, threshold.reference, duplicates=duplicates, trusted=trusted)
    return Significance(
        p_value=p_value.astype(np.float32),
        q_value=q_value.astype(np.float32),
        confidence=threshold.confidence(values).astype(np.float32),
        fdr_bound=bound.astype(np.float32),
    )


def _conformal(
    values: FloatArray, reference: Reference, *, duplicates: IntArray, trusted: BoolArray
) -> tuple[Doubles, Doubles, Doubles]:
    """Return (N,) p-values, q-values and bounds; each content is tested once, a trusted one is not, and its q is 1."""
    p_value = np.where(trusted, reference.own_p_value(values), reference.p_value(values))
    first = first_of_each(duplicates)
    tested = first[~trusted[first]]
    by_content = np.ones(len(first))
    by_content[~trusted[first]] = q_values(p_value[tested])
    q_value = by_content[np.unique(duplicates, return_inverse=True)[1]]
    return p_value, q_value, reference.fdr_bound(values, values[tested])


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
