"""Which images belong to another class? Two checks, once every nominal set is judged.

*Ordinary in another class* (LBL003). A folder of defects is varied, so its threshold lies far above a good part
that strayed into it. But the good part is ordinary among the good ones, and a defect is not. So each image is scored,
by `neighbours`, against the *tightest* class, the one whose own images have the lowest median score. It is ordinary
there where it scores no higher than the median of that class's own images. (Of a class of several subpopulations, each
is asked.) A loose class is not asked: nearly everything is ordinary in it.

*Near another class* (LBL002). Of the rejected images, those whose most similar images by pooled vectors are mostly of
one other class. And of all images, those whose label confident learning contradicts (`confident_labels`); this needs
no scores, so that classes of three images are checked too. A pooled vector does not see a small defect: whether the
patches are anomalous there is checked too. For an image that was not rejected they must be as ordinary as above.

Source: ours. By construction half of the strayed images are found, those more ordinary than the median;
examples/bench/good_among_defects.py measures it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from curate.partition.nominal_sets import NominalSet, names_of
from curate.progress import Progress, no_progress
from curate.records import BoolArray, EmbeddedImages, FloatArray, IntArray
from curate.refinement.confident_labels import ConfidentLabel, confident_labels
from curate.scores.neighbours import NeighbourScores, score_against
from curate.scores.similar import similar_images
from curate.verdicts.judge import PATCH_VIEW, POOLED_NEIGHBOURS
from curate.verdicts.judged_set import JudgedSet, LabelChecks, NearOtherClass, OrdinaryElsewhere

FEWEST_IMAGES = 16
"""Kept images that a nominal set must have to be asked about images of other classes."""

NEAREST_NAMED = 5
"""Images of the other class that are named, to look at."""


def check_labels(
    images: EmbeddedImages,
    sets: Sequence[NominalSet],
    judged: Sequence[JudgedSet],
    *,
    progress: Progress = no_progress,
) -> LabelChecks:
    """Find the images that belong to another class.

    Args:
        images: the whole dataset.
        sets, judged: its nominal sets, and where refinement of each ended.
        progress: called with the number of images just finished; all of them where `checks_labels` says so.

    Returns:
        By row of the dataset. `ordinary` is empty where the scorer `neighbours` did not run: no other view can judge
        an image in a set that it is not of.
    """
    if len({one.label for one in sets}) < 2:
        return LabelChecks()
    rejected = np.zeros(len(images), dtype=np.bool_)
    for one, result in zip(sets, judged, strict=True):
        rejected[one.rows] = result.rejected
    near = near_other_class(images, sets, np.flatnonzero(rejected), contradicted=confident_labels(images))
    members = [Members.of(*pair) for pair in zip(sets, judged, strict=True)]
    if any(one is None for one in members):
        return LabelChecks(near=near)
    classes = Classes(images, tuple(one for one in members if one is not None), ~rejected)
    return LabelChecks(near=classes.anomalous_there(near), ordinary=classes.ordinary(progress=progress))


def checks_labels(labels: Sequence[str], scorers: Sequence[str]) -> bool:
    """Return whether `check_labels` scores images against another class, which takes time."""
    return len(set(labels)) > 1 and PATCH_VIEW in scorers


def near_other_class(
    images: EmbeddedImages,
    sets: Sequence[NominalSet],
    rejected: IntArray,
    *,
    contradicted: Mapping[int, ConfidentLabel] = MappingProxyType({}),
) -> dict[int, NearOtherClass]:
    """Find the images that lie in another class by their pooled vectors.

    Args:
        images: the whole dataset.
        sets: its nominal sets.
        rejected: (R,) rows.
        contradicted: by row, what confident learning says instead of the label.

    Returns:
        By row; `anomalous` is None.
    """
    rows = np.union1d(rejected, np.array(sorted(contradicted), dtype=np.int64))
    if not len(rows):
        return {}
    names, label_of = names_of(sets), {one.name: one.label for one in sets}
    near = similar_images(images.embeddings, images.duplicates, POOLED_NEIGHBOURS, rows=rows).near
    near_others = {}
    for row, similar in zip(rows.tolist(), near.tolist(), strict=True):
        counts = Counter(names[other] for other in similar if other >= 0)
        other = contradicted.get(row)
        if other is not None:
            counts = Counter({name: counts[name] for name, label in label_of.items() if label == other.label})
        name, count = counts.most_common(1)[0] if counts else (names[row], 0)
        label = label_of[name]
        if other is not None or (label and label != label_of[names[row]] and 2 * count > POOLED_NEIGHBOURS):
            votes = None if other is None or row in rejected else other.probability
            near_others[row] = NearOtherClass(
                nominal_set=name, label=label, neighbours=count, anomalous=None, votes=votes
            )
    return near_others


@dataclass(frozen=True, kw_only=True)
class Members:
    """A nominal set as `neighbours` judged it.

    Attributes:
        nominal_set: see there.
        scores: of the set's images.
        threshold: of these scores; None where nothing can be flagged.
    """

    nominal_set: NominalSet
    scores: NeighbourScores
    threshold: float | None

    @classmethod
    def of(cls, nominal_set: NominalSet, judged: JudgedSet) -> Members | None:
        """Return what `neighbours` says of a set; None where it did not run."""
        for view in judged.views:
            if isinstance(view, NeighbourScores):
                threshold = judged.view_thresholds.get(view.scorer)
                value = None if threshold is None or threshold.note else threshold.value
                return cls(nominal_set=nominal_set, scores=view, threshold=value)
        return None


@dataclass(frozen=True)
class Classes:
    """The nominal sets of a dataset, asked about images of other classes.

    Attributes:
        images: the whole dataset.
        members: its nominal sets.
        kept: (N,) whether an image speaks for its class: it is not rejected in it.
    """

    images: EmbeddedImages
    members: tuple[Members, ...]
    kept: BoolArray

    def ordinary(self, *, progress: Progress = no_progress) -> dict[int, OrdinaryElsewhere]:
        """Find the images of looser classes that are as ordinary in the tightest class as half of its own.

        Returns:
            By row. Nothing where no set has sixteen kept images that differ in score.
        """
        medians = self._medians()
        if not medians:
            progress(len(self.images))
            return {}
        by_name = {one.nominal_set.name: one for one in self.members}
        tightest = by_name[min(medians, key=medians.__getitem__)].nominal_set.label
        ordinary: dict[int, OrdinaryElsewhere] = {}
        asked = [name for name in sorted(medians) if by_name[name].nominal_set.label == tightest]
        for number, name in enumerate(asked):
            checks = self._ordinary_in(by_name[name], medians[name], progress=progress if number == 0 else no_progress)
            for row, check in checks.items():
                ordinary[row] = max(ordinary.get(row, check), check, key=lambda one: one.share_above)
        return ordinary

    def _medians(self) -> dict[str, float]:
        """Return the median score of the kept images of each set that has enough of them, by name."""
        medians = {}
        for one in self.members:
            kept = one.scores.values[self.kept[one.nominal_set.rows]]
            if len(kept) >= FEWEST_IMAGES and np.ptp(kept) > 0:
                medians[one.nominal_set.name] = float(np.median(kept))
        return medians

    def _ordinary_in(self, own: Members, median: float, *, progress: Progress) -> dict[int, OrdinaryElsewhere]:
        """Find the images of looser classes that score no higher in a set than the median of its own."""
        others = [one for one in self.members if one.nominal_set.label != own.nominal_set.label]
        looser = [one.nominal_set.rows for one in others if np.median(one.scores.values) > median]
        asked = np.concatenate([np.zeros(0, dtype=np.int64), *looser])
        progress(len(self.images) - len(asked))
        values = self._scores_in(own, asked, progress=progress)
        low = values <= median  # false for one that could not be compared
        kept = own.scores.values[self.kept[own.nominal_set.rows]]
        embeddings, groups = self.images.embeddings, self.images.groups
        near = similar_images(embeddings, groups, NEAREST_NAMED, rows=asked[low], allowed=self._speaking(own)).near
        return {
            row: OrdinaryElsewhere(
                nominal_set=own.nominal_set.name,
                label=own.nominal_set.label,
                share_above=float((kept > value).mean()),
                nearest=tuple(other for other in similar if other >= 0),
            )
            for row, value, similar in zip(asked[low].tolist(), values[low].tolist(), near.tolist(), strict=True)
        }

    def anomalous_there(self, near: Mapping[int, NearOtherClass]) -> dict[int, NearOtherClass]:
        """Say of images near another class whether their patches are anomalous there, where the set could be judged."""
        checked = dict(near)
        for own in self.members:
            asked = [row for row, check in near.items() if check.nominal_set == own.nominal_set.name]
            if own.threshold is None or not asked:
                continue
            ordinary = float(np.median(own.scores.values[self.kept[own.nominal_set.rows]]))
            values = self._scores_in(own, np.array(asked, dtype=np.int64)).tolist()
            for row, value in zip(asked, values, strict=True):
                most = own.threshold if near[row].votes is None else ordinary
                checked[row] = replace(near[row], anomalous=None if np.isnan(value) else value > most)
        return checked

    def _speaking(self, own: Members) -> BoolArray:
        """Return (N,) whether an image is a kept one of a set."""
        speaking = np.zeros(len(self.images), dtype=np.bool_)
        rows = own.nominal_set.rows
        speaking[rows] = self.kept[rows]
        return speaking

    def _scores_in(self, own: Members, asked: IntArray, *, progress: Progress = no_progress) -> FloatArray:
        """Return the scores of some images against the kept images of a set; nan where none can be compared."""
        embeddings, groups = self.images.embeddings, self.images.groups
        bank, config = self._speaking(own), own.scores.config
        return score_against(embeddings, groups, asked, bank=bank, config=config, progress=progress)
