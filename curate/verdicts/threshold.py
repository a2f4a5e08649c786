"""Where nominal ends: the threshold on the anomaly scores of one nominal set.

`ThresholdMethod.IQR`: Q3 + 1.5 (Q3 - Q1) (Tukey 1977, as Meta-IR uses it). It is masked once a quarter of the set is
anomalous, since Q3 is then anomalous itself.

`ThresholdMethod.MEDIAN`: the median plus three times the median distance from it, in standard deviations of a normal
curve (Hampel 1974; Leys et al. 2013 on the three). Meta-IR's ancestor by the same authors, IRP (arXiv 2408.11561),
rejects by a dynamic median-based threshold that is found anew in every round; its formula is not readable, so the
distance and the three are ours. It is masked later than Q3: only half of a set moves a median at will.

`ThresholdMethod.MIXTURE`: where an image is as likely anomalous as nominal; ours. How likely that is says a mixture
(`curate.verdicts.mixture`), corrected by what planted defects add to a score (`defect_lift`), where there are any. An
image that scores above the nominal middle by `OF_LIFT` times that, and by `LEAST_SPREADS` nominal standard deviations
at least, is as likely anomalous as nominal, whatever the mixture says; one that scores far less is nominal, though it
may be one of a group that stands apart: real defects add about as much as planted ones.

Without planted defects: where an image is as likely anomalous as nominal by the mixture alone. Or above
Q3 + 3 (Q3 - Q1) (Tukey 1977, the outer fence), if that is lower: images so far out are worth a look, though they
may belong to a long nominal tail; the confidence of such an image is above one half. Where an almost clean set is not
unlikely (`Threshold.clean` above `UNLIKELY`) the threshold is at least Q3 + 1.5 (Q3 - Q1): otherwise two groups of
nominal images some way apart would be taken for nominal and anomalous halves.

By q-value instead: between the lowest score that is flagged and the highest that is not. Where there are trusted images
the p-values are conformal (`curate.verdicts.reference`), else those of the mixture.

All thresholds move with the scores: threshold(a s + b) = a threshold(s) + b for a > 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import expit

from curate.choices import ThresholdMethod
from curate.records import FloatArray, IntArray
from curate.verdicts.mixture import SHARES, Doubles, Mixture, fit_mixture
from curate.verdicts.reference import DEFAULT_FDR, NO_SIDE_INFORMATION, Reference, SideInformation, q_values

FEWEST_IMAGES = 8
"""With fewer scores there is no distribution to speak of, and nothing is flagged."""

PUBLISHED_REACH = 1.5
"""How many interquartile ranges the published threshold lies above Q3."""

MEDIAN_REACH, MEDIAN_DISTANCE_OF_NORMAL = 3.0, 0.6745
"""How many standard deviations the median-based threshold lies above the median; and the median distance from it of a
normal curve, in its standard deviations."""

EVEN = 0.5
"""Confidence below which an image is flagged: anomalous is then likelier than nominal."""

FAR_OUT = 3.0
"""An image so many interquartile ranges above Q3 is flagged even where a long nominal tail is likelier."""

ALMOST_CLEAN, UNLIKELY = 0.03, 0.2
"""If a contamination below the first is likelier than the second, nothing below the published threshold is flagged.

Source: ours, chosen on four sets; see docs/experiments.
"""

OF_LIFT, LEAST_SPREADS, FEW_IMAGES = 0.7, 3.0, 30.0
"""How far above the nominal middle an image is as likely anomalous as nominal: in lifts, and in nominal standard
deviations at least; so many more, over the number of images, since the spread of few is less sure.

Source: ours, chosen on the other sets for each that it was judged on; see docs/experiments.
"""

CLEAR, ORDINARY_BASE = 0.75, 0.6
"""The quantile of what planted defects add that counts; and up to which quantile of all scores an image counts as
ordinary before the planting: another defect in it would hide the planted one."""

ALIKE_BELOW, STEEP = 0.7, 4.0
"""An image that scores less than this, relative to that (0 at the nominal middle, 1 at it), is the less likely
anomalous the lower it is; the chance of an anomaly is at least that of a logistic curve so steep. Ours."""

NORMAL_95 = 1.645
"""The quantile of 95 % of a normal curve: an estimate outside the mixture's interval has an interval of its own."""

TELLS_FROM = 2.0
"""Below so many nominal standard deviations, what a planted defect adds cannot be told from nominal variation."""

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
        reference: the scores of trusted images that p-values come from; None where they are model-based.
        mixture: what the scores say about who is nominal; None where nothing can be flagged.
        lift: what a planted defect adds to a score; None where none were planted.
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
    lift: float | None = None
    reference: Reference | None = None
    note: str = ""

    @property
    def cannot_tell(self) -> bool:
        """Whether planted defects score hardly more than nominal images vary: real ones may be there, unseen."""
        if self.mixture is None or self.lift is None:
            return False
        return self.lift < TELLS_FROM * self.mixture.nominal_spread

    def confidence(self, values: FloatArray) -> Doubles:
        """Return (N,) the probability, 0-1, that an image of each score is nominal; 1 where none can be flagged."""
        if self.mixture is None:
            return np.ones(len(values))
        scores = values.astype(np.float64)
        return _confidence(scores, self.mixture, self.lift)

    @property
    def may_be_clean(self) -> bool:
        """Whether an almost clean set is not unlikely."""
        return self.clean > UNLIKELY

    def as_json(self) -> dict[str, Any]:
        """Return all but the mixture and the reference as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("mixture", "reference")}


def find_threshold(
    scores: FloatArray,
    method: ThresholdMethod = ThresholdMethod.MIXTURE,
    *,
    fdr: float | None = None,
    may_be_clean: bool = False,
    lift: float | None = None,
    side: SideInformation = NO_SIDE_INFORMATION,
) -> Threshold:
    """Find the threshold of one set's scores.

    Args:
        scores: (N,) finite, N at least 1; higher is more anomalous.
        method: see the module.
        fdr: flag by q-value instead: at most this share of the flagged, 0-1, is expected to be nominal. None is
            `DEFAULT_FDR` where there is a reference.
        may_be_clean: an almost clean set is not unlikely, whatever these scores say; see the module.
        lift: what a planted defect adds to a score, see `defect_lift`; None where none were planted.
        side: what the user knows of the set.

    Returns:
        A threshold at the largest score where nothing can be flagged: fewer than eight scores, or all equal.
    """
    values = np.sort(scores.astype(np.float64))
    q1, q3 = (float(q) for q in np.quantile(values, (0.25, 0.75)))
    least = RESOLUTION * float(np.abs(values).max())
    note = _why_none(values, least)
    mixture = None if note else fit_mixture(values, least, lift, expected=side.expected)
    reference = None if note else side.reference
    fdr = DEFAULT_FDR if fdr is None and reference is not None else fdr
    if mixture is None:
        value = float(values[-1])
    elif fdr is not None:
        value = _by_false_discovery(scores.astype(np.float64), mixture, fdr, side=side)
    elif method is ThresholdMethod.MIXTURE:
        value = _by_mixture(values, mixture, lift, may_be_clean=may_be_clean)
    else:
        value = _published(values, method, least)
    estimate, low, high = _contamination(values, mixture, lift)
    return Threshold(
        value=value,
        q1=q1,
        q3=q3,
        contamination=estimate,
        contamination_low=low,
        contamination_high=high,
        clean=_likely_clean(mixture),
        method=method,
        fdr=fdr,
        mixture=mixture,
        lift=lift,
        reference=reference,
        note=note,
    )


def _by_mixture(values: Doubles, mixture: Mixture, lift: float | None, *, may_be_clean: bool) -> float:
    if lift is not None:
        return _where_even_for(mixture, lift)
    least = RESOLUTION * float(np.abs(values).max())
    value = min(_where_even(values, mixture), _above_q3(values, FAR_OUT, least))
    if may_be_clean or _likely_clean(mixture) > UNLIKELY:
        return max(value, _above_q3(values, PUBLISHED_REACH, least))
    return value


def _published(values: Doubles, method: ThresholdMethod, least: float) -> float:
    """Return a threshold that looks at quartiles or the median alone."""
    if method is ThresholdMethod.IQR:
        return _above_q3(values, PUBLISHED_REACH, least)
    median = float(np.median(values))
    distance = max(float(np.median(np.abs(values - median))), least)
    return median + MEDIAN_REACH * distance / MEDIAN_DISTANCE_OF_NORMAL


def _above_q3(values: Doubles, reach: float, least: float) -> float:
    q1, q3 = np.quantile(values, (0.25, 0.75))
    return float(q3 + reach * max(q3 - q1, least))


def _likely_clean(mixture: Mixture | None) -> float:
    return mixture.likely_below(ALMOST_CLEAN) if mixture else 1.0


def defect_lift(values: FloatArray, planted: FloatArray, base: IntArray) -> float:
    """Return what a clear planted defect adds to the score of an ordinary image, at least 0.

    Args:
        values: (N,) scores of the images.
        planted: (Q,) scores of planted copies, Q at least 1.
        base: (Q,) the image that each is a copy of.
    """
    ordinary = values[base] <= np.quantile(values, ORDINARY_BASE)
    added = (planted - values[base])[ordinary if ordinary.any() else slice(None)]
    return max(0.0, float(np.quantile(added, CLEAR)))


def _confidence(scores: Doubles, mixture: Mixture, lift: float | None) -> Doubles:
    """Return (N,) how likely an image of each score is nominal; by the mixture alone where no defect was planted."""
    anomalous = 1 - mixture.confidence(scores)
    if lift is None:
        return np.asarray(1 - anomalous)
    relative = (scores - mixture.nominal_middle) / _reach(mixture, lift)
    below = anomalous * np.clip(relative / ALIKE_BELOW, 0, 1) ** 2
    above = np.clip(relative, 0, 1) * expit(STEEP * (relative - 1))
    return np.asarray(1 - np.maximum(below, above))


def _reach(mixture: Mixture, lift: float) -> float:
    """Return how far above the nominal middle an image is as likely anomalous as nominal."""
    return max(OF_LIFT * lift, (LEAST_SPREADS + FEW_IMAGES / mixture.images) * mixture.nominal_spread)


def _contamination(values: Doubles, mixture: Mixture | None, lift: float | None) -> tuple[float, float, float]:
    """Return the estimated share of anomalous images and its interval of 90 %, 0-1."""
    if mixture is None:
        return 0.0, 0.0, 1.0
    if lift is None:
        return mixture.contamination, mixture.contamination_low, mixture.contamination_high
    high = SHARES[-1] if lift < TELLS_FROM * mixture.nominal_spread else mixture.contamination_high
    anomalous = 1 - _confidence(values, mixture, lift)
    estimate, chance = float(anomalous.mean()), float(np.sqrt((anomalous * (1 - anomalous)).sum())) / len(values)
    low, high = min(mixture.contamination_low, estimate - NORMAL_95 * chance), max(high, estimate + NORMAL_95 * chance)
    return estimate, max(0.0, low), min(1.0, high)


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


def _by_false_discovery(scores: Doubles, mixture: Mixture, fdr: float, *, side: SideInformation) -> float:
    """Return the largest score that is not flagged, of images that are not trusted; one below all scores if all are."""
    reference = side.reference
    tested = scores if side.trusted is None or reference is None else scores[~side.trusted]
    p_value = mixture.p_value(tested) if reference is None else reference.p_value(tested)
    kept = tested[q_values(p_value) > fdr]
    lowest, highest = float(scores.min()), float(scores.max())
    if not len(tested):
        return highest
    return float(kept.max()) if len(kept) else lowest - (highest - lowest)


def _where_even_for(mixture: Mixture, lift: float) -> float:
    """Return the score at which the confidence falls to `EVEN`, found by halving, where defects were planted."""
    low = mixture.nominal_middle
    high = low + _reach(mixture, lift)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _confidence(np.array([middle]), mixture, lift)[0] < EVEN:
            high = middle
        else:
            low = middle
    return high


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
