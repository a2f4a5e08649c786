"""The scores of all pairs that were compared, and the threshold that follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from curate.progress import Progress, no_progress
from curate.records import BoolArray, FloatArray, IntArray
from curate.same_part.clusters import components
from curate.same_part.judge import CANDIDATES, Comparison, Judged
from curate.same_part.null import Tail, measure_tail, rate_above, threshold_for
from curate.same_part.planted import ALL_TOGETHER
from curate.same_part.prints import AHEAD, SIDE_PX, THREADS
from curate.same_part.reshots import Reshots

ENOUGH, CROWD, CROWDED = 0.9, 3, 0.05
"""References are looked at again if fewer planted re-shots are found, or one image in twenty is one of four shots."""
COMPLETED = 128
"""Largest component whose images are compared all with all; a larger one is hardly one part."""


class Looks:
    """What comparing images to their candidates gave.

    Args:
        images: with their nulls.
        reshots: what planted re-shots score.
        measured: how many images the nulls were measured on.
        false_rate: the share of different pairs that may be taken for the same part.

    Attributes:
        least: below it, no pair can be the same part.
        compared: (M,) images that were compared to their candidates; `judged`: those of them that have references.
        crowds: (M,) how many of the nearest look like second shots.
    """

    def __init__(self, images: Comparison, reshots: Reshots, *, measured: int, false_rate: float) -> None:
        self.images, self.reshots = images, reshots
        self.least = max(threshold_for(false_rate, measured), reshots.midway) if measured else np.inf
        self.compared = np.zeros(len(images.near), bool)
        self.judged = np.zeros(len(images.near), bool)
        self.crowds = np.zeros(len(images.near), np.int64)
        self._measured, self._false_rate = measured, false_rate
        self._scores = np.full(images.near[:, :CANDIDATES].shape, np.nan, np.float32)
        self._details: dict[tuple[int, int], tuple[float, FloatArray, FloatArray]] = {}

    def compare(self, rows: Iterable[int], *, progress: Progress = no_progress) -> None:
        """Compare images to their candidates, unless that was done."""
        rows = list(rows)
        todo = [row for row in rows if not self.compared[row]]
        progress(len(rows) - len(todo))
        with ThreadPoolExecutor(THREADS, thread_name_prefix="same-part") as pool:
            for start in range(0, len(todo), AHEAD):
                some = todo[start : start + AHEAD]
                for row, judged in zip(some, pool.map(self._look, some), strict=True):
                    self._note(row, judged)
                    progress(1)

    def _look(self, row: int) -> Judged:
        return self.images.judge(row, self.images.candidates(row), least=self.least)

    def _note(self, row: int, judged: Judged) -> None:
        self.compared[row], self.crowds[row] = True, judged.crowd
        self.judged[row] = np.isfinite(judged.scores).all()
        if self.judged[row]:
            others = self.images.candidates(row)
            self._scores[row, np.isin(self.images.near[row, :CANDIDATES], others)] = judged.scores
            self._keep(row, others, judged)

    def _keep(self, row: int, others: IntArray, judged: Judged) -> None:
        """Keep what is known of the pairs that may be the same part; of two looks at one, the higher score counts."""
        for at in np.flatnonzero(judged.scores >= self.least).tolist():
            other, score = int(others[at]), float(judged.scores[at])
            pair = (min(row, other), max(row, other))
            if pair not in self._details or score > self._details[pair][0]:
                shift = judged.shifts[at] / SIDE_PX
                self._details[pair] = (score, shift if row < other else -shift, judged.local[at])

    def scores(self) -> tuple[IntArray, FloatArray]:
        """Return the pairs (P, 2) that were compared, the smaller row first, and their scores (P,)."""
        rows, columns = np.nonzero(~np.isnan(self._scores))
        others = self.images.near[rows, columns]
        pairs, place = np.unique(
            np.stack([np.minimum(rows, others), np.maximum(rows, others)], axis=1), axis=0, return_inverse=True
        )
        scores = np.full(len(pairs), -np.inf, np.float32)
        np.maximum.at(scores, place.reshape(-1), self._scores[rows, columns])
        return pairs, scores

    def tail(self) -> Tail:
        """Return the tail of the pairs that are not clearly the same part.

        Where references are chosen against bursts, pairs that others chain together are not counted either: among many
        shots of a part, some score low.
        """
        pairs, scores = self.scores()
        clear = scores >= self.least
        return measure_tail(scores[~(clear | self._chained(pairs, clear))])

    def _chained(self, pairs: IntArray, clear: BoolArray) -> BoolArray:
        part = np.arange(len(self.images.near))
        if self.images.apart:
            for rows in components(pairs[clear]):
                part[rows] = rows[0]
        chained: BoolArray = part[pairs[:, 0]] == part[pairs[:, 1]]
        return chained

    def threshold(self) -> float:
        """Return the least score of a pair; infinite if no planted re-shot reaches it: nor would a real one."""
        threshold = max(self.least, self.tail().threshold(self._false_rate))
        return threshold if self.reshots.recall(threshold).get(ALL_TOGETHER) else np.inf

    def false_rate(self, threshold: float) -> float:
        """Return the estimated share of different pairs at a threshold or above."""
        return max(rate_above(threshold, self._measured), self.tail().rate(threshold))

    def worth(self) -> float:
        """Return what the threshold finds: the share of planted re-shots, and of images in real pairs."""
        threshold = self.threshold()
        found = np.unique(self.pairs(threshold)[0])
        recall = self.reshots.recall(threshold).get(ALL_TOGETHER, 0.0)
        return recall + float(self.compared[found].sum() / max(1, self.compared.sum()))

    def crowded(self) -> bool:
        """Return whether references may be spoilt: few re-shots are found, or many images have several second shots."""
        recall = self.reshots.recall(self.threshold()).get(ALL_TOGETHER, 0.0)
        return recall < ENOUGH or float(np.mean(self.crowds[self.compared] >= CROWD)) >= CROWDED

    def complete(self, threshold: float) -> None:
        """Compare the pairs that complete linkage needs, each of them fitted."""
        for rows in list(components(self.pairs(threshold)[0])):
            for row in rows.tolist() if len(rows) <= COMPLETED else ():
                rest = [other for other in rows[rows > row].tolist() if self._score(row, other) < threshold]
                others = self.images.candidates(row, np.array(rest, np.int64))
                if len(others):
                    judged = self.images.judge(row, others, least=self.least, fits=len(others))
                    self._keep(row, others, judged)

    def _score(self, row: int, other: int) -> float:
        return self._details[row, other][0] if (row, other) in self._details else -np.inf

    def pairs(self, threshold: float) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        """Return pairs (P, 2), scores (P,), shifts (P, 2), local differences (P, 2), the highest score first."""
        above = [(-detail[0], pair) for pair, detail in self._details.items() if detail[0] >= threshold]
        pairs = [pair for _, pair in sorted(above)]
        shifts, local = (
            np.array([self._details[pair][part] for pair in pairs], np.float32).reshape(-1, 2) for part in (1, 2)
        )
        scores = np.array([self._details[pair][0] for pair in pairs], np.float32)
        return np.array(pairs, np.int64).reshape(-1, 2), scores, shifts, local
