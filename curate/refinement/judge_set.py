"""Judge one nominal set: score it, find the threshold, reject, learn again from what is left, until nothing changes.

Source: Meta-IR (arXiv 2503.01569), iterative rejection with a threshold that is found anew in every round. Differs:
every round scores all images, also rejected ones, so that an image can come back; the rejection cap limits what is
rejected; and a round that estimates more contamination than the interval of the first round allows is not believed,
since rejecting the tail of a nominal set makes the rest look more anomalous, and rounds would run away.

Trusted images are always learnt from and never rejected. Those outside the dataset, and planted copies, are scored with
the dataset's own images, and what is handed on speaks of the dataset's own alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curate.config import ScanConfig
from curate.progress import Progress, no_progress
from curate.records import BoolArray, EmbeddedImages, FloatArray, IntArray, Scores
from curate.scores.alignment import measure_alignment
from curate.scores.base import Guide, Scorer
from curate.scores.joined import active_views, join
from curate.verdicts.acquisition import acquisition_outliers
from curate.verdicts.judged_set import JudgedSet, Round
from curate.verdicts.power import Power, power_of
from curate.verdicts.reference import FEWEST_TRUSTED, Reference, SideInformation, make_reference
from curate.verdicts.rejection_cap import RejectionCap
from curate.verdicts.threshold import Threshold, defect_lift, find_threshold, first_of_each, relative_scores

log = logging.getLogger(__name__)

CHANGED_SHARE = 0.001
"""Rounds end when fewer than this share of the images changes sides."""

ONE_GROUP = "all images are of one group, and images of one group are not compared with each other"
"""Why nothing can be judged where the column `group` has one value, or all images show the same part."""


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """What scoring a set once led to; the attributes are those of `JudgedSet`."""

    views: tuple[Scores, ...]
    joined: Scores
    weights: dict[str, float]
    threshold: Threshold
    relative: FloatArray
    rejected: BoolArray
    cap_note: str
    power: Power | None


def judge_set(
    images: EmbeddedImages, scorers: Sequence[Scorer], config: ScanConfig, *, progress: Progress = no_progress
) -> JudgedSet:
    """Score, threshold and refine one nominal set.

    Args:
        images: the M images of the set, those outside the dataset included, one of the dataset's own at least.
        scorers: the views, in the order in which they run: one that keeps a meta-set before those that use it.
        config: `rounds`, `threshold`, `fdr`, `expected`, `max_share`, `min_keep` count.
        progress: called with the number of images just finished: M a scorer and round, a round that is not needed
            counts as done.

    Returns:
        Of the dataset's own images alone.

    Raises:
        CouldNotFinish: a descriptor is not finite, or faiss is not installed.
    """
    return _Refinement(images, scorers, config, progress=progress).run()


class _Refinement:
    """The rounds of one nominal set."""

    def __init__(
        self, images: EmbeddedImages, scorers: Sequence[Scorer], config: ScanConfig, *, progress: Progress
    ) -> None:
        self._images, self._scorers, self._config, self._progress = images, scorers, config, progress
        self._alignment = measure_alignment(images.embeddings, images.groups)
        self._listed, self._planted = images.listed, images.planted
        self._duplicates = images.duplicates[: self._listed]
        self._trusted = None if images.trusted is None else images.trusted[: self._listed]
        self._scored, self._scored_groups = images.embeddings, images.groups
        if self._planted is not None:
            self._scored = images.embeddings.followed_by(self._planted.embeddings)
            self._scored_groups = np.concatenate([images.groups, images.groups[self._planted.base]])
        self._cap = RejectionCap(max_share=config.max_share, min_keep=config.min_keep)

    def run(self) -> JudgedSet:
        """Go through the rounds; the last one that is believed stands."""
        count, rounds = self._listed, self._config.rounds
        rejected, since = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.int64)
        first = last = self._pass(~rejected, (), may_be_clean=False)
        story, seen, ended = list[Round](), set[bytes](), ""
        for number in range(1, rounds + 1):
            now = first
            if number > 1:
                now = self._pass(~rejected, last.views, may_be_clean=first.threshold.may_be_clean)
            ran_away = _ran_away(first.threshold, now.threshold)
            if number == 1 or not ran_away:
                last = now
                story.append(_round(number, now, before=rejected))
                since = np.where(now.rejected, np.where(since > 0, since, number), 0)
            seen.add(rejected.tobytes())
            ended = ran_away or _why_ended(rejected, last.rejected, seen)
            rejected = last.rejected
            if ended:
                self._progress(len(self._scored) * len(self._scorers) * (rounds - number))
                break
        ended = f"after {number} of {rounds}: {ended or 'no more were asked for'}"
        log.info("rounds ended %s", ended)
        return self._judged(last, since, rounds=tuple(story), ended=ended)

    def _pass(self, nominal: BoolArray, before: Sequence[Scores], *, may_be_clean: bool) -> _Pass:
        """Score all images once, having learnt from the nominal ones, and find the threshold."""
        config, duplicates = self._config, self._duplicates
        views = self._views(nominal, before)
        joined, weights = join(views, self._images.duplicates)
        values, joined = joined.values, _first(joined, len(nominal))
        threshold = find_threshold(
            joined.values[first_of_each(duplicates)],
            config.threshold,
            fdr=config.fdr,
            may_be_clean=may_be_clean,
            lift=self._lift(values),
            side=self._side(self._reference(values)),
        )
        if threshold.note and not _comparable(self._images):
            threshold = replace(threshold, note=ONE_GROUP)
        relative = relative_scores(joined.values, duplicates, threshold)
        asked = relative if self._trusted is None else np.where(self._trusted, np.minimum(relative, 1), relative)
        rejected, note = self._cap.reject(asked) if not threshold.note else (np.zeros(len(relative), np.bool_), "")
        return _Pass(
            views=views,
            joined=joined,
            weights=dict(weights),
            threshold=threshold,
            relative=relative,
            rejected=rejected,
            cap_note=note,
            power=None if self._planted is None else power_of(self._planted, values[len(self._images) :], threshold),
        )

    def _lift(self, values: FloatArray) -> float | None:
        """Return what planted defects add to the scores of the images, which stand before those of planted copies."""
        if not self._planted or not len(self._planted):
            return None
        count = len(self._images)
        return defect_lift(values[:count], values[count:], self._planted.base)

    def _reference(self, values: FloatArray) -> Reference | None:
        trusted = self._images.trusted
        return (
            None if trusted is None else make_reference(values[: len(trusted)][trusted], self._images.groups[trusted])
        )

    def _side(self, reference: Reference | None = None) -> SideInformation:
        trusted = None if self._trusted is None else self._trusted[first_of_each(self._duplicates)]
        return SideInformation(expected=self._config.expected_shares, reference=reference, trusted=trusted)

    def _trusted_note(self, threshold: Threshold) -> str:
        trusted = self._images.trusted
        if trusted is None or threshold.reference is not None or threshold.note:
            return ""
        count = len(np.unique(self._images.groups[trusted]))
        noun = "trusted image is" if count == 1 else "trusted images are"
        return f"{count} {noun} of this nominal set, each part counted once, and {FEWEST_TRUSTED} are needed"

    def _views(self, nominal: BoolArray, before: Sequence[Scores]) -> tuple[Scores, ...]:
        """Score the images, those outside the dataset and planted copies; nothing is learnt from a planted copy."""
        models = {scores.scorer: scores.model for scores in before}
        learnable = np.zeros(len(self._scored), dtype=np.bool_)
        learnable[: len(self._images)] = True
        learnable[: len(nominal)] = nominal
        views: list[Scores] = []
        for scorer in self._scorers:
            guide = Guide(
                nominal=learnable,
                meta_set=next((view.meta_set.final for view in views if view.meta_set is not None), None),
                model=models.get(scorer.name),
                alignment=self._alignment,
            )
            views.append(scorer.score(self._scored, self._scored_groups, guide=guide, progress=self._progress))
        return tuple(views)

    def _judged(self, last: _Pass, since: IntArray, *, rounds: tuple[Round, ...], ended: str) -> JudgedSet:
        images, count, duplicates = self._images, self._listed, self._duplicates
        first = first_of_each(duplicates)
        active = active_views(last.views)
        thresholds = {
            view.scorer: find_threshold(
                view.values[:count][first],
                self._config.threshold,
                lift=self._lift(view.values),
                side=self._side(),
            )
            for view in active
        }
        last = replace(last, views=tuple(_first(view, count) for view in last.views))
        return JudgedSet(
            **vars(last),
            round_rejected=since,
            rounds=rounds,
            ended=ended,
            view_thresholds=thresholds,
            view_relative={
                v.scorer: relative_scores(v.values[:count], duplicates, thresholds[v.scorer]) for v in active
            },
            acquisition_outliers={}
            if images.optics is None or last.threshold.note
            else acquisition_outliers(images.optics[:count], duplicates),
            alignment=self._alignment,
            trusted=self._trusted,
            trusted_note=self._trusted_note(last.threshold),
        )


def _first(scores: Scores, count: int) -> Scores:
    """Return the scores of the first images; neighbours and members of the meta-set that are others are left out."""
    if len(scores.values) == count:
        return scores
    near = scores.neighbours[:count]
    near = np.where(near < count, near, -1)
    near = np.take_along_axis(near, np.argsort(near < 0, axis=1, kind="stable"), axis=1)  # -1 stands at the end
    meta_set = scores.meta_set
    if meta_set is not None:
        meta_set = replace(meta_set, members=tuple(members[members < count] for members in meta_set.members))
    return replace(scores, values=scores.values[:count], maps=scores.maps[:count], neighbours=near, meta_set=meta_set)


def _comparable(images: EmbeddedImages) -> bool:
    """Return whether any two images with different pixels may speak for each other."""
    return len(np.unique(images.groups)) > 1 or len(np.unique(images.duplicates)) == 1


def _why_ended(before: BoolArray, now: BoolArray, seen: set[bytes]) -> str:
    """Say why no further round is needed; "" where one is."""
    if (now != before).mean() < CHANGED_SHARE:
        return "nothing changes any more"
    return "the same images as in an earlier round came out" if now.tobytes() in seen else ""


def _ran_away(first: Threshold, now: Threshold) -> str:
    """Say why a round is not believed; "" where it is."""
    most = first.contamination_high
    if now.contamination <= most:
        return ""
    return (
        f"{100 * now.contamination:.0f} % of the images would be anomalous, {100 * most:.0f} % at most by the first "
        "round; the round before stands"
    )


def _round(number: int, now: _Pass, *, before: BoolArray) -> Round:
    return Round(
        number=number,
        images=len(before),
        threshold=now.threshold,
        kept=int((~now.rejected).sum()),
        rejected=int((now.rejected & ~before).sum()),
        reinstated=int((before & ~now.rejected).sum()),
    )
