"""Where nominal ends: the threshold on the anomaly scores of one nominal set.

`ThresholdMethod.IQR`: Q3 + 1.5 (Q3 - Q1) (Tukey 1977, as Meta-IR uses it). It is masked once a quarter of the set is
anomalous, since Q3 is then anomalous itself.

`ThresholdMethod.MIXTURE`: where an image is as likely anomalous as nominal, see `curate.verdicts.mixture`; ours. Or
above Q3 + 3 (Q3 - Q1) (Tukey 1977, the outer fence), if that is lower: images so far out are worth a look, though they
may belong to a long nominal tail; the confidence of such an image is above one half. Where an almost clean set is not
unlikely (`Threshold.clean` above `UNLIKELY`) the threshold is at least Q3 + 1.5 (Q3 - Q1): otherwise two groups of
nominal images some way apart would be taken for nominal and anomalous halves.

All thresholds move with the scores: threshold(a s + b) = a threshold(s) + b for a > 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from curate.choices import ThresholdMethod
from curate.records import FloatArray, IntArray
from curate.verdicts.mixture import SHARES, Doubles, Mixture, fit_mixture

FEWEST_IMAGES = 8
"""With fewer scores there is no distribution to speak of, and nothing is flagged."""

PUBLISHED_REACH = 1.5
"""How many interquartile ranges the published threshold lies above Q3."""

EVEN = 0.5
"""Confidence below which an image is flagged: anomalous is then likelier than nominal."""

FAR_OUT = 3.0
"""An image so many interquartile ranges above Q3 is flagged even where a long nominal tail is likelier."""

ALMOST_CLEAN, UNLIKELY = 0.03, 0.2
"""If a contamination below the first is likelier than the second, nothing below the published threshold is flagged.

Source: ours, chosen on four sets; see docs/experiments.
"""

BEYOND, HALVINGS = 4.0, 60
"""How far beyond the highest score a threshold is searched, in distances to it from the start; and how exactly."""

RESOLUTION = 1e-5
"""A spread below this share of the largest score is rounding, not spread."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold and what it was made from.

    Attributes:
        value: scores above it (strictly) are anomalous; finite. It may lie above all scores.
        q1, q3: quartiles of all scores.
        contamination: the expected share of anomalous images, 0-1.
        contamination_low, contamination_high: its interval of 90 %.
        clean: how likely it is, 0-1, that the contamination is below `ALMOST_CLEAN`.
        method: how `value` was found.
        fdr: the share of false alarms among the flagged that was allowed instead; None if `method` decided.
        mixture: what the scores say about who is nominal; None where nothing can be flagged.
        note: why nothing can be flagged, in words; "" where something can.
    """

    value: float
    q1: float
    q3: float
    contamination: float
    contamination_low: float
    contamination_high: float
    clean: float
    method: ThresholdMethod
    fdr: float | None
    mixture: Mixture | None
    note: str = ""

    @property
    def may_be_clean(self) -> bool:
        """Whether an almost clean set is not unlikely."""
        return self.clean > UNLIKELY

    def as_json(self) -> dict[str, Any]:
        """Return all but the mixture as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "mixture"}


def find_threshold(
    scores: FloatArray,
    method: ThresholdMethod = ThresholdMethod.MIXTURE,
    *,
    fdr: float | None = None,
    may_be_clean: bool = False,
) -> Threshold:
    """Find the threshold of one set's scores.

    Args:
        scores: (N,) finite, N at least 1; higher is more anomalous.
        method: see the module.
        fdr: flag by q-value instead: at most this share of the flagged, 0-1, is expected to be nominal.
        may_be_clean: an almost clean set is not unlikely, whatever these scores say; see the module.

    Returns:
        A threshold at the largest score where nothing can be flagged: fewer than eight scores, or all equal.
    """
    values = np.sort(scores.astype(np.float64))
    q1, q3 = (float(q) for q in np.quantile(values, (0.25, 0.75)))
    least = RESOLUTION * float(np.abs(values).max())
    note = _why_none(values, least)
    mixture = None if note else fit_mixture(values, least)
    clean = mixture.likely_below(ALMOST_CLEAN) if mixture else 1.0
    published = q3 + PUBLISHED_REACH * max(q3 - q1, least)
    if mixture is None:
        value = float(values[-1])
    elif fdr is not None:
        value = _by_false_discovery(values, mixture, fdr)
    elif method is ThresholdMethod.IQR:
        value = published
    else:
        value = min(_where_even(values, mixture), q3 + FAR_OUT * max(q3 - q1, least))
        value = max(value, published) if may_be_clean or clean > UNLIKELY else value
    return Threshold(
        value=value,
        q1=q1,
        q3=q3,
        contamination=mixture.contamination if mixture else 0.0,
        contamination_low=mixture.contamination_low if mixture else 0.0,
        contamination_high=mixture.contamination_high if mixture else 1.0,
        clean=clean,
        method=method,
        fdr=fdr,
        mixture=mixture,
        note=note,
    )


def relative_scores(values: FloatArray, duplicates: IntArray, threshold: Threshold) -> FloatArray:
    """Return scores relative to a threshold, (N,): 0 at the median, 1 at the threshold, linear.

    Where the median is not below the threshold, 0 is at the first quartile, else at the minimum; all are 0 where all
    values are equal.

    Args:
        values: (N,) scores; higher is more anomalous.
        duplicates: (N,) of equal numbers the first counts.
        threshold: of these scores.
    """
    counted = values[first_of_each(duplicates)]
    below = [q for q in np.quantile(counted, (0.5, 0.25, 0.0)).tolist() if q < threshold.value]
    relative = np.zeros(len(values), dtype=np.float32)
    if below:
        relative[:] = (values.astype(np.float64) - below[0]) / (threshold.value - below[0])
    return relative


def first_of_each(duplicates: IntArray) -> IntArray:
    """Return the index of the first image of each copy number, in the order of the numbers."""
    return np.asarray(np.unique(duplicates, return_index=True)[1], dtype=np.int64)


def _why_none(values: Doubles, least: float) -> str:
    if len(values) < FEWEST_IMAGES:
        count = f"{len(values)} image{' is' if len(values) == 1 else 's are'}"
        return f"{count} too few to judge, {FEWEST_IMAGES} with different pixels are needed"
    if values[-1] - values[0] <= least:
        return "all images score the same"
    return ""


def _by_false_discovery(values: Doubles, mixture: Mixture, fdr: float) -> float:
    """Return the largest score that is not flagged; one below all scores if all are."""
    kept = values[false_discovery_control(mixture.p_value(values)) > fdr]
    return float(kept[-1]) if len(kept) else float(values[0]) - (float(values[-1]) - float(values[0]))


def _where_even(values: Doubles, mixture: Mixture) -> float:
    """Return the score at which the confidence falls to `EVEN`, found by halving; far above all scores if nowhere."""
    low, highest = float(np.quantile(values, 1 - SHARES[-1])), float(values[-1])
    high = highest + BEYOND * max(highest - low, float(mixture.spread.min()))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if mixture.confidence(np.array([middle]))[0] < EVEN:
            high = middle
        else:
            low = middle
    return high
