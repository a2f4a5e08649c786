"""What pairs of different parts score, measured on the set itself.

the lower half of the scores -> Null -> standard scores -> tail
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from curate.records import FloatArray

SMALLEST_DEVIATION = 0.02
"""Of Fisher's z: what independent noise in 54 x 54 pixels scores, 1 / sqrt(2916). Less is an accident of few pairs."""

QUARTILE = 0.6745
"""The upper quartile of a normal distribution, in deviations."""
TAIL = 0.05
"""The tail is what the highest 5 % of the scores show; where it is steep is read from its middle."""
FEWEST_IN_TAIL = 20


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The upper tail of the standard scores of different parts: log probability falls with the square of the score.

    Attributes:
        start, fall: the square of the score that TAIL of the pairs exceed, and how far it rises per e-fold.
    """

    start: float
    fall: float

    def threshold(self, false_rate: float) -> float:
        """Return the score that a different pair exceeds with probability `false_rate`."""
        return float(np.sqrt(self.start + self.fall * np.log(TAIL / min(TAIL, false_rate))))

    def rate(self, threshold: float) -> float:
        """Return the probability that a different pair exceeds a score."""
        return float(TAIL * np.exp(-max(0.0, threshold**2 - self.start) / self.fall)) if self.fall > 0 else 0.0


def measure_tail(scores: NDArray[Any]) -> Tail:
    """Return the tail of standard scores, from the two quantiles at TAIL and half of it.

    Of normal scores it meets the normal tail to 5 %. Where parts share a feature (the same fault of a printing screen),
    it is heavier, and the threshold rises. Same parts among the scores make it heavier too: the caller leaves out those
    that stand clear.

    Source: ours: a Weibull tail of shape 2, which the normal has but for a slow factor.
    """
    if len(scores) * TAIL < FEWEST_IN_TAIL:
        return Tail(start=0, fall=0)
    low, high = np.square(np.maximum(0, np.quantile(scores, (1 - TAIL, 1 - TAIL / 2)))).tolist()
    return Tail(start=low, fall=(high - low) / float(np.log(2)))


@dataclass(frozen=True, kw_only=True)
class Null:
    """The distribution of Fisher's z of different parts.

    Attributes:
        middle, deviation: its median, and the larger of the root mean square below it and of its upper quartile: same
            parts stand above both, and hardly move them.
    """

    middle: float
    deviation: float

    def standard(self, scores: FloatArray) -> FloatArray:
        """Return scores in deviations above the middle."""
        return ((scores - self.middle) / self.deviation).astype(np.float32)


def measure_null(scores: NDArray[Any]) -> Null:
    """Return the null distribution of scores, most of which are of different parts."""
    if not len(scores):
        return Null(middle=0, deviation=1)
    middle = float(np.median(scores))
    below = scores[scores <= middle] - middle
    deviation = float(np.sqrt(np.mean(np.square(below, dtype=np.float64))))
    deviation = max(deviation, (float(np.quantile(scores, 0.75)) - middle) / QUARTILE)
    return Null(middle=middle, deviation=max(deviation, SMALLEST_DEVIATION))


def threshold_for(false_rate: float, images: int) -> float:
    """Return the standard score that a different pair exceeds with probability `false_rate`.

    Source: Student 1908, with the images that the deviation was measured on for its degrees of freedom: pairs of one
    image are not independent.
    """
    return float(t.isf(false_rate, max(1, images - 1)))


def rate_above(threshold: float, images: int) -> float:
    """Return the probability that a different pair exceeds a standard score: the inverse of `threshold_for`."""
    return float(t.sf(threshold, max(1, images - 1)))
