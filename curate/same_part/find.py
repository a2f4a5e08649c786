"""Finds the images that show the same physical part.

    pictures, near -> planted re-shots -> nulls -> looks -> threshold -> pairs -> clusters

Scores of pairs are in deviations above what different parts of the same set score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.progress import Progress, no_progress
from curate.records import BoolArray, FloatArray, IntArray
from curate.same_part.clusters import complete_clusters
from curate.same_part.copies import Copies
from curate.same_part.judge import NEVER, Comparison, prepare, with_nulls
from curate.same_part.looks import Looks
from curate.same_part.planted import ALL_TOGETHER
from curate.same_part.prints import Pictures
from curate.same_part.reshots import Planted, alike_from, judge_reshots, plant_reshots

FALSE_RATE = 1e-6
"""At most one false pair in a million comparisons."""
SAMPLED, PLANTED = 200, 32
"""Images that the nulls are measured on, and that re-shots are planted of: recall to a few percent, at a fixed cost."""


@dataclass(frozen=True, kw_only=True)
class SamePart:
    """Which images show the same part, and how far that can be told.

    Attributes:
        pairs: (P, 2) rows, the smaller first; the highest score first.
        scores: (P,) in deviations above different parts.
        shifts: (P, 2) of the second image onto the first, down and right, as shares of height and width.
        local: (P,) the pair differs locally: a twin with a defect is evidence, and no duplicate.
        local_ratios: (P,) the largest difference of a block beside the limit that the planted re-shots set; above 1 is
            local.
        clusters: (M,) the smallest row of the images that all show the same part; a lone image has its own row.
        decidable: (M,) the image shows something, and could be compared.
        threshold: the least score of a pair; infinite if nothing could be compared, or no planted re-shot is found with
            all changes together.
        recall: the share of planted re-shots that is found, by kind; empty if none could be planted.
        undecidable: the share of images whose second shot would not be found.
        false_rate: estimated share of different pairs above the threshold.
        compared: how many pairs were compared.
        unread: how many images could not be read again; they are undecidable.
        copies: images that are copies of one file, and so were not compared; None if they were not looked for.
    """

    pairs: IntArray
    scores: FloatArray
    shifts: FloatArray
    local: BoolArray
    local_ratios: FloatArray
    clusters: IntArray
    decidable: BoolArray
    threshold: float
    recall: Mapping[str, float]
    undecidable: float
    false_rate: float
    compared: int
    unread: int
    copies: Copies | None = None

    def of_first(self, count: int) -> SamePart:
        """Return what is said of the first images; what the search was worth is that of all."""
        among = (self.pairs < count).all(axis=1)
        columns = ("pairs", "scores", "shifts", "local", "local_ratios")
        rows: dict[str, Any] = {name: getattr(self, name)[among] for name in columns}
        rows |= {name: getattr(self, name)[:count] for name in ("clusters", "decidable")}
        return replace(self, **rows, copies=None if self.copies is None else self.copies.of_first(count))


def find_same_part(
    pictures: Pictures,
    near: IntArray,
    groups: IntArray,
    *,
    seed: int,
    false_rate: float = FALSE_RATE,
    progress: Progress = no_progress,
) -> SamePart:
    """Return the pairs of images that show the same physical part, by a threshold of the set's own.

    Args:
        pictures: of the M images.
        near: (M, C) rows, the nearest first; -1 for none. Compared are the first CANDIDATES; all show the product.
        groups: (M,) leakage groups: pairs within one are known, and are not compared.
        seed: of the sample and of the planted re-shots.
        false_rate: the share of different pairs that may be taken for the same part.
        progress: called with the number of images just compared.

    Source: ours.
    """
    looks = compare_all(pictures, near, groups, seed=seed, false_rate=false_rate, progress=progress)
    threshold = looks.threshold()
    looks.complete(threshold)
    pairs, scores, shifts, local = looks.pairs(threshold)
    ratios = (local / looks.reshots.local_limits(threshold)).max(axis=1)
    recall = looks.reshots.recall(threshold)
    return SamePart(
        pairs=pairs,
        scores=scores,
        shifts=shifts,
        local=ratios > 1,
        local_ratios=ratios,
        clusters=complete_clusters(pairs[ratios <= 1], groups),
        decidable=looks.judged,
        threshold=threshold,
        recall=recall,
        undecidable=1 - recall.get(ALL_TOGETHER, 0.0) * float(looks.judged.mean()) if len(near) else 1.0,
        false_rate=looks.false_rate(threshold) if np.isfinite(threshold) else 0.0,
        compared=len(looks.scores()[0]),
        unread=pictures.prints.unread,
    )


def compare_all(
    pictures: Pictures,
    near: IntArray,
    groups: IntArray,
    *,
    seed: int,
    false_rate: float = FALSE_RATE,
    progress: Progress = no_progress,
) -> Looks:
    """Compare each image to its candidates; see `find_same_part`."""
    generator = np.random.default_rng(seed)
    images = prepare(pictures.prints, near, groups, generator=generator)
    comparable = np.flatnonzero([images.can_compare(row) for row in range(len(near))])
    sample = generator.permutation(comparable)[:SAMPLED]
    planted = plant_reshots(pictures.read, sample[:PLANTED], generator)
    progress(len(near) - len(comparable))
    looks = _compare_sample(images, planted, sample, seed=seed, false_rate=false_rate)
    looks.compare(comparable.tolist(), progress=progress)
    return looks


def _compare_sample(images: Comparison, planted: Planted, sample: IntArray, *, seed: int, false_rate: float) -> Looks:
    """Compare the sample, with references that bursts cannot spoil where that finds more."""

    def compared(images: Comparison) -> Looks:
        images = with_nulls(images, sample, np.random.default_rng(seed))
        looks = Looks(images, judge_reshots(images, planted), measured=len(sample), false_rate=false_rate)
        looks.compare(sample.tolist())
        return looks

    either = alike_from(images, planted)
    looks = compared(replace(images, alike=either[0]) if either else images)
    if either and looks.crowded():
        apart = [compared(replace(images, alike=alike, apart=True)) for alike in either]
        looks = max(looks, *apart, key=Looks.worth)
    if not looks.images.apart:
        looks.images = replace(looks.images, alike=NEVER)  # crowds need not be counted any more
    return looks
