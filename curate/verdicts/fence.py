"""Where nominal ends: a fence on the anomaly scores of one set.

All fences move with the scores: fence(a * s + b) = a * fence(s) + b for a > 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np

from curate.records import FloatArray
from curate.verdicts.mixture import SHARES, Doubles, Mixture, fit_mixture
from curate.verdicts.significance import q_values

FEWEST_IMAGES = 8
"""Below so many scores there is no distribution to speak of, and nothing is flagged."""

PUBLISHED_REACH = 1.5
"""How many interquartile ranges the published fence stands above Q3."""

EVEN = 0.5
"""Confidence below which an image is flagged: anomalous is then likelier than nominal. See `FAR_OUT`, too."""

FAR_OUT = 3.0
"""An image that stands so many interquartile ranges above Q3 is flagged even where a long nominal tail is likelier."""

ALL_BUT_CLEAN, UNLIKELY = 0.03, 0.2
"""Where so small a contamination, 0-1, is likelier than this, nothing below the published fence is flagged.

Measured on single passes over the four sets (tried by hand; both backbones, 84 draws; 116 clean parts of them and of
turned and drawn sets): of 0.05, 0.1, 0.2, 0.3 and 0.5 the mean F1 is 64.0, 65.9, 67.3, 67.3 and 67.5 %, with 1.3 % of
clean images flagged throughout; of 20 images of a clean set 2.7, 3.1, 3.6, 3.8 and 3.9 % are flagged.
"""

BEYOND, HALVINGS = 4.0, 60
"""How far beyond the highest score a fence is looked for, in distances to it from the start; and how exactly."""

RESOLUTION = 1e-5
"""A spread below this share of the largest score is rounding, not spread."""


class Method(StrEnum):
    """How the fence is found.

    IQR: Q3 + 1.5 (Q3 - Q1) (Tukey 1977, as Meta-IR uses it). Masked once a quarter of the set is anomalous, since Q3
        is then anomalous itself.
    MIXTURE: where an image is as likely anomalous as nominal; see `curate.verdicts.mixture`. Ours. Or where it is far
        out, above Q3 + 3 (Q3 - Q1) (Tukey 1977, the outer fence), if that is lower: a handful of images far out are
        worth a look, though the scores alone cannot say whether the set just has a long tail. The confidence of such
        an image is above one half. Where an all but clean set is not unlikely (`Fence.clean` is above `UNLIKELY`) the
        fence lies at Q3 + 1.5 (Q3 - Q1) at least: two kinds of nominal images, some way apart, would otherwise be taken
        for nominal and anomalous halves.
    """

    IQR = "iqr"
    MIXTURE = "mixture"


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A fence and what it was made from.

    Attributes:
        value: scores above it (strictly) are anomalous; finite. It may lie above all scores.
        q1, q3: quartiles of all scores.
        contamination: the expected share of anomalous images, 0-1.
        contamination_low, contamination_high: its interval of 90 %.
        clean: how likely it is, 0-1, that the share is below `ALL_BUT_CLEAN`.
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
    method: Method
    fdr: float | None
    mixture: Mixture | None
    note: str = ""

    @property
    def may_be_clean(self) -> bool:
        """Whether an all but clean set is not unlikely."""
        return self.clean > UNLIKELY

    def as_json(self) -> dict[str, Any]:
        """Return all but the mixture as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "mixture"}


def fence(
    scores: FloatArray, method: Method = Method.MIXTURE, *, fdr: float | None = None, may_be_clean: bool = False
) -> Fence:
    """Find the fence of one set's scores.

    Args:
        scores: (N,) finite, N at least 1; higher is more anomalous.
        method: see `Method`.
        fdr: flag by q-value instead: all that score so high that at most this share of them, 0-1, is expected to be
            nominal.
        may_be_clean: that the set is all but clean is not unlikely, whatever these scores say; see `Method`.

    Returns:
        A fence with the largest score as its value where nothing can be flagged: fewer than eight scores,
        or all equal.
    """
    values = np.sort(scores.astype(np.float64))
    q1, q3 = (float(q) for q in np.quantile(values, (0.25, 0.75)))
    least = RESOLUTION * float(np.abs(values).max())
    note = _why_none(values, least)
    mixture = None if note else fit_mixture(values, least)
    clean = mixture.likely_below(ALL_BUT_CLEAN) if mixture else 1.0
    if mixture is None:
        place = float(values[-1])
    elif fdr is not None:
        place = _by_false_discovery(values, mixture, fdr)
    elif method is Method.IQR:
        place = q3 + PUBLISHED_REACH * max(q3 - q1, least)
    else:
        spread = max(q3 - q1, least)
        place = min(_where_even(values, mixture), q3 + FAR_OUT * spread)
        if may_be_clean or clean > UNLIKELY:
            place = max(place, q3 + PUBLISHED_REACH * spread)
    return Fence(
        value=place,
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


def _why_none(values: Doubles, least: float) -> str:
    if len(values) < FEWEST_IMAGES:
        return f"{len(values)} images are too few to judge, {FEWEST_IMAGES} are needed"
    if values[-1] - values[0] <= least:
        return "all images score the same"
    return ""


def _by_false_discovery(values: Doubles, mixture: Mixture, fdr: float) -> float:
    """Return the largest score that is not flagged; one below all scores if all are."""
    kept = values[q_values(mixture.p_value(values)) > fdr]
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
