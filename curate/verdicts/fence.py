"""Where nominal ends: a fence on the anomaly scores of one set. First form; a later issue refines it.

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

REACH = 3.0
"""How many nominal spreads the fence stands above the mode (our own choice, see `Method.MODE`)."""

Q3_IS_NOMINAL_BELOW = 0.2
"""Share above the mode's fence up to which the quartiles are trusted too; 0.25 would be the limit."""

NORMAL_QUARTILE = 0.6745
"""The median absolute deviation of a normal distribution, in standard deviations."""

RESOLUTION = 1e-5
"""A spread below this share of the largest score is rounding, not spread."""


class Method(StrEnum):
    """How the fence is found.

    IQR: Q3 + 1.5 (Q3 - Q1) (Tukey 1977, as Meta-IR uses it; see `reference/methods.md`, §2). Masked once a quarter
        of the set is anomalous, since Q3 is then anomalous itself.
    MODE: the mode plus three spreads, the spread taken below the mode alone. Anomalies lie above the mode, so they
        touch neither as long as they are the minority. Where less than a fifth lies above it, Q3 is nominal, and the
        fence is not set below Tukey's: nominal scores have a longer tail above than below. Ours; the mode is the
        median of the shortest half.
    """

    IQR = "iqr"
    MODE = "mode"


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A fence and what it was made from.

    Attributes:
        value: scores above it (strictly) are anomalous; finite.
        q1, q3: quartiles of all scores.
        contamination: share of the scores above the fence, 0-1.
        method: how `value` was found.
        note: why nothing can be flagged, in words; "" where something can.
    """

    value: float
    q1: float
    q3: float
    contamination: float
    method: Method
    note: str = ""


def fence(scores: FloatArray, method: Method = Method.MODE) -> Fence:
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
    place = float(values[-1]) if note else (_iqr(q1, q3) if method is Method.IQR else _robust(values, q1, q3))
    above = float(np.mean(values > place))
    return Fence(value=place, q1=q1, q3=q3, contamination=above, method=method, note=note)


def _why_none(values: Sorted) -> str:
    if len(values) < FEWEST_IMAGES:
        return f"{len(values)} images are too few to judge: {FEWEST_IMAGES} are needed"
    if values[-1] - values[0] <= RESOLUTION * np.abs(values).max():
        return "all images score the same"
    return ""


def _iqr(q1: float, q3: float) -> float:
    return q3 + 1.5 * (q3 - q1)


def _robust(values: Sorted, q1: float, q3: float) -> float:
    place = _mode(values)
    clean = float(np.mean(values > place)) < Q3_IS_NOMINAL_BELOW
    return max(place, _iqr(q1, q3)) if clean else place


def _mode(values: Sorted) -> float:
    """Return mode + REACH * spread of sorted scores."""
    center = shortest_half(values)
    below = center - values[values < center]
    spread = float(np.median(below)) / NORMAL_QUARTILE if len(below) else 0.0
    return center + REACH * max(spread, RESOLUTION * float(np.abs(values).max()))


def shortest_half(values: Sorted) -> float:
    """Return the median of the shortest interval that holds half of the sorted values: a robust mode.

    Source: Andrews et al. 1972, the shorth; the median in place of the mean is ours.
    """
    half = -(-len(values) // 2)
    lengths = values[half - 1 :] - values[: len(values) - half + 1]
    start = int(np.argmin(lengths))
    return float(np.median(values[start : start + half]))
