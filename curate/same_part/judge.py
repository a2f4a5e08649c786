"""Judges one image beside its candidates, in standard scores of the set's own null distributions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from curate.records import BoolArray, FloatArray, IntArray
from curate.same_part.null import Null, measure_null
from curate.same_part.pairs import Compared, compare, local_differences, refit, weights_of
from curate.same_part.prints import Pixels, Prints, print_of

REFERENCES = 12
"""So many of the nearest others show what the product always shows; their median outvotes a few further shots."""
FEWEST_REFERENCES = 2
"""With one other image, nothing tells the part from the product."""
ASPECT = 0.08
"""Width by height of two shots of a part differs by at most 8 %: parts cut out of a larger picture are cut differently,
and the fit undoes a stretch of up to 12 %."""
WORTH_A_FIT, FITS = 2.0, 2
"""Fitted are the best two candidates above this standard score, which one different pair in forty exceeds."""
UNMEASURED = Null(middle=0, deviation=1)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One image beside C candidates.

    Attributes:
        scores: (C,) in deviations above different parts.
        shifts: (C, 2) onto the image, in px of the print.
        local: (C, 2) local difference in the middle and at the rim; 0 where no score reaches `least`.
    """

    scores: FloatArray
    shifts: FloatArray
    local: FloatArray


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """M images as they are compared.

    Attributes:
        near: (M, C) rows, the nearest first; -1 for none.
        groups: (M,) leakage groups that are known: their images are no candidates and no references.
        weights: of `weights_of`.
        shift_null, fit_null: of pairs that are shifted, and of those that are fitted too.
    """

    prints: Prints
    near: IntArray
    groups: IntArray
    weights: FloatArray
    shift_null: Null = UNMEASURED
    fit_null: Null = UNMEASURED

    def others(self, row: int, rows: IntArray) -> IntArray:
        """Return those of `rows` that show something, and are not known to show the same part."""
        rows = rows[(rows >= 0) & (rows != row)]
        others: IntArray = rows[~self.prints.flat[rows] & (self.groups[rows] != self.groups[row])]
        return others

    def candidates(self, row: int, rows: IntArray) -> IntArray:
        """Return those of `rows` that can show the same part: they have the same shape."""
        rows = self.others(row, rows)
        alike: IntArray = rows[np.abs(self.prints.aspects[rows] - self.prints.aspects[row]) <= ASPECT]
        return alike

    def references(self, row: int) -> IntArray:
        """Return the nearest rows that show what the product always shows."""
        return self.others(row, self.near[row])[:REFERENCES]

    def can_compare(self, row: int) -> bool:
        """Return whether the image shows something, enough others do, and one of them has its shape."""
        enough = len(self.references(row)) >= FEWEST_REFERENCES
        return bool(enough and not self.prints.flat[row] and len(self.candidates(row, self.near[row])))

    def compare(self, row: int, rows: IntArray, pixels: Pixels | None = None) -> Compared:
        """Return how `rows` compare to an image: that of `row`, or its second shot `pixels`."""
        references = self.references(row)
        every, place = np.unique(np.concatenate([rows, references]), return_inverse=True)
        first = self.prints.values[row].astype(np.float32) if pixels is None else print_of(pixels)
        compared = compare(first, self.prints.at(every), references=place[len(rows) :], weights=self.weights)
        asked = place[: len(rows)]
        return replace(
            compared, moved=compared.moved[asked], scores=compared.scores[asked], shifts=compared.shifts[asked]
        )

    def judge(self, row: int, rows: IntArray, *, least: float, pixels: Pixels | None = None) -> Judged:
        """Return how `rows` compare, the best of them fitted; local differences from the score `least` on."""
        compared = self.compare(row, rows, pixels)
        scores, shifts = self.shift_null.standard(compared.scores), compared.shifts.copy()
        best = np.argsort(-scores, kind="stable")[:FITS]
        best = best[scores[best] > WORTH_A_FIT]
        if not len(best):
            return Judged(scores=scores, shifts=shifts, local=self._local(compared, scores >= least))
        again = refit(compared, best, self.weights)
        fitted = self.fit_null.standard(again.scores)
        shifts[best] = np.where((fitted > scores[best])[:, None], again.shifts, shifts[best])
        scores[best] = np.maximum(fitted, scores[best])
        local = self._local(compared, scores >= least)
        local[best] = np.minimum(local[best], self._local(again, scores[best] >= least))
        return Judged(scores=scores, shifts=shifts, local=local)

    @staticmethod
    def _local(compared: Compared, asked: BoolArray) -> FloatArray:
        local = np.zeros((len(asked), 2), np.float32)
        if asked.any():
            local[asked] = local_differences(compared.first, compared.moved[asked])
        return local


def prepare(prints: Prints, near: IntArray, groups: IntArray) -> Comparison:
    """Return a set whose nulls are not yet measured."""
    return Comparison(prints=prints, near=near, groups=groups, weights=weights_of(prints))


def with_nulls(images: Comparison, sample: IntArray, generator: np.random.Generator) -> Comparison:
    """Return the set with its null distributions, measured on the candidates of a sample of rows.

    Fitted are two candidates of each row by chance, whatever they score: chosen by score, they would not be the null.
    """
    shifted, fitted = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for row in sample.tolist():
        rows = images.candidates(row, images.near[row])
        if len(rows):
            compared = images.compare(row, rows)
            drawn = generator.permutation(len(rows))[:FITS]
            shifted.append(compared.scores)
            fitted.append(refit(compared, drawn, images.weights).scores)
    return replace(
        images,
        shift_null=measure_null(np.concatenate(shifted)),
        fit_null=measure_null(np.concatenate(fitted)),
    )
