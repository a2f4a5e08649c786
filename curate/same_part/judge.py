"""Judges one image beside its candidates, in standard scores of the set's own null distributions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from curate.records import BoolArray, FloatArray, IntArray
from curate.same_part.null import Null, measure_null
from curate.same_part.pairs import (
    Registered,
    correlations,
    correlations_elsewhere,
    joined,
    local_differences,
    mutual_correlations,
    mutual_differences,
    refit,
    register,
    weights_of,
    whitened,
)
from curate.same_part.prints import Prints

CANDIDATES = 16
"""So many of the nearest images are compared."""
REFERENCES = 12
"""So many of the nearest others show what the product always shows; their median outvotes a few further shots."""
FEWEST_REFERENCES = 2
"""With one other image, nothing tells the part from the product."""
ANYWHERE = 2 * REFERENCES
"""Images drawn from the whole set: references where all that is near shows the same part, as in a burst."""
ASPECT = 0.08
"""Width by height of two shots of a part differs by at most 8 %: parts cut out of a larger picture are cut differently,
and the fit undoes a stretch of up to 12 %."""
WORTH_A_FIT, FITS = 2.0, 2
"""Fitted are the best two candidates above this standard score, which one different pair in forty exceeds."""
FEWEST_ALIKE = 2
ELSEWHERE = 2.0
"""A score is at most twice of what is left without any one quarter: two parts with the same hole agree there alone."""
UNMEASURED = Null(middle=0, deviation=1)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One image beside C candidates.

    Attributes:
        scores: (C,) in deviations above different parts; -inf if there are too few references.
        shifts: (C, 2) onto the image, in px of the print.
        local: (C, 2) local difference in the middle and at the rim; 0 where no score reaches `least`.
        crowd: see `Compared`.
    """

    scores: FloatArray
    shifts: FloatArray
    local: FloatArray
    crowd: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One image beside C candidates, before the null is known.

    Attributes:
        registered: the candidates, shifted onto it.
        scores: (C,) Fisher's z; -inf if there are too few references.
        reference: (S, S) what the product always shows; None if there are too few references.
        others: the nearest that show other parts, shifted onto it; `rows` are theirs.
        crowd: how many of the nearest REFERENCES look like second shots; 0 if `alike` is NEVER, or `apart`.
    """

    registered: Registered
    scores: FloatArray
    reference: FloatArray | None
    others: Registered
    rows: IntArray
    crowd: int


@dataclass(frozen=True, kw_only=True)
class Alike:
    """When two images look like shots of one part, before it is known what the product always shows.

    Attributes:
        likeness: Fisher's z beside the whole set's median is that at least.
        difference: of `mutual_differences` is that at most: parts of one product in a mixed set are alike, too, but
            their surfaces differ by more than noise.
    """

    likeness: float
    difference: float


NEVER = Alike(likeness=np.inf, difference=0)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """M images as they are compared.

    Attributes:
        near: (M, C) rows, the nearest first; -1 for none. The first CANDIDATES are compared, all may be references.
        anywhere: rows of the whole set that may be references too.
        groups: (M,) leakage groups that are known: their images are no candidates and no references.
        weights: of `weights_of`.
        common: (K * K,) the median of the set's prints, whitened.
        alike: from which likeness on an image looks like a second shot.
        apart: whether references look like second shots neither of the image nor of each other, as bursts need it.
        shift_null, fit_null: of pairs that are shifted, and of those that are fitted too.
    """

    prints: Prints
    near: IntArray
    anywhere: IntArray
    groups: IntArray
    weights: FloatArray
    common: FloatArray
    alike: Alike = NEVER
    apart: bool = False
    shift_null: Null = UNMEASURED
    fit_null: Null = UNMEASURED

    def others(self, row: int, rows: IntArray) -> IntArray:
        """Return those of `rows` that show something, and are not known to show the same part."""
        rows = rows[(rows >= 0) & (rows != row)]
        others: IntArray = rows[~self.prints.flat[rows] & (self.groups[rows] != self.groups[row])]
        return others

    def candidates(self, row: int, rows: IntArray | None = None) -> IntArray:
        """Return those of `rows`, by default of the nearest, that can show the same part: they have the same shape."""
        rows = self.others(row, self.near[row, :CANDIDATES] if rows is None else rows)
        alike: IntArray = rows[np.abs(self.prints.aspects[rows] - self.prints.aspects[row]) <= ASPECT]
        return alike

    def can_compare(self, row: int) -> bool:
        """Return whether the image shows something, enough others do, and one of them has its shape."""
        enough = len(self.others(row, self.near[row])) >= FEWEST_REFERENCES
        return bool(enough and not self.prints.flat[row] and len(self.candidates(row)))

    def register(self, row: int, rows: IntArray, *, shot: FloatArray | None = None) -> Registered:
        """Return rows shifted onto the print of an image, or onto that of its second shot, (S, S)."""
        first = self.prints.values[row].astype(np.float32) if shot is None else shot
        return register(first, self.prints.values[rows].astype(np.float32), self.weights)

    def compare(self, row: int, rows: IntArray, *, shot: FloatArray | None = None) -> Compared:
        """Return how `rows` compare to an image, or to its second shot `shot`, (S, S).

        The median of a burst is the part itself, and would leave nothing to compare: see `apart`.
        """
        nearest = self.others(row, self.near[row])
        nearest, further = nearest[:CANDIDATES], nearest[CANDIDATES:]
        every = np.concatenate([rows, nearest[~np.isin(nearest, rows)]])
        registered = self.register(row, every, shot=shot)
        place = dict(zip(every.tolist(), range(len(every)), strict=True))
        pool = registered.at(np.array([place[other] for other in nearest.tolist()], np.int64))
        crowd = 0
        if self.alike is not NEVER and not self.apart:
            crowd = int(self.looks_alike(pool.at(np.arange(len(pool.moved))[:REFERENCES]))[0, 1:].sum())
        others, chosen = self._others_in(pool)
        if self.apart and len(chosen) < REFERENCES:
            anywhere = self.others(row, self.anywhere)
            further = np.concatenate([further, anywhere[~np.isin(anywhere, self.near[row])]])
            nearest, pool = np.concatenate([nearest, further]), joined(pool, self.register(row, further, shot=shot))
            others, chosen = self._others_in(pool)
        asked, reference = registered.at(np.arange(len(rows))), None
        scores = np.full(len(rows), -np.inf, np.float32)
        if len(chosen) >= FEWEST_REFERENCES:
            reference = np.median(pool.moved[chosen], axis=0)
            scores = correlations(asked, whitened(reference[None], self.weights)[0])
        return Compared(
            registered=asked,
            scores=scores,
            reference=reference,
            others=pool.at(others),
            rows=nearest[others],
            crowd=crowd,
        )

    def looks_alike(self, pool: Registered) -> BoolArray:
        """Return (1 + C, 1 + C) which of the one and the others look like second shots of each other."""
        likeness, difference = mutual_correlations(pool, self.common), mutual_differences(pool)
        alike: BoolArray = (likeness >= self.alike.likeness) & (difference <= self.alike.difference)
        return alike

    def _others_in(self, pool: Registered) -> tuple[IntArray, IntArray]:
        """Return which of a pool show other parts, CANDIDATES at most, and which are references; see `apart`."""
        every = np.arange(len(pool.moved))
        if not self.apart:
            return every[:CANDIDATES], every[:REFERENCES]
        alike = self.looks_alike(pool)
        same = alike[0].copy()
        if same[1:].sum() >= FEWEST_ALIKE:
            same |= alike[:, np.flatnonzero(same)].mean(axis=1) >= 0.5
        others = np.flatnonzero(~same[1:])
        chosen: list[int] = []
        for other in others.tolist():
            if len(chosen) < REFERENCES and not alike[other + 1, np.array(chosen, np.int64) + 1].any():
                chosen.append(other)
        return others[:CANDIDATES], np.array(chosen, np.int64)

    def judge(
        self, row: int, rows: IntArray, *, least: float, shot: FloatArray | None = None, fits: int = FITS
    ) -> Judged:
        """Return how `rows` compare, the best of them fitted; local differences from the score `least` on."""
        compared = self.compare(row, rows, shot=shot)
        scores, shifts = self.shift_null.standard(compared.scores), compared.registered.shifts.copy()
        if compared.reference is None:
            return Judged(
                scores=scores, shifts=shifts, local=np.zeros((len(rows), 2), np.float32), crowd=compared.crowd
            )
        best = np.argsort(-scores, kind="stable")[:fits]
        best = best[scores[best] > WORTH_A_FIT]
        reference = whitened(compared.reference[None], self.weights)[0]
        scores = _everywhere(scores, compared.registered, reference, null=self.shift_null, least=least)
        local = _local(compared.registered, scores >= least)
        if len(best):
            again, reference = refit(compared.registered.at(best), compared.reference, self.weights)
            fitted = self.fit_null.standard(correlations(again, reference))
            fitted = _everywhere(fitted, again, reference, null=self.fit_null, least=least)
            shifts[best] = np.where((fitted > scores[best])[:, None], again.shifts, shifts[best])
            not_yet = scores[best] < least
            scores[best] = np.maximum(fitted, scores[best])
            fitted_local = _local(again, scores[best] >= least)
            local[best] = np.where(not_yet[:, None], fitted_local, np.minimum(local[best], fitted_local))
        return Judged(scores=scores, shifts=shifts, local=local, crowd=compared.crowd)


def _everywhere(
    scores: FloatArray, registered: Registered, reference: FloatArray, *, null: Null, least: float
) -> FloatArray:
    """Return scores (C,), those from `least` on at most ELSEWHERE times what is left without the best place."""
    high = np.flatnonzero(scores >= least)
    if not len(high):
        return scores
    elsewhere = null.standard(correlations_elsewhere(registered.at(high), reference))
    everywhere = scores.copy()
    everywhere[high] = np.minimum(scores[high], ELSEWHERE * elsewhere)
    return everywhere


def _local(registered: Registered, asked: BoolArray) -> FloatArray:
    local = np.zeros((len(asked), 2), np.float32)
    if asked.any():
        local[asked] = local_differences(registered.first, registered.moved[asked])
    return local


def prepare(prints: Prints, near: IntArray, groups: IntArray, *, generator: np.random.Generator) -> Comparison:
    """Return a set whose nulls are not yet measured."""
    weights, shown = weights_of(prints), np.flatnonzero(~prints.flat)
    sample = generator.permutation(shown)[: 4 * ANYWHERE]
    median = np.median(prints.values[sample], axis=0) if len(sample) else np.zeros(prints.values.shape[1:])
    return Comparison(
        prints=prints,
        near=near,
        anywhere=sample[:ANYWHERE],
        groups=groups,
        weights=weights,
        common=whitened(median[None].astype(np.float32), weights)[0],
    )


def with_nulls(images: Comparison, sample: IntArray, generator: np.random.Generator) -> Comparison:
    """Return the set with its null distributions, measured on the nearest other parts of a sample of rows.

    Fitted are two of each row by chance, whatever they score: chosen by score, they would not be the null.
    """
    shifted, fitted = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for row in sample.tolist():
        compared = images.compare(row, np.zeros(0, np.int64))
        others = compared.others.at(np.flatnonzero(np.isin(compared.rows, images.candidates(row, compared.rows))))
        if compared.reference is not None and len(others.moved):
            shifted.append(correlations(others, whitened(compared.reference[None], images.weights)[0]))
            drawn = others.at(generator.permutation(len(others.moved))[:FITS])
            again, reference = refit(drawn, compared.reference, images.weights)
            fitted.append(correlations(again, reference))
    return replace(
        images,
        shift_null=measure_null(np.concatenate(shifted)),
        fit_null=measure_null(np.concatenate(fitted)),
    )
