"""What images known to be nominal say of all others: p-values without a model, and a bound on false alarms.

Trusted images are scored by models that have not seen them, as all images are. So a nominal image scores as one of them
by chance, and its rank among them is a p-value, whatever the scores look like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, false_discovery_control

from curate.records import BoolArray, FloatArray, IntArray

Doubles = NDArray[np.float64]

FEWEST_TRUSTED = 20
"""With fewer trusted images no p-value is below 0.05, and p-values are model-based."""

DEFAULT_FDR = 0.1
"""The q-value up to which images are flagged where there are trusted images, and no other is asked for."""

MISSED = 0.1
"""How often the bound may fail."""

RANKS = 100
"""Up to so many trusted images that score as high, the bound looks at ranks: beyond, the other one is as sharp."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The scores of the trusted images of a nominal set.

    Attributes:
        scores: (n,) ascending: the highest of each leakage group, so that copies and shots of one part count once.
    """

    scores: Doubles

    def __len__(self) -> int:
        return len(self.scores)

    def p_value(self, values: FloatArray | Doubles) -> Doubles:
        """Return (N,) conformal p-values, 0-1: (1 + #{trusted scores >= s}) / (n + 1).

        Of a nominal image that is exchangeable with the trusted ones, p <= a at most in a share a of all draws.

        Source: Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World, §2.2.
        """
        return np.asarray((1 + self._as_high(values)) / (len(self) + 1), dtype=np.float64)

    def own_p_value(self, values: FloatArray | Doubles) -> Doubles:
        """Return (N,) the p-values of trusted images, each among the others: its own group is left out."""
        return np.asarray(np.maximum(1, self._as_high(values)) / len(self), dtype=np.float64)

    def fdr_bound(self, values: FloatArray | Doubles, tested: FloatArray | Doubles) -> Doubles:
        """Bound, at every score at once, the share of nominal images among all tested ones that score as high, 0-1.

        The lower of two bounds counts; together they fail in a share `MISSED` of all draws at most.

        Args:
            values: (N,) the scores at which it is wanted.
            tested: (m,) scores of the images that are tested, each content once; none is trusted.

        Source: see `nominal_by_survival` and `nominal_by_rank`.
        """
        count = len(tested)
        if not count:
            return np.ones(len(values))
        trusted_as_high = self._as_high(values)
        tested_as_high = count - np.searchsorted(np.sort(tested), values, side="left")
        nominal = np.minimum(
            nominal_by_survival(trusted_as_high, len(self), count), nominal_by_rank(trusted_as_high, len(self), count)
        )
        return np.asarray(np.minimum(1, nominal / np.maximum(1, tested_as_high)), dtype=np.float64)

    def _as_high(self, values: FloatArray | Doubles) -> IntArray:
        """Return (N,) how many trusted scores are at least as high."""
        return np.asarray(len(self) - np.searchsorted(self.scores, values, side="left"), dtype=np.int64)


def nominal_by_survival(trusted_as_high: IntArray, trusted: int, tested: int) -> Doubles:
    """Bound how many tested nominal images score as high, (N,), at every score at once; sharp in the bulk.

    With S the survival function of nominal scores, S <= S_n + e(n) everywhere but in a share a of all draws, where
    e(n) = sqrt(log(1 / a) / 2 n); of m tested images, at most m (S + e(m)) nominal ones score as high, likewise. Each a
    is a quarter of `MISSED`.

    Args:
        trusted_as_high: (N,) how many trusted images score as high.
        trusted, tested: n and m, how many there are.

    Source: Dvoretzky, Kiefer and Wolfowitz 1956, with the constant of Massart 1990 for one side. Ours: it is used
    twice, since the share that was drawn is bounded, and not its expectation.
    """
    margin = sum(np.sqrt(np.log(4 / MISSED) / (2 * size)) for size in (trusted, tested))
    return np.asarray(tested * (trusted_as_high / trusted + margin), dtype=np.float64)


def nominal_by_rank(trusted_as_high: IntArray, trusted: int, tested: int) -> Doubles:
    """Bound how many tested nominal images score as high, (N,), at every score at once; sharp in the tail.

    How many of m nominal scores lie above the (k + 1)th highest of n trusted ones follows a beta-binomial distribution
    of m, k + 1 and n - k. For each k up to `RANKS`, its upper quantile fails in a share a / ((k + 1) (k + 2)) of all
    draws; the sum of these is below a, which is half of `MISSED`. Beyond, all m may be nominal.

    Args:
        trusted_as_high: (N,) k, how many trusted images score as high.
        trusted, tested: n and m, how many there are.

    Source: Wilks 1942, Statistical prediction with special reference to the problem of tolerance limits. Ours: the
    shares of the ranks.
    """
    most = np.full(trusted + 1, float(tested))
    ranks = np.unique(trusted_as_high[trusted_as_high < min(trusted, RANKS)])
    above, first = np.arange(tested + 1), ranks[:, None] + 1
    mass = betabinom.pmf(above[None], tested, first, trusted + 1 - first)  # (K, tested + 1)
    missed = MISSED / 2 / (first * (first + 1))
    most[ranks] = (mass.cumsum(axis=1) < 1 - missed).sum(axis=1)
    return most[trusted_as_high]


@dataclass(frozen=True, kw_only=True)
class SideInformation:
    """What the user knows of a nominal set beside its scores.

    Attributes:
        expected: the contamination that is expected, 0-1, from and to; None for no opinion.
        reference: the scores of its trusted images; None where there are too few.
        trusted: (N,) which of the scores are those of trusted images; None if none is.
    """

    expected: tuple[float, float] | None = None
    reference: Reference | None = None
    trusted: BoolArray | None = None


NO_SIDE_INFORMATION = SideInformation()


def make_reference(values: FloatArray, groups: IntArray) -> Reference | None:
    """Return the reference that the trusted images of a nominal set make; None if they are too few.

    Args:
        values: (K,) their scores.
        groups: (K,) their leakage groups.
    """
    unique, group = np.unique(groups, return_inverse=True)
    if len(unique) < FEWEST_TRUSTED:
        return None
    highest = np.full(len(unique), -np.inf)
    np.maximum.at(highest, group, values.astype(np.float64))
    return Reference(scores=np.sort(highest))


def q_values(p_values: Doubles) -> Doubles:
    """Return (N,) p-values as q-values, 0-1, N may be 0.

    Source: Benjamini and Hochberg 1995, §3.1, as adjusted p-values.
    """
    return np.asarray(false_discovery_control(p_values) if len(p_values) else p_values, dtype=np.float64)
