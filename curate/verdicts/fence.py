"""Where nominal ends: a fence on the anomaly scores of one set. First form; a later one refines it.

Both fences move with the scores: fence(a * s + b) = a * fence(s) + b for a > 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from curate.records import FloatArray

Sorted = NDArray[np.float64]
"""Scores in ascending order."""

FEWEST_IMAGES = 8
"""Below so many scores there is no distribution to speak of, and nothing is flagged."""

PUBLISHED_REACH, REACH = 1.5, 2.0
"""How many interquartile ranges the fence stands above Q3: as published, and ours: scores have a longer tail above."""

VALLEY_DEPTH = 0.5
"""A valley counts if its density is below this share of the lower of the two peaks beside it."""

LEAST_BELOW, LEAST_ABOVE = 0.45, 0.2
"""Shares of the scores that a valley must have below and above it. A smaller share above leaves Q3 nominal."""

LEAST_PEAK = 8
"""Images that a peak above the valley must have: fewer come about by chance."""

Z_90 = 1.6449
"""Standard deviations that hold 90 % of a normal curve between them and their negative."""

CURVE_POINTS = 512
"""Points of the density's curve, and quantiles that stand for the scores of a larger set."""

RESOLUTION = 1e-5
"""A spread below this share of the largest score is rounding, not spread."""


class Method(StrEnum):
    """How the fence is found.

    IQR: Q3 + 1.5 (Q3 - Q1) (Tukey 1977, as Meta-IR uses it). Masked once a quarter of the set is anomalous, since Q3
        is then anomalous itself.
    VALLEY: Q3 + 2 (Q3 - Q1) of the nominal scores: of those below the deepest valley of the scores' density where
        there is one, else of all. Many anomalies that can be told from nominal images make a second peak; few do not
        mask Q3. Ours, chosen by figures on real parts (README, Measured).
    """

    IQR = "iqr"
    VALLEY = "valley"


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A fence and what it was made from.

    Attributes:
        value: scores above it (strictly) are anomalous; finite.
        q1, q3: quartiles of all scores.
        valley: the end of what was taken as nominal; None if there is no valley and that was all.
        contamination: estimated share of anomalous images, 0-1.
        contamination_low, contamination_high: its interval of 90 %.
        method: how `value` was found.
        note: why nothing can be flagged, in words; "" where something can.
    """

    value: float
    q1: float
    q3: float
    valley: float | None
    contamination: float
    contamination_low: float
    contamination_high: float
    method: Method
    note: str = ""


def fence(scores: FloatArray, method: Method = Method.VALLEY) -> Fence:
    """Find the fence of one set's scores.

    Args:
        scores: (N,) finite, N at least 1; higher is more anomalous.
        method: see `Method`.

    Returns:
        A fence with the largest score as its value where nothing can be flagged: fewer than eight scores,
        or all equal.
    """
    values = np.sort(scores.astype(np.float64))
    q1, q3 = (float(q) for q in np.quantile(values, (0.25, 0.75)))
    note = _why_none(values)
    end = valley(values) if method is Method.VALLEY and not note else None
    nominal = values if end is None else values[values <= end]
    place = float(values[-1]) if note else _above_quartiles(nominal, PUBLISHED_REACH if method is Method.IQR else REACH)
    above = float(np.mean(values > place))
    low, high = wilson(above, len(values))
    return Fence(
        value=place,
        q1=q1,
        q3=q3,
        valley=end,
        contamination=above,
        contamination_low=low,
        contamination_high=high,
        method=method,
        note=note,
    )


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 90 % interval of a share seen in `count` images (Wilson 1927)."""
    square = Z_90**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z_90 / (1 + square / count) * float(np.sqrt(share * (1 - share) / count + square / (4 * count**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


def _why_none(values: Sorted) -> str:
    if len(values) < FEWEST_IMAGES:
        return f"{len(values)} images are too few to judge, {FEWEST_IMAGES} are needed"
    if values[-1] - values[0] <= RESOLUTION * np.abs(values).max():
        return "all images score the same"
    return ""


def _above_quartiles(values: Sorted, reach: float) -> float:
    """Return Q3 + reach * (Q3 - Q1); an interquartile range of nothing counts as the resolution of the scores."""
    q1, q3 = np.quantile(values, (0.25, 0.75))
    return float(q3 + reach * max(q3 - q1, RESOLUTION * np.abs(values).max()))


def valley(values: Sorted) -> float | None:
    """Find the deepest valley in the density of sorted scores that may part nominal from anomalous.

    The density is a sum of normal curves, see `kernel_width`.

    Returns:
        The score at its bottom; None if there is none with `LEAST_BELOW` and `LEAST_ABOVE` of the scores on its
        sides, `LEAST_PEAK` scores above it, and deeper than `VALLEY_DEPTH`.
    """
    points = np.quantile(values, np.linspace(0, 1, min(len(values), CURVE_POINTS)))
    place = np.linspace(points[0], np.quantile(points, 0.95), CURVE_POINTS)  # beyond, too little lies above
    curve = np.exp(-0.5 * np.square((place[:, None] - points) / kernel_width(points))).sum(axis=1)
    left, right = np.maximum.accumulate(curve), np.maximum.accumulate(curve[::-1])[::-1]
    lower = np.minimum(left, right)
    depth = np.divide(curve, lower, out=np.ones_like(curve), where=lower > 0)  # no peak beside it: no valley
    below = np.searchsorted(points, place) / len(points)
    depth[(below < LEAST_BELOW) | (below > 1 - max(LEAST_ABOVE, LEAST_PEAK / len(values)))] = 1.0
    deepest = int(depth.argmin())
    return float(place[deepest]) if depth[deepest] < VALLEY_DEPTH else None


def kernel_width(values: Sorted) -> float:
    """Return the width of a normal kernel for the density of sorted values, 0.9 s n^(-1/5) (Silverman 1986, §3.4.2).

    Silverman takes s = min(sd, IQR / 1.34); ours also takes the shortest half over 1.35 (a normal curve's), which a
    second peak does not widen.
    """
    half = -(-len(values) // 2)
    q1, q3 = np.quantile(values, (0.25, 0.75))
    shortest = (values[half - 1 :] - values[: len(values) - half + 1]).min()
    spreads = [s for s in (values.std(), (q3 - q1) / 1.34, shortest / 1.35) if s > 0]
    return float(0.9 * min(spreads) * len(values) ** -0.2)
