"""Finds the images that show the same physical part.

    pictures, near -> prints -> nulls -> planted re-shots -> looks -> threshold -> pairs -> clusters

Scores of pairs are in deviations above what different parts of the same set score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curate.progress import Progress, no_progress
from curate.records import BoolArray, FloatArray, IntArray
from curate.same_part.clusters import complete_clusters, components
from curate.same_part.copies import Copies
from curate.same_part.judge import Comparison, prepare, with_nulls
from curate.same_part.null import Tail, measure_tail, rate_above, threshold_for
from curate.same_part.planted import ALL_TOGETHER, plant
from curate.same_part.prints import SIDE_PX, Pictures, Read

FALSE_RATE = 1e-6
"""At most one false pair in a million comparisons."""
SAMPLED, PLANTED = 200, 32
"""Images that the nulls are measured on, and that re-shots are planted of: recall to a few percent, at a fixed cost."""
WEAK = 0.1
"""The planted re-shot at this quantile stands for the weakest that must be found."""
LOCAL_QUANTILE, LOCAL_MARGIN = 0.99, 1.25
"""A pair differs locally if it does so by a quarter more than 99 % of the planted re-shots, which do not."""
SMALLEST_LIMIT = 1.0
"""A difference that noise explains is none, however few re-shots are found."""
COMPLETED = 32
"""Largest component whose images are compared all with all; a larger one is hardly one part."""


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
    copies: Copies | None = None


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
        near: (M, C) rows to compare each image to, the nearest first; -1 for none.
        groups: (M,) leakage groups: pairs within one are known, and are not compared.
        seed: of the sample and of the planted re-shots.
        false_rate: the share of different pairs that may be taken for the same part.
        progress: called with the number of images finished.

    Source: ours.
    """
    generator = np.random.default_rng(seed)
    images = prepare(pictures.prints, near, groups)
    decidable = np.array([images.can_compare(row) for row in range(len(near))], bool)
    sample = generator.permutation(np.flatnonzero(decidable))[:SAMPLED]
    images = with_nulls(images, sample, generator)
    reshots = _judge_planted(images, sample[:PLANTED], read=pictures.read, generator=generator)
    least = max(threshold_for(false_rate, len(sample)), reshots.midway) if len(sample) else np.inf
    looked = _Looked(images, least)
    for row in range(len(near)):
        if decidable[row]:
            looked.compare(row, near[row])
        progress(1)
    tail = looked.tail()
    threshold = max(least, tail.threshold(false_rate))
    recall = reshots.recall(threshold)
    if not recall.get(ALL_TOGETHER):
        threshold = np.inf  # what finds no planted re-shot cannot tell a real one
    looked.complete(threshold)
    pairs, scores, shifts, local = looked.pairs(threshold)
    ratios = (local / reshots.local_limits(threshold)).max(axis=1)
    return SamePart(
        pairs=pairs,
        scores=scores,
        shifts=shifts,
        local=ratios > 1,
        local_ratios=ratios,
        clusters=complete_clusters(pairs[ratios <= 1], groups),
        decidable=decidable,
        threshold=threshold,
        recall=recall,
        undecidable=1 - recall.get(ALL_TOGETHER, 0.0) * float(decidable.mean()) if len(near) else 1.0,
        false_rate=max(rate_above(threshold, len(sample)), tail.rate(threshold)) if np.isfinite(threshold) else 0.0,
        compared=len(looked.scores),
    )


@dataclass(frozen=True, kw_only=True)
class _Reshots:
    """How planted re-shots compare to their originals: scores (planted,) and local differences (planted, 2) by kind."""

    scores: Mapping[str, FloatArray]
    local: Mapping[str, FloatArray]

    @property
    def midway(self) -> float:
        """Return the middle between different parts, 0, and the weak re-shots: both have room there."""
        return float(np.quantile(self.scores[ALL_TOGETHER], WEAK)) / 2 if self.scores else 0.0

    def recall(self, threshold: float) -> dict[str, float]:
        return {kind: float(np.mean(scores >= threshold)) for kind, scores in self.scores.items()}

    def local_limits(self, threshold: float) -> FloatArray:
        """Return the limits (2,) of the local difference in the middle and at the rim, from the re-shots found."""
        found = [self.local[kind][scores >= threshold] for kind, scores in self.scores.items()]
        ratios = np.concatenate([np.full((1, 2), SMALLEST_LIMIT, np.float32), *found])
        limits: FloatArray = LOCAL_MARGIN * np.quantile(ratios, LOCAL_QUANTILE, axis=0).astype(np.float32)
        return limits


def _judge_planted(images: Comparison, rows: IntArray, *, read: Read, generator: np.random.Generator) -> _Reshots:
    scores: dict[str, list[float]] = {}
    local: dict[str, list[FloatArray]] = {}
    for row in rows.tolist():
        for kind, pixels in plant(read(row), generator).items():
            judged = images.judge(row, np.array([row]), least=-np.inf, pixels=pixels)
            scores.setdefault(kind, []).append(float(judged.scores[0]))
            local.setdefault(kind, []).append(judged.local[0])
    return _Reshots(
        scores={kind: np.array(values, np.float32) for kind, values in scores.items()},
        local={kind: np.array(values, np.float32) for kind, values in local.items()},
    )


class _Looked:
    """The scores of all pairs that were compared, and what else is known of those at `least` or above."""

    def __init__(self, images: Comparison, least: float) -> None:
        self.images = images
        self.least = least
        self.scores: dict[tuple[int, int], float] = {}
        self.details: dict[tuple[int, int], tuple[FloatArray, FloatArray]] = {}

    def compare(self, row: int, rows: IntArray) -> None:
        """Compare an image to others; of two looks at a pair, the higher score counts."""
        rows = self.images.candidates(row, rows)
        if not len(rows):
            return
        judged = self.images.judge(row, rows, least=self.least)
        for other, score, shift, local in zip(rows.tolist(), judged.scores, judged.shifts, judged.local, strict=True):
            pair = (min(row, other), max(row, other))
            if score > self.scores.get(pair, -np.inf):
                self.scores[pair] = float(score)
                if score >= self.least:
                    self.details[pair] = (shift / SIDE_PX if row < other else -shift / SIDE_PX, local)

    def tail(self) -> Tail:
        """Return the tail of the pairs that are not clearly the same part."""
        scores = np.fromiter(self.scores.values(), np.float32, len(self.scores))
        return measure_tail(scores[scores < self.least])

    def complete(self, threshold: float) -> None:
        """Compare the pairs that complete linkage needs one by one, so that each is fitted."""
        for rows in list(components(self.pairs(threshold)[0])):
            for row in rows.tolist() if len(rows) <= COMPLETED else ():
                for other in rows[rows > row].tolist():
                    if self.scores.get((row, other), -np.inf) < threshold:
                        self.compare(row, np.array([other]))

    def pairs(self, threshold: float) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        """Return pairs (P, 2), scores (P,), shifts (P, 2), local differences (P, 2), the highest score first."""
        above = [pair for pair in self.details if self.scores[pair] >= threshold]
        above.sort(key=lambda pair: (-self.scores[pair], pair))
        scores = np.array([self.scores[pair] for pair in above], np.float32)
        shifts, local = (
            np.array([self.details[pair][part] for pair in above], np.float32).reshape(-1, 2) for part in (0, 1)
        )
        return np.array(above, np.int64).reshape(-1, 2), scores, shifts, local
