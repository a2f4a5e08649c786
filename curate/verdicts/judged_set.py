"""What is known of a nominal set once it is judged: the values that refinement hands on. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from curate.choices import PValues
from curate.records import Alignment, BoolArray, FloatArray, IntArray, Scores
from curate.verdicts.acquisition import AcquisitionOutlier
from curate.verdicts.power import Power
from curate.verdicts.threshold import Threshold


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one refinement round did to one nominal set: `rejected` and `reinstated` count against the round before."""

    number: int
    images: int
    threshold: Threshold
    kept: int
    rejected: int
    reinstated: int


@dataclass(frozen=True, kw_only=True)
class JudgedSet:
    """Where refinement ended, for the M images of a nominal set: the last round that is believed.

    Attributes:
        views: the scores of each scorer.
        joined: the joined score.
        weights: of each active view in the joined score, by scorer.
        threshold: of the joined score.
        relative: (M,) joined scores relative to the threshold: 0 at the median, 1 at the threshold.
        rejected: (M,) above the threshold and within the rejection cap.
        cap_note: why fewer are rejected than lie above the threshold, one sentence; "" where none is spared.
        round_rejected: (M,) the round since which an image is rejected, from 1; 0 if it is not.
        rounds: in order.
        ended: after how many rounds, and why.
        view_thresholds: of each active view's own scores, by scorer.
        view_relative: (M,) each active view's scores relative to its own threshold, by scorer.
        acquisition_outliers: images in different lighting or focus, the largest difference first.
        alignment: how the images lie.
        power: what planted defects score; None where none were planted.
        trusted: (M,) whether an image is known to be nominal; None if none is.
        trusted_note: why p-values are model-based although images are trusted, one sentence; "" where that is not so.
    """

    views: tuple[Scores, ...]
    joined: Scores
    weights: Mapping[str, float]
    threshold: Threshold
    relative: FloatArray
    rejected: BoolArray
    cap_note: str
    round_rejected: IntArray
    rounds: tuple[Round, ...]
    ended: str
    view_thresholds: Mapping[str, Threshold]
    view_relative: Mapping[str, FloatArray]
    acquisition_outliers: Mapping[int, tuple[AcquisitionOutlier, ...]]
    alignment: Alignment
    power: Power | None = None
    trusted: BoolArray | None = None
    trusted_note: str = ""

    @property
    def may_be_flagged(self) -> BoolArray:
        """(M,) whether an image may be flagged: a trusted one may not, whatever it scores."""
        return np.ones(len(self.relative), dtype=np.bool_) if self.trusted is None else ~self.trusted

    @property
    def p_values(self) -> PValues:
        """What p- and q-values rest on."""
        return PValues.MODEL_BASED if self.threshold.reference is None else PValues.CONFORMAL


@dataclass(frozen=True, kw_only=True)
class OrdinaryElsewhere:
    """An image that is ordinary in another class (LBL003).

    Attributes:
        nominal_set, label: that class, and the nominal set of it that was asked.
        share_above: share of that set's kept images, 0-1, that score higher: from 0.5 on.
        nearest: up to five kept images of it most similar to this one, nearest first; rows of the dataset.
    """

    nominal_set: str
    label: str
    share_above: float
    nearest: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NearOtherClass:
    """An image whose pooled vector lies in another class (LBL002).

    Attributes:
        nominal_set, label: that class, and the nominal set of it that most of the neighbours are of.
        neighbours: how many of the five most similar images are of that set.
        anomalous: whether its patches are anomalous in that set too; None where no view says so.
        votes: of an image that was not rejected, the share of the votes for that class, 0-1, see
            `curate.refinement.confident_labels`; then `anomalous` says whether it scores higher there than half of the
            set's own images. None for a rejected image, of whose most similar images more than half are of that set.
    """

    nominal_set: str
    label: str
    neighbours: int
    anomalous: bool | None
    votes: float | None = None


@dataclass(frozen=True, kw_only=True)
class LabelChecks:
    """What the checks across classes found, by row of the dataset."""

    ordinary: Mapping[int, OrdinaryElsewhere] = field(default_factory=dict)
    near: Mapping[int, NearOtherClass] = field(default_factory=dict)

    def within(self, rows: IntArray) -> LabelChecks:
        """Return the checks on the images of one nominal set, by their index in it."""
        index = {row: i for i, row in enumerate(rows.tolist())}
        return LabelChecks(
            ordinary={index[row]: check for row, check in self.ordinary.items() if row in index},
            near={index[row]: check for row, check in self.near.items() if row in index},
        )


def contamination(judged: Sequence[JudgedSet]) -> dict[str, float]:
    """Return the estimated share of anomalous images over several nominal sets, and its interval of 90 %, 0-1."""
    last = [one.rounds[-1] for one in judged]
    images = sum(one.images for one in last)
    names = {"estimate": "contamination", "low": "contamination_low", "high": "contamination_high"}
    return {key: sum(getattr(one.threshold, name) * one.images for one in last) / images for key, name in names.items()}
